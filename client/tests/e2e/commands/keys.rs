//! `key`: made, shown, changed, printed, lost and found.

use std::os::unix::fs::PermissionsExt as _;

use super::recorded::{self, cells, same_headings};
use crate::client::Client;
use crate::daemon::World;

#[test]
fn the_real_key_is_shown_as_the_real_client_shows_it() {
    let Some(key) = recorded::fixture("keys/plain.key") else {
        return;
    };
    let world = World::shared();
    let client = Client::new(&world, "local");
    let ours = client.text(&["key", "show", key.to_str().unwrap()]);
    same_headings(&ours, "17-key-show");
    let theirs = recorded::output("17-key-show").unwrap();
    for (ours, theirs) in ours.lines().zip(theirs.lines()).skip(5) {
        // The path is another one, and with it the width.
        assert_eq!(cells(ours), cells(theirs));
    }
    let value = client.json(&["key", "info", key.to_str().unwrap()]);
    assert_eq!(value["kdf"], "none");
    assert_eq!(value["created"], 1_795_336_145);
}

#[test]
fn a_key_has_the_password_that_it_got_last() {
    let world = World::shared();
    let client = Client::new(&world, "local").with("PBS_ENCRYPTION_PASSWORD", "first");
    client.ok(&["key", "create", "--hint", "the first one"]);
    let path = client
        .home
        .path()
        .join(".config/proxmox-backup/encryption-key.json");
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    let before = client.json(&["key", "show"]);
    assert_eq!(
        (&before["kdf"], &before["hint"]),
        (&"scrypt".into(), &"the first one".into())
    );
    client.fails(&["key", "create"], &["exists"]);

    client.fails(
        &["key", "change-passphrase"],
        &["PBS_ENCRYPTION_PASSWORD_NEW"],
    );
    let client = client.with("PBS_ENCRYPTION_PASSWORD_NEW", "1234");
    client.fails(&["key", "change-passphrase"], &["too short"]);
    let client = client.with("PBS_ENCRYPTION_PASSWORD_NEW", "second");
    client.ok(&["key", "change-passphrase", "--kdf", "pbkdf2"]);
    let after = client.json(&["key", "show"]);
    assert_eq!(after["kdf"], "pbkdf2");
    assert_eq!(after["fingerprint"], before["fingerprint"]);
    assert_eq!(mode(&path), 0o600);
    client.fails(&["key", "change-passphrase"], &["passphrase"]);
    let client = client.with("PBS_ENCRYPTION_PASSWORD", "second");
    client.ok(&["key", "change-passphrase", "--kdf", "none"]);
    assert_eq!(client.json(&["key", "show"])["kdf"], "none");

    let paper = client.text(&["key", "paperkey", "--subject", "my machine"]);
    assert!(paper.starts_with("Subject: my machine\n"), "{paper}");
    let html = client.text(&["key", "paperkey", "--output-format", "html"]);
    assert!(
        html.contains("<svg") && html.contains("BEGIN PROXMOX"),
        "{html}"
    );
    client.fails(
        &["key", "show", "/etc/hostname"],
        &["/etc/hostname", "no key file"],
    );
}

/// The key of a backup is lost, and comes back by the master key.
#[test]
fn a_lost_key_comes_back_by_the_master_key() {
    let world = World::shared();
    let client = Client::new(&world, "local").with("PBS_MASTER_PASSWORD", "of the master");
    client.ok(&["key", "create-master-key"]);
    let home = client.home.path().to_owned();
    client.fails(&["key", "create-master-key"], &["exists"]);
    client.ok(&["key", "import-master-pubkey", "master-public.pem"]);
    client.fails(
        &["key", "import-master-pubkey", "master-private.pem"],
        &["no public RSA key"],
    );
    let shown = client.json(&["key", "show-master-pubkey"]);
    assert_eq!(shown["bits"], 4096);
    client.ok(&["key", "create", "--kdf", "none"]);
    let fingerprint = client.json(&["key", "show"])["fingerprint"].clone();

    std::fs::write(home.join("a.conf"), "secret\n").unwrap();
    let ran = client.back_up("mastered", 0, &["a.conf:a.conf"]);
    assert!(ran.stderr.contains("master key"), "{ran}");
    client.restore(
        "mastered",
        0,
        "rsa-encrypted.key",
        &home.join("encrypted"),
        &[],
    );
    std::fs::remove_file(home.join(".config/proxmox-backup/encryption-key.json")).unwrap();
    let line = crate::client::restore_line("mastered", 0, "a.conf", "-", &[]);
    client.fails(&line, &["--keyfile"]);

    let line = [
        "key",
        "import-with-master-key",
        "--master-keyfile",
        "master-private.pem",
        "--encrypted-keyfile",
        "encrypted",
        "--kdf",
        "none",
    ];
    client.ok(&line);
    assert_eq!(client.json(&["key", "show"])["fingerprint"], fingerprint);
    assert_eq!(client.read("mastered", 0, "a.conf", &[]), b"secret\n");
}

//! Encrypted and signed backups: with and without a password, with a master key, with the wrong one.

use std::path::{Path, PathBuf};

use datastore::format::{DataBlob, KeyConfig};

use crate::client::{Client, restore_line};
use crate::daemon::{STORES, World};
use crate::tree::{Tree, assert_same, change, noise, plant, read};

const PASSWORD: &str = "a good password";

/// A tree, an image and a file, and a key for them.
struct Machine {
    dir: tempfile::TempDir,
    key: String,
    specs: Vec<String>,
}

impl Machine {
    fn new(client: &Client, kdf: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("root")).unwrap();
        plant(&path("root"));
        std::fs::write(path("disk"), noise(9, 5 << 20)).unwrap();
        std::fs::write(path("config"), "secret: yes\n".repeat(20)).unwrap();
        let key = path("key").to_str().unwrap().to_owned();
        client.ok(&["key", "create", &key, "--kdf", kdf]);
        let spec = |archive: &str, name: &str| format!("{archive}:{}", path(name).display());
        let specs = vec![
            spec("root.pxar", "root"),
            spec("disk.img", "disk"),
            spec("machine.conf", "config"),
        ];
        Self { dir, key, specs }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn line<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let specs = self.specs.iter().map(String::as_str);
        specs
            .chain(["--keyfile", &self.key])
            .chain(more.iter().copied())
            .collect()
    }

    /// Restores everything with a key, and compares.
    fn check(&self, client: &Client, id: &str, number: i64, expected: &Tree, key: &[&str]) {
        let target = self.path(&format!("restored-{id}-{number}-{}", key.len()));
        client.restore(id, number, "root.pxar", &target, key);
        assert_same(&read(&target), expected);
        let disk = std::fs::read(self.path("disk")).unwrap();
        assert!(client.read(id, number, "disk.img", key) == disk);
        let config = std::fs::read(self.path("config")).unwrap();
        assert!(client.read(id, number, "machine.conf", key) == config);
        std::fs::remove_dir_all(target).unwrap();
    }
}

/// Whether some chunk or blob of a datastore on a directory holds this text.
fn stored_in_clear(store: &Path, id: &str, text: &str) -> bool {
    let output = std::process::Command::new("grep")
        .args(["-rlaF", text])
        .arg(store.join("host").join(id))
        .output()
        .unwrap();
    !output.stdout.is_empty()
}

fn encrypted(store: &str, kdf: &str) {
    let world = World::shared();
    let client = Client::new(&world, store).with("PBS_ENCRYPTION_PASSWORD", PASSWORD);
    let machine = Machine::new(&client, kdf);
    let id = format!("enc-{kdf}");
    for (number, mode) in [(0, "legacy"), (1, "metadata"), (2, "metadata")] {
        if number == 2 {
            change(&machine.path("root"));
        }
        let expected = read(&machine.path("root"));
        let line = machine.line(&["--change-detection-mode", mode]);
        let ran = client.back_up(&id, number, &line);
        for line in ["Using encryption key from", "Encryption key fingerprint: "] {
            assert!(ran.stderr.contains(line), "no '{line}' in {ran}");
        }
        if number == 2 {
            let reused = "from previous snapshot for unchanged files";
            assert!(ran.stderr.contains(reused), "{ran}");
        }
        machine.check(
            &client,
            &id,
            number,
            &expected,
            &["--keyfile", &machine.key],
        );
    }
    if store == "local" {
        assert!(!stored_in_clear(&world.store(), &id, "secret: yes"));
    }
    // Without its key, and with another one.
    let to = machine.path("never");
    let restore =
        |archive: &str, more: &[&str]| restore_line(&id, 2, archive, to.to_str().unwrap(), more);
    for archive in ["root.pxar", "disk.img", "machine.conf"] {
        client.fails(&restore(archive, &[]), &["is encrypted", "--keyfile"]);
    }
    let other = machine.path("other-key");
    let other = other.to_str().unwrap();
    client.ok(&["key", "create", other, "--kdf", "none"]);
    client.fails(
        &restore("root.pxar", &["--keyfile", other]),
        &["signed with key"],
    );
    assert!(!to.exists() || std::fs::read_dir(&to).unwrap().next().is_none());
    if kdf != "none" {
        let wrong = client.with("PBS_ENCRYPTION_PASSWORD", "wrong password");
        let line = restore("disk.img", &["--keyfile", &machine.key]);
        wrong.fails(&line, &["passphrase does not open it"]);
    }
    // Another key uses nothing of what this one encrypted, and says so.
    let client = Client::new(&world, store);
    let specs: Vec<_> = machine.specs.iter().map(String::as_str).collect();
    let line = [
        &specs[..],
        &["--keyfile", other, "--change-detection-mode", "metadata"],
    ]
    .concat();
    let ran = client.back_up(&id, 3, &line);
    assert!(ran.stderr.contains("the last backup is not used"), "{ran}");
    let expected = read(&machine.path("root"));
    machine.check(&client, &id, 3, &expected, &["--keyfile", other]);
}

#[test]
fn encrypted_without_a_password_on_a_bucket() {
    encrypted(STORES[0], "none");
}

#[test]
fn encrypted_with_a_password_on_a_directory() {
    encrypted(STORES[1], "scrypt");
}

#[test]
fn signed_only() {
    let world = World::shared();
    let client = Client::new(&world, "local");
    let machine = Machine::new(&client, "none");
    let line = machine.line(&["--crypt-mode", "sign-only"]);
    client.back_up("signed", 0, &line);
    let expected = read(&machine.path("root"));
    // Anybody may read it; whoever has the key sees whether it was changed.
    machine.check(&client, "signed", 0, &expected, &[]);
    machine.check(
        &client,
        "signed",
        0,
        &expected,
        &["--keyfile", &machine.key],
    );
    let manifest = client.read("signed", 0, "index.json", &[]);
    let manifest = String::from_utf8(manifest).unwrap();
    assert!(
        manifest.contains(r#""crypt-mode": "sign-only""#),
        "{manifest}"
    );
    // Plain chunks are not what an encrypted backup is made of, nor the other way round.
    let line = machine.line(&["--change-detection-mode", "metadata"]);
    client.back_up("signed", 1, &line);
    machine.check(
        &client,
        "signed",
        1,
        &expected,
        &["--keyfile", &machine.key],
    );
    let specs: Vec<_> = machine.specs.iter().map(String::as_str).collect();
    let line = [&specs[..], &["--change-detection-mode", "metadata"]].concat();
    let ran = client.back_up("signed", 2, &line);
    for line in ["Encryption mode: none", "the last backup was encrypted"] {
        assert!(ran.stderr.contains(line), "no '{line}' in {ran}");
    }
    machine.check(&client, "signed", 2, &expected, &[]);
}

#[test]
fn a_master_key_opens_what_its_owner_did_not_encrypt() {
    let world = World::shared();
    let client = Client::new(&world, "local").with("PBS_MASTER_PASSWORD", PASSWORD);
    let machine = Machine::new(&client, "none");
    client.ok(&["key", "create-master-key"]);
    let public = client.home.path().join("master-public.pem");
    let private = client.home.path().join("master-private.pem");
    let public = public.to_str().unwrap();
    client.back_up(
        "master",
        0,
        &machine.line(&["--master-pubkey-file", public]),
    );
    // The key itself is lost.
    std::fs::remove_file(&machine.key).unwrap();
    let stored = client.read("master", 0, "rsa-encrypted.key", &[]);
    let blob = DataBlob::encode_with_iv(&stored, None, false).unwrap();
    let pem = std::fs::read(private).unwrap();
    let opened = KeyConfig::decrypt_with_master(&blob, &pem, || Ok(PASSWORD.into()));
    let (config, _) = opened.unwrap();
    std::fs::write(&machine.key, config.to_json().unwrap()).unwrap();
    let expected = read(&machine.path("root"));
    machine.check(
        &client,
        "master",
        0,
        &expected,
        &["--keyfile", &machine.key],
    );
}

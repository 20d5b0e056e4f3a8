//! What is wrong is said, and ends with a code.

use crate::client::{Client, restore_line};
use crate::daemon::World;

#[test]
fn wrong_ways_in() {
    let world = World::shared();
    let line = |client: &Client| client.backup_line("never", 0, &["root.pxar:/etc"]);
    let client = Client::new(&world, "local").with("PBS_PASSWORD", "wrong");
    client.fails(&line(&client), &["admin@pbs", "the password is wrong"]);
    let fingerprint = vec!["ab"; 32].join(":");
    let client = Client::new(&world, "local").with("PBS_FINGERPRINT", &fingerprint);
    client.fails(&line(&client), &["fingerprint"]);
    let client = Client::new(&world, "none");
    client.fails(&line(&client), &["none"]);
    let client = Client::new(&world, "local").with("PBS_REPOSITORY", "root@pam@127.0.0.1:1:x");
    client.fails(&line(&client), &["127.0.0.1:1"]);
    let client = Client::new(&world, "local");
    let mut named = line(&client);
    named.extend(["--ns".to_owned(), "not/there".to_owned()]);
    client.fails(&named, &["namespace"]);
    assert!(
        client
            .snapshots()
            .iter()
            .all(|(name, _)| !name.contains("never"))
    );
}

#[test]
fn sources_that_are_not_there() {
    let world = World::shared();
    let client = Client::new(&world, "local");
    for (specs, part) in [
        (vec!["root.pxar:/nowhere"], "No such file"),
        (vec!["root.pxar:/etc/passwd"], "is not a directory"),
        (vec!["disk.img:/etc"], "is not a file, block device or pipe"),
        (
            vec!["a.conf:/etc/passwd", "a.conf:/etc/group"],
            "named twice",
        ),
        (vec!["disk.img:/dev/null"], "nothing came"),
    ] {
        client.fails(&client.backup_line("missing", 0, &specs), &[part]);
    }
    let wrong = client.run(&client.backup_line("missing", 0, &["root.tar:/etc"]));
    assert_ne!(wrong.code, Some(0), "{wrong}");
    assert!(wrong.stderr.contains("NAME.pxar:DIRECTORY"), "{wrong}");
    assert!(
        client
            .snapshots()
            .iter()
            .all(|(name, _)| !name.contains("missing"))
    );
}

#[test]
fn targets_that_do_not_take_it() {
    let world = World::shared();
    let client = Client::new(&world, "local");
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::write(&disk, crate::tree::noise(1, 5 << 20)).unwrap();
    let specs = [
        format!("disk.img:{}", disk.display()),
        "etc.pxar:/etc/default".to_owned(),
    ];
    let specs: Vec<_> = specs.iter().map(String::as_str).collect();
    client.back_up("targets", 0, &specs);
    let fails = |archive: &str, to: &str, parts: &[&str]| {
        client.fails(&restore_line("targets", 0, archive, to, &[]), parts);
    };
    fails("disk.img", "/dev/full", &["No space left", "/dev/full"]);
    fails("disk.img", "/proc/no/such", &["/proc/no/such"]);
    fails(
        "disk.img",
        dir.path().to_str().unwrap(),
        &["it is a directory"],
    );
    fails("etc.pxar", "/proc/no/such", &["/proc/no/such"]);
    fails("etc.pxar", disk.to_str().unwrap(), &["disk"]);
    fails(
        "other.img",
        "-",
        &["the snapshot has no 'other.img'", "disk.img"],
    );
    let line = restore_line("targets", 7, "disk.img", "-", &[]);
    client.fails(&line, &["does not exist"]);
}

#[test]
fn a_dry_run_does_nothing() {
    let world = World::shared();
    let client = Client::new(&world, "local");
    let ran = client.back_up("dry", 0, &["root.pxar:/etc", "--dry-run"]);
    assert!(
        ran.stderr.contains("Would upload directory '/etc'"),
        "{ran}"
    );
    assert!(
        client
            .snapshots()
            .iter()
            .all(|(name, _)| !name.contains("dry"))
    );
}

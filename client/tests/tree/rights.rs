//! Who may do what with restored files.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use client::tree::extract::{ExtractOptions, extract};
use pxar::{Acl, AclEntry, Decoder, Encoder, Forward, Metadata, Stat, mode};

use crate::common::Notes;
use crate::mounted::Mounts;

fn metadata(mode: u64) -> Metadata {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    Metadata {
        stat: Stat {
            mode,
            uid,
            gid,
            ..Stat::default()
        },
        ..Metadata::default()
    }
}

fn restored(archive: &[u8], target: &Path, options: &ExtractOptions) -> Notes {
    let notes = Notes::default();
    let decoder = Decoder::new(Forward::new(archive), None).unwrap();
    extract(decoder, target, options, &notes).unwrap();
    notes
}

/// With a list the mode has the mask where the rights of the group are without.
#[test]
fn without_a_list_the_group_does_not_get_the_rights_of_its_mask() {
    let mut listed = metadata(mode::FILE | 0o670);
    listed.acl = Acl {
        users: vec![AclEntry {
            id: 1234,
            permissions: 7,
        }],
        group_obj: Some(4),
        ..Acl::default()
    };
    let mut encoder = Encoder::unified(Vec::new(), &metadata(mode::DIRECTORY | 0o755)).unwrap();
    encoder.file(b"f", &listed, 1, &b"1"[..]).unwrap();
    let (archive, _) = encoder.finish().unwrap();

    let target = tempfile::tempdir().unwrap();
    let mode_of = || fs::metadata(target.path().join("f")).unwrap().mode() & 0o7777;
    let mut options = ExtractOptions::default();
    if restored(&archive, target.path(), &options)
        .of("f")
        .is_empty()
    {
        assert_eq!(mode_of(), 0o670);
        fs::remove_file(target.path().join("f")).unwrap();
    }
    options.ignore.acls = true;
    restored(&archive, target.path(), &options).none();
    assert_eq!(mode_of(), 0o640);

    // Where there are no lists.
    let mut mounts = Mounts::new();
    if mounts.mount(&["-t", "ramfs", "none"], target.path()) {
        let notes = restored(&archive, target.path(), &ExtractOptions::default());
        assert!(notes.of("f")[0].contains("access lists"), "{notes:?}");
        assert_eq!(mode_of(), 0o640);
    }
}

/// Runs a test once more as a user who is not root, if this is root; whether that was so.
fn as_nobody(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        return false;
    }
    // From where such a user can reach it.
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = place.path().join("tests");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut command = Command::new(program);
    command
        .args(["--exact", test, "--nocapture"])
        .current_dir(place.path());
    let ran = command.uid(65534).gid(65534).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(
        ran.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    assert!(said.contains("1 passed"), "{said}");
    true
}

/// `a/b/f` is found for its other name though `b` is closed by its mode; the same below a directory
/// that is closed.
#[test]
fn files_in_closed_directories_get_their_other_names() {
    if as_nobody("rights::files_in_closed_directories_get_their_other_names") {
        return;
    }
    let directory = |permissions| metadata(mode::DIRECTORY | permissions);
    let file = metadata(mode::FILE | 0o644);
    let mut encoder = Encoder::unified(Vec::new(), &directory(0o600)).unwrap();
    let mut files = Vec::new();
    encoder.enter(b"a", &directory(0o755)).unwrap();
    for (name, permissions) in [(b"b", 0o600), (b"c", 0)] {
        encoder.enter(name, &directory(permissions)).unwrap();
        encoder.enter(b"d", &directory(permissions)).unwrap();
        files.push(encoder.file(b"f", &file, 4, &b"good"[..]).unwrap());
        encoder.leave().unwrap();
        encoder.leave().unwrap();
    }
    encoder.leave().unwrap();
    encoder
        .hard_link(b"y", b"a/b/d/f", files[0].name_at)
        .unwrap();
    encoder
        .hard_link(b"z", b"a/c/d/f", files[1].name_at)
        .unwrap();
    let (archive, _) = encoder.finish().unwrap();

    let world = tempfile::tempdir().unwrap();
    let target = world.path().join("target");
    let notes = restored(&archive, &target, &ExtractOptions::default());
    let mode_of = |name: &str| fs::symlink_metadata(target.join(name)).unwrap().mode() & 0o777;
    let open = |name: &str| {
        let all = fs::Permissions::from_mode(0o700);
        fs::set_permissions(target.join(name), all).unwrap();
    };
    assert_eq!(mode_of(""), 0o600);
    open("");
    for (name, permissions) in [("a/b", 0o600), ("a/c", 0)] {
        assert_eq!(mode_of(name), permissions);
        open(name);
        let inner = format!("{name}/d");
        assert_eq!(mode_of(&inner), permissions);
        open(&inner);
    }
    notes.none();
    for name in ["y", "z"] {
        assert_eq!(
            fs::metadata(target.join(name)).unwrap().nlink(),
            2,
            "{name}"
        );
    }
}

//! Who may do what with restored files.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

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

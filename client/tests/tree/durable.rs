//! What a restore says is done, a loss of power does not take back.

use std::fs;
use std::path::Path;
use std::process::Command;

use client::tree::Error;
use client::tree::create::CreateOptions;
use client::tree::extract::{ExtractOptions, Overwrite, extract, extract_path};
use pxar::{Accessor, Decoder, Forward};

use crate::common::{Notes, unified};
use crate::mounted::Mounts;

/// Files of a few sizes in a directory.
fn archive() -> Vec<u8> {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("d")).unwrap();
    for (name, size) in [("d/small", 100_000), ("d/large", 3 << 20)] {
        let content: Vec<u8> = (1..=251).cycle().take(size).collect();
        fs::write(root.path().join(name), content).unwrap();
    }
    let notes = Notes::default();
    let (archive, _, _) = unified(root.path(), &CreateOptions::default(), &notes);
    notes.none();
    archive
}

#[test]
fn what_is_restored_is_on_disk() {
    let target = tempfile::tempdir().unwrap();
    if !support::tells_what_is_on_disk(target.path()) {
        return;
    }
    let archive = archive();
    let options = ExtractOptions::default();
    let notes = Notes::default();
    let decoder = Decoder::new(Forward::new(&archive[..]), None).unwrap();
    extract(decoder, target.path(), &options, &notes).unwrap();
    let accessor = Accessor::open(&archive[..], None).unwrap();
    let single = target.path().join("single");
    extract_path(&accessor, Path::new("d/large"), &single, &options, &notes).unwrap();
    notes.none();
    for name in ["d/small", "d/large", "single/large"] {
        let on_disk = support::is_on_disk(&target.path().join(name));
        assert_eq!(on_disk, Some(true), "{name}");
    }
}

/// A disk that takes what is written and has no place for it later: only who waits for it hears of it.
#[test]
fn a_disk_that_does_not_keep_what_it_took_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (small, target) = (dir.path().join("small"), dir.path().join("d"));
    fs::create_dir(&small).unwrap();
    fs::create_dir(&target).unwrap();
    let mut mounts = Mounts::new();
    if !mounts.mount(&["-t", "tmpfs", "-o", "size=2m", "none"], &small) {
        return;
    }
    let image = small.join("image");
    fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
    let mut mkfs = Command::new("/sbin/mkfs.ext4");
    let mkfs = mkfs.args(["-q", "-O", "^has_journal"]).arg(&image).status();
    assert!(mkfs.unwrap().success());
    let image = image.to_str().unwrap();
    if !mounts.mount(&["-o", "loop", image], &target) {
        return;
    }
    // Where something is mounted in the target, too.
    for target in [&target, dir.path()] {
        let archive = archive();
        let options = ExtractOptions {
            allow_existing_dirs: true,
            overwrite: Overwrite::ALL,
            ..ExtractOptions::default()
        };
        let notes = Notes::default();
        let decoder = Decoder::new(Forward::new(&archive[..]), None).unwrap();
        let restored = extract(decoder, target, &options, &notes);
        notes.none();
        assert!(matches!(restored, Err(Error::Io { .. })), "{restored:?}");
    }
}

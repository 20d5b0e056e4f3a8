//! Archives in two parts as one stream.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use client::tree::chunker::ChunkSize;
use client::tree::create::CreateOptions;
use client::tree::unify::unify;
use pxar::{At, Decoder};

use crate::common::{Notes, Split, assert_same, split, unified};

fn plant(root: &Path) {
    for directory in ["d/e", "empty", "z"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for (name, length) in [
        ("a", 0),
        ("d/b", 3),
        ("d/e/c", 2_000_000),
        ("z/last", 70_000),
    ] {
        fs::write(root.join(name), vec![9; length]).unwrap();
    }
    fs::hard_link(root.join("d/b"), root.join("d/e/link")).unwrap();
    fs::hard_link(root.join("a"), root.join("z/a")).unwrap();
    symlink("../a", root.join("d/symlink")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("fifo"),
        rustix::fs::FileType::Fifo,
        mode,
        0,
    )
    .unwrap();
}

fn unified_from(parts: &Split) -> Result<Vec<u8>, client::tree::Error> {
    let payload = parts.payload.stream();
    let inputs = (At::new(&parts.metadata[..]), Some(At::new(&payload[..])));
    let mut out = Vec::new();
    unify(Decoder::new(inputs.0, inputs.1)?, &mut out)?;
    Ok(out)
}

#[test]
fn it_is_what_would_have_been_made_in_one_part() {
    let root = tempfile::tempdir().unwrap();
    plant(root.path());
    let notes = Notes::default();
    let options = CreateOptions::default();
    let (parts, _) = split(root.path(), &options, ChunkSize::ARCHIVE, None, &notes);
    let (expected, _, _) = unified(root.path(), &options, &notes);
    assert_same(&unified_from(&parts).unwrap(), &expected);
    // With chunks of the last backup, and unreferenced bytes between.
    fs::write(root.path().join("a-new"), "new").unwrap();
    fs::remove_file(root.path().join("z/last")).unwrap();
    let (again, _) = split(
        root.path(),
        &options,
        ChunkSize::ARCHIVE,
        Some(&parts),
        &notes,
    );
    let (expected, _, _) = unified(root.path(), &options, &notes);
    assert_same(&unified_from(&again).unwrap(), &expected);
    notes.none();
}

/// Zeros would look like what was in the file.
#[test]
fn what_is_missing_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    plant(root.path());
    let notes = Notes::default();
    let options = CreateOptions::default();
    let (parts, _) = split(root.path(), &options, ChunkSize::ARCHIVE, None, &notes);
    let payload = parts.payload.stream();
    for length in [16, 1_000_000, payload.len() - 60_000] {
        let inputs = (
            At::new(&parts.metadata[..]),
            Some(At::new(&payload[..length])),
        );
        let decoder = Decoder::new(inputs.0, inputs.1).unwrap();
        assert!(unify(decoder, std::io::sink()).is_err(), "{length}");
    }
    let cut = &parts.metadata[..parts.metadata.len() / 2];
    let decoder = Decoder::new(At::new(cut), Some(At::new(&payload[..]))).unwrap();
    assert!(unify(decoder, std::io::sink()).is_err());
}

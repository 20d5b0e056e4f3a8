//! The trees that the real client backed up, and what it made of them.

use std::path::PathBuf;
use std::process::Command;

use client::tree::chunker::ChunkSize;
use client::tree::create::{CreateOptions, Reuse};
use datastore::format::{DataBlob, DynamicIndexReader, IndexFile as _};
use pxar::Accessor;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, mknodat, utimensat};
use tempfile::TempDir;

use crate::common::{Chunks, Notes, Split, assert_same, listed, split, unified};

/// The inputs and the datastore, unpacked.
struct Fixtures(TempDir);

impl Fixtures {
    /// None where the fixtures are not, or may not be unpacked with owners and devices.
    fn unpack() -> Option<Self> {
        let dir = support::fixtures::fixtures_dir().unwrap()?;
        if !rustix::process::geteuid().is_root() {
            eprintln!("only root can unpack devices and owners");
            return None;
        }
        let target = tempfile::tempdir().unwrap();
        // Of the chunk store, not the 65536 directories.
        let chunks = [
            "--wildcards",
            "samples/host",
            "samples/ct",
            "samples/.chunks/????/*",
        ];
        for (name, members) in [("input", &[][..]), ("datastore", &chunks)] {
            let status = Command::new("tar")
                .args([
                    "--zstd",
                    "--xattrs",
                    "--xattrs-include=*",
                    "--numeric-owner",
                    "-xpf",
                ])
                .arg(dir.join(format!("{name}.tar.zst")))
                .arg("-C")
                .arg(target.path())
                .args(members)
                .status();
            assert!(status.unwrap().success());
        }
        let fixtures = Self(target);
        fixtures.add_sockets();
        Some(fixtures)
    }

    /// `tar` leaves out sockets.
    fn add_sockets(&self) {
        for (nth, input) in ["dir", "dir-v2"].into_iter().enumerate() {
            let archive = self.archive("host/plain", nth, "root.pxar").stream();
            let archive = Accessor::open(&archive[..], None).unwrap();
            let socket = archive.lookup([&b"sock"[..]]).unwrap().unwrap();
            let stat = socket.inode().unwrap().metadata.stat;
            let root = archive.root().unwrap().inode().unwrap().metadata.stat;
            let (directory, path) = (self.input(input), self.input(input).join("sock"));
            let mode = Mode::from_raw_mode(stat.permissions());
            mknodat(CWD, &path, FileType::Socket, mode, 0).unwrap();
            rustix::fs::chmod(&path, mode).unwrap();
            for (path, mtime) in [(path, stat.mtime), (directory, root.mtime)] {
                let time = Timespec {
                    tv_sec: mtime.secs,
                    tv_nsec: mtime.nanos.into(),
                };
                let times = Timestamps {
                    last_access: time,
                    last_modification: time,
                };
                utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
            }
        }
    }

    fn input(&self, name: &str) -> PathBuf {
        self.0.path().join("input").join(name)
    }

    /// The index and chunks of an archive of the group's `nth` snapshot.
    fn archive(&self, group: &str, nth: usize, name: &str) -> Chunks {
        let store = self.0.path().join("samples");
        let group = std::fs::read_dir(store.join(group)).unwrap();
        let mut snapshots: Vec<PathBuf> = group.map(|it| it.unwrap().path()).collect();
        snapshots.retain(|path| path.is_dir());
        snapshots.sort();
        let index = snapshots[nth].join(format!("{name}.didx"));
        let index = DynamicIndexReader::open(&index).unwrap();
        let mut chunks = Chunks::default();
        let mut entries = index.entries();
        while let Some(entry) = entries.next_entry().unwrap() {
            let hex = entry.digest.to_hex();
            let path = store.join(".chunks").join(&hex[..4]).join(&hex);
            let blob = DataBlob::from_bytes(std::fs::read(path).unwrap().into()).unwrap();
            let content = blob.decode(None, 1 << 25).unwrap();
            assert_eq!(content.len() as u64, entry.size());
            chunks.push(content);
        }
        chunks
    }

    fn split(&self, group: &str, nth: usize) -> Split {
        Split {
            metadata: self.archive(group, nth, "root.mpxar").stream(),
            payload: self.archive(group, nth, "root.ppxar"),
        }
    }
}

#[test]
fn archives_in_one_part_are_the_same() {
    let Some(fixtures) = Fixtures::unpack() else {
        return;
    };
    for (nth, input) in ["dir", "dir-v2"].into_iter().enumerate() {
        let notes = Notes::default();
        let (archive, catalog, _) =
            unified(&fixtures.input(input), &CreateOptions::default(), &notes);
        notes.none();
        let theirs = fixtures.archive("host/plain", nth, "root.pxar");
        assert_same(&archive, &theirs.stream());
        assert_eq!(
            Chunks::of(&archive, ChunkSize::ARCHIVE).entries,
            theirs.entries
        );
        let theirs = fixtures.archive("host/plain", nth, "catalog.pcat1");
        assert_same(&catalog, &theirs.stream());
    }
}

#[test]
fn archives_in_two_parts_are_the_same() {
    let Some(fixtures) = Fixtures::unpack() else {
        return;
    };
    let notes = Notes::default();
    let root = fixtures.input("dir");
    let (first, _) = split(
        &root,
        &CreateOptions::default(),
        ChunkSize::ARCHIVE,
        None,
        &notes,
    );
    let theirs = fixtures.split("ct/101", 0);
    assert_same(&first.metadata, &theirs.metadata);
    assert_same(&first.payload.stream(), &theirs.payload.stream());
    assert_eq!(first.payload.entries, theirs.payload.entries);

    let (second, summary) = split(
        &root,
        &CreateOptions::default(),
        ChunkSize::ARCHIVE,
        Some(&theirs),
        &notes,
    );
    let theirs = fixtures.split("host/split", 0);
    assert_same(&second.metadata, &theirs.metadata);
    assert_eq!(second.payload.entries, theirs.payload.entries);
    // As the real client printed: recordings/flow.log.
    let reuse = Reuse {
        files: 210,
        chunks: 7,
        padding: 32,
        partial_chunks: 2,
        ..summary.reuse
    };
    assert_eq!(summary.reuse, reuse);

    let root = fixtures.input("dir-v2");
    let (third, summary) = split(
        &root,
        &CreateOptions::default(),
        ChunkSize::ARCHIVE,
        Some(&theirs),
        &notes,
    );
    let theirs = fixtures.split("host/split", 1);
    // Where a run ends together with a chunk, the real client adds the next chunk too, of which it
    // uses nothing.
    let mut entries = theirs.payload.entries.clone();
    let superfluous = entries.remove(7);
    assert_eq!(superfluous, entries[8]);
    assert_eq!(third.payload.entries, entries);
    assert_eq!(listed(&third), listed(&theirs));
    let reuse = Reuse {
        files: 5,
        read_files: 205,
        // 608.013 KiB, without that chunk.
        padding: 622_605 - superfluous.1,
        partial_chunks: 2,
        ..summary.reuse
    };
    assert_eq!(summary.reuse, reuse);
    notes.none();
}

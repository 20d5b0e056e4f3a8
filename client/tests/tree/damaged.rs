//! Restores of archives of which a part cannot be had.

use std::fs;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::Path;

use client::tree::Error;
use client::tree::chunker::ChunkSize;
use client::tree::create::CreateOptions;
use client::tree::extract::{ExtractOptions, Overwrite, Summary, extract, extract_path};
use client::tree::pattern::Pattern;
use pxar::{Accessor, At, Decoder, ReadAt};

use crate::common::{Bytes, Notes, Split, split};

/// Bytes of which some cannot be read.
struct Torn {
    bytes: Bytes,
    bad: Range<u64>,
    kind: ErrorKind,
}

impl ReadAt for Torn {
    fn size(&self) -> u64 {
        self.bytes.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.bad.contains(&offset) {
            return Err(self.kind.into());
        }
        let good = self.bad.start.checked_sub(offset).filter(|it| *it > 0);
        let len = good.map_or(buffer.len(), |it| {
            buffer.len().min(usize::try_from(it).unwrap())
        });
        self.bytes.read_at(&mut buffer[..len], offset)
    }
}

fn restore(
    archive: &Split,
    (bad, kind): (Range<u64>, ErrorKind),
    target: &Path,
    options: &ExtractOptions,
    notes: &Notes,
) -> Result<Summary, Error> {
    let torn = |bytes, bad| Torn {
        bytes: Bytes(bytes),
        bad,
        kind,
    };
    let metadata = torn(archive.metadata.clone(), 0..0);
    let payload = torn(archive.payload.stream(), bad);
    let decoder = Decoder::new(At::new(metadata), Some(At::new(payload)))?;
    extract(decoder, target, options, notes)
}

#[test]
fn a_damaged_chunk_costs_only_the_files_in_it() {
    let root = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c", "d"] {
        fs::write(root.path().join(name), name.repeat(1000)).unwrap();
    }
    let size = ChunkSize::from_kib(64).unwrap();
    let made = split(
        root.path(),
        &CreateOptions::default(),
        size,
        None,
        &Notes::default(),
    );
    let archive = made.0;
    // From within b into the header of c.
    let bad = 16 + 1016 + 500..16 + 2 * 1016 + 8;
    let options = ExtractOptions {
        overwrite: Overwrite::ALL,
        ..ExtractOptions::default()
    };
    let target = tempfile::tempdir().unwrap();
    let path = |name: &str| target.path().join(name);
    fs::write(path("b"), "what was there").unwrap();
    let notes = Notes::default();
    let damaged = (bad.clone(), ErrorKind::InvalidData);
    let summary = restore(&archive, damaged, target.path(), &options, &notes).unwrap();
    assert_eq!((summary.entries, summary.problems), (2, 2));
    for name in ["a", "d"] {
        assert_eq!(fs::read_to_string(path(name)).unwrap(), name.repeat(1000));
    }
    for name in ["b", "c"] {
        assert_eq!(notes.of(name).len(), 1);
    }
    assert!(!path("c").exists());
    // Nothing takes the place of a file but a whole one.
    assert_eq!(fs::read_to_string(path("b")).unwrap(), "what was there");
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 3);

    // Without a connection there is nothing more to restore.
    for bad in [bad, 16 + 1016 + 4..16 + 1016 + 5] {
        let lost = (bad, ErrorKind::ConnectionAborted);
        let restored = restore(&archive, lost, target.path(), &options, &notes);
        assert!(matches!(restored, Err(Error::Archive(_))), "{restored:?}");
    }

    let whole = (0..0, ErrorKind::Other);
    restore(&archive, whole, target.path(), &options, &notes).unwrap();
    assert_eq!(fs::read_to_string(path("b")).unwrap(), "b".repeat(1000));
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 4);
}

/// Of a file of two names, only the second one is wanted.
#[test]
fn a_pattern_may_match_only_a_further_name() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a"), "content").unwrap();
    fs::hard_link(root.path().join("a"), root.path().join("z")).unwrap();
    let size = ChunkSize::from_kib(64).unwrap();
    let notes = Notes::default();
    let (archive, _) = split(root.path(), &CreateOptions::default(), size, None, &notes);
    let payload = archive.payload.stream();
    let accessor = Accessor::open(&archive.metadata[..], Some(&payload[..])).unwrap();
    let options = ExtractOptions {
        patterns: vec![Pattern::parse(b"z").unwrap()],
        ..ExtractOptions::default()
    };
    let target = tempfile::tempdir().unwrap();
    extract_path(&accessor, Path::new("/"), target.path(), &options, &notes).unwrap();
    notes.none();
    assert_eq!(fs::read(target.path().join("z")).unwrap(), b"content");
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 1);
}

//! Catalogs: names of all files of a snapshot.

use std::io::Cursor;

use arbitrary::{Arbitrary, Unstructured};
use datastore::format::catalog::{
    CatalogEntry, CatalogKind, CatalogPath, CatalogReader, CatalogWriter,
};

use crate::Target;

pub const TARGET: Target = Target {
    name: "catalog",
    max_len: 2048,
    check,
    seeds,
    words: &[],
    // A path of the walk has up to 64 KiB, and each entry found has one.
    memory: 16 << 20,
};

const RAW: u8 = 0;
/// Enough to compare, and a bound on the memory of the comparison.
const MAX_FOUND: usize = 128;

type Found = Vec<(CatalogPath, CatalogEntry)>;

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![[&[RAW], write_sample().as_slice()].concat()];
    let empty = CatalogWriter::new(Vec::new()).and_then(CatalogWriter::finish);
    seeds.push([&[RAW], empty.expect("it can be written").as_slice()].concat());
    seeds.push((1..60).collect());
    seeds
}

fn write_sample() -> Vec<u8> {
    let mut writer = CatalogWriter::new(Vec::new()).expect("it can be written");
    let file = CatalogKind::File {
        size: 1 << 40,
        mtime: -5,
    };
    let mut steps = || {
        writer.start_directory(b"root.pxar.didx")?;
        writer.start_directory(b"etc")?;
        writer.add(b"passwd", file)?;
        writer.add(b"mtab", CatalogKind::Symlink)?;
        writer.end_directory()?;
        writer.add(b"dev", CatalogKind::BlockDevice)?;
        writer.end_directory()?;
        writer.start_directory(b"home.pxar.didx")?;
        writer.end_directory()
    };
    steps().expect("the names are good");
    writer.finish().expect("it can be written")
}

fn check(data: &[u8]) -> bool {
    let Some((mode, rest)) = data.split_first() else {
        return false;
    };
    if mode % 2 == RAW {
        check_raw(rest)
    } else {
        check_written(rest).unwrap_or(false)
    }
}

fn check_raw(data: &[u8]) -> bool {
    let Ok(mut reader) = CatalogReader::new(Cursor::new(data)) else {
        return false;
    };
    let Some(found) = walk(&mut reader, data.len()) else {
        return false;
    };
    for (path, entry) in found.iter().take(8) {
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        assert_eq!(names.last().copied(), Some(entry.name.as_slice()));
        // Of entries with one name, the first one is found.
        let looked_up = reader.lookup(&names);
        if let Ok(Some(other)) = looked_up {
            assert_eq!(other.name, entry.name);
        }
    }
    // The root of a written catalog has directories only, the one of a hostile one may not.
    if let Some(copy) = rewrite(&found) {
        let mut reader = CatalogReader::new(Cursor::new(copy.as_slice())).expect("we wrote it");
        let again = walk(&mut reader, copy.len()).expect("we wrote it");
        assert_eq!(without_blocks(again), without_blocks(found));
    }
    true
}

/// Everything in it; none if it is damaged. No catalog yields more entries than it has bytes.
fn walk(reader: &mut CatalogReader<Cursor<&[u8]>>, len: usize) -> Option<Found> {
    let mut found = Vec::new();
    let mut count = 0;
    for step in reader.walk().ok()? {
        let (path, entry) = step.ok()?;
        count += 1;
        assert!(count <= len, "{count} entries in {len} bytes");
        assert!(!entry.name.is_empty() && !entry.name.contains(&b'/'));
        assert!(entry.name != b"." && entry.name != b"..");
        if found.len() < MAX_FOUND {
            found.push((path, entry));
        }
    }
    (count <= MAX_FOUND).then_some(found)
}

/// The same tree by our own writer; none if it refuses an entry.
fn rewrite(found: &Found) -> Option<Vec<u8>> {
    let mut writer = CatalogWriter::new(Vec::new()).ok()?;
    let mut open: Vec<&CatalogPath> = Vec::new();
    for (path, entry) in found {
        let parent_len = path.len() - entry.name.len();
        let depth = path.iter().filter(|byte| **byte == b'/').count();
        while open.len() > depth {
            open.pop();
            writer.end_directory().ok()?;
        }
        let parent = open.last().map_or(0, |parent| parent.len() + 1);
        assert_eq!(parent_len, parent, "an entry follows its directory");
        if matches!(entry.kind, CatalogKind::Directory { .. }) {
            writer.start_directory(&entry.name).ok()?;
            open.push(path);
        } else {
            writer.add(&entry.name, entry.kind).ok()?;
        }
    }
    for _ in open {
        writer.end_directory().ok()?;
    }
    writer.finish().ok()
}

fn without_blocks(mut found: Found) -> Found {
    for (_, entry) in &mut found {
        if let CatalogKind::Directory { block } = &mut entry.kind {
            *block = 0;
        }
    }
    found
}

/// A tree made from the input: what was written is found.
fn check_written(data: &[u8]) -> arbitrary::Result<bool> {
    let mut input = Unstructured::new(data);
    let mut writer = CatalogWriter::new(Vec::new()).expect("it can be written");
    let mut depth = 0_usize;
    let mut expected = 0_usize;
    while !input.is_empty() && expected < MAX_FOUND {
        let name = <&[u8]>::arbitrary(&mut input)?;
        let done = match u8::arbitrary(&mut input)? % 4 {
            0 => writer.start_directory(name).map(|()| {
                depth += 1;
                expected += 1;
            }),
            1 => writer.end_directory().map(|()| depth -= 1),
            _ => {
                let size = u64::arbitrary(&mut input)?;
                let mtime = i64::arbitrary(&mut input)?;
                let kind = CatalogKind::File { size, mtime };
                writer.add(name, kind).map(|()| expected += 1)
            }
        };
        // A bad name or a step out of order changes nothing.
        drop(done);
    }
    for _ in 0..depth {
        writer.end_directory().expect("it is open");
    }
    let written = writer.finish().expect("all directories are closed");
    let mut reader = CatalogReader::new(Cursor::new(written.as_slice())).expect("we wrote it");
    let found = walk(&mut reader, written.len()).expect("we wrote it");
    assert_eq!(found.len(), expected);
    Ok(true)
}

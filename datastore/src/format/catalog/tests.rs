use std::io::Cursor;

use proptest::prelude::*;

use super::varint::write_unsigned;
use super::*;
use crate::format::{FormatError, test_vectors};

type Listing = Vec<(String, CatalogKind)>;

fn reader(bytes: &[u8]) -> Result<CatalogReader<Cursor<&[u8]>>, FormatError> {
    CatalogReader::new(Cursor::new(bytes))
}

fn list(bytes: &[u8]) -> Result<Listing, FormatError> {
    let mut reader = reader(bytes)?;
    let walk = reader.walk()?;
    walk.map(|step| {
        let (path, entry) = step?;
        let kind = match entry.kind {
            CatalogKind::Directory { .. } => CatalogKind::Directory { block: 0 },
            other => other,
        };
        Ok((String::from_utf8_lossy(&path).into_owned(), kind))
    })
    .collect()
}

fn example() -> Vec<u8> {
    let mut writer = CatalogWriter::new(Vec::new()).unwrap();
    writer.start_directory(b"root.pxar.didx").unwrap();
    writer
        .add(
            b"a.txt",
            CatalogKind::File {
                size: 5,
                mtime: 1_700_000_001,
            },
        )
        .unwrap();
    writer.start_directory(b"d").unwrap();
    writer
        .add(
            b"b.bin",
            CatalogKind::File {
                size: 300,
                mtime: -5,
            },
        )
        .unwrap();
    writer.add(b"c.lnk", CatalogKind::Hardlink).unwrap();
    writer.end_directory().unwrap();
    writer.add(b"dev", CatalogKind::BlockDevice).unwrap();
    writer.add(b"fifo", CatalogKind::Fifo).unwrap();
    writer.add(b"l", CatalogKind::Symlink).unwrap();
    writer.end_directory().unwrap();
    writer.finish().unwrap()
}

#[test]
fn vector_in_both_directions() {
    let Some(vectors) = test_vectors::load() else {
        return;
    };
    assert_eq!(
        hex::encode(example()),
        hex::encode(vectors.bytes("catalog"))
    );
    let dir = CatalogKind::Directory { block: 0 };
    let expected = [
        ("root.pxar.didx", dir),
        (
            "root.pxar.didx/a.txt",
            CatalogKind::File {
                size: 5,
                mtime: 1_700_000_001,
            },
        ),
        ("root.pxar.didx/d", dir),
        (
            "root.pxar.didx/d/b.bin",
            CatalogKind::File {
                size: 300,
                mtime: -5,
            },
        ),
        ("root.pxar.didx/d/c.lnk", CatalogKind::Hardlink),
        ("root.pxar.didx/dev", CatalogKind::BlockDevice),
        ("root.pxar.didx/fifo", CatalogKind::Fifo),
        ("root.pxar.didx/l", CatalogKind::Symlink),
    ];
    let expected: Listing = expected
        .map(|(path, kind)| (path.to_string(), kind))
        .to_vec();
    assert_eq!(list(&vectors.bytes("catalog")).unwrap(), expected);
}

#[test]
fn lookup_by_path() {
    let bytes = example();
    let mut reader = reader(&bytes).unwrap();
    let mut kind = |path: &[&[u8]]| reader.lookup(path).unwrap().map(|entry| entry.kind);
    let file = CatalogKind::File {
        size: 300,
        mtime: -5,
    };
    assert_eq!(kind(&[b"root.pxar.didx", b"d", b"b.bin"]), Some(file));
    assert_eq!(
        kind(&[b"root.pxar.didx", b"d"]),
        Some(CatalogKind::Directory { block: 8 })
    );
    assert_eq!(kind(&[b"root.pxar.didx", b"a.txt", b"x"]), None);
    assert_eq!(kind(&[b"nowhere"]), None);
    assert_eq!(kind(&[]), None);
}

#[test]
fn writer_rules() {
    let mut writer = CatalogWriter::new(Vec::new()).unwrap();
    assert!(writer.end_directory().is_err());
    assert!(writer.add(b"file-in-root", CatalogKind::Symlink).is_err());
    writer.start_directory(b"a.pxar.didx").unwrap();
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0b", &[b'x'; 4096]] {
        assert!(writer.add(name, CatalogKind::Symlink).is_err());
        assert!(writer.start_directory(name).is_err());
    }
    assert!(
        writer
            .add(b"dir", CatalogKind::Directory { block: 8 })
            .is_err()
    );
    writer.add(&[b'x'; 4095], CatalogKind::Socket).unwrap();
    assert!(writer.finish().is_err(), "still open");
    let empty = CatalogWriter::new(Vec::new()).unwrap().finish().unwrap();
    assert_eq!(list(&empty).unwrap(), []);
}

/// Makes a table from the positions of the blocks before it, and its own.
type MakeTable<'a> = &'a dyn Fn(&[u64], u64) -> Vec<u8>;

/// A catalog of these tables, with the position of each block; the last one is the root.
fn crafted(tables: &[MakeTable<'_>]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    let mut blocks = Vec::new();
    for table in tables {
        let block = bytes.len() as u64;
        let table = table(&blocks, block);
        write_unsigned(table.len() as u64, &mut bytes);
        bytes.extend(table);
        blocks.push(block);
    }
    bytes.extend(blocks.last().unwrap().to_le_bytes());
    bytes
}

/// A table that lists the block before it twice.
fn twice(blocks: &[u64], block: u64) -> Vec<u8> {
    let mut table = vec![2];
    for name in [b'a', b'b'] {
        table.extend([b'd', 1, name]);
        write_unsigned(block - blocks.last().unwrap(), &mut table);
    }
    table
}

#[test]
fn shared_directories_do_not_multiply() {
    let empty = |_: &[u64], _| vec![0];
    let mut tables: Vec<MakeTable<'_>> = vec![&empty];
    tables.resize(60, &twice);
    let error = list(&crafted(&tables)).unwrap_err();
    assert!(
        error.is_corrupt() && error.to_string().contains("several parents"),
        "{error}"
    );
}

#[test]
fn hostile_tables_are_corrupt() {
    for table in [
        vec![],
        vec![1],
        vec![0, 0],
        vec![1, b'l', 1, b'x', 0],
        vec![2, b'l', 1, b'x'],
        vec![1, b'z', 1, b'x'],
        vec![1, b'l', 0],
        vec![1, b'l', 2, b'.', b'.'],
        vec![1, b'l', 1, b'/'],
        vec![1, b'l', 200],
        vec![1, b'd', 1, b'x', 0],
        vec![1, b'd', 1, b'x', 1],
        vec![1, b'd', 1, b'x', 100],
        vec![0xff; 10],
        [vec![0xff; 9], vec![1]].concat(),
    ] {
        let error = list(&crafted(&[&|_, _| table.clone()])).unwrap_err();
        assert!(error.is_corrupt(), "{table:?}: {error}");
    }
    let long_name = [vec![1, b'l', 0x80, 0x20], vec![b'x'; 4096]].concat();
    assert!(
        list(&crafted(&[&|_, _| long_name.clone()]))
            .unwrap_err()
            .is_corrupt()
    );
    let mut bytes = example();
    let root = bytes.len() - 8;
    for position in [0_u64, 7, root as u64, root as u64 + 1, u64::MAX] {
        bytes[root..].copy_from_slice(&position.to_le_bytes());
        assert!(list(&bytes).unwrap_err().is_corrupt(), "{position}");
    }
}

#[test]
fn deep_trees_need_no_stack_and_long_paths_end() {
    let deep = |levels: usize| {
        let mut writer = CatalogWriter::new(Vec::new()).unwrap();
        for _ in 0..levels {
            writer.start_directory(b"d").unwrap();
        }
        for _ in 0..levels {
            writer.end_directory().unwrap();
        }
        writer.finish().unwrap()
    };
    assert_eq!(list(&deep(20_000)).unwrap().len(), 20_000);
    assert!(matches!(
        list(&deep(40_000)),
        Err(FormatError::TooLarge { .. })
    ));
}

/// Steps of a walk: `None` leaves a directory, which is entered where a name ends in `d`.
fn any_steps() -> impl Strategy<Value = Vec<Option<(String, u64, i64)>>> {
    proptest::collection::vec(
        proptest::option::weighted(0.7, ("[a-z]{1,8}", any::<u64>(), any::<i64>())),
        0..60,
    )
}

proptest! {
    #[test]
    fn round_trip(steps in any_steps()) {
        let mut writer = CatalogWriter::new(Vec::new()).unwrap();
        let mut expected = Listing::new();
        let mut path = vec!["root.pxar.didx".to_string()];
        writer.start_directory(b"root.pxar.didx").unwrap();
        expected.push((path[0].clone(), CatalogKind::Directory { block: 0 }));
        for step in steps {
            match step {
                None if path.len() > 1 => {
                    writer.end_directory().unwrap();
                    path.pop();
                }
                None => {}
                Some((name, size, mtime)) => {
                    let full = format!("{}/{name}", path.join("/"));
                    if name.ends_with(|last: char| last < 'i') {
                        writer.start_directory(name.as_bytes()).unwrap();
                        path.push(name);
                        expected.push((full, CatalogKind::Directory { block: 0 }));
                    } else {
                        let kind = CatalogKind::File { size, mtime };
                        writer.add(name.as_bytes(), kind).unwrap();
                        expected.push((full, kind));
                    }
                }
            }
        }
        for _ in &path {
            writer.end_directory().unwrap();
        }
        // The walk sees a directory's entries in archive order, and its children where it stands.
        let bytes = writer.finish().unwrap();
        prop_assert_eq!(list(&bytes).unwrap(), expected);
    }

    #[test]
    fn truncations_are_errors(cut in 0_usize..88) {
        let bytes = example();
        prop_assert!(list(&bytes[..cut.min(bytes.len() - 1)]).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(noise in proptest::collection::vec(any::<u8>(), 0..100), root in 8_u64..60, at in 8_usize..88, byte: u8) {
        let bytes = [&MAGIC[..], &noise, &root.to_le_bytes()].concat();
        let _ = list(&bytes).map_err(|e| e.to_string());
        let mut damaged = example();
        damaged[at] = byte;
        let mut reader = reader(&damaged);
        if let Ok(reader) = &mut reader
            && let Ok(walk) = reader.walk()
        {
            prop_assert!(walk.count() < 100);
        }
    }
}

//! Archives that are cut, changed, or made to harm.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::io::Read as _;
use std::sync::OnceLock;

use common::{accessed, decoded, vector};
use proptest::prelude::*;
use pxar::{
    Accessor, At, Decoder, Encoder, Error, Forward, Metadata, Node, Step, Xattr, limits, mode,
};

/// Both archives, and the payload of the second.
fn archives() -> Option<&'static [Vec<u8>; 3]> {
    static ARCHIVES: OnceLock<Option<[Vec<u8>; 3]>> = OnceLock::new();
    let load = || {
        Some([
            vector("pxar_v1")?,
            vector("pxar_v2_meta")?,
            vector("pxar_v2_payload")?,
        ])
    };
    ARCHIVES.get_or_init(load).as_ref()
}

/// Reads all of it in both ways; the error of each.
fn read(archive: &[u8], payload: Option<&[u8]>) -> [Option<Error>; 2] {
    let forward = Decoder::new(At::new(archive), payload.map(At::new))
        .and_then(|mut decoder| decoded(&mut decoder));
    let random = Accessor::open(archive, payload).and_then(|accessor| accessed(&accessor));
    [forward.err(), random.err()]
}

#[test]
fn an_archive_that_is_cut_or_goes_on_is_refused() {
    let Some([unified, metadata, payload]) = archives() else {
        return;
    };
    for (archive, payload) in [(unified, None), (metadata, Some(&payload[..]))] {
        for len in 0..archive.len() {
            let [forward, random] = read(&archive[..len], payload);
            assert!(matches!(forward, Some(Error::Corrupt { .. })), "{len}");
            assert!(matches!(random, Some(Error::Corrupt { .. })), "{len}");
        }
        let longer = [&archive[..], &archive[..24]].concat();
        let [forward, random] = read(&longer, payload);
        assert!(forward.is_some() && random.is_some());
    }
    for len in 0..payload.len() - 16 {
        let [forward, random] = read(metadata, Some(&payload[..len]));
        assert!(forward.is_some() && random.is_some(), "{len}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn changed_bytes_are_survived(
        which in 0_usize..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let Some(archives) = archives() else {
            return Ok(());
        };
        let mut archives = archives.clone();
        for (at, value) in changes {
            let archive = &mut archives[which];
            let at = at.index(archive.len());
            archive[at] = value;
        }
        let [unified, metadata, payload] = &archives;
        let _ = read(unified, None);
        let _ = read(metadata, Some(payload));
    }

    #[test]
    fn arbitrary_bytes_are_survived(archive in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&archive, None);
    }
}

/// The archive with a number changed, which must be `from`.
fn patched(archive: &[u8], at: usize, from: u64, to: u64) -> Vec<u8> {
    let mut archive = archive.to_vec();
    assert_eq!(archive[at..at + 8], from.to_le_bytes(), "at {at}");
    archive[at..at + 8].copy_from_slice(&to.to_le_bytes());
    archive
}

#[test]
fn what_breaks_a_rule_is_refused() {
    let Some([archive, metadata, payload]) = archives() else {
        return;
    };
    let both = |archive: Vec<u8>, payload: Option<&[u8]>, what: &str| {
        for error in read(&archive, payload) {
            assert!(
                matches!(error, Some(Error::Corrupt { .. })),
                "{what}: {error:?}"
            );
        }
    };
    let named = |at: usize, name: u8| {
        let mut archive = archive.clone();
        archive[at] = name;
        archive
    };
    both(named(171, b'.'), None, "a name of one dot");
    both(named(171, b'/'), None, "a slash");
    both(named(171, 0), None, "a NUL");
    both(named(172, b'x'), None, "no NUL");
    both(
        patched(archive, 94, 0o100_644, 0o040_644),
        None,
        "a directory with content",
    );
    both(
        patched(archive, 729, 0o010_600, 0o100_600),
        None,
        "a file without content",
    );
    both(
        patched(archive, 190 - 1, 0o040_755, 0o100_755),
        None,
        "a directory that is a file",
    );
    both(
        patched(archive, 302 - 3, 999_000_000, 1_000_000_000),
        None,
        "nanoseconds",
    );
    both(patched(metadata, 16, 2, 3), Some(payload), "version 3");
    both(
        patched(metadata, 16, 2, 1),
        Some(payload),
        "references in version 1",
    );
    both(
        patched(metadata, 220, 16, 37),
        Some(payload),
        "the content of another file",
    );
    both(
        patched(metadata, 228, 5, 4),
        Some(payload),
        "a content of another length",
    );
}

#[test]
fn links_and_tables_stay_within_their_archive() {
    let Some([archive, ..]) = archives() else {
        return;
    };
    let refused = |archive: &[u8], what: &str| {
        let accessor = Accessor::open(archive, None);
        let error = accessor.and_then(|accessor| accessed(&accessor)).err();
        assert!(
            matches!(error, Some(Error::Corrupt { .. })),
            "{what}: {error:?}"
        );
    };
    for distance in [0, 445, u64::MAX] {
        refused(&patched(archive, 482, 388, distance), "a hard link");
    }
    // The first entry of the root's table is that of `dev`, the fourth that of `d`.
    for offset in [0, 282, 866, u64::MAX] {
        refused(&patched(archive, 889, 281, offset), "an offset");
    }
    for size in [0, 428, 430, 5000, u64::MAX] {
        refused(&patched(archive, 969, 429, size), "the size of a directory");
    }
    refused(&patched(archive, 1009, 865, 809), "the start of the root");
    // Both are one: the same name twice.
    refused(&patched(archive, 889, 281, 96), "two entries for one name");
}

/// What no client of ours writes, and one of others may.
#[test]
fn too_many_attributes_are_passed_over() {
    let xattr = Xattr {
        name: b"user.a".to_vec(),
        value: vec![b'x'; 65_000],
    };
    let len = Xattr::stored_len(&xattr.name, &xattr.value);
    let most = usize::try_from(limits::ATTRIBUTES / len).unwrap();
    let file = |attributes: usize| {
        let mut metadata = Metadata::default();
        metadata.stat.mode = mode::FILE | 0o644;
        metadata.xattrs = vec![xattr.clone(); attributes];
        metadata.acl.group_obj = Some(4);
        metadata
    };
    let mut root = Metadata::default();
    root.stat.mode = mode::DIRECTORY | 0o755;
    let mut encoder = Encoder::unified(Vec::new(), &root).unwrap();
    let more = encoder.file(b"e", &file(most + 1), 0, &b""[..]);
    assert!(matches!(more, Err(Error::Refused { .. })), "{more:?}");
    encoder.file(b"f", &file(most), 1, &b"f"[..]).unwrap();
    encoder.file(b"g", &file(0), 1, &b"g"[..]).unwrap();
    let (mut archive, _) = encoder.finish().unwrap();
    let item = [b"user.a\0", &xattr.value[..]].concat();
    let at = archive
        .windows(8)
        .position(|it| it == b"user.a\0x")
        .unwrap()
        - 16;
    let item = [&archive[at..at + 16], &item[..]].concat();
    archive.splice(at..at, item.repeat(3));

    let mut decoder = Decoder::new(Forward::new(&archive[..]), None).unwrap();
    let mut found = Vec::new();
    while let Some(step) = decoder.step().unwrap() {
        let Some(mut reader) = decoder.contents().unwrap() else {
            continue;
        };
        let mut content = String::new();
        reader.read_to_string(&mut content).unwrap();
        assert_eq!(content.as_bytes(), decoder.name());
        let Step::Enter(Node::Inode(inode)) = step else {
            panic!("{step:?}");
        };
        let metadata = inode.metadata;
        assert_eq!(metadata.acl.group_obj, Some(4));
        found.push((metadata.xattrs.len(), metadata.passed_over));
    }
    assert_eq!(found, [(most, 3), (0, 0)]);
}

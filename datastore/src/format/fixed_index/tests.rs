use std::path::Path;

use api_types::digest::Digest;
use openssl::sha::sha256;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::format::index::INDEX_HEADER_LEN;
use crate::format::{AnyIndexReader, FormatError, IndexFile, IndexIdentity, test_vectors};

const MIB4: u64 = FIXED_CHUNK_SIZE;

fn identity() -> IndexIdentity {
    let uuid = Uuid::from_bytes(std::array::from_fn(|i| 0x10 + u8::try_from(i).unwrap()));
    IndexIdentity {
        uuid,
        ctime: 1_700_000_000,
    }
}

fn digest(byte: u8) -> Digest {
    Digest::from_bytes([byte; 32])
}

fn reader(bytes: &[u8]) -> Result<FixedIndexReader, FormatError> {
    FixedIndexReader::from_bytes(bytes.to_vec().into(), "test.fidx")
}

fn writer(dir: &Path, size: Option<u64>) -> FixedIndexWriter {
    FixedIndexWriter::create(&dir.join("x.img.fidx"), size, identity()).unwrap()
}

/// A finished index file as the vectors describe it.
fn vector_file(vectors: &test_vectors::TestVectors) -> Vec<u8> {
    let mut file = vectors.bytes("fidx_header80");
    file.resize(4096, 0);
    file.extend(vectors.bytes("fidx_body"));
    assert_eq!(sha256(&file).to_vec(), vectors.bytes("fidx_sha256"));
    file
}

#[test]
fn vector_in_both_directions() {
    let Some(vectors) = test_vectors::load() else {
        return;
    };
    let file = vector_file(&vectors);
    let index = reader(&file).unwrap();
    assert_eq!(index.identity(), identity());
    assert_eq!((index.index_count(), index.index_bytes()), (2, MIB4 + 5));
    assert_eq!(index.chunk_size(), MIB4);
    let last = index.chunk_info(1).unwrap().unwrap();
    assert_eq!((last.range.clone(), last.size()), (MIB4..MIB4 + 5, 5));
    assert_eq!(last.digest.as_bytes()[..], vectors.bytes("sha256_hello"));
    assert_eq!(
        index.verify_csum().unwrap().csum.to_vec(),
        vectors.bytes("fidx_csum")
    );
    assert!(index.chunk_info(2).unwrap().is_none());

    let dir = tempfile::tempdir().unwrap();
    let mut written = writer(dir.path(), Some(MIB4 + 5));
    written.add_chunk(MIB4, 5, &last.digest).unwrap();
    written
        .add_chunk(0, MIB4, &index.index_digest(0).unwrap().unwrap())
        .unwrap();
    let closed = written.close().unwrap();
    assert_eq!(closed.csum().to_vec(), vectors.bytes("fidx_csum"));
    assert_eq!(closed.read().unwrap(), file);
    let path = closed.commit().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), file);
    let kind = api_types::names::ArchiveType::FixedIndex;
    assert_eq!(AnyIndexReader::open(&path, kind).unwrap().index_count(), 2);
}

#[test]
fn nothing_is_visible_before_commit_and_nothing_stays_after_drop() {
    let dir = tempfile::tempdir().unwrap();
    let names = || {
        let entries = std::fs::read_dir(dir.path()).unwrap();
        entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect::<Vec<_>>()
    };
    let mut unfinished = writer(dir.path(), Some(5));
    assert_eq!(names(), ["x.img.tmp_fidx"]);
    assert!(reader(&std::fs::read(dir.path().join("x.img.tmp_fidx")).unwrap()).is_err());
    unfinished.add_chunk(0, 5, &digest(1)).unwrap();
    let closed = unfinished.close().unwrap();
    assert_eq!(names(), ["x.img.tmp_fidx"]);
    drop(closed);
    assert!(names().is_empty());
}

#[test]
fn a_second_writer_of_the_same_name_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = writer(dir.path(), Some(5));
    let mut second = writer(dir.path(), Some(5));
    first.add_chunk(0, 5, &digest(1)).unwrap();
    second.add_chunk(0, 5, &digest(2)).unwrap();
    assert!(matches!(
        first.close().unwrap().commit(),
        Err(FormatError::Refused { .. })
    ));
    let path = second.close().unwrap().commit().unwrap();
    let index = FixedIndexReader::open(&path).unwrap();
    assert_eq!(index.index_digest(0).unwrap(), Some(digest(2)));
}

#[test]
fn rules_for_chunks_of_an_image_of_known_size() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = writer(dir.path(), Some(2 * MIB4 + 7));
    for (start, len, why) in [
        (0, 5, "unexpected length"),
        (0, 0, "unexpected length"),
        (0, MIB4 + 1, "unexpected length"),
        (1, MIB4, "unaligned"),
        (MIB4 + 7, MIB4, "unaligned"),
        (2 * MIB4, 8, "exceeds size"),
        (3 * MIB4, MIB4, "exceeds size"),
        (u64::MAX, MIB4, "exceeds size"),
    ] {
        let error = index
            .add_chunk(start, len, &digest(1))
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{start}+{len}: {error}");
    }
    index.add_chunk(2 * MIB4, 7, &digest(3)).unwrap();
    index.add_chunk(0, MIB4, &digest(9)).unwrap();
    index.add_chunk(0, MIB4, &digest(1)).unwrap();
    index.add_chunk(MIB4, MIB4, &digest(2)).unwrap();
    let closed = index.close().unwrap();
    assert_eq!((closed.size(), closed.index_count()), (2 * MIB4 + 7, 3));
    let index = reader(&closed.read().unwrap()).unwrap();
    let digests: Vec<_> = index.entries().digests().map(Result::unwrap).collect();
    assert_eq!(digests, [digest(1), digest(2), digest(3)]);
}

#[test]
fn a_place_that_was_never_set_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = writer(dir.path(), Some(3 * MIB4));
    for start in [0, 2 * MIB4, 2 * MIB4] {
        index.add_chunk(start, MIB4, &digest(1)).unwrap();
    }
    let error = index.close().unwrap_err().to_string();
    let why = format!("no chunk was appended at {MIB4}");
    assert!(error.contains(&why), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn an_image_of_unknown_size_grows_until_its_short_chunk() {
    let dir = tempfile::tempdir().unwrap();
    assert!(writer(dir.path(), None).close().is_err());
    let mut index = writer(dir.path(), None);
    index.add_chunk(MIB4, MIB4, &digest(2)).unwrap();
    assert!(
        index.add_chunk(0, 5, &digest(1)).is_err(),
        "short, but not at the end"
    );
    assert!(
        index
            .add_chunk(u64::MAX - MIB4 + 1, MIB4 - 1, &digest(1))
            .is_err()
    );
    index.add_chunk(0, MIB4, &digest(1)).unwrap();
    assert_eq!(index.size(), 2 * MIB4);
    index.add_chunk(2 * MIB4, 5, &digest(3)).unwrap();
    let error = index.add_chunk(3 * MIB4, MIB4, &digest(4)).unwrap_err();
    assert!(error.to_string().contains("exceeds size"), "{error}");
    index.add_chunk(2 * MIB4, 5, &digest(5)).unwrap();
    let closed = index.close().unwrap();
    let read = reader(&closed.read().unwrap()).unwrap();
    assert_eq!((read.index_count(), read.index_bytes()), (3, 2 * MIB4 + 5));
    assert_eq!(read.verify_csum().unwrap().csum, closed.csum());
}

#[test]
fn reuse_needs_the_right_checksum_and_count() {
    let dir = tempfile::tempdir().unwrap();
    let mut old = writer(dir.path(), Some(2 * MIB4));
    old.add_chunk(0, MIB4, &digest(1)).unwrap();
    old.add_chunk(MIB4, MIB4, &digest(2)).unwrap();
    let old = old.close().unwrap();
    let csum = old.csum();
    let old = FixedIndexReader::open(&old.commit().unwrap()).unwrap();
    let path = dir.path().join("new.img.fidx");
    let reuse = |size, csum: &[u8; 32]| {
        FixedIndexWriter::create_reusing(&path, size, &old, csum, identity())
    };
    let error = reuse(2 * MIB4, &[0; 32]).unwrap_err().to_string();
    assert!(error.contains("doesn't match last backup's"), "{error}");
    let error = reuse(2 * MIB4 + 1, &csum).unwrap_err().to_string();
    assert!(error.contains("index sizes not equal (2 != 3)"), "{error}");
    // The count is compared, not the size.
    let mut new = reuse(2 * MIB4 - 9, &csum).unwrap();
    new.add_chunk(MIB4, MIB4 - 9, &digest(7)).unwrap();
    let new = FixedIndexReader::open(&new.close().unwrap().commit().unwrap()).unwrap();
    let digests: Vec<_> = new.entries().digests().map(Result::unwrap).collect();
    assert_eq!(digests, [digest(1), digest(7)]);
    assert_eq!(new.index_bytes(), 2 * MIB4 - 9);
}

#[test]
fn wrong_names_and_sizes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["x.img", "x.didx", "fidx"] {
        assert!(FixedIndexWriter::create(&dir.path().join(name), Some(1), identity()).is_err());
    }
    let path = dir.path().join("x.fidx");
    for size in [0, u64::MAX] {
        assert!(FixedIndexWriter::create(&path, Some(size), identity()).is_err());
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(FixedIndexReader::open(&path).unwrap_err().is_not_found());
}

/// A header with these sizes and `entries` digests behind it.
fn crafted(size: u64, chunk_size: u64, entries: usize) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    file.resize(64, 0);
    file.extend(size.to_le_bytes());
    file.extend(chunk_size.to_le_bytes());
    file.resize(4096 + 32 * entries, 0);
    file
}

#[test]
fn absurd_headers_are_corrupt() {
    assert!(reader(&crafted(10, 4, 3)).is_ok());
    for (size, chunk_size, entries) in [
        (0, 4, 0),
        (0, 4, 1),
        (10, 0, 3),
        (10, 3, 4),
        (10, 4, 2),
        (10, 4, 4),
        (u64::MAX, 1, 1),
        (u64::MAX, 4 << 20, 1),
        (1 << 59, 1, 0),
        (u64::MAX, 1 << 63, 1),
    ] {
        let error = reader(&crafted(size, chunk_size, entries)).unwrap_err();
        assert!(error.is_corrupt(), "{size} {chunk_size} {entries}: {error}");
    }
    // Odd, but consistent, and computed without overflow.
    let huge = reader(&crafted(u64::MAX, 1 << 63, 2)).unwrap();
    assert_eq!(
        huge.chunk_info(1).unwrap().unwrap().range,
        1 << 63..u64::MAX
    );
    assert_eq!(
        huge.chunk_from_offset(u64::MAX - 1).unwrap(),
        Some((1, (1 << 63) - 2))
    );
}

#[test]
fn a_wrong_header_checksum_is_found() {
    let index = reader(&crafted(10, 4, 3)).unwrap();
    assert!(index.verify_csum().unwrap_err().is_corrupt());
    assert_eq!(index.compute_csum().unwrap(), (sha256(&[0; 96]), 10));
}

proptest! {
    #[test]
    fn round_trip(digests in proptest::collection::vec(any::<[u8; 32]>(), 1..40), tail in 1..=MIB4, order: u64) {
        let dir = tempfile::tempdir().unwrap();
        let size = (digests.len() as u64 - 1) * MIB4 + tail;
        let mut index = writer(dir.path(), Some(size));
        let mut slots: Vec<u64> = (0..digests.len() as u64).collect();
        slots.sort_by_key(|slot| slot.wrapping_mul(order | 1).rotate_left(32));
        for slot in slots {
            let digest = Digest::from_bytes(digests[usize::try_from(slot).unwrap()]);
            index.add_chunk(slot * MIB4, MIB4.min(size - slot * MIB4), &digest).unwrap();
        }
        let index = reader(&index.close().unwrap().read().unwrap()).unwrap();
        let mut read = Vec::new();
        let summary = index.for_each_digest(&mut |digest| read.push(*digest.as_bytes())).unwrap();
        prop_assert_eq!(summary.csum, sha256(&digests.concat()));
        prop_assert_eq!(summary.size, size);
        prop_assert_eq!(read, digests);
    }

    #[test]
    fn truncations_are_errors(entries in 1_usize..5, cut in 0_usize..4256) {
        let file = crafted(entries as u64 * 4, 4, entries);
        prop_assume!(cut < file.len());
        prop_assert!(reader(&file[..cut]).unwrap_err().is_corrupt());
        prop_assert_eq!(INDEX_HEADER_LEN, 4096);
    }

    #[test]
    fn arbitrary_bytes_never_panic(size: u64, shift in 0_u32..64, body in proptest::collection::vec(any::<u8>(), 0..200), i: u64) {
        let mut file = crafted(size >> shift, 1 << shift, 0);
        file.extend(body);
        if let Ok(index) = reader(&file) {
            let _ = index.chunk_info(i % 8);
            let _ = index.chunk_from_offset(i);
            let _ = index.verify_csum();
        }
    }
}

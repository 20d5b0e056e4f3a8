use std::path::Path;

use api_types::digest::Digest;
use openssl::sha::sha256;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::format::{FormatError, IndexFile, IndexIdentity, test_vectors};

fn identity() -> IndexIdentity {
    let uuid = Uuid::from_bytes(std::array::from_fn(|i| 0x10 + u8::try_from(i).unwrap()));
    IndexIdentity {
        uuid,
        ctime: 1_700_000_000,
    }
}

fn reader(bytes: &[u8]) -> Result<DynamicIndexReader, FormatError> {
    DynamicIndexReader::from_bytes(bytes.to_vec().into(), "test.didx")
}

fn writer(dir: &Path) -> DynamicIndexWriter {
    DynamicIndexWriter::create(&dir.join("x.pxar.didx"), identity()).unwrap()
}

/// A file with these end offsets.
fn crafted(ends: &[u64]) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    file.resize(4096, 0);
    for end in ends {
        file.extend(end.to_le_bytes());
        file.extend([7; 32]);
    }
    file
}

#[test]
fn vector_in_both_directions() {
    let Some(vectors) = test_vectors::load() else {
        return;
    };
    let mut file = vectors.bytes("didx_header64");
    file.resize(4096, 0);
    file.extend(vectors.bytes("didx_body"));
    assert_eq!(sha256(&file).to_vec(), vectors.bytes("didx_sha256"));
    let index = reader(&file).unwrap();
    assert_eq!(index.identity(), identity());
    assert_eq!((index.index_count(), index.index_bytes()), (2, 11));
    assert_eq!(index.chunk_info(1).unwrap().unwrap().range, 5..11);
    let hello = index.index_digest(0).unwrap().unwrap();
    assert_eq!(hello.as_bytes()[..], vectors.bytes("sha256_hello"));
    assert_eq!(
        index.verify_csum().unwrap().csum.to_vec(),
        vectors.bytes("didx_csum")
    );

    let dir = tempfile::tempdir().unwrap();
    let mut written = writer(dir.path());
    written.add_chunk(0, 5, &hello).unwrap();
    written
        .add_chunk(5, 6, &Digest::from_bytes(sha256(b" world")))
        .unwrap();
    let closed = written.close().unwrap();
    assert_eq!(closed.csum().to_vec(), vectors.bytes("didx_csum"));
    assert_eq!(closed.read().unwrap(), file);
    assert!(closed.temp_path().ends_with("x.pxar.tmp_didx"));
    let path = closed.commit().unwrap();
    assert!(path.ends_with("x.pxar.didx"));
    assert_eq!(
        DynamicIndexReader::open(&path)
            .unwrap()
            .verify_csum()
            .unwrap()
            .size,
        11
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn chunks_come_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = writer(dir.path());
    let digest = Digest::from_bytes([1; 32]);
    assert!(index.add_chunk(1, 5, &digest).is_err());
    assert!(index.add_chunk(0, 0, &digest).is_err());
    index.add_chunk(0, 5, &digest).unwrap();
    let error = index.add_chunk(0, 5, &digest).unwrap_err().to_string();
    assert!(
        error.contains("got strange chunk offset (0 != 5)"),
        "{error}"
    );
    assert!(index.add_chunk(5, u64::MAX, &digest).is_err());
    assert_eq!((index.index_count(), index.size()), (1, 5));
    drop(index);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(writer(dir.path()).close().is_err());
}

#[test]
fn absurd_files_are_corrupt() {
    let mut odd = crafted(&[5]);
    odd.push(0);
    let mut magic = crafted(&[5]);
    magic[0] = 0;
    for file in [
        crafted(&[]),
        odd,
        magic,
        crafted(&[0]),
        crafted(&[1, 1]),
        vec![],
        vec![0; 5000],
    ] {
        assert!(reader(&file).unwrap_err().is_corrupt());
    }
}

#[test]
fn offsets_that_do_not_ascend_are_found() {
    let index = reader(&crafted(&[10, 5, 20])).unwrap();
    assert!(index.chunk_info(0).unwrap().is_some());
    assert!(index.chunk_info(1).unwrap_err().is_corrupt());
    assert!(index.compute_csum().unwrap_err().is_corrupt());
    let mut entries = index.entries();
    assert!(entries.next().unwrap().is_ok());
    assert!(entries.next().unwrap().is_err());
    assert!(entries.next().is_none());
    assert!(entries.finish().is_err());
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.didx");
    std::fs::write(&path, crafted(&[5, 9])).unwrap();
    let index = DynamicIndexReader::open(&path).unwrap();
    std::fs::write(&path, crafted(&[5])).unwrap();
    assert!(
        index
            .compute_csum()
            .unwrap_err()
            .to_string()
            .contains("ends early")
    );
    assert!(
        DynamicIndexReader::open(dir.path())
            .unwrap_err()
            .is_corrupt(),
        "a directory"
    );
}

proptest! {
    /// Enough entries to cross the write buffer and, times the block, the read block.
    #[test]
    fn round_trip(lens in proptest::collection::vec(1_u64..100_000, 1..4000)) {
        let dir = tempfile::tempdir().unwrap();
        let mut index = writer(dir.path());
        let mut position = 0_u64;
        let mut body = Vec::new();
        for len in &lens {
            let digest = Digest::from_bytes(sha256(&position.to_le_bytes()));
            index.add_chunk(position, *len, &digest).unwrap();
            position += len;
            body.extend(position.to_le_bytes());
            body.extend(digest.as_bytes());
        }
        let closed = index.close().unwrap();
        prop_assert_eq!(closed.csum(), sha256(&body));
        let path = closed.commit().unwrap();
        let index = DynamicIndexReader::open(&path).unwrap();
        let read: Vec<u64> = index.entries().map(|e| e.unwrap().size()).collect();
        prop_assert_eq!(&read, &lens);
        prop_assert_eq!(index.verify_csum().unwrap().size, position);

        let middle = lens.len() / 2;
        let info = index.chunk_info(middle as u64).unwrap().unwrap();
        for offset in [info.range.start, info.range.end - 1] {
            let found = index.chunk_from_offset(offset).unwrap();
            prop_assert_eq!(found, Some((middle as u64, offset - info.range.start)));
        }
        prop_assert_eq!(index.chunk_from_offset(position).unwrap(), None);
    }

    #[test]
    fn truncations_are_errors(count in 1_u64..5, cut in 0_usize..4300) {
        let ends: Vec<u64> = (1..=count).collect();
        let whole = crafted(&ends);
        let csum = reader(&whole).unwrap().compute_csum().unwrap().0;
        prop_assume!(cut < whole.len());
        let mut file = whole[..cut].to_vec();
        if cut >= 64 {
            file[32..64].copy_from_slice(&csum);
        }
        // A cut between entries leaves a valid file with the wrong checksum.
        prop_assert!(reader(&file).and_then(|index| index.verify_csum()).unwrap_err().is_corrupt());
    }

    #[test]
    fn arbitrary_bytes_never_panic(ends in proptest::collection::vec(any::<u64>(), 0..6), tail in proptest::collection::vec(any::<u8>(), 0..41), at: u64) {
        let mut file = crafted(&ends);
        file.extend(tail);
        if let Ok(index) = reader(&file) {
            let _ = index.chunk_from_offset(at);
            let _ = index.chunk_from_offset(at >> 32);
            let _ = index.chunk_info(at % 8);
            let _ = index.verify_csum();
        }
    }
}

/// More entries than one block of the stream.
#[test]
fn streaming_crosses_blocks() {
    let ends: Vec<u64> = (1..=70_000).collect();
    let index = reader(&crafted(&ends)).unwrap();
    let mut count = 0;
    let entries: Vec<u64> = index
        .entries()
        .map(|e| e.unwrap().range.end)
        .inspect(|_| count += 1)
        .collect();
    assert_eq!((count, entries == ends), (70_000, true));
    assert_eq!(
        index.compute_csum().unwrap().0,
        sha256(&crafted(&ends)[4096..])
    );
}

//! Index files of both kinds.

use std::path::Path;

use api_types::digest::Digest;
use bytes::Bytes;
use datastore::format::{
    ChunkReadInfo, ClosedIndex, DynamicIndexReader, DynamicIndexWriter, FIXED_CHUNK_SIZE,
    FixedIndexReader, FixedIndexWriter, FormatError, IndexFile, IndexIdentity,
};
use openssl::sha::sha256;
use uuid::Uuid;

use crate::{Target, scratch};

pub const FIXED: Target = Target {
    name: "fixed_index",
    max_len: 4096,
    check: check_fixed,
    seeds: fixed_seeds,
    words: &[],
    memory: 4 << 20,
};

pub const DYNAMIC: Target = Target {
    name: "dynamic_index",
    max_len: 4096,
    check: check_dynamic,
    seeds: dynamic_seeds,
    words: &[],
    memory: 4 << 20,
};

const HEADER_LEN: usize = 4096;
/// What of the header means something; the input leaves the zeros behind it out.
const FIELDS_LEN: usize = 80;
const CSUM: std::ops::Range<usize> = 32..64;
/// Flags in the first byte: set the right checksum, read it from a file.
const MEND_CSUM: u8 = 1;
const FROM_FILE: u8 = 2;

fn identity() -> IndexIdentity {
    IndexIdentity {
        uuid: Uuid::from_bytes([5; 16]),
        ctime: 1_700_000_000,
    }
}

fn digest(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

fn fixed_seeds() -> Vec<Vec<u8>> {
    let sizes = [1, FIXED_CHUNK_SIZE, 5 * FIXED_CHUNK_SIZE + 77];
    let seeds = sizes.map(|size| {
        let path = scratch::empty().join("seed.fidx");
        let mut writer = FixedIndexWriter::create(&path, Some(size), identity()).expect("new");
        let mut at = 0;
        while at < size {
            let len = FIXED_CHUNK_SIZE.min(size - at);
            writer.add_chunk(at, len, &digest(1)).expect("it fits");
            at += len;
        }
        compact(&writer.close().expect("it is whole"))
    });
    seeds.into()
}

fn dynamic_seeds() -> Vec<Vec<u8>> {
    let lengths: [&[u64]; 3] = [&[1], &[4 << 20, 3, 16 << 20], &[100; 20]];
    let seeds = lengths.map(|lengths| {
        let path = scratch::empty().join("seed.didx");
        let mut writer = DynamicIndexWriter::create(&path, identity()).expect("new");
        for len in lengths {
            let start = writer.size();
            writer.add_chunk(start, *len, &digest(2)).expect("it fits");
        }
        compact(&writer.close().expect("it is whole"))
    });
    seeds.into()
}

/// An index file as an input: flags, then the file without the zeros of its header.
fn compact(index: &ClosedIndex) -> Vec<u8> {
    let file = index.read().expect("it can be read back");
    [&[FROM_FILE], &file[..FIELDS_LEN], &file[HEADER_LEN..]].concat()
}

fn expand(data: &[u8]) -> Option<(u8, Vec<u8>)> {
    let (flags, rest) = data.split_first()?;
    let Some((fields, body)) = rest.split_at_checked(FIELDS_LEN) else {
        return Some((*flags, rest.to_vec()));
    };
    let mut file = fields.to_vec();
    file.resize(HEADER_LEN, 0);
    file.extend_from_slice(body);
    if flags & MEND_CSUM != 0 {
        file[CSUM].copy_from_slice(&sha256(body));
    }
    Some((*flags, file))
}

fn check_fixed(data: &[u8]) -> bool {
    let Some((flags, file)) = expand(data) else {
        return false;
    };
    let opened = if flags & FROM_FILE == 0 {
        FixedIndexReader::from_bytes(Bytes::copy_from_slice(&file), "input")
    } else {
        FixedIndexReader::open(&scratch::file("input.fidx", &file))
    };
    let Ok(reader) = opened else { return false };
    let entries = check_entries(&reader, &file, 32).expect("no entry of a fixed index is wrong");
    let chunk_size = reader.chunk_size();
    assert!(chunk_size.is_power_of_two());
    let (last, others) = entries.split_last().expect("it is not empty");
    assert!(others.iter().all(|entry| entry.size() == chunk_size));
    assert!(last.size() <= chunk_size);
    if chunk_size == FIXED_CHUNK_SIZE {
        // A place that was never set, which a writer does not leave.
        let has_hole = entries
            .iter()
            .any(|entry| *entry.digest.as_bytes() == [0; 32]);
        match rewrite_fixed(&reader, &entries) {
            Ok(rewritten) if !has_hole => check_rewritten(&rewritten, &file),
            Err(_) if has_hole => {}
            other => panic!("with a hole: {has_hole}, {other:?}"),
        }
    }
    true
}

fn rewrite_fixed(
    reader: &FixedIndexReader,
    entries: &[ChunkReadInfo],
) -> Result<Bytes, FormatError> {
    let path = scratch::empty().join("copy.fidx");
    let size = Some(reader.index_bytes());
    let mut writer = FixedIndexWriter::create(&path, size, reader.identity())?;
    // Any order will do.
    for entry in entries.iter().rev() {
        writer.add_chunk(entry.range.start, entry.size(), &entry.digest)?;
    }
    commit(writer.close()?, &path)
}

fn check_dynamic(data: &[u8]) -> bool {
    let Some((flags, file)) = expand(data) else {
        return false;
    };
    let opened = if flags & FROM_FILE == 0 {
        DynamicIndexReader::from_bytes(Bytes::copy_from_slice(&file), "input")
    } else {
        DynamicIndexReader::open(&scratch::file("input.didx", &file))
    };
    let Ok(reader) = opened else { return false };
    let Some(entries) = check_entries(&reader, &file, 40) else {
        return false;
    };
    let rewritten = rewrite_dynamic(&reader, &entries).expect("it is a whole stream");
    check_rewritten(&rewritten, &file);
    true
}

fn rewrite_dynamic(
    reader: &DynamicIndexReader,
    entries: &[ChunkReadInfo],
) -> Result<Bytes, FormatError> {
    let path = scratch::empty().join("copy.didx");
    let mut writer = DynamicIndexWriter::create(&path, reader.identity())?;
    for entry in entries {
        writer.add_chunk(entry.range.start, entry.size(), &entry.digest)?;
    }
    commit(writer.close()?, &path)
}

fn commit(closed: ClosedIndex, path: &Path) -> Result<Bytes, FormatError> {
    let bytes = closed.read()?;
    closed.commit()?;
    assert_eq!(std::fs::read(path).expect("it has its name now"), bytes);
    Ok(bytes)
}

/// The copy has the same identity and entries, and the right checksum.
fn check_rewritten(copy: &[u8], file: &[u8]) {
    assert_eq!(copy[..32], file[..32]);
    assert_eq!(copy[HEADER_LEN..], file[HEADER_LEN..]);
    assert_eq!(copy[CSUM], sha256(&file[HEADER_LEN..]));
}

/// Streamed and by position, the entries are the same, and they cover the archive without gaps.
/// None if an entry is refused.
fn check_entries(
    reader: &dyn IndexFile,
    file: &[u8],
    entry_len: u64,
) -> Option<Vec<ChunkReadInfo>> {
    let count = reader.index_count();
    assert!(count >= 1);
    assert_eq!(HEADER_LEN as u64 + count * entry_len, file.len() as u64);
    assert_eq!(reader.chunk_info(count).expect("nothing there"), None);
    assert_eq!(
        reader
            .chunk_from_offset(reader.index_bytes())
            .expect("nothing there"),
        None
    );
    // Must not panic, whatever it says.
    let _ = reader.chunk_from_offset(reader.index_bytes() / 2);

    let mut entries: Vec<ChunkReadInfo> = Vec::new();
    for (i, entry) in reader.entries().enumerate() {
        let Ok(entry) = entry else {
            reader.compute_csum().expect_err("an entry is refused");
            return None;
        };
        let end = entries.last().map_or(0, |last| last.range.end);
        assert_eq!(entry.range.start, end);
        assert!(entry.size() > 0);
        let by_position = reader.chunk_info(i as u64).expect("it was streamed");
        assert_eq!(by_position.as_ref(), Some(&entry));
        entries.push(entry);
    }
    assert_eq!(entries.len() as u64, count);
    assert_eq!(entries.last()?.range.end, reader.index_bytes());

    for (i, entry) in entries.iter().enumerate() {
        let i = i as u64;
        let first = reader
            .chunk_from_offset(entry.range.start)
            .expect("it ascends");
        assert_eq!(first, Some((i, 0)));
        let last = reader
            .chunk_from_offset(entry.range.end - 1)
            .expect("it ascends");
        assert_eq!(last, Some((i, entry.size() - 1)));
    }
    let csum = sha256(&file[HEADER_LEN..]);
    assert_eq!(
        reader.compute_csum().expect("all entries are good"),
        (csum, reader.index_bytes())
    );
    assert_eq!(reader.verify_csum().is_ok(), reader.header_csum() == csum);
    Some(entries)
}

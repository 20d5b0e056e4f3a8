//! The cached digest list of an index file: never believed when it is not whole.

use std::path::{Path, PathBuf};

use api_types::digest::Digest;
use datastore::gc::index_cache::{IndexCache, IndexDigests, IndexKey};

use crate::{Target, scratch};

pub const TARGET: Target = Target {
    name: "index_cache",
    max_len: 2048,
    check,
    seeds,
    words: &["COFMARK1", "\u{0}\u{0}\u{0}\u{0}"],
    memory: 1 << 20,
};

const RAW: u8 = 0;
/// Magic and CRC.
const PREFIX_LEN: usize = 12;

fn key() -> IndexKey {
    IndexKey {
        path: "vm/100/2022-05-02T08:11:33Z/a.img.fidx".into(),
        inode: 7,
        size: 4096 + 40 * 32,
        mtime_ns: 1_700_000_000_123_456_789,
        uuid: [1; 16],
        csum: [2; 32],
    }
}

fn list(numbers: &[u8]) -> IndexDigests {
    IndexDigests {
        references: 3,
        data_bytes: 12_000_000,
        base: None,
        digests: numbers
            .iter()
            .map(|n| Digest::from_bytes([*n; 32]))
            .collect(),
    }
}

/// Stores the list; gives the path of its file.
fn store(dir: &Path, list: &IndexDigests) -> PathBuf {
    let cache = IndexCache::new(dir, false, u64::MAX);
    cache.store(&key(), list);
    let mut files = std::fs::read_dir(dir).expect("it is there");
    let file = files.next().expect("one file").expect("one file").path();
    assert!(files.next().is_none());
    file
}

/// Where the counts and digests begin, which is what the input of the second mode replaces.
fn body_at() -> usize {
    PREFIX_LEN + 4 + key().path.as_os_str().len() + 8 + 8 + 8 + 16 + 32
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for numbers in [&[][..], &[1, 2, 3]] {
        let path = store(&scratch::empty(), &list(numbers));
        let bytes = std::fs::read(path).expect("we wrote it");
        seeds.push([&[RAW], bytes.as_slice()].concat());
        seeds.push([&[1], &bytes[body_at()..]].concat());
    }
    seeds
}

fn check(data: &[u8]) -> bool {
    let Some((mode, rest)) = data.split_first() else {
        return false;
    };
    let dir = scratch::empty();
    let path = store(&dir, &list(&[9]));
    let file = if mode % 2 == RAW {
        rest.to_vec()
    } else {
        with_right_crc(&std::fs::read(&path).expect("we wrote it"), rest)
    };
    std::fs::write(&path, &file).expect("it can be written");

    let cache = IndexCache::new(&dir, false, u64::MAX);
    let Some(found) = cache.lookup(&key(), |_| true) else {
        assert_eq!((cache.stats().hits, cache.stats().misses), (0, 1));
        return false;
    };
    assert!(
        found.digests.is_sorted_by(|a, b| a < b),
        "sorted and unique"
    );
    assert!(found.digests.len() as u64 * 32 <= key().size);
    assert_eq!(cache.peek(&key()), Some(found.clone()));
    let mut other = key();
    other.mtime_ns += 1;
    assert_eq!(cache.peek(&other), None, "another state of the file");
    let full = IndexCache::new(&dir, true, u64::MAX).lookup(&key(), |_| true);
    assert_eq!(full, None, "with `full` nothing is believed");

    let alone = IndexCache::new(&dir, false, u64::MAX).lookup(&key(), |_| false);
    assert_eq!(
        alone.is_some(),
        found.base.is_none(),
        "what leans on another index is of no use without it"
    );

    // There is one way to write a list.
    cache.store(&key(), &found);
    assert_eq!(std::fs::read(&path).expect("we wrote it"), file);
    cache.clean();
    assert!(path.exists(), "it was used");
    true
}

/// The file with other counts and digests and the CRC of those.
fn with_right_crc(file: &[u8], body: &[u8]) -> Vec<u8> {
    let mut file = [&file[..body_at()], body].concat();
    let crc = crc(&file[PREFIX_LEN..]);
    file[8..PREFIX_LEN].copy_from_slice(&crc.to_le_bytes());
    file
}

/// CRC-32 as in zip files, from the format of blobs.
fn crc(bytes: &[u8]) -> u32 {
    datastore::format::DataBlob::encode_with_iv(bytes, None, false)
        .expect("it is small")
        .crc()
}

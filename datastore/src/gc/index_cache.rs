//! The digests of each index file, sorted and unique, kept from one collection to the next.
//!
//! Index files never change once they are closed, so a list is good for as long as path, inode,
//! size, modification time and the identity in the header (re-read on every run) are the same
//! (gc.md §6.2 P1 *Incremental*). Reading a list saves the checksum over the index and the sort.
//!
//! Snapshots of a group resemble each other, so a list may hold only what its index has *beyond*
//! another one, its base ([`ListId`], by the checksum of the base's entries): the lists of a store
//! are about as long as it has chunks, not as its indexes have entries. ◆ Such a list is good only
//! in a run that has already marked an index with exactly the base's entries (ADR 0012).
//!
//! A cache file is never trusted and never fatal: a wrong key, length, checksum or order means
//! that the index is read itself. The order is a second check beside the CRC: digests are hashes,
//! so damaged blocks are out of order.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use api_types::digest::{DIGEST_LEN, Digest};
use api_types::names::ArchiveType;

use super::error::{GcResult, OnPath};
use super::mark_set::is_strictly_sorted;
use crate::atomic_file::{self, ReplaceOptions};
use crate::disk::{self, DiskFile};

const MAGIC: [u8; 8] = *b"COFMARK2";
const SUFFIX: &str = "marks";
/// Everything before the digests but the path: magic, CRC, lengths, key, base, counts.
const FIXED_LEN: usize = 8 + 4 + 4 + 8 + 8 + 8 + 16 + 32 + 33 + 8 + 8 + 8;

/// Which file, in which state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexKey {
    /// Below the datastore.
    pub path: PathBuf,
    /// Inode number.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Modification time.
    pub mtime_ns: i64,
    /// From the header.
    pub uuid: [u8; 16],
    /// From the header.
    pub csum: [u8; 32],
}

/// The entries of an index, wherever they lie: two indexes with the same id name the same chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListId {
    /// How the entries look.
    pub kind: ArchiveType,
    /// SHA-256 of them, compared with the header's when they were read.
    pub csum: [u8; 32],
}

/// What the mark needs of an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexDigests {
    /// Entries of the index.
    pub references: u64,
    /// Length of the archive.
    pub data_bytes: u64,
    /// The digests of this one are left out, if they are not needed.
    pub base: Option<ListId>,
    /// Each digest once, ascending.
    pub digests: Vec<Digest>,
}

/// How useful the cache was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexCacheStats {
    /// Lists that were good.
    pub hits: u64,
    /// Indexes that had to be read.
    pub misses: u64,
    /// Files that could not be read, written or removed, and damaged ones.
    pub trouble: u64,
}

/// The directory of cached lists.
#[derive(Debug)]
pub struct IndexCache {
    dir: PathBuf,
    /// Lists are written, but not believed.
    full: bool,
    use_of: Mutex<Use>,
}

/// What a run has made of the cache so far.
#[derive(Debug)]
struct Use {
    max_bytes: u64,
    bytes: u64,
    names: HashSet<String>,
    stats: IndexCacheStats,
}

impl IndexCache {
    /// The cache in `dir`, which is made if needed. With `full`, every index is read anew. The
    /// lists of a run take at most `max_bytes`.
    #[must_use]
    pub fn new(dir: &Path, full: bool, max_bytes: u64) -> Self {
        Self {
            dir: dir.to_path_buf(),
            full,
            use_of: Mutex::new(Use {
                max_bytes,
                bytes: 0,
                names: HashSet::new(),
                stats: IndexCacheStats::default(),
            }),
        }
    }

    fn used(&self) -> MutexGuard<'_, Use> {
        self.use_of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How useful it was so far.
    #[must_use]
    pub fn stats(&self) -> IndexCacheStats {
        self.used().stats
    }

    /// The list of that very file, if there is a good one. `is_marked` tells whether this run has
    /// marked an index with these entries ◆.
    pub fn lookup(
        &self,
        key: &IndexKey,
        is_marked: impl FnOnce(&ListId) -> bool,
    ) -> Option<IndexDigests> {
        let found = if self.full { None } else { self.peek(key) };
        let found = found.filter(|list| list.base.as_ref().is_none_or(is_marked));
        let mut used = self.used();
        match &found {
            Some(list) => {
                used.stats.hits += 1;
                used.bytes = used.bytes.saturating_add(encoded_len(key, list));
                used.names.insert(file_name(&key.path));
            }
            None => used.stats.misses += 1,
        }
        found
    }

    /// As [`Self::lookup`], without leaving a trace.
    #[must_use]
    pub fn peek(&self, key: &IndexKey) -> Option<IndexDigests> {
        let file = std::fs::File::open(self.dir.join(file_name(&key.path))).ok()?;
        // An index has at least 32 bytes for each of its digests, so its list is never longer.
        let path_len = u64::try_from(key.path.as_os_str().len()).ok()?;
        let limit = key
            .size
            .saturating_add(path_len)
            .saturating_add(FIXED_LEN as u64);
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .ok()?;
        decode(&bytes, key)
    }

    /// Keeps the list for the next run. Failing to do so costs time then, and nothing now.
    pub fn store(&self, key: &IndexKey, list: &IndexDigests) {
        let length = encoded_len(key, list);
        {
            let mut used = self.used();
            if used.bytes.saturating_add(length) > used.max_bytes {
                return;
            }
            used.bytes = used.bytes.saturating_add(length);
        }
        let path = self.dir.join(file_name(&key.path));
        let encoded = encode(key, list);
        let written = disk::create_dir_all(&self.dir, 0o755)
            .on("create directory", &self.dir)
            .and_then(|()| {
                let write = |file: &mut DiskFile| file.write_all(&encoded);
                atomic_file::replace_with(&path, &ReplaceOptions::default(), write)
                    .map_err(Into::into)
            });
        let mut used = self.used();
        if written.is_err() {
            used.stats.trouble += 1;
            // A full disk stays full; other writers need what is left of it.
            used.max_bytes = 0;
            return;
        }
        used.names.insert(file_name(&key.path));
    }

    /// Removes the lists that this run did not use, and what interrupted writes left.
    pub fn clean(&self) {
        let mut used = self.used();
        let names = match list_names(&self.dir) {
            Ok(names) => names,
            Err(_) => {
                used.stats.trouble += 1;
                return;
            }
        };
        for name in names {
            if is_ours(&name) && !used.names.contains(&name) {
                let removed = disk::remove_file(&self.dir.join(&name));
                used.stats.trouble += u64::from(removed.is_err());
            }
        }
    }
}

fn list_names(dir: &Path) -> GcResult<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).on("list directory", dir),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.on("list directory", dir)?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// Lists and their temporary files; anything else in the directory is somebody else's.
fn is_ours(name: &str) -> bool {
    let Some((stem, extension)) = name.split_once('.') else {
        return false;
    };
    let hash = stem.len() == 64 && stem.bytes().all(|b| b.is_ascii_hexdigit());
    hash && (extension == SUFFIX || extension.starts_with("tmp_"))
}

fn file_name(path: &Path) -> String {
    let hash = openssl::sha::sha256(path.as_os_str().as_bytes());
    format!("{}.{SUFFIX}", hex::encode(hash))
}

fn encoded_len(key: &IndexKey, list: &IndexDigests) -> u64 {
    let length = FIXED_LEN + key.path.as_os_str().len() + list.digests.len() * DIGEST_LEN;
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Everything that says which file the list is of.
fn encode_key(key: &IndexKey) -> Vec<u8> {
    let path = key.path.as_os_str().as_bytes();
    // Longer than any path; the lengths are compared with those of the key, never allocated by.
    let path_len = u32::try_from(path.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(FIXED_LEN + path.len());
    bytes.extend_from_slice(&path_len.to_le_bytes());
    bytes.extend_from_slice(path);
    bytes.extend_from_slice(&key.inode.to_le_bytes());
    bytes.extend_from_slice(&key.size.to_le_bytes());
    bytes.extend_from_slice(&key.mtime_ns.to_le_bytes());
    bytes.extend_from_slice(&key.uuid);
    bytes.extend_from_slice(&key.csum);
    bytes
}

/// 0 for none, else what the entries look like, and their checksum.
fn encode_base(base: Option<&ListId>) -> [u8; 33] {
    let mut bytes = [0; 33];
    if let Some(base) = base {
        bytes[0] = match base.kind {
            ArchiveType::FixedIndex => 1,
            ArchiveType::DynamicIndex => 2,
            ArchiveType::Blob => 3,
        };
        bytes[1..].copy_from_slice(&base.csum);
    }
    bytes
}

/// The base, or none; `None` if it is neither.
fn decode_base(bytes: &[u8; 33]) -> Option<Option<ListId>> {
    let (kind, csum) = bytes.split_first_chunk::<1>()?;
    let kind = match kind {
        [0] if csum == [0; 32] => return Some(None),
        [1] => ArchiveType::FixedIndex,
        [2] => ArchiveType::DynamicIndex,
        _ => return None,
    };
    let csum = csum.try_into().ok()?;
    Some(Some(ListId { kind, csum }))
}

fn encode(key: &IndexKey, list: &IndexDigests) -> Vec<u8> {
    let mut body = encode_key(key);
    body.reserve_exact(33 + 24 + list.digests.len() * DIGEST_LEN);
    body.extend_from_slice(&encode_base(list.base.as_ref()));
    body.extend_from_slice(&list.references.to_le_bytes());
    body.extend_from_slice(&list.data_bytes.to_le_bytes());
    let count = u64::try_from(list.digests.len()).unwrap_or(u64::MAX);
    body.extend_from_slice(&count.to_le_bytes());
    for digest in &list.digests {
        body.extend_from_slice(digest.as_bytes());
    }
    let mut bytes = Vec::with_capacity(body.len() + 12);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

fn decode(bytes: &[u8], key: &IndexKey) -> Option<IndexDigests> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let (crc, body) = rest.split_first_chunk::<4>()?;
    let rest = body.strip_prefix(encode_key(key).as_slice())?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (base, rest) = rest.split_first_chunk::<33>()?;
    let base = decode_base(base)?;
    let (references, rest) = rest.split_first_chunk::<8>()?;
    let (data_bytes, rest) = rest.split_first_chunk::<8>()?;
    let (count, rest) = rest.split_first_chunk::<8>()?;
    let (digests, odd) = rest.as_chunks::<DIGEST_LEN>();
    let whole = odd.is_empty() && u64::try_from(digests.len()) == Ok(u64::from_le_bytes(*count));
    let digests: Vec<Digest> = digests
        .iter()
        .map(|bytes| Digest::from_bytes(*bytes))
        .collect();
    let list = IndexDigests {
        references: u64::from_le_bytes(*references),
        data_bytes: u64::from_le_bytes(*data_bytes),
        base,
        digests,
    };
    (whole && is_strictly_sorted(&list.digests)).then_some(list)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(path: &str) -> IndexKey {
        IndexKey {
            path: PathBuf::from(path),
            inode: 7,
            size: 4096 + 3 * 32,
            mtime_ns: 1_700_000_000_123_456_789,
            uuid: [1; 16],
            csum: [2; 32],
        }
    }

    fn list(bytes: &[u8]) -> IndexDigests {
        IndexDigests {
            references: 3,
            data_bytes: 12_000_000,
            base: None,
            digests: bytes.iter().map(|b| Digest::from_bytes([*b; 32])).collect(),
        }
    }

    fn cache(dir: &Path) -> IndexCache {
        IndexCache::new(dir, false, u64::MAX)
    }

    fn files(dir: &Path) -> usize {
        std::fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn a_list_is_good_for_the_very_same_file_only() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(&dir.path().join("made on demand"));
        let stored = list(&[1, 2, 3]);
        assert_eq!(cache.lookup(&key("a"), |_| true), None);
        cache.store(&key("a"), &stored);
        assert_eq!(cache.lookup(&key("a"), |_| true), Some(stored));
        let changes: [fn(&mut IndexKey); 6] = [
            |key| key.path = "b".into(),
            |key| key.inode += 1,
            |key| key.size += 1,
            |key| key.mtime_ns += 1,
            |key| key.uuid[15] ^= 1,
            |key| key.csum[0] ^= 1,
        ];
        for change in changes {
            let mut other = key("a");
            change(&mut other);
            assert_eq!(cache.peek(&other), None, "{other:?}");
        }
        assert_eq!(
            cache.stats(),
            IndexCacheStats {
                hits: 1,
                misses: 1,
                trouble: 0
            }
        );
    }

    /// A list of what an index has beyond another one says nothing unless that one is marked.
    #[test]
    fn a_list_with_a_base_is_good_only_where_the_base_is_marked() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        let base = ListId {
            kind: ArchiveType::DynamicIndex,
            csum: [9; 32],
        };
        let stored = IndexDigests {
            base: Some(base),
            ..list(&[1])
        };
        cache.store(&key("a"), &stored);
        assert_eq!(cache.lookup(&key("a"), |_| false), None);
        let same_sum = ListId {
            kind: ArchiveType::FixedIndex,
            ..base
        };
        assert_eq!(cache.lookup(&key("a"), |id| *id == same_sum), None);
        assert_eq!(cache.lookup(&key("a"), |id| *id == base), Some(stored));
    }

    #[test]
    fn full_reads_nothing_but_writes() {
        let dir = tempfile::tempdir().unwrap();
        cache(dir.path()).store(&key("a"), &list(&[1]));
        let full = IndexCache::new(dir.path(), true, u64::MAX);
        assert_eq!(full.lookup(&key("a"), |_| true), None);
        full.store(&key("a"), &list(&[2]));
        assert_eq!(
            cache(dir.path()).lookup(&key("a"), |_| true),
            Some(list(&[2]))
        );
    }

    #[test]
    fn what_a_run_did_not_use_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let first = cache(dir.path());
        first.store(&key("a"), &list(&[1]));
        first.store(&key("b"), &list(&[2]));
        let foreign = dir.path().join("foreign");
        std::fs::write(&foreign, b"").unwrap();
        let left = dir.path().join(format!("{}.tmp_abcdef", "0".repeat(64)));
        std::fs::write(&left, b"").unwrap();
        let second = cache(dir.path());
        second.lookup(&key("b"), |_| true);
        second.clean();
        assert_eq!(files(dir.path()), 2);
        assert!(foreign.exists() && !left.exists());
        assert!(second.peek(&key("b")).is_some());
        assert!(second.peek(&key("a")).is_none());
    }

    #[test]
    fn the_limit_holds_for_a_run() {
        let dir = tempfile::tempdir().unwrap();
        let length = encoded_len(&key("a"), &list(&[1]));
        let small = IndexCache::new(dir.path(), false, length);
        small.store(&key("a"), &list(&[1]));
        small.store(&key("b"), &list(&[1]));
        assert_eq!(files(dir.path()), 1);
        let size = dir
            .path()
            .join(file_name(Path::new("a")))
            .metadata()
            .unwrap()
            .len();
        assert_eq!(size, length);
    }

    #[test]
    fn an_unusable_directory_costs_nothing_but_the_cache() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, b"").unwrap();
        let cache = cache(&file);
        cache.store(&key("a"), &list(&[1]));
        assert_eq!(cache.lookup(&key("a"), |_| true), None);
        cache.clean();
        assert_eq!(cache.stats().trouble, 2);
    }

    proptest! {
        /// Any change to a cache file, and it is not believed; no content makes it panic.
        #[test]
        fn damage_is_noticed(position: prop::sample::Index, flip in 1_u8..=255, cut: prop::sample::Index) {
            let good = encode(&key("a"), &list(&[1, 2, 3]));
            prop_assert_eq!(decode(&good, &key("a")), Some(list(&[1, 2, 3])));
            let mut flipped = good.clone();
            flipped[position.index(good.len())] ^= flip;
            prop_assert_eq!(decode(&flipped, &key("a")), None);
            prop_assert_eq!(decode(&good[..cut.index(good.len())], &key("a")), None);
            let mut longer = good.clone();
            longer.push(flip);
            prop_assert_eq!(decode(&longer, &key("a")), None);
        }

        #[test]
        fn garbage_is_no_list(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert_eq!(decode(&bytes, &key("a")), None);
        }
    }

    #[test]
    fn a_list_out_of_order_is_not_believed() {
        let wrong = encode(&key("a"), &list(&[2, 1]));
        assert_eq!(decode(&wrong, &key("a")), None);
    }
}

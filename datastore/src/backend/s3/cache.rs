//! Which chunk payloads to keep on disk: least recently used ones go, bounded in bytes
//! (`s3-backend.md` §4).
//!
//! The files are the truth, this is only their account: it is rebuilt from the `.chunks` directory
//! at the first admission after a start (size and access time of every payload), so the bound
//! survives a restart and there is no second record that could disagree. That is one walk through
//! all chunks, however many sessions begin at once: the others wait for it, without a thread. An
//! eviction exchanges the payload for a marker, for ordinary digests only, and never touches a
//! stamp.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api_types::digest::Digest;

use crate::error::Result;
use crate::once::Once;

use super::S3Backend;

/// Share of the cache disk that stays free for metadata, and the least of it.
const RESERVE_DIVISOR: u64 = 20;
const RESERVE_MIN: u64 = 2 << 30;

/// The account of cached payloads.
#[derive(Debug)]
pub struct PayloadCache {
    max_bytes: Option<u64>,
    base: PathBuf,
    account: Mutex<Account>,
    /// The walk that fills the account.
    scan: Once,
}

#[derive(Debug, Default)]
struct Account {
    tick: u64,
    bytes: u64,
    by_digest: HashMap<Digest, Cached>,
    by_age: BTreeMap<u64, Digest>,
}

#[derive(Clone, Copy, Debug)]
struct Cached {
    size: u64,
    tick: u64,
}

impl PayloadCache {
    /// An account for the payloads below `base`, of at most `max_bytes`.
    #[must_use]
    pub fn new(max_bytes: Option<u64>, base: PathBuf) -> Self {
        Self {
            max_bytes,
            base,
            account: Mutex::new(Account::default()),
            scan: Once::default(),
        }
    }

    /// The configured bound.
    pub(crate) fn max_bytes(&self) -> Option<u64> {
        self.max_bytes
    }

    /// Whether a payload of `size` bytes could be kept at all.
    #[must_use]
    pub fn admits(&self, size: u64) -> bool {
        self.max_bytes.is_none_or(|max| size <= max)
    }

    /// Bytes of payloads accounted for.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.account().bytes
    }

    /// Records that `digest` was read.
    pub fn touch(&self, digest: &Digest) {
        self.account().touch(digest);
    }

    /// Records that the payload of `digest` is gone.
    pub fn forget(&self, digest: &Digest) {
        self.account().remove(digest);
    }

    /// The bound at this moment: the configured one, or less if the disk is filling up.
    fn capacity(&self, used: u64) -> u64 {
        let by_disk = match nix::sys::statvfs::statvfs(&self.base) {
            Ok(stat) => {
                let total = stat.blocks().saturating_mul(stat.fragment_size());
                let free = stat.blocks_available().saturating_mul(stat.fragment_size());
                let reserve = (total / RESERVE_DIVISOR).max(RESERVE_MIN).min(total / 2);
                free.saturating_add(used).saturating_sub(reserve)
            }
            // A disk that cannot be measured gets no more than it has.
            Err(_) => used,
        };
        self.max_bytes.map_or(by_disk, |max| max.min(by_disk))
    }

    /// Takes the digests to evict, oldest first, until the rest fits.
    fn take_victims(&self) -> Vec<Digest> {
        let used = self.used();
        let capacity = self.capacity(used);
        let mut account = self.account();
        let mut victims = Vec::new();
        while account.bytes > capacity {
            let Some((_, digest)) = account.by_age.first_key_value().map(|(t, d)| (*t, *d)) else {
                break;
            };
            account.remove(&digest);
            victims.push(digest);
        }
        victims
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    fn insert(&mut self, digest: Digest, size: u64) {
        self.remove(&digest);
        self.tick += 1;
        self.bytes += size;
        self.by_digest.insert(
            digest,
            Cached {
                size,
                tick: self.tick,
            },
        );
        self.by_age.insert(self.tick, digest);
    }

    fn touch(&mut self, digest: &Digest) {
        if let Some(cached) = self.by_digest.get(digest).copied() {
            self.insert(*digest, cached.size);
        }
    }

    fn remove(&mut self, digest: &Digest) {
        if let Some(cached) = self.by_digest.remove(digest) {
            self.by_age.remove(&cached.tick);
            self.bytes = self.bytes.saturating_sub(cached.size);
        }
    }
}

impl S3Backend {
    /// Accounts for a payload that has just been written, and evicts others if need be.
    ///
    /// Trouble with the cache (a full or failing disk) is no reason to fail a backup or a restore
    /// whose chunk is where it belongs: it is logged.
    pub(crate) async fn admit_to_cache(self: &Arc<Self>, digest: Digest, size: u64) {
        self.scan_cache_once().await;
        let this = Arc::clone(self);
        // With a share of the process lock: without it another process may delete, or hold suspect,
        // what this one evicts ◆.
        self.blocking(move || {
            this.cache.account().insert(digest, size);
            for victim in this.cache.take_victims() {
                if let Err(error) = this.evict(&victim) {
                    tracing::warn!(digest = %victim, %error, "unable to evict a cached chunk");
                }
            }
        })
        .await;
    }

    /// Exchanges an ordinary digest's payload for a marker; others are accounted for again ◆.
    fn evict(&self, digest: &Digest) -> Result<()> {
        self.table.with(digest, |slot| {
            let Some(chunk) = self.local.stat_chunk(digest)? else {
                return Ok(());
            };
            if chunk.size == 0 {
                return Ok(());
            }
            if slot.is_ordinary() && !self.is_rescued(digest) {
                self.local.replace_with_marker(digest)?;
            } else {
                self.cache.account().insert(*digest, chunk.size);
            }
            Ok(())
        })
    }

    /// Sees to it that the account is built before anything is added to it. If it cannot be, the
    /// cache is larger than it may be until a later admission succeeds.
    async fn scan_cache_once(self: &Arc<Self>) {
        let Some(turn) = self.cache.scan.begin() else {
            self.cache.scan.settled().await;
            return;
        };
        let this = Arc::clone(self);
        let scanned = self.blocking(move || -> Result<()> {
            this.scan_cache()?;
            turn.done();
            Ok(())
        });
        if let Err(error) = scanned.await {
            tracing::warn!(%error, "unable to account for the cached chunks");
        }
    }

    /// Builds the account from the files; the oldest access time is evicted first.
    fn scan_cache(&self) -> Result<()> {
        let mut payloads = Vec::new();
        for entry in self.local.iterate_chunks() {
            let digest = entry?;
            if let Some(chunk) = self.local.stat_chunk(&digest)?
                && chunk.size > 0
            {
                payloads.push((chunk.atime, digest, chunk.size));
            }
        }
        payloads.sort_unstable();
        let mut account = self.cache.account();
        for (_, digest, size) in payloads {
            // What was read or written meanwhile is younger than what was found.
            if !account.by_digest.contains_key(&digest) {
                account.insert(digest, size);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::from_bytes([byte; 32])
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = PayloadCache::new(Some(25), dir.path().to_owned());
        for byte in 1..=3 {
            cache.account().insert(digest(byte), 10);
        }
        cache.touch(&digest(1));
        assert_eq!(cache.take_victims(), vec![digest(2)]);
        assert_eq!(cache.used(), 20);
        cache.forget(&digest(3));
        assert_eq!(cache.used(), 10);
        assert!(!cache.admits(26));
    }
}

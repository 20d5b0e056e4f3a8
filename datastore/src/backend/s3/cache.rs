//! Which chunk payloads to keep on disk: least recently used ones go, bounded in bytes
//! (`s3-backend.md` §4).
//!
//! The files are the truth, this is only their account: it is rebuilt from the `.chunks` directory
//! at the first admission after a start (size and access time of every payload), so the bound
//! survives a restart and there is no second record that could disagree. That is one walk through
//! all chunks, which takes minutes on a cold disk with millions of markers: it is made beside the
//! admissions, and none waits for it. Until it is through the bound holds for what was admitted
//! since, and the disk's reserve for everything. An eviction exchanges the payload for a marker, for
//! ordinary digests only, and never touches a stamp.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use api_types::digest::Digest;

use crate::chunk_store::ChunkStore;
use crate::error::{Error, Result};
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

    /// Adds what was found on disk, oldest first, as older than all that is accounted for already.
    fn add_older(&mut self, found: Vec<(Digest, u64)>) {
        let younger = std::mem::take(self);
        for (digest, size) in found {
            self.insert(digest, size);
        }
        for digest in younger.by_age.values() {
            if let Some(cached) = younger.by_digest.get(digest) {
                self.insert(*digest, cached.size);
            }
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
        self.account_for_old_payloads();
        let this = Arc::clone(self);
        // With a share of the process lock: without it another process may delete, or hold suspect,
        // what this one evicts ◆.
        self.blocking(move || {
            this.cache.account().insert(digest, size);
            this.evict_excess();
        })
        .await;
    }

    fn evict_excess(&self) {
        for victim in self.cache.take_victims() {
            if let Err(error) = self.evict(&victim) {
                tracing::warn!(digest = %victim, %error, "unable to evict a cached chunk");
            }
        }
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

    /// Begins the walk that accounts for what an earlier process has cached, unless it was begun. If
    /// it fails, the cache is larger than it may be until one that a later admission begins succeeds.
    fn account_for_old_payloads(self: &Arc<Self>) {
        let Some(turn) = self.cache.scan.begin() else {
            return;
        };
        let (env, backend) = (self.env.clone(), Arc::downgrade(self));
        let local = Arc::clone(&self.local);
        tokio::spawn(async move {
            let walk = move || {
                let found = old_payloads(&local, &backend)?;
                if let Some(this) = backend.upgrade() {
                    this.cache.account().add_older(found);
                    turn.done();
                    // Nobody's lease: with none in this process the next admission evicts ◆.
                    let share = this.process.share_if_held();
                    if share.is_some() {
                        this.evict_excess();
                    }
                }
                Ok::<_, Error>(())
            };
            if let Err(error) = env.background(walk).await {
                tracing::warn!(%error, "unable to account for the cached chunks");
            }
        });
    }
}

/// Digests and sizes of the payloads on disk, by access time; ends early if the datastore is closed.
fn old_payloads(local: &ChunkStore, backend: &Weak<S3Backend>) -> Result<Vec<(Digest, u64)>> {
    let mut payloads = Vec::new();
    for entry in local.iterate_chunks() {
        if backend.strong_count() == 0 {
            break;
        }
        let digest = entry?;
        if let Some(chunk) = local.stat_chunk(&digest)?
            && chunk.size > 0
        {
            payloads.push((chunk.atime, digest, chunk.size));
        }
    }
    payloads.sort_unstable();
    let sized = payloads.into_iter();
    Ok(sized.map(|(_, digest, size)| (digest, size)).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backend::s3::insert::Payload;
    use crate::file_time::FileTime;
    use crate::format::blob::DataBlob;
    use crate::test_store::{TestStore, digest_of};

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

    #[test]
    fn what_was_found_is_older_than_what_was_admitted_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let cache = PayloadCache::new(Some(25), dir.path().to_owned());
        cache.account().insert(digest(9), 10);
        // Admitted after the walk had begun, and found by it.
        let found = [1, 2, 9].map(|byte| (digest(byte), 10)).to_vec();
        cache.account().add_older(found);
        assert_eq!(cache.used(), 30);
        assert_eq!(cache.take_victims(), vec![digest(1)]);
        cache.account().insert(digest(3), 10);
        assert_eq!(cache.take_victims(), vec![digest(2)]);
        assert_eq!(cache.used(), 20);
    }

    /// A store with payloads that an earlier process has cached, and a chunk that is not.
    async fn with_old_payloads() -> (TestStore, Arc<S3Backend>, Digest) {
        let test = TestStore::s3().await;
        let path = "vm/100/2026-01-01T00:00:00Z";
        let data: [&[u8]; 3] = [b"one", b"two", b"three"];
        test.backup_with("", path, &data, Payload::Discard).await;
        let backend = Arc::clone(test.store.backend().s3().unwrap());
        for data in &data[1..] {
            let blob = DataBlob::encode(data, None, true, &test.env).unwrap();
            let (digest, now) = (digest_of(data), FileTime::now(&test.env));
            let local = &backend.local;
            let prepared = local.prepare_payload(&digest, blob.raw(), now, false);
            local.commit_payload(prepared.unwrap()).unwrap();
        }
        assert_eq!(backend.cache.used(), 0);
        (test, backend, digest_of(data[0]))
    }

    fn on_disk(backend: &S3Backend) -> u64 {
        let size = |digest| backend.local.stat_chunk(&digest).unwrap().unwrap().size;
        let digests = backend.local.iterate_chunks();
        digests.map(|digest| size(digest.unwrap())).sum()
    }

    async fn until_accounted_for(backend: &S3Backend) {
        for _ in 0..1000 {
            if backend.cache.used() == on_disk(backend) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("{} of {}", backend.cache.used(), on_disk(backend));
    }

    /// The first read after a start has its answer before the walk through all chunks is made.
    #[tokio::test(start_paused = true)]
    async fn the_first_read_does_not_wait_for_the_walk() {
        let (test, backend, digest) = with_old_payloads().await;
        let _lease = test.store.writer_lease(&test.cancel).await.unwrap();
        let read = backend.read(backend.client(), digest, Payload::Cache).await;
        let size = u64::try_from(read.unwrap().raw().len()).unwrap();
        assert_eq!(backend.cache.used(), size, "nothing but what was read");
        until_accounted_for(&backend).await;
        assert!(backend.cache.used() > size);
        assert!(backend.cache.scan.begin().is_none(), "it is done");
    }

    /// Nor does one that comes while somebody else's walk is under way, or an upload.
    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_walk_that_is_under_way() {
        let (test, backend, digest) = with_old_payloads().await;
        let _lease = test.store.writer_lease(&test.cancel).await.unwrap();
        let walking = backend.cache.scan.begin().unwrap();
        let served = async {
            let read = backend.read(backend.client(), digest, Payload::Cache);
            read.await.unwrap();
            test.backup("", "vm/101/2026-01-01T00:00:00Z", &[b"four"])
                .await;
        };
        tokio::time::timeout(Duration::from_secs(60), served)
            .await
            .expect("they wait for the walk");
        assert!(backend.cache.used() < on_disk(&backend));
        // It has failed: the next one who comes begins another.
        drop(walking);
        test.backup("", "vm/102/2026-01-01T00:00:00Z", &[b"five"])
            .await;
        until_accounted_for(&backend).await;
    }
}

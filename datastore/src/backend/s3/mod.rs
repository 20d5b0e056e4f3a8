//! Chunks in a bucket (`s3-backend.md`, `gc.md` §6–§7).
//!
//! Presence of a chunk is a file in the local `.chunks`: empty = in the bucket, not cached;
//! non-empty = cached payload. Presence is created only after the object is proven while the
//! digest's entry in the [`DigestTable`] is held, and removed before any request that could delete
//! the object. The modules, by what they do to a chunk:
//!
//! | module | job |
//! |---|---|
//! | [`keys`] | object keys |
//! | [`insert`] | upload or answer "duplicate" |
//! | [`existing`] | is an object that was there before us good? |
//! | `bounded` | GETs that take no more than the longest legal object |
//! | [`read`] | cached payload or GET, one GET for many readers |
//! | [`cache`] | which payloads to keep on disk |
//! | [`confirm`] | look at an object while holding its entry: heal, marker after HEAD, missing |
//! | [`delete`] | the only path by which chunk objects are deleted |
//! | [`journal`], [`quarantine`] | deletes that nobody saw the answer of |
//! | [`epoch`] | a disk restored from a copy is noticed |
//! | [`ownership`] | one server per prefix |
//! | [`losses`] | no bases until the snapshots with missing chunks are marked |
//! | [`bad_list`] | digests whose object is damaged and could not be moved away |
//! | [`mirror`], [`cleanup`] | metadata files in the bucket |

pub mod bad_list;
pub(crate) mod bounded;
pub mod cache;
pub mod cleanup;
pub mod confirm;
pub mod delete;
pub mod epoch;
pub mod existing;
pub mod insert;
pub mod journal;
pub mod keys;
pub mod losses;
pub mod mirror;
pub mod ownership;
pub mod quarantine;
pub mod read;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api_types::digest::Digest;
use s3_client::S3Client;

use crate::checks::Checks;
use crate::chunk_store::ChunkStore;
use crate::digests::{DigestTable, Slot};
use crate::env::Env;
use crate::error::Result;
use crate::locks::ProcessLocker;
use crate::store::state_dir::StateDir;

use bad_list::BadList;
use cache::PayloadCache;
use cleanup::CleanupJournal;
use journal::DeleteJournal;
use keys::StoreKeys;
use losses::Losses;
use ownership::{Instance, Ownership};
use read::ReadsInFlight;

/// How long a digest stays suspect after a delete whose answer nobody saw (`gc.md` §7).
pub const DEFAULT_QUARANTINE: Duration = Duration::from_secs(30 * 60);

/// The bucket side of one datastore; one per process and datastore.
#[derive(Debug)]
pub struct S3Backend {
    pub(crate) env: Env,
    pub(crate) table: Arc<DigestTable>,
    pub(crate) local: Arc<ChunkStore>,
    process: Arc<ProcessLocker>,
    pub(crate) client: S3Client,
    pub(crate) keys: StoreKeys,
    pub(crate) ownership: Ownership,
    pub(crate) cache: PayloadCache,
    pub(crate) reads: ReadsInFlight,
    /// Of fetched chunks.
    checks: Checks,
    pub(crate) bad_list: BadList,
    pub(crate) losses: Losses,
    pub(crate) cleanup: CleanupJournal,
    pub(crate) quarantine: Duration,
    journal: DeleteJournal,
    next_batch: AtomicU64,
    healed: AtomicU64,
    presence_dropped: AtomicBool,
    syncing: Mutex<()>,
    raising_epoch: tokio::sync::Mutex<()>,
    state: StateDir,
    rescued: Mutex<BTreeSet<Digest>>,
}

/// What an [`S3Backend`] is made of.
#[derive(Debug)]
pub struct S3BackendParts {
    /// Time and randomness.
    pub env: Env,
    /// The datastore's digest table.
    pub table: Arc<DigestTable>,
    /// The local `.chunks`.
    pub local: Arc<ChunkStore>,
    /// The datastore's process lock.
    pub process: Arc<ProcessLocker>,
    /// A client for the bucket.
    pub client: S3Client,
    /// Keys below the datastore's prefix.
    pub keys: StoreKeys,
    /// This installation.
    pub instance: Instance,
    /// Most bytes of chunk payloads to keep on disk.
    pub max_cache_bytes: Option<u64>,
    /// Length of the quarantine of ambiguous deletes.
    pub quarantine: Duration,
}

impl S3Backend {
    /// Puts a backend together; touches neither disk nor network.
    ///
    /// # Errors
    /// If a key cannot be built or the bad list cannot be read.
    pub fn new(parts: S3BackendParts, state: &StateDir) -> Result<Self> {
        let in_use = parts.keys.in_use()?;
        Ok(Self {
            ownership: Ownership::new(parts.env.clone(), in_use, parts.instance),
            cache: PayloadCache::new(parts.max_cache_bytes, parts.local.base().to_owned()),
            reads: ReadsInFlight::default(),
            checks: Checks::default(),
            bad_list: BadList::load(state.bad_list())?,
            losses: Losses::load(state.losses())?,
            cleanup: CleanupJournal::new(state.cleanup_journals(), parts.env.clone()),
            quarantine: parts.quarantine,
            journal: DeleteJournal::unread(state.delete_journal()),
            next_batch: AtomicU64::new(1),
            healed: AtomicU64::new(0),
            presence_dropped: AtomicBool::new(false),
            syncing: Mutex::new(()),
            raising_epoch: tokio::sync::Mutex::new(()),
            state: state.clone(),
            rescued: Mutex::new(BTreeSet::new()),
            env: parts.env,
            table: parts.table,
            local: parts.local,
            process: parts.process,
            client: parts.client,
            keys: parts.keys,
        })
    }

    /// The client, for requests that are counted for no particular task.
    #[must_use]
    pub fn client(&self) -> &S3Client {
        &self.client
    }

    /// The keys below the datastore's prefix.
    #[must_use]
    pub fn keys(&self) -> &StoreKeys {
        &self.keys
    }

    /// The in-use marker.
    #[must_use]
    pub fn ownership(&self) -> &Ownership {
        &self.ownership
    }

    /// Objects that an upload found damaged and replaced, since the store was opened.
    #[must_use]
    pub fn healed_objects(&self) -> u64 {
        self.healed.load(Ordering::Relaxed)
    }

    /// Reads the delete journal if another process may have written it; every digest found is
    /// suspect for a full quarantine from now ◆.
    ///
    /// To be called right after the process lock was taken by a process that did not hold it.
    ///
    /// # Errors
    /// [`Error::NeedsRefresh`](crate::Error::NeedsRefresh) if the journal is missing or damaged.
    pub fn adopt_journal(&self) -> Result<usize> {
        let digests = self.journal().reload()?;
        let until = self.env.now() + self.quarantine;
        for digest in &digests {
            self.table.with(digest, |slot| slot.suspect(until));
        }
        Ok(digests.len())
    }

    /// Whether an earlier process left records that this one has not read yet.
    pub(crate) fn has_unread_journal(&self) -> bool {
        self.journal().has_unread_records()
    }

    pub(crate) fn journal(&self) -> &DeleteJournal {
        &self.journal
    }

    pub(crate) fn next_batch_id(&self) -> u64 {
        self.next_batch.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn count_healed(&self) {
        self.healed.fetch_add(1, Ordering::Relaxed);
    }

    /// Runs blocking work that may write chunk files.
    ///
    /// The caller's lease may be gone before the work ends, if its task is dropped; the work keeps
    /// a share of the process lock of its own, so that no other process deletes meanwhile ◆.
    pub(crate) async fn blocking<T, F>(&self, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let share = self.process.share_if_held();
        self.env
            .blocking(move || {
                let result = work();
                drop(share);
                result
            })
            .await
    }

    /// Runs `work` on the digest's slot, on the blocking pool.
    pub(crate) async fn with_slot<R, F>(self: &Arc<Self>, digest: Digest, work: F) -> R
    where
        R: Send + 'static,
        F: FnOnce(&Arc<Self>, &mut Slot<'_>) -> R + Send + 'static,
    {
        let this = Arc::clone(self);
        self.blocking(move || this.table.with(&digest, |slot| work(&this, slot)))
            .await
    }
}

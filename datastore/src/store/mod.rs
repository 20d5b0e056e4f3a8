//! A datastore in this process: its parts, and who may do what at the moment.
//!
//! One [`DataStore`] per datastore and process (see [`Stores`]); every handle is a clone of the
//! same `Arc`, because the digest table, the sessions and the payload cache must be shared by all
//! (H3). Opening touches neither the bucket nor the chunk files; that begins with the first
//! [`lease`].

mod activation;
pub mod create;
pub mod lease;
pub mod state_dir;
mod stores;
pub mod tend;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use api_types::datastore::{DatastoreTuning, SyncLevel};
use api_types::digest::Digest;
use api_types::names::DatastoreName;
use s3_client::{S3Client, TaskKind};
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::backend::s3::insert::{InsertOutcome, Payload};
use crate::backend::s3::keys::StoreKeys;
use crate::backend::s3::ownership::Instance;
use crate::backend::s3::{DEFAULT_QUARANTINE, S3Backend, S3BackendParts};
use crate::checks::Checks;
use crate::chunk_store::{ChunkStore, InsertPlan};
use crate::digests::{DigestTable, Slot};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::file_time::FileTime;
use crate::format::blob::DataBlob;
use crate::gc::history::RemovalLog;
use crate::gc::mirror::IndexMd5s;
use crate::local_error::LocalResult;
use crate::locks::{MoveJournal, NamedLocks, ProcessLocker};
use crate::refresh::swap;
use crate::session::Abandoned;
use crate::session::registry::SessionRegistry;
use crate::snapshot::SnapshotStore;

use activation::Activation;
use state_dir::StateDir;

pub use stores::{Keep, Stores};

/// Where a datastore's data lives.
#[derive(Clone, Debug)]
pub enum BackendOptions {
    /// In its directory.
    Filesystem,
    /// In a bucket.
    S3 {
        /// A client for the bucket.
        client: S3Client,
        /// Most bytes of chunk payloads to keep on the local disk.
        max_cache_bytes: Option<u64>,
    },
}

/// Everything that opening a datastore needs to know.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Its name; in a bucket also its prefix.
    pub name: DatastoreName,
    /// Its directory.
    pub path: PathBuf,
    /// Directory of its lock files, upstream's `/run/proxmox-backup/locks/<store>`.
    pub lock_dir: PathBuf,
    /// Its tuning options.
    pub tuning: DatastoreTuning,
    /// Where its data lives.
    pub backend: BackendOptions,
    /// This installation.
    pub instance: Instance,
    /// Length of the quarantine of ambiguous deletes; `None` = as the tuning options say.
    pub quarantine: Option<Duration>,
    /// Time and randomness.
    pub env: Env,
}

impl StoreOptions {
    /// Length of the quarantine in force.
    fn quarantine(&self) -> Duration {
        self.quarantine.unwrap_or_else(|| {
            let seconds = u64::try_from(self.tuning.delete_quarantine_secs());
            seconds.map_or(DEFAULT_QUARANTINE, Duration::from_secs)
        })
    }
}

/// An open datastore.
#[derive(Debug)]
pub struct DataStore {
    pub(crate) name: DatastoreName,
    pub(crate) base: PathBuf,
    pub(crate) env: Env,
    pub(crate) table: Arc<DigestTable>,
    pub(crate) chunks: Arc<ChunkStore>,
    pub(crate) snapshots: SnapshotStore,
    pub(crate) process: Arc<ProcessLocker>,
    pub(crate) locks: NamedLocks,
    pub(crate) moves: MoveJournal,
    pub(crate) backend: Backend,
    pub(crate) state: StateDir,
    pub(crate) sessions: Arc<SessionRegistry>,
    /// Of uploaded chunks.
    pub(crate) checks: Checks,
    pub(crate) activation: Activation,
    /// Held while [leftovers](tend) are seen to; collections and their like wait for that.
    pub(crate) tending: tokio::sync::Mutex<()>,
    /// Shared by whatever changes the set of snapshots, exclusive for a mark that does not end.
    pub(crate) metadata_epoch: Arc<tokio::sync::RwLock<()>>,
    pub(crate) gc_running: AtomicBool,
    /// A refresh is exchanging the local state: nobody else gets a lease.
    pub(crate) refreshing: Arc<AtomicBool>,
    pub(crate) removals: Arc<RemovalLog>,
    pub(crate) index_md5s: IndexMd5s,
    abandoned: Mutex<Vec<Abandoned>>,
    tuning: RwLock<DatastoreTuning>,
}

impl DataStore {
    /// Opens an existing datastore.
    ///
    /// # Errors
    /// If its directory is not one of a datastore, or an interrupted refresh cannot be completed,
    /// also since another process is using the datastore.
    pub fn open(options: StoreOptions) -> Result<Arc<Self>> {
        let chunks = Arc::new(ChunkStore::open(&options.path)?);
        let state = StateDir::of(&options.path);
        state.create()?;
        let process = ProcessLocker::open(&options.path, options.env.clone())?;
        let locks = NamedLocks::new(options.lock_dir.clone(), options.env.clone());
        if swap::is_committed(&state) {
            // Not beside another process that is just doing it.
            let _alone = process.try_exclusive()?;
            let _metadata = locks.metadata_exclusive()?;
            swap::complete_interrupted(&options.path, &state)?;
        }
        let snapshots = SnapshotStore::new(options.path.clone());
        if let Err(error) = purge_trash(&snapshots, &process) {
            tracing::warn!(%error, "leftovers of removed snapshots stay for now");
        }
        let table = Arc::new(DigestTable::new(state.read_generation()?));
        let quarantine = options.quarantine();
        let backend = match options.backend {
            BackendOptions::Filesystem => Backend::Filesystem,
            BackendOptions::S3 {
                client,
                max_cache_bytes,
            } => {
                let parts = S3BackendParts {
                    env: options.env.clone(),
                    table: Arc::clone(&table),
                    local: Arc::clone(&chunks),
                    process: Arc::clone(&process),
                    client,
                    keys: StoreKeys::new(&options.name)?,
                    instance: options.instance,
                    max_cache_bytes,
                    quarantine,
                };
                Backend::S3(Arc::new(S3Backend::new(parts, &state)?))
            }
        };
        Ok(Arc::new(Self {
            process,
            tending: tokio::sync::Mutex::default(),
            locks,
            moves: MoveJournal::new(&options.lock_dir, options.env.clone()),
            snapshots,
            sessions: Arc::new(SessionRegistry::default()),
            checks: Checks::default(),
            activation: Activation::default(),
            metadata_epoch: Arc::default(),
            gc_running: AtomicBool::new(false),
            refreshing: Arc::default(),
            removals: Arc::new(RemovalLog::new(&state.removal_log())),
            index_md5s: IndexMd5s::default(),
            abandoned: Mutex::default(),
            tuning: RwLock::new(options.tuning),
            name: options.name,
            base: options.path,
            env: options.env,
            table,
            chunks,
            backend,
            state,
        }))
    }

    /// The datastore's name.
    #[must_use]
    pub fn name(&self) -> &DatastoreName {
        &self.name
    }

    /// The datastore's directory.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Time and randomness.
    #[must_use]
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// Where the data lives.
    #[must_use]
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The local view of namespaces, groups and snapshots.
    #[must_use]
    pub fn snapshots(&self) -> &SnapshotStore {
        &self.snapshots
    }

    /// The table of exceptional digest states.
    #[must_use]
    pub fn digests(&self) -> &Arc<DigestTable> {
        &self.table
    }

    /// The local `.chunks` directory.
    #[must_use]
    pub fn chunks(&self) -> &Arc<ChunkStore> {
        &self.chunks
    }

    /// The group, snapshot and manifest locks.
    #[must_use]
    pub fn locks(&self) -> &NamedLocks {
        &self.locks
    }

    /// The tuning options in force.
    #[must_use]
    pub fn tuning(&self) -> DatastoreTuning {
        self.tuning
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes the tuning options without touching running sessions (R14).
    pub fn set_tuning(&self, tuning: DatastoreTuning) {
        *self.tuning.write().unwrap_or_else(PoisonError::into_inner) = tuning;
    }

    /// A client for the bucket that counts for `kind` and stops with `cancel`; `None` on a
    /// filesystem datastore.
    #[must_use]
    pub fn client(&self, kind: TaskKind, cancel: &CancellationToken) -> Option<S3Client> {
        let backend = self.backend.s3()?;
        Some(backend.client.with_task(kind).with_cancel(cancel.clone()))
    }

    /// Inserts a chunk; on an S3 datastore through `client`. The caller holds a writer's lease.
    pub(crate) async fn insert_chunk(
        &self,
        client: Option<&S3Client>,
        digest: Digest,
        blob: &DataBlob,
        payload: Payload,
    ) -> Result<InsertOutcome> {
        if let Backend::S3(backend) = &self.backend {
            // Never past the bucket: a chunk file without its object would be a phantom.
            let client = client.unwrap_or(&backend.client);
            return backend.insert(client, digest, blob, payload).await;
        }
        let (table, chunks) = (Arc::clone(&self.table), Arc::clone(&self.chunks));
        let (raw, sync) = (blob.raw().clone(), self.tuning().sync_level());
        let now = FileTime::now(&self.env);
        self.env
            .blocking(move || {
                let store = LocalInsert {
                    table: &table,
                    chunks: &chunks,
                    digest: &digest,
                    raw: &raw,
                    now,
                };
                store.insert(sync == SyncLevel::File)
            })
            .await
    }

    /// Checks a chunk of that digest and plain length, and inserts it. The caller holds a writer's
    /// lease.
    pub(crate) async fn accept_chunk(
        &self,
        client: Option<&S3Client>,
        (digest, plain_size): (Digest, u32),
        mut blob: DataBlob,
        payload: Payload,
    ) -> Result<InsertOutcome> {
        let check = move || -> Result<DataBlob> {
            blob.accept(&digest, u64::from(plain_size))
                .map_err(Error::format(format!("uploaded chunk {digest}")))?;
            Ok(blob)
        };
        let blob = self.checks.run(&self.env, check).await?;
        self.insert_chunk(client, digest, &blob, payload).await
    }

    /// Answers whether a chunk is present, and protects it if it is: a duplicate answer ◆.
    pub(crate) async fn touch_known(
        &self,
        client: Option<&S3Client>,
        digest: Digest,
    ) -> Result<Option<u64>> {
        if let Backend::S3(backend) = &self.backend {
            let client = client.unwrap_or(&backend.client);
            let known = backend.touch_known(client, digest).await?;
            return Ok(known.map(|chunk| chunk.size));
        }
        let (table, chunks) = (Arc::clone(&self.table), Arc::clone(&self.chunks));
        let now = FileTime::now(&self.env);
        self.env
            .blocking(move || {
                table.with(&digest, |slot| {
                    let Some(chunk) = chunks.cond_touch_chunk(&digest, now)? else {
                        return Ok(None);
                    };
                    if chunk.is_marker() {
                        // Damage on a filesystem store: the next insert writes it again.
                        return Ok(None);
                    }
                    slot.stamp_now();
                    Ok(Some(chunk.size))
                })
            })
            .await
    }

    /// Reads a chunk as it is stored; checked on the way from a bucket, CRC only from a local disk.
    ///
    /// A fetched chunk is cached (`fill`) only while a [`lease`] is held: without one this
    /// process must not touch chunk files ◆.
    ///
    /// # Errors
    /// [`Error::MissingChunk`], [`Error::CorruptChunk`], or the trouble on the way.
    pub async fn read_chunk(
        &self,
        client: Option<&S3Client>,
        digest: Digest,
        fill: Payload,
    ) -> Result<DataBlob> {
        if let Backend::S3(backend) = &self.backend {
            let client = client.unwrap_or(&backend.client);
            let lease = match fill {
                Payload::Cache => self.held_lease(),
                Payload::Discard => None,
            };
            let fill = lease.as_ref().map_or(Payload::Discard, |_| fill);
            return backend.read(client, digest, fill).await;
        }
        let chunks = Arc::clone(&self.chunks);
        self.env
            .blocking(move || {
                let corrupt = |error: crate::format::FormatError| Error::CorruptChunk {
                    digest,
                    reason: error.to_string(),
                };
                let raw = chunks
                    .read_chunk(&digest)?
                    .ok_or(Error::MissingChunk { digest })?;
                let blob = DataBlob::from_bytes(raw).map_err(corrupt)?;
                blob.verify_crc().map_err(corrupt)?;
                Ok(blob)
            })
            .await
    }
}

/// Unlinks what interrupted removals have left, if no process is at work on the store: it might be
/// removing something.
fn purge_trash(snapshots: &SnapshotStore, process: &Arc<ProcessLocker>) -> LocalResult<()> {
    if snapshots.has_trash()?
        && let Ok(_alone) = process.try_exclusive()
    {
        snapshots.purge_trash()?;
    }
    Ok(())
}

/// An insert into a filesystem datastore.
struct LocalInsert<'a> {
    table: &'a DigestTable,
    chunks: &'a ChunkStore,
    digest: &'a Digest,
    raw: &'a [u8],
    now: FileTime,
}

impl LocalInsert<'_> {
    /// The chunk is written, and synced if it must be, beside its place and without the digest's
    /// lock, which a whole shard shares; under the lock it is decided, renamed and stamped.
    fn insert(&self, fsync: bool) -> Result<InsertOutcome> {
        let Self {
            table,
            chunks,
            digest,
            raw,
            now,
        } = *self;
        if let InsertPlan::Kept(outcome) = table.with(digest, |slot| self.plan(slot))? {
            return Ok(outcome.into());
        }
        let prepared = chunks.prepare_payload(digest, raw, now, fsync)?;
        let outcome = table.with(digest, |slot| -> Result<_> {
            // Somebody else may have stored it meanwhile.
            match self.plan(slot)? {
                InsertPlan::Kept(outcome) => Ok(outcome),
                InsertPlan::Write(outcome) => {
                    chunks.commit_payload(prepared)?;
                    slot.stamp_now();
                    slot.set_lost(false);
                    Ok(outcome)
                }
            }
        })?;
        if fsync && !outcome.duplicate {
            chunks.sync_chunk_dir(digest)?;
        }
        Ok(outcome.into())
    }

    fn plan(&self, slot: &mut Slot<'_>) -> Result<InsertPlan> {
        let plan = self.chunks.plan_insert(self.digest, self.raw, self.now)?;
        if matches!(plan, InsertPlan::Kept(_)) {
            slot.stamp_now();
            slot.set_lost(false);
        }
        Ok(plan)
    }
}

//! A writer's session: everything between "I want to back up this group" and a committed snapshot
//! (`gc.md` §6.3, `s3-backend.md` §7, `datastore-layout.md` §10).
//!
//! ```text
//! start    process lock (shared) → register → group lock, owner → base (locked, pinned)
//!          → snapshot directory (locked)
//! chunks   insert_chunk: uploads, or answers "duplicate"; touch_known: asks without data
//! indexes  open → append known chunks → close: object first, then the local name
//! blobs    object first, then the local file
//! commit   no call under way → nothing lost, base untouched, prefix ours → manifest object
//!          → local manifest → nothing lost meanwhile → sync → leave the register → unlock
//! abort    cleanup journal → the local directory → objects, manifest first
//! ```
//!
//! A snapshot that comes whole from another datastore takes the same way: its indexes are stored as
//! copies ([`add_index`](WriterSession::add_index)), and so is its manifest
//! ([`commit_copy`](WriterSession::commit_copy)). One that is there already and is to become what
//! its source has is a [`ResyncSession`]'s.
//!
//! A session that is dropped without commit or abort (a cancelled task, a panic) leaves an
//! unfinished snapshot, which the next [`tend`](DataStore::tend) clears away like an abort; after a
//! crash its indexes keep their chunks until it is pruned, or the collection finds it abandoned.

mod base;
mod copy;
mod finish;
mod hold;
mod index;
pub mod registry;
mod resync;
mod state;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api_types::auth::Authid;
use api_types::digest::Digest;
use api_types::names::{
    ArchiveName, BackupDir, BackupGroup, BackupNamespace, BackupTime, SnapshotPath,
};
use api_types::status::CryptMode;
use bytes::Bytes;
use s3_client::{S3Client, TaskKind};
use tokio_util::sync::CancellationToken;

use crate::atomic_file::Durability;
use crate::backend::s3::insert::{InsertOutcome, Payload};
use crate::error::{Error, Result};
use crate::format::blob::DataBlob;
use crate::locks::LockFile;
use crate::store::DataStore;

use hold::Hold;
use state::{Claim, SessionState};

pub use base::BaseSnapshot;
pub(crate) use hold::Abandoned;
pub use index::{ClosedArchive, ExpectedIndex, IndexProgress, WriterId};
pub use resync::ResyncSession;
pub use verdict::Resynced;

/// What a session is to write.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Namespace; must exist.
    pub ns: BackupNamespace,
    /// Group; created if missing.
    pub group: BackupGroup,
    /// Time of the new snapshot; later than the last one's.
    pub time: BackupTime,
    /// Who writes: becomes the owner of a new group, must match that of an existing one.
    pub owner: Authid,
    /// Whether uploaded payloads may stay in the local cache.
    pub payload: Payload,
    /// What its requests are counted as.
    pub kind: TaskKind,
}

impl SessionOptions {
    /// A backup by `owner` into the root namespace, cached.
    #[must_use]
    pub fn new(group: BackupGroup, time: BackupTime, owner: Authid) -> Self {
        Self {
            ns: BackupNamespace::root(),
            group,
            time,
            owner,
            payload: Payload::Cache,
            kind: TaskKind::Backup,
        }
    }
}

/// An archive of the session, as the manifest lists it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionFile {
    /// Server archive name.
    pub name: ArchiveName,
    /// Length: of the archive for an index, of the encoded file for a blob.
    pub size: u64,
    /// Index checksum, or SHA-256 of the encoded file.
    pub csum: [u8; 32],
}

/// A running backup.
#[derive(Debug)]
pub struct WriterSession {
    store: Arc<DataStore>,
    client: Option<S3Client>,
    options: SessionOptions,
    dir: BackupDir,
    base: Option<BaseSnapshot>,
    group_is_new: bool,
    state: Mutex<SessionState>,
    hold: Arc<Hold>,
}

impl WriterSession {
    /// Starts a session.
    ///
    /// # Errors
    /// If the store is being collected by another process, not ours or not trustworthy; if the
    /// group is locked or owned by somebody else; if the snapshot is not newer than the last one.
    pub async fn start(
        store: &Arc<DataStore>,
        options: SessionOptions,
        cancel: &CancellationToken,
    ) -> Result<Self> {
        let lease = store.writer_lease(cancel).await?;
        let registration = store.sessions.register(&store.table, store.env.unix_secs());
        store.learn_from_others().await?;
        let client = store.client(options.kind, cancel);
        let dir = BackupDir::new(options.group.clone(), options.time);
        if !store.snapshots.namespace_exists(&options.ns)? {
            return Err(Error::NotFound {
                what: format!("namespace '{}'", options.ns),
            });
        }
        store.refuse_old_leftovers(&options.ns, &dir).await?;
        let (group_is_new, group_lock) =
            Self::enter_group(store, client.as_ref(), &options).await?;
        let base = BaseSnapshot::find(store, &options, &registration).await?;
        if store.snapshots.snapshot_exists(&options.ns, &dir)? {
            return Err(Error::Exists {
                what: format!("snapshot {dir}"),
            });
        }
        // Locked before it exists: nobody takes the empty directory for an abandoned one.
        let snapshot_lock = store.locks.snapshot_exclusive(&options.ns, &dir)?;
        store.refuse_old_leftovers(&options.ns, &dir).await?;
        store.snapshots.create_snapshot_dir(&options.ns, &dir)?;
        let left = Abandoned {
            snapshot: SnapshotPath::new(options.ns.clone(), dir.clone()),
            objects: BTreeSet::new(),
            group_is_new,
            losses: None,
        };
        let locks = (snapshot_lock, group_lock);
        Ok(Self {
            hold: Hold::new(store, left, registration, locks, lease),
            store: Arc::clone(store),
            client,
            options,
            dir,
            base,
            group_is_new,
            state: Mutex::default(),
        })
    }

    /// Creates the group if it is new, locks it, and checks or sets its owner.
    async fn enter_group(
        store: &Arc<DataStore>,
        client: Option<&S3Client>,
        options: &SessionOptions,
    ) -> Result<(bool, LockFile)> {
        let SessionOptions {
            ns, group, owner, ..
        } = options;
        let lock = store.locks.group(ns, group)?;
        // Under the lock: whoever removes an empty group holds it.
        store.snapshots.create_group_dir(ns, group)?;
        match store.snapshots.owner(ns, group)? {
            Some(current) if Authid::is_owner_ok(&current, owner) => Ok((false, lock)),
            Some(current) => Err(Error::Refused(format!(
                "backup owner check failed ({owner} != {current}): group {group} belongs to {current}"
            ))),
            None => {
                store.create_owner(client, ns, group, owner).await?;
                Ok((true, lock))
            }
        }
    }

    /// The snapshot being written.
    #[must_use]
    pub fn dir(&self) -> &BackupDir {
        &self.dir
    }

    /// The last finished snapshot of the group, whose chunks may be named without uploading them
    /// after its index has been [loaded](Self::load_base_index).
    #[must_use]
    pub fn base(&self) -> Option<&BaseSnapshot> {
        self.base.as_ref()
    }

    /// The generation at registration; for tests and logs.
    #[must_use]
    pub fn start_generation(&self) -> u64 {
        self.hold.registration.start_generation()
    }

    /// Stores a chunk of `plain_size` bytes of plaintext, or finds it stored.
    ///
    /// The blob's CRC is recomputed; a plain chunk must match `digest` and `plain_size`, an
    /// encrypted one cannot be checked further.
    ///
    /// # Errors
    /// If the chunk does not match, or cannot be stored.
    pub async fn insert_chunk(
        &self,
        digest: Digest,
        plain_size: u32,
        blob: DataBlob,
    ) -> Result<InsertOutcome> {
        let _call = self.begin("store a chunk")?;
        let outcome = self
            .store
            .accept_chunk(
                self.client.as_ref(),
                (digest, plain_size),
                blob,
                self.options.payload,
            )
            .await?;
        let mut state = self.state();
        state.known.insert(digest, plain_size);
        state.stats.count += 1;
        state.stats.size += u64::from(plain_size);
        state.stats.compressed_size += outcome.stored_size;
        state.stats.duplicates += u64::from(outcome.duplicate);
        Ok(outcome)
    }

    /// Asks whether a chunk is stored; if so it is protected and may be named by an index.
    ///
    /// # Errors
    /// If a local file operation fails.
    pub async fn touch_known(&self, digest: Digest, plain_size: u32) -> Result<bool> {
        let _call = self.begin("reuse a chunk")?;
        let known = self
            .store
            .touch_known(self.client.as_ref(), digest)
            .await?
            .is_some();
        if known {
            self.state().known.insert(digest, plain_size);
        }
        Ok(known)
    }

    /// Stores a blob of the snapshot: anything but the manifest, which [`commit`](Self::commit)
    /// writes.
    ///
    /// # Errors
    /// If the name is not a blob's or is taken, the blob is damaged, or it cannot be stored.
    pub async fn add_blob(&self, name: &ArchiveName, raw: Bytes) -> Result<SessionFile> {
        let _call = self.begin("store a blob")?;
        if !name.as_str().ends_with(".blob") || name.is_manifest() {
            return Err(Error::Refused(format!(
                "'{name}' is not the name of a blob of a snapshot"
            )));
        }
        let blob = DataBlob::from_bytes(raw.clone()).map_err(Error::format(name.to_string()))?;
        blob.verify_crc().map_err(Error::format(name.to_string()))?;
        let file = SessionFile {
            name: name.clone(),
            size: blob.raw_size(),
            csum: blob.raw_csum(),
        };
        let mut claim = self.claim(name)?;
        self.put_object(&mut claim, name.as_str(), raw.clone())
            .await?;
        if let Err(error) = self.write_local(name.as_str(), raw, Durability::Lazy).await {
            self.give_up_object(name.as_str()).await;
            return Err(error);
        }
        self.state().stats.size += file.size;
        claim.stored(file.clone());
        Ok(file)
    }

    /// Counts a manifest that was uploaded, as the statistics count every blob (formats.md §4.5).
    pub fn count_manifest(&self, uploaded: &DataBlob) {
        self.state().stats.size += uploaded.raw_size();
    }

    /// The archives stored so far, for the manifest.
    #[must_use]
    pub fn files(&self) -> Vec<SessionFile> {
        self.state().files.clone()
    }

    /// The manifest entry of a stored archive.
    #[must_use]
    pub fn file_info(
        file: &SessionFile,
        crypt_mode: CryptMode,
    ) -> crate::format::manifest::FileInfo {
        crate::format::manifest::FileInfo {
            filename: file.name.clone(),
            crypt_mode,
            size: file.size,
            csum: Digest::from_bytes(file.csum),
        }
    }

    /// Puts the object of an archive.
    async fn put_object(&self, claim: &mut Claim<'_>, name: &str, raw: Bytes) -> Result<()> {
        let (ns, dir) = (&self.options.ns, &self.dir);
        if let (Some(backend), Some(client)) = (self.store.backend.s3(), &self.client) {
            claim.send();
            let relative = self.store.relative_file(ns, dir, name);
            backend.put_metadata(client, &relative, raw).await?;
        }
        Ok(())
    }

    /// The local file of an object cannot be written: the object is to go again.
    async fn give_up_object(&self, name: &str) {
        let Some(backend) = self.store.backend.s3() else {
            return;
        };
        let (ns, dir) = (&self.options.ns, &self.dir);
        let relative = self.store.relative_file(ns, dir, name);
        if let Err(error) = backend.cleanup.add(&self.store.env, vec![relative]).await {
            tracing::warn!(snapshot = %dir, name, %error, "unable to record an object that is to go");
        }
    }

    async fn write_local(&self, name: &str, raw: Bytes, durability: Durability) -> Result<()> {
        let snapshots = self.store.snapshots.clone();
        let (ns, dir, file) = (self.options.ns.clone(), self.dir.clone(), name.to_owned());
        self.holding(move || snapshots.write_file(&ns, &dir, &file, &raw, durability))
            .await?;
        self.renew_reconciliation(name).await
    }

    /// A round over the cleanup journal that came before the local file looks again.
    async fn renew_reconciliation(&self, name: &str) -> Result<()> {
        let (ns, dir) = (&self.options.ns, &self.dir);
        let relative = self.store.relative_file(ns, dir, name);
        self.store.renew_reconciliation(&relative).await
    }

    /// Runs blocking work on files of the snapshot; its locks stay until that has ended, even if
    /// the call is dropped.
    async fn holding<T, F>(&self, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let hold = Arc::clone(&self.hold);
        self.store
            .env
            .blocking(move || {
                let result = work();
                drop(hold);
                result
            })
            .await
    }

    fn state(&self) -> MutexGuard<'_, SessionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

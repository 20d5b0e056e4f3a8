//! Creating a datastore, or taking an existing one into use (`datastore-layout.md` §1.1,
//! `s3-backend.md` §15).

use std::sync::Arc;

use api_types::datastore::DatastoreTuning;
use s3_client::{ListOptions, ListPrefix, S3Client, TaskKind};

use crate::backend::s3::journal::DeleteJournal;
use crate::backend::s3::keys::StoreKeys;
use crate::backend::s3::ownership::Ownership;
use crate::chunk_store::{AtimeProbe, ChunkStore, PrefixDirs};
use crate::error::{Error, Result};
use crate::refresh::RefreshOptions;
use crate::task::{TaskContext, check_abort};

use super::state_dir::{RebuildNeeded, StateDir};
use super::{BackendOptions, DataStore, StoreOptions};

/// How a datastore is to be created.
#[derive(Clone, Copy, Debug)]
pub struct CreateOptions {
    /// Take the data that is already there into use.
    pub reuse: bool,
    /// Take the bucket prefix over even if another instance is using it.
    pub overwrite_in_use: bool,
    /// Which chunk directories to create at once.
    pub prefix_dirs: PrefixDirs,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self {
            reuse: false,
            overwrite_in_use: false,
            prefix_dirs: PrefixDirs::All,
        }
    }
}

impl DataStore {
    /// Creates a datastore and opens it.
    ///
    /// On an S3 datastore the prefix is claimed first; with `reuse` all local state is then built
    /// from the bucket, after a quarantine if somebody used the prefix before.
    ///
    /// # Errors
    /// If there is data already and `reuse` was not asked for, if another instance uses the prefix,
    /// or if the file system does not keep access times.
    pub async fn create(
        options: StoreOptions,
        create: CreateOptions,
        task: &dyn TaskContext,
    ) -> Result<Arc<Self>> {
        let client = match &options.backend {
            BackendOptions::Filesystem => None,
            BackendOptions::S3 { client, .. } => Some(
                client
                    .with_task(TaskKind::Other)
                    .with_cancel(task.cancel().clone()),
            ),
        };
        let previous_owner = match &client {
            Some(client) => Self::claim_prefix(&options, create, client, task).await?,
            None => None,
        };
        let state = Self::create_local(&options, create, client.is_some()).await?;
        // Whoever had the prefix before may still be deleting: as for a reuse ◆.
        let rebuild = client.is_some() && (create.reuse || previous_owner.is_some());
        if rebuild {
            let wait = previous_owner.is_some();
            let reason = match previous_owner {
                Some(owner) => format!("the prefix was taken over from {owner}"),
                None => "the local state has not been built from the bucket yet".into(),
            };
            state.write_rebuild_needed(Some(&RebuildNeeded { wait, reason }))?;
        }
        let tuning = options.tuning.clone();
        let store = Self::open(options)?;
        store.check_access_times(&tuning, task).await?;
        if rebuild {
            store.s3_refresh(task, RefreshOptions::default()).await?;
        } else if let (Some(backend), Some(client)) = (store.backend.s3(), &client) {
            // An earlier datastore of that name may have left its epoch behind.
            store.adopt_epoch(backend, client).await?;
            store.trust_local_state().await;
        }
        Ok(store)
    }

    /// Claims the prefix; returns who had it before, if anybody.
    async fn claim_prefix(
        options: &StoreOptions,
        create: CreateOptions,
        client: &S3Client,
        task: &dyn TaskContext,
    ) -> Result<Option<String>> {
        client.head_bucket().await?;
        let keys = StoreKeys::new(&options.name)?;
        let ownership = Ownership::new(
            options.env.clone(),
            keys.in_use()?,
            options.instance.clone(),
        );
        let previous = ownership.read(client).await?;
        if let Some(marker) = &previous
            && !marker.is_of(&options.instance)
            && !create.overwrite_in_use
        {
            return Err(Error::Fenced {
                owner: marker.owner(),
                action: "create a datastore on it",
            });
        }
        if !create.reuse && !is_empty(client, &keys).await? {
            return Err(Error::Refused(format!(
                "there is data below '{}' in the bucket; to take it into use, create the datastore \
                 with reuse-datastore",
                keys.root()
            )));
        }
        check_abort(task)?;
        ownership.claim(client, create.overwrite_in_use).await?;
        // A creation of ours that was interrupted has deleted nothing.
        let previous = previous.filter(|m| create.reuse || !m.is_of(&options.instance));
        Ok(previous.map(|marker| marker.owner()))
    }

    async fn create_local(
        options: &StoreOptions,
        create: CreateOptions,
        s3: bool,
    ) -> Result<StateDir> {
        let path = options.path.clone();
        options
            .env
            .blocking(move || {
                // What a reused S3 datastore has locally is rebuilt: a leftover must not be believed.
                if create.reuse && (!s3 || path.join(".chunks").is_dir()) {
                    ChunkStore::open(&path)?;
                } else {
                    ChunkStore::create(&path, create.prefix_dirs, None)?;
                }
                let state = StateDir::of(&path);
                state.create()?;
                if s3 {
                    DeleteJournal::create(&state.delete_journal())?;
                }
                // A directory that a power failure leaves without its `.chunks` can be neither
                // opened nor created again.
                crate::disk::sync_file_system(&path)
                    .map_err(Error::io("unable to sync the file system of", &path))?;
                Ok(state)
            })
            .await
    }

    /// The access time check, on by default: a collection that relies on access times would delete
    /// live chunks on a file system that ignores them.
    pub(crate) async fn check_access_times(
        &self,
        tuning: &DatastoreTuning,
        task: &dyn TaskContext,
    ) -> Result<()> {
        if !tuning.gc_atime_safety_check() {
            return Ok(());
        }
        let probe = match self.backend.s3() {
            Some(_) => AtimeProbe::ScratchFile,
            None => AtimeProbe::ZeroChunk,
        };
        self.chunks.check_atime_updates(&self.env, probe).await?;
        task.log("Access time update check successful, proceeding with GC.");
        Ok(())
    }

    /// Gives an S3 datastore's prefix up, so that another server, or this one with a new cache, can
    /// take it into use at once. The data stays.
    ///
    /// # Errors
    /// If the store is in use or deletes of an earlier run are unresolved.
    pub async fn release_prefix(&self, task: &dyn TaskContext) -> Result<()> {
        let Some(backend) = self.backend.s3() else {
            return Ok(());
        };
        let _tending = self.pause_tending(task.cancel()).await?;
        let _lease = self.sweeper_lease(task.cancel()).await?;
        if !self.sessions.is_empty() {
            return Err(Error::Locked {
                what: format!("datastore '{}'", self.name),
                reason: "backups are running".into(),
            });
        }
        let client = backend.client.with_cancel(task.cancel().clone());
        let report = backend.resolve_quarantine(&client).await?;
        if !backend.journal_is_empty() {
            return Err(Error::Refused(format!(
                "unable to give the bucket prefix up: {} deletes of an earlier run may still be \
                 applied; try again in half an hour",
                report.waiting
            )));
        }
        self.reconcile_metadata(backend, &client).await?;
        backend.ownership.release(&client).await
    }
}

/// Whether there is neither metadata nor a chunk below the prefix.
async fn is_empty(client: &S3Client, keys: &StoreKeys) -> Result<bool> {
    for dir in [keys.content()?, keys.chunks()?] {
        let options = ListOptions {
            max_keys: Some(1),
            ..ListOptions::default()
        };
        let mut listing = client.list(ListPrefix::from(&dir), options);
        if let Some(page) = listing.next_page().await
            && !page?.objects.is_empty()
        {
            return Ok(false);
        }
    }
    Ok(true)
}

//! Datastores in a directory, and snapshots in namespaces.

use anyhow::{Context, Result, ensure};
use api_types::auth::Authid;
use api_types::datastore::DatastoreTuning;
use api_types::names::BackupNamespace;
use datastore::backend::s3::insert::Payload;
use datastore::chunk_store::PrefixDirs;
use datastore::session::{SessionOptions, WriterSession};
use datastore::store::create::CreateOptions;
use datastore::store::{BackendOptions, DataStore, StoreOptions};
use datastore::task::SilentTask;
use s3_client::TaskKind;
use tokio_util::sync::CancellationToken;

use crate::{Chunk, Server, Snapshot, World, finish, group, insert, time};

impl World {
    /// A world with a fresh datastore in a directory, without a bucket.
    pub async fn directory() -> Result<(Self, Server)> {
        let world = Self::empty(1).await?;
        let options = StoreOptions {
            backend: BackendOptions::Filesystem,
            tuning: DatastoreTuning {
                gc_atime_safety_check: Some(false),
                ..DatastoreTuning::default()
            },
            ..world.options("store")?
        };
        let create = CreateOptions {
            prefix_dirs: PrefixDirs::OnDemand,
            ..CreateOptions::default()
        };
        let store = DataStore::create(options, create, &SilentTask::new()).await?;
        let cancel = CancellationToken::new();
        Ok((world, Server { store, cancel }))
    }
}

impl Server {
    /// Creates a namespace, `a/b`, below an existing one.
    pub async fn create_namespace(&self, ns: &str) -> Result<BackupNamespace> {
        let ns: BackupNamespace = ns.parse()?;
        let client = self.store.client(TaskKind::Other, &self.cancel);
        self.store
            .create_namespace(client.as_ref(), &ns, &self.cancel)
            .await?;
        Ok(ns)
    }

    /// Backs these chunks up into a namespace.
    pub async fn backup_in(
        &self,
        ns: &BackupNamespace,
        id: &str,
        at: i64,
        chunks: &[Chunk],
    ) -> Result<Snapshot> {
        let mut options = SessionOptions::new(group(id), time(at), Authid::root());
        options.payload = Payload::Cache;
        options.ns = ns.clone();
        let session = WriterSession::start(&self.store, options, &self.cancel).await?;
        for chunk in chunks {
            insert(&session, chunk).await?;
        }
        let snapshot = finish(session, chunks).await?;
        let ns = ns.clone();
        Ok(Snapshot { ns, ..snapshot })
    }

    /// Whether all chunks of a snapshot can be read, past any cache.
    pub async fn can_restore(&self, snapshot: &Snapshot) -> Result<bool> {
        for chunk in &snapshot.chunks {
            if !self.can_read(chunk).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the chunk can be read from where the store keeps its chunks, past any cache.
    pub async fn can_read(&self, chunk: &Chunk) -> Result<bool> {
        let client = self.store.client(TaskKind::Restore, &self.cancel);
        let blob = if let Some(backend) = self.store.backend().s3() {
            let client = client.as_ref().context("a client")?;
            backend.fetch(client, chunk.digest).await?
        } else if self.store.chunks().stat_chunk(&chunk.digest)?.is_some() {
            let read = self.store.read_chunk(None, chunk.digest, Payload::Discard);
            Some(read.await?)
        } else {
            None
        };
        let Some(blob) = blob else { return Ok(false) };
        ensure!(blob.decode(None, 1 << 24)? == chunk.data, "wrong data");
        Ok(true)
    }
}

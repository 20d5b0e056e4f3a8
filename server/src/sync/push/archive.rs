//! An archive of chunks, which go as they are stored: from the local index in its order, each chunk
//! unless the target has it.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use api_types::digest::Digest;
use api_types::names::ArchiveType;
use bytes::Bytes;
use client::session::upload::both;
use client::session::{BackupSession, ChunkSink, IndexKind, Progress, Upload};
use datastore::backend::s3::insert::Payload;
use datastore::format::FileInfo;
use datastore::format::index::{AnyIndexReader, ChunkReadInfo, IndexFile as _};
use datastore::format::zero_chunk::{ZERO_CHUNK_DIGEST, zero_chunk};
use datastore::store::DataStore;
use s3_client::S3Client;
use tokio::sync::{Semaphore, mpsc};

use super::Push;
use super::snapshot::Route;

/// Entries of an index that are read at once.
const BATCH: usize = 1024;

/// Where chunks are read.
#[derive(Clone)]
pub(super) struct Chunks {
    store: Arc<DataStore>,
    /// Absent on a filesystem datastore.
    client: Option<S3Client>,
    /// Reads at the same time, of all archives.
    reads: Arc<Semaphore>,
}

impl Chunks {
    pub(super) fn new(store: &Arc<DataStore>, client: Option<S3Client>, reads: usize) -> Self {
        Self {
            store: Arc::clone(store),
            client,
            reads: Arc::new(Semaphore::new(reads)),
        }
    }

    /// A chunk as it is stored.
    async fn read(self, digest: Digest) -> Result<Bytes> {
        // It is not kept in every datastore that knows of it.
        if digest == ZERO_CHUNK_DIGEST {
            return Ok(zero_chunk()?.into_raw());
        }
        let _turn = self.reads.acquire().await.context("the sync has ended")?;
        // What a sync reads, nobody reads again soon: the cache is for others.
        let client = self.client.as_ref();
        let blob = self.store.read_chunk(client, digest, Payload::Discard);
        Ok(blob.await?.into_raw())
    }
}

impl Push {
    /// Pushes the archive of an index. `previous` is what the target's last snapshot has of that
    /// name: its chunks are not sent.
    pub(super) async fn push_index(
        &self,
        session: &BackupSession,
        route: Route<'_>,
        (file, kind): (&FileInfo, ArchiveType),
        previous: Option<&FileInfo>,
    ) -> Result<()> {
        let name = &file.filename;
        let index = self.open_index(route, file, kind).await?;
        if let Some(previous) = previous
            && let Err(error) = session.previous_index(previous).await
        {
            self.log(&format!("all chunks of {name} are sent - {error:#}"));
        }
        let kind = match kind {
            ArchiveType::FixedIndex => IndexKind::Fixed {
                size: Some(index.index_bytes()),
            },
            _ => IndexKind::Dynamic,
        };
        let progress = Progress::new(name.as_str(), Some(index.index_bytes()));
        let Upload { sink, done } = session.upload(name, kind, &progress).await?;
        let ((), uploaded) = both(self.relay(index, sink), done).await?;
        let (info, statistics) = (uploaded.info, uploaded.statistics);
        ensure!(
            info.csum == file.csum && info.size == file.size,
            "its index is not the one that the manifest lists; verify the snapshot"
        );
        self.totals
            .transferred(statistics.sent_chunks, statistics.encoded);
        Ok(())
    }

    async fn open_index(
        &self,
        route: Route<'_>,
        file: &FileInfo,
        kind: ArchiveType,
    ) -> Result<AnyIndexReader> {
        let snapshots = self.source.snapshots();
        let path = snapshots.file_path(route.ns, route.dir, file.filename.as_str())?;
        let opened = self
            .source
            .env()
            .blocking(move || AnyIndexReader::open(&path, kind));
        Ok(opened.await?)
    }

    /// Hands all chunks of an index on, in their order.
    async fn relay(&self, index: AnyIndexReader, sink: ChunkSink) -> Result<()> {
        let (send, batches) = mpsc::channel(1);
        let env = self.source.env();
        let reading = env.blocking(move || read_entries(&index, &send));
        let (read, relayed) = tokio::join!(reading, self.relay_batches(batches, sink));
        let sink = relayed?;
        // An index that breaks off must not look complete.
        read?;
        sink.end().await
    }

    /// Whoever reads the index stops when this has ended.
    async fn relay_batches(
        &self,
        mut batches: mpsc::Receiver<Vec<ChunkReadInfo>>,
        sink: ChunkSink,
    ) -> Result<ChunkSink> {
        while let Some(batch) = batches.recv().await {
            for entry in batch {
                let read = self.chunks.clone().read(entry.digest);
                sink.relay(entry.digest, entry.size(), read).await?;
            }
        }
        Ok(sink)
    }
}

/// Reads an index in batches, as far as they are wanted.
fn read_entries(index: &AnyIndexReader, send: &mpsc::Sender<Vec<ChunkReadInfo>>) -> Result<()> {
    let mut entries = index.entries();
    loop {
        let mut batch = Vec::with_capacity(BATCH);
        while batch.len() < BATCH
            && let Some(entry) = entries.next_entry()?
        {
            batch.push(entry);
        }
        if batch.is_empty() || send.blocking_send(batch).is_err() {
            return Ok(());
        }
    }
}

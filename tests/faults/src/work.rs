//! The worker's life: backups, removals, restores and collections, side by side until it is
//! killed. Failures are normal here; what must never be goes to the ledger.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use api_types::digest::Digest;
use api_types::names::{ArchiveName, BackupGroup, BackupNamespace, BackupTime, SnapshotPath};
use api_types::status::CryptMode;
use datastore::Error;
use datastore::backend::s3::insert::Payload;
use datastore::env::Env;
use datastore::format::{DataBlob, IndexFile as _, MAX_CHUNK_PLAIN, Manifest};
use datastore::gc::{GcOptions, GcReport};
use datastore::session::{ExpectedIndex, SessionOptions, WriterSession};
use datastore::snapshot::BackupInfo;
use datastore::store::DataStore;
use datastore::task::SilentTask;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use s3_client::TaskKind;
use tokio_util::sync::CancellationToken;

use crate::content::{CHUNKS, Choices, chunk, digest};
use crate::ledger::Ledger;
use crate::place::Place;

/// The archive of every snapshot here.
pub const ARCHIVE: &str = "data.pxar.didx";

/// Groups that are backed up at the same time.
const GROUPS: u64 = 3;
/// Snapshots of a group that are kept.
const KEPT: usize = 3;
/// Chunks inserted or read at once by one task.
const AT_ONCE: usize = 4;

struct Worker {
    store: Arc<DataStore>,
    env: Env,
    ledger: Ledger,
}

/// Works until the process dies.
///
/// # Errors
/// If the store cannot be opened, or the ledger cannot be written.
pub async fn work(place: &Place, seed: u64) -> Result<()> {
    let env = Env::system();
    let worker = Arc::new(Worker {
        store: place.open(&env)?,
        ledger: Ledger::open(&place.ledger())?,
        env,
    });
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..GROUPS {
        let worker = Arc::clone(&worker);
        let choices = Choices::new(seed.wrapping_mul(31).wrapping_add(number));
        tasks.spawn(async move { worker.back_up_for_ever(number, &choices).await });
    }
    let restoring = Arc::clone(&worker);
    let choices = Choices::new(seed.wrapping_mul(31).wrapping_add(GROUPS));
    tasks.spawn(async move { restoring.restore_for_ever(&choices).await });
    tasks.spawn(async move { worker.collect_for_ever().await });
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

impl Worker {
    async fn back_up_for_ever(&self, number: u64, choices: &Choices) -> Result<()> {
        let group: BackupGroup = format!("host/w{number}").parse()?;
        loop {
            match self.back_up(&group, choices).await {
                Ok(path) => self.ledger.committed(&path)?,
                Err(error) => self.failed("backup", &error).await,
            }
            if let Err(error) = self.thin_out(&group).await {
                self.failed("removal", &error).await;
            }
        }
    }

    /// One snapshot of chunks that the seed chooses; after an error nothing of it stays.
    async fn back_up(&self, group: &BackupGroup, choices: &Choices) -> Result<SnapshotPath> {
        let last = self.snapshots_of(group)?.pop();
        let after = last.map_or(0, |path| path.dir.time.secs());
        let time = BackupTime::from_secs(self.env.unix_secs().max(after + 1))?;
        let options = SessionOptions::new(group.clone(), time, "root@pam".parse()?);
        let session = WriterSession::start(&self.store, options, &CancellationToken::new()).await?;
        let path = SnapshotPath::new(BackupNamespace::root(), session.dir().clone());
        match self.fill(&session, choices).await {
            Ok(()) => Ok(path),
            Err(error) => {
                session.abort().await.context("unable to clean up")?;
                Err(error)
            }
        }
    }

    async fn fill(&self, session: &WriterSession, choices: &Choices) -> Result<()> {
        // A stretch of the chunks, so that snapshots overlap.
        let (start, count) = (choices.below(CHUNKS), 10 + choices.below(40));
        let numbers = (start..start + count).map(|number| number % CHUNKS);
        let writer = session.open_dynamic_index(&ARCHIVE.parse()?).await?;
        let mut inserted = stream::iter(numbers)
            .map(|number| self.insert(session, number))
            .buffered(AT_ONCE);
        let (mut size, mut chunks) = (0, 0);
        while let Some((digest, length)) = inserted.try_next().await? {
            session.append(writer, vec![(size, digest)]).await?;
            size += u64::from(length);
            chunks += 1;
        }
        let expected = ExpectedIndex {
            chunk_count: Some(chunks),
            size: Some(size),
            csum: None,
        };
        session.close_index(writer, expected).await?;
        let note = DataBlob::encode(b"a configuration", None, true, &self.env)?;
        let name: ArchiveName = "note.conf.blob".parse()?;
        session.add_blob(&name, note.into_raw()).await?;
        let mut manifest = Manifest::new(session.dir());
        for file in session.files() {
            manifest.add_file(WriterSession::file_info(&file, CryptMode::None))?;
        }
        Ok(session.commit(manifest).await?)
    }

    async fn insert(&self, session: &WriterSession, number: u64) -> Result<(Digest, u32)> {
        let data = chunk(number);
        let (digest, length) = (digest(&data), u32::try_from(data.len())?);
        let blob = DataBlob::encode(&data, None, true, &self.env)?;
        session.insert_chunk(digest, length, blob).await?;
        Ok((digest, length))
    }

    /// Removes all but the newest snapshots of a group.
    async fn thin_out(&self, group: &BackupGroup) -> Result<()> {
        let mut paths = self.snapshots_of(group)?;
        let keep = paths.len().saturating_sub(KEPT);
        paths.truncate(keep);
        let cancel = CancellationToken::new();
        for path in paths {
            self.ledger.forgetting(&path)?;
            let client = self.store.client(TaskKind::Prune, &cancel);
            let removed = self.store.forget_snapshot(client.as_ref(), &path, &cancel);
            removed.await?;
        }
        Ok(())
    }

    /// The snapshots of a group, the oldest first.
    fn snapshots_of(&self, group: &BackupGroup) -> Result<Vec<SnapshotPath>> {
        let mut paths = committed_snapshots(&self.store)?;
        paths.retain(|path| path.dir.group == *group);
        Ok(paths)
    }

    async fn restore_for_ever(&self, choices: &Choices) -> Result<()> {
        loop {
            let paths = committed_snapshots(&self.store)?;
            let Some(path) = choices.pick(&paths) else {
                self.pause().await;
                continue;
            };
            // In use, so that nobody removes it meanwhile.
            let Ok(_lock) = self.store.locks().snapshot_shared(&path.ns, &path.dir) else {
                self.pause().await;
                continue;
            };
            if self.store.load_manifest(&path.ns, &path.dir).await.is_err() {
                // Removed before the lock was taken.
                continue;
            }
            if let Err(error) = restore(&self.store, path).await {
                if is_loss(&error) {
                    self.ledger
                        .wrong(&format!("restore of {path}: {error:#}"))?;
                }
                self.failed("restore", &error).await;
            }
        }
    }

    async fn collect_for_ever(&self) -> Result<()> {
        loop {
            if let Err(error) = collect(&self.store, false).await {
                if error.downcast_ref::<ChunksMissing>().is_some() {
                    self.ledger.wrong(&format!("collection: {error}"))?;
                }
                self.failed("collection", &error).await;
            }
            self.pause().await;
        }
    }

    async fn failed(&self, what: &str, error: &anyhow::Error) {
        eprintln!("{what}: {error:#}");
        self.pause().await;
    }

    async fn pause(&self) {
        self.env.sleep(Duration::from_millis(20)).await;
    }
}

/// Whether the error says that data is gone or damaged, rather than out of reach.
fn is_loss(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<Error>() {
        Some(Error::MissingChunk { .. } | Error::CorruptChunk { .. }) => true,
        Some(_) => false,
        // Ours, about what was read.
        None => true,
    }
}

/// All finished snapshots, the oldest of each group first.
///
/// # Errors
/// If the local directory cannot be read.
pub fn committed_snapshots(store: &DataStore) -> Result<Vec<SnapshotPath>> {
    let ns = BackupNamespace::root();
    let mut paths = Vec::new();
    for group in store.snapshots().list_groups(&ns)? {
        let newest_first = store.snapshots().list_snapshots(&ns, &group)?;
        let finished = newest_first
            .into_iter()
            .rev()
            .filter(BackupInfo::is_finished);
        paths.extend(finished.map(|info| SnapshotPath::new(ns.clone(), info.dir)));
    }
    Ok(paths)
}

/// One collection of whatever is not referred to, however young.
///
/// # Errors
/// If it is refused or incomplete.
pub async fn collect(store: &Arc<DataStore>, force: bool) -> Result<GcReport> {
    let options = GcOptions {
        grace: Some(Duration::ZERO),
        force,
        ..GcOptions::default()
    };
    let task = Arc::new(SilentTask::new());
    let report = store.garbage_collection(task, options).await?;
    if report.missing > 0 {
        return Err(ChunksMissing(report.missing).into());
    }
    Ok(report)
}

/// A collection found that chunks are not there which snapshots refer to.
#[derive(Debug)]
struct ChunksMissing(u64);

impl std::fmt::Display for ChunksMissing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} chunks that snapshots refer to are missing", self.0)
    }
}

impl std::error::Error for ChunksMissing {}

/// Reads everything that a snapshot refers to, and checks every byte.
///
/// # Errors
/// If something cannot be read, or is not what it should be.
pub async fn restore(store: &Arc<DataStore>, path: &SnapshotPath) -> Result<()> {
    let client = store.client(TaskKind::Restore, &CancellationToken::new());
    let chunks = index_entries(store, path)?;
    let mut reads = stream::iter(chunks)
        .map(|(expected, length)| {
            let client = client.as_ref();
            async move {
                let blob = store.read_chunk(client, expected, Payload::Discard).await?;
                let data = blob.decode(None, MAX_CHUNK_PLAIN)?;
                if digest(&data) != expected || u64::try_from(data.len())? != length {
                    bail!("chunk {expected} holds other data");
                }
                anyhow::Ok(())
            }
        })
        .buffer_unordered(AT_ONCE);
    while reads.try_next().await?.is_some() {}
    Ok(())
}

/// Digests and lengths of a snapshot's chunks.
///
/// # Errors
/// If the index cannot be read or is not the one that was written.
pub fn index_entries(store: &DataStore, path: &SnapshotPath) -> Result<Vec<(Digest, u64)>> {
    let dir = store.snapshots().snapshot_path(&path.ns, &path.dir);
    let index = datastore::format::DynamicIndexReader::open(&dir.join(ARCHIVE))?;
    index.verify_csum()?;
    let entries = index.entries().map(|entry| {
        let entry = entry?;
        Ok((entry.digest, entry.size()))
    });
    entries.collect()
}

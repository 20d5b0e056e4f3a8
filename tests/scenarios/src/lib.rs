#![allow(clippy::expect_used)] // a world that cannot be built is a failed test
//! A small world for scenarios: a scripted S3 server, a datastore on it, backups made through the
//! session API, a virtual clock. Deterministic: no sockets, blocking work inline, seeded.
//!
//! A [`Server`] is what a process holds in memory; dropping it and opening another one is a crash
//! and restart: disk and bucket stay.

pub mod catalogue;
pub mod facts;
pub mod meanwhile;
pub mod places;
pub mod power;
pub mod running;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api_types::auth::Authid;
use api_types::datastore::DatastoreTuning;
use api_types::digest::Digest;
use api_types::names::{
    ArchiveName, BackupDir, BackupGroup, BackupNamespace, BackupTime, SnapshotPath,
};
use api_types::s3::ProviderQuirk;
use api_types::status::CryptMode;
use datastore::backend::s3::insert::{InsertOutcome, Payload};
use datastore::backend::s3::ownership::Instance;
use datastore::chunk_store::PrefixDirs;
use datastore::format::blob::DataBlob;
use datastore::format::manifest::Manifest;
use datastore::gc::{GcOptions, GcReport};
use datastore::session::{ExpectedIndex, SessionOptions, WriterId, WriterSession};
use datastore::store::create::CreateOptions;
use datastore::store::{BackendOptions, DataStore, StoreOptions};
use datastore::task::{RecordingTask, SilentTask};
use s3_client::env::Env;
use s3_client::transport::Transport;
use s3_client::{S3Client, TaskKind};
use s3_mock::MockS3;
use tokio_util::sync::CancellationToken;

use power::Plug;

/// The bucket of every scenario.
pub const BUCKET: &str = "scenarios";
/// The datastore of every scenario.
pub const STORE: &str = "store1";
/// When every scenario begins, seconds since the epoch.
pub const START: i64 = 1_760_000_000;
/// The default grace period, and a little.
pub const AFTER_GRACE: Duration = Duration::from_secs(25 * 3600);
/// The default quarantine, and a little.
pub const AFTER_QUARANTINE: Duration = Duration::from_secs(31 * 60);

/// Disk, bucket and clock.
#[derive(Debug)]
pub struct World {
    /// The scripted server.
    pub mock: MockS3,
    /// Time and randomness.
    pub env: Env,
    /// Deviations of the provider that clients are told to expect.
    pub quirks: Vec<ProviderQuirk>,
    /// Bound of the payload cache of stores opened from now on.
    pub max_cache_bytes: Option<u64>,
    /// What ends the process whose clients are made from now on.
    pub plug: Option<Arc<Plug>>,
    dir: tempfile::TempDir,
}

/// A process with the datastore open.
#[derive(Clone, Debug)]
pub struct Server {
    /// The open datastore.
    pub store: Arc<DataStore>,
    /// Stops everything that was started with it.
    pub cancel: CancellationToken,
}

/// A chunk to be backed up.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Its digest.
    pub digest: Digest,
    /// Its plaintext.
    pub data: Vec<u8>,
}

/// A committed snapshot and the chunks that it names.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Namespace.
    pub ns: BackupNamespace,
    /// Which one.
    pub dir: BackupDir,
    /// Its chunks, in order.
    pub chunks: Vec<Chunk>,
}

/// A chunk with this text.
#[must_use]
pub fn chunk(text: &str) -> Chunk {
    let data = text.as_bytes().to_vec();
    Chunk {
        digest: Digest::from_bytes(openssl::sha::sha256(&data)),
        data,
    }
}

/// Chunks `<name>-0` to `<name>-<count - 1>`.
#[must_use]
pub fn chunks(name: &str, count: usize) -> Vec<Chunk> {
    (0..count)
        .map(|index| chunk(&format!("{name}-{index}")))
        .collect()
}

/// Chunks whose digests begin with this hex text.
#[must_use]
pub fn chunks_in(prefix: &str, name: &str, count: usize) -> Vec<Chunk> {
    (0..)
        .map(|index| chunk(&format!("{name}-{prefix}-{index}")))
        .filter(|chunk| chunk.digest.to_hex().starts_with(prefix))
        .take(count)
        .collect()
}

/// The group `host/<id>`.
#[must_use]
pub fn group(id: &str) -> BackupGroup {
    format!("host/{id}").parse().expect("a group")
}

/// A backup time, seconds after [`START`].
#[must_use]
pub fn time(seconds: i64) -> BackupTime {
    BackupTime::from_secs(START + seconds).expect("a time")
}

impl World {
    /// A world without a datastore.
    pub async fn empty(seed: u64) -> Result<Self> {
        let env = Env::seeded(seed, START);
        let mock = MockS3::builder()
            .start_time(START)
            .bucket(BUCKET)
            .start()
            .await?;
        Ok(Self {
            mock,
            env,
            quirks: Vec::new(),
            max_cache_bytes: None,
            plug: None,
            dir: support::scratch()?,
        })
    }

    /// A world with a fresh datastore, and the server that created it.
    pub async fn new() -> Result<(Self, Server)> {
        let world = Self::empty(1).await?;
        let server = world.create("cache", CreateOptions::default()).await?;
        Ok((world, server))
    }

    /// The directory that holds all caches and locks.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Directory of a local cache.
    #[must_use]
    pub fn cache(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A client of the bucket.
    pub fn client(&self) -> Result<S3Client> {
        let mut options = support::mock_endpoint(&self.mock, BUCKET)?.options()?;
        options.endpoint.provider_quirks.clone_from(&self.quirks);
        let mut transport: Arc<dyn Transport> =
            Arc::new(support::MemoryTransport::new(&self.mock, self.env.clone()));
        if let Some(plug) = &self.plug {
            transport = plug.transport(transport);
        }
        Ok(S3Client::with_transport(
            options,
            self.env.clone(),
            transport,
        )?)
    }

    /// What a server of this world opens the datastore with.
    pub fn options(&self, cache: &str) -> Result<StoreOptions> {
        self.options_of(STORE, cache)
    }

    /// The same for another datastore in the bucket.
    pub fn options_of(&self, store: &str, cache: &str) -> Result<StoreOptions> {
        Ok(StoreOptions {
            name: store.parse()?,
            path: self.cache(cache),
            lock_dir: self.dir.path().join(format!("locks-{cache}")),
            tuning: DatastoreTuning::default(),
            backend: BackendOptions::S3 {
                client: self.client()?,
                max_cache_bytes: self.max_cache_bytes,
            },
            instance: Instance {
                id: format!("instance-{cache}"),
                hostname: cache.to_owned(),
            },
            quarantine: None,
            env: self.env.clone(),
        })
    }

    /// Creates the datastore with its cache in the directory `cache`.
    pub async fn create(&self, cache: &str, options: CreateOptions) -> Result<Server> {
        self.create_of(STORE, cache, options).await
    }

    /// Creates another datastore in the bucket.
    pub async fn create_of(
        &self,
        store: &str,
        cache: &str,
        options: CreateOptions,
    ) -> Result<Server> {
        let options = CreateOptions {
            prefix_dirs: PrefixDirs::OnDemand,
            ..options
        };
        let store =
            DataStore::create(self.options_of(store, cache)?, options, &SilentTask::new()).await?;
        Ok(Server {
            store,
            cancel: CancellationToken::new(),
        })
    }

    /// Opens the datastore as another process, or as this one after a restart.
    pub fn open(&self, cache: &str) -> Result<Server> {
        let store = DataStore::open(self.options(cache)?)?;
        Ok(Server {
            store,
            cancel: CancellationToken::new(),
        })
    }

    /// Ends a process in the middle of whatever it does, and starts it again.
    ///
    /// The caller has dropped or aborted every task that holds the server.
    pub fn restart(&self, server: Server) -> Result<Server> {
        ensure!(
            Arc::strong_count(&server.store) == 1,
            "something of the old process is still alive"
        );
        drop(server);
        self.open("cache")
    }

    /// Lets time pass.
    pub async fn pass(&self, duration: Duration) {
        self.env.sleep(duration).await;
    }

    /// Whether the chunk's object is in the bucket.
    #[must_use]
    pub fn has_object(&self, chunk: &Chunk) -> bool {
        self.mock.get(BUCKET, &chunk_key(&chunk.digest)).is_some()
    }

    /// Number of chunk objects in the bucket.
    #[must_use]
    pub fn chunk_objects(&self) -> usize {
        self.mock.keys(BUCKET, &format!("{STORE}/.chunks/")).len()
    }
}

/// Key of a chunk's object.
#[must_use]
pub fn chunk_key(digest: &Digest) -> String {
    let hex = digest.to_hex();
    format!("{STORE}/.chunks/{}/{hex}", &hex[..4])
}

impl Server {
    /// Starts a backup session.
    pub async fn session(&self, id: &str, at: i64) -> Result<WriterSession> {
        self.session_with(id, at, Payload::Cache).await
    }

    /// Starts a backup session that caches as told.
    pub async fn session_with(&self, id: &str, at: i64, payload: Payload) -> Result<WriterSession> {
        let mut options = SessionOptions::new(group(id), time(at), Authid::root());
        options.payload = payload;
        Ok(WriterSession::start(&self.store, options, &self.cancel).await?)
    }

    /// Backs these chunks up.
    pub async fn backup(&self, id: &str, at: i64, chunks: &[Chunk]) -> Result<Snapshot> {
        let session = self.session(id, at).await?;
        for chunk in chunks {
            insert(&session, chunk).await?;
        }
        finish(session, chunks).await
    }

    /// Collects garbage with the default options.
    pub async fn gc(&self) -> Result<GcReport> {
        self.gc_with(GcOptions::default()).await.0
    }

    /// Collects garbage without a grace period: safety does not rest on it.
    pub async fn gc_now(&self) -> Result<GcReport> {
        self.gc_with(no_grace()).await.0
    }

    /// Collects garbage; also returns the task with its log.
    pub async fn gc_with(&self, options: GcOptions) -> (Result<GcReport>, Arc<RecordingTask>) {
        let task = Arc::new(RecordingTask::new());
        let result = self.store.garbage_collection(task.clone(), options).await;
        (result.map_err(Into::into), task)
    }

    /// Removes a snapshot.
    pub async fn forget(&self, snapshot: &Snapshot) -> Result<()> {
        let client = self.store.client(TaskKind::Prune, &self.cancel);
        let path = SnapshotPath::new(snapshot.ns.clone(), snapshot.dir.clone());
        self.store
            .forget_snapshot(client.as_ref(), &path, &self.cancel)
            .await?;
        Ok(())
    }

    /// Whether the chunk would be answered "duplicate"; does not touch it.
    #[must_use]
    pub fn is_present(&self, chunk: &Chunk) -> bool {
        let stat = self.store.chunks().stat_chunk(&chunk.digest);
        let ordinary = self
            .store
            .digests()
            .with(&chunk.digest, |slot| slot.is_ordinary());
        ordinary && stat.is_ok_and(|stat| stat.is_some())
    }

    /// Reads a snapshot's chunks back from the bucket, past the cache.
    pub async fn restore(&self, snapshot: &Snapshot) -> Result<()> {
        let client = self.store.client(TaskKind::Restore, &self.cancel);
        let manifest = self
            .store
            .load_manifest(&snapshot.ns, &snapshot.dir)
            .await?;
        ensure!(
            manifest.lookup_file("tree.didx").is_some(),
            "the archive is not in the manifest"
        );
        for chunk in &snapshot.chunks {
            let backend = self.store.backend().s3().context("an S3 datastore")?;
            let client = client.as_ref().context("a client")?;
            let blob = backend
                .fetch(client, chunk.digest)
                .await?
                .with_context(|| format!("chunk {} of {} is gone", chunk.digest, snapshot.dir))?;
            ensure!(blob.decode(None, 1 << 24)? == chunk.data, "wrong data");
        }
        Ok(())
    }

    /// Directory of a snapshot.
    #[must_use]
    pub fn snapshot_path(&self, snapshot: &Snapshot) -> PathBuf {
        self.store
            .snapshots()
            .snapshot_path(&snapshot.ns, &snapshot.dir)
    }
}

/// Options of a collection without a grace period.
#[must_use]
pub fn no_grace() -> GcOptions {
    GcOptions {
        grace: Some(Duration::ZERO),
        ..GcOptions::default()
    }
}

/// Inserts a chunk into a session.
pub async fn insert(session: &WriterSession, chunk: &Chunk) -> Result<InsertOutcome> {
    let blob = DataBlob::encode(&chunk.data, None, true, &Env::system())?;
    Ok(session
        .insert_chunk(chunk.digest, u32::try_from(chunk.data.len())?, blob)
        .await?)
}

/// Writes and closes the index `tree.didx` over these chunks; it is visible afterwards.
pub async fn write_index(session: &WriterSession, chunks: &[Chunk]) -> Result<()> {
    let name: ArchiveName = "tree.didx".parse()?;
    let writer: WriterId = session.open_dynamic_index(&name).await?;
    let mut offset = 0;
    let mut entries = Vec::new();
    for chunk in chunks {
        entries.push((offset, chunk.digest));
        offset += u64::try_from(chunk.data.len())?;
    }
    session.append(writer, entries).await?;
    session
        .close_index(writer, ExpectedIndex::default())
        .await?;
    Ok(())
}

/// The manifest of what the session has stored.
pub fn manifest(session: &WriterSession) -> Result<Manifest> {
    let mut manifest = Manifest::new(session.dir());
    for file in session.files() {
        manifest.add_file(WriterSession::file_info(&file, CryptMode::None))?;
    }
    Ok(manifest)
}

/// Writes the index and commits.
pub async fn finish(session: WriterSession, chunks: &[Chunk]) -> Result<Snapshot> {
    write_index(&session, chunks).await?;
    commit(session, chunks).await
}

/// Commits a session whose index is written.
pub async fn commit(session: WriterSession, chunks: &[Chunk]) -> Result<Snapshot> {
    session.commit(manifest(&session)?).await?;
    Ok(Snapshot {
        ns: BackupNamespace::root(),
        dir: session.dir().clone(),
        chunks: chunks.to_vec(),
    })
}

/// Everything below a directory, relative, sorted.
pub fn tree(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in std::fs::read_dir(&next)? {
            let path = entry?.path();
            if path.is_dir() {
                pending.push(path.clone());
            }
            found.push(path.strip_prefix(dir)?.to_owned());
        }
    }
    found.sort();
    Ok(found)
}

//! `chunk-io` and `insert-cpu`: chunks to and from a real server.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use api_types::auth::Authid;
use api_types::digest::Digest;
use api_types::names::BackupTime;
use bytes::Bytes;
use datastore::backend::s3::insert::Payload;
use datastore::chunk_store::PrefixDirs;
use datastore::format::blob::DataBlob;
use datastore::session::{SessionOptions, WriterSession};
use datastore::store::create::CreateOptions;
use datastore::store::{BackendOptions, DataStore};
use datastore::task::SilentTask;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use s3_client::env::Env;
use s3_client::{ObjectKey, PutMode, PutOptions, S3Client};
use support::MinioServer;
use tokio_util::sync::CancellationToken;

use crate::row::{Bench, Row, Setup, Side, Target, Unit};
use crate::world::cpu;
use crate::world::store::options;

const BUCKET: &str = "bench";
const CHUNK: usize = 4 << 20;
const CHUNKS: usize = 48;
const QUICK_CHUNKS: usize = 3;
/// Requests under way on either side.
const CONCURRENCY: usize = 8;

/// Throughput.
pub struct Throughput;

impl Row for Throughput {
    fn id(&self) -> &'static str {
        "chunk-io"
    }

    fn measures(&self) -> &'static str {
        "Upload and download of 4 MiB chunks through insert and read, MinIO; against PUT and GET"
    }

    fn unit(&self) -> Unit {
        Unit::throughput("MiB/s")
    }

    fn target(&self) -> Target {
        Target::Ratio(0.9)
    }

    fn text(&self) -> &'static str {
        include_str!("../../texts/chunk-io.md")
    }

    fn prepare<'a>(&'a self, setup: &'a Setup) -> BoxFuture<'a, Result<Box<dyn Bench>>> {
        Box::pin(async move {
            let place = Place::prepare(setup).await?;
            let details = Vec::new();
            Ok(Box::new(ThroughputBench { place, details }) as Box<dyn Bench>)
        })
    }
}

/// Processor time.
pub struct Cpu;

impl Row for Cpu {
    fn id(&self) -> &'static str {
        "insert-cpu"
    }

    fn measures(&self) -> &'static str {
        "Processor seconds per GiB inserted; against what the protocol demands of each byte, alone"
    }

    fn unit(&self) -> Unit {
        Unit::cost("s/GiB")
    }

    fn target(&self) -> Target {
        Target::Ratio(0.5)
    }

    fn text(&self) -> &'static str {
        include_str!("../../texts/insert-cpu.md")
    }

    fn prepare<'a>(&'a self, setup: &'a Setup) -> BoxFuture<'a, Result<Box<dyn Bench>>> {
        Box::pin(async move {
            let place = Place::prepare(setup).await?;
            let details = Vec::new();
            Ok(Box::new(CpuBench { place, details }) as Box<dyn Bench>)
        })
    }
}

/// A server, and a datastore on it.
struct Place {
    store: Arc<DataStore>,
    client: S3Client,
    env: Env,
    chunks: usize,
    /// No two rounds have a chunk in common.
    round: u64,
    _server: MinioServer,
}

/// A chunk as a backup client sends it.
#[derive(Clone)]
struct Chunk {
    digest: Digest,
    blob: DataBlob,
}

impl Place {
    async fn prepare(setup: &Setup) -> Result<Self> {
        let server = MinioServer::start().await?;
        server.create_bucket(BUCKET)?;
        let client = server.endpoint(BUCKET).client(setup.env.clone())?;
        let backend = BackendOptions::S3 {
            client: client.clone(),
            max_cache_bytes: None,
        };
        let create = CreateOptions {
            prefix_dirs: PrefixDirs::OnDemand,
            ..CreateOptions::default()
        };
        let options = options(&setup.dir("store"), setup, backend)?;
        let store = DataStore::create(options, create, &SilentTask::new()).await?;
        Ok(Self {
            store,
            client,
            env: setup.env.clone(),
            chunks: setup.size(CHUNKS, QUICK_CHUNKS),
            round: 0,
            _server: server,
        })
    }

    /// New chunks that nothing can compress.
    fn chunks(&mut self) -> Result<Vec<Chunk>> {
        self.round += 1;
        let mut data = vec![0; CHUNK];
        self.env.fill_random(&mut data);
        let round = self.round;
        (0..u64::try_from(self.chunks)?)
            .map(|number| {
                data[..8].copy_from_slice(&number.to_be_bytes());
                data[8..16].copy_from_slice(&round.to_be_bytes());
                let digest = Digest::from_bytes(openssl::sha::sha256(&data));
                let blob = DataBlob::encode(&data, None, false, &self.env)?;
                Ok(Chunk { digest, blob })
            })
            .collect()
    }

    fn bytes(&self) -> f64 {
        (self.chunks * CHUNK) as f64
    }

    async fn session(&self) -> Result<Arc<WriterSession>> {
        let time = BackupTime::from_secs(1_750_000_000 + i64::try_from(self.round)?)?;
        let mut options = SessionOptions::new("host/bench".parse()?, time, Authid::root());
        options.payload = Payload::Discard;
        let cancel = CancellationToken::new();
        let session = WriterSession::start(&self.store, options, &cancel).await?;
        Ok(Arc::new(session))
    }

    /// Inserts the chunks as a session.
    async fn insert(&self, session: &Arc<WriterSession>, chunks: Vec<Chunk>) -> Result<()> {
        let size = u32::try_from(CHUNK)?;
        at_once(chunks, |chunk| {
            let session = Arc::clone(session);
            async move {
                let inserted = session.insert_chunk(chunk.digest, size, chunk.blob).await?;
                ensure!(!inserted.duplicate, "the chunk was there");
                Ok(())
            }
        })
        .await
    }

    async fn read(&self, chunks: &[Chunk]) -> Result<()> {
        let digests = chunks.iter().map(|chunk| chunk.digest).collect();
        at_once(digests, |digest| {
            let (store, client) = (Arc::clone(&self.store), self.client.clone());
            async move {
                let blob = store
                    .read_chunk(Some(&client), digest, Payload::Discard)
                    .await?;
                ensure!(blob.raw_size() > CHUNK as u64, "a short chunk");
                Ok(())
            }
        })
        .await
    }

    fn key(digest: &Digest) -> Result<ObjectKey> {
        Ok(ObjectKey::new(format!("plain/{digest}"))?)
    }

    async fn put(&self, chunks: &[Chunk]) -> Result<()> {
        let objects: Result<Vec<(ObjectKey, Bytes)>> = chunks
            .iter()
            .map(|chunk| Ok((Self::key(&chunk.digest)?, chunk.blob.raw().clone())))
            .collect();
        at_once(objects?, |(key, body)| {
            let client = self.client.clone();
            async move {
                let options = PutOptions::chunk(PutMode::CreateOnly);
                client.put_object(&key, body, options).await?;
                Ok(())
            }
        })
        .await
    }

    async fn get(&self, chunks: &[Chunk]) -> Result<()> {
        let keys: Result<Vec<ObjectKey>> = chunks
            .iter()
            .map(|chunk| Self::key(&chunk.digest))
            .collect();
        at_once(keys?, |key| {
            let client = self.client.clone();
            async move {
                let object = client.get_object(&key).await?.context("an object")?;
                ensure!(object.body.len() > CHUNK, "a short object");
                Ok(())
            }
        })
        .await
    }
}

/// Gives a session up; its chunks stay.
async fn end(session: Arc<WriterSession>) -> Result<()> {
    let session = Arc::into_inner(session).context("the session is in use")?;
    Ok(session.abort().await?)
}

/// Does `work` on every item, [`CONCURRENCY`] at once, each in a task of its own.
async fn at_once<T, F>(items: Vec<T>, work: impl Fn(T) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    stream::iter(items)
        .map(|item| {
            let task = tokio::spawn(work(item));
            async move { task.await.context("a task has failed")? }
        })
        .buffer_unordered(CONCURRENCY)
        .try_collect::<()>()
        .await
}

struct ThroughputBench {
    place: Place,
    details: Vec<String>,
}

impl Bench for ThroughputBench {
    fn run(&mut self, side: Side) -> BoxFuture<'_, Result<f64>> {
        Box::pin(async move {
            let place = &mut self.place;
            let chunks = place.chunks()?;
            let env = place.env.clone();
            let (up, down) = match side {
                Side::Ours => {
                    let session = place.session().await?;
                    let sent = chunks.clone();
                    let started = env.now();
                    place.insert(&session, sent).await?;
                    let up = env.now() - started;
                    let started = env.now();
                    place.read(&chunks).await?;
                    let down = env.now() - started;
                    end(session).await?;
                    (up, down)
                }
                Side::Baseline => {
                    let started = env.now();
                    place.put(&chunks).await?;
                    let up = env.now() - started;
                    let started = env.now();
                    place.get(&chunks).await?;
                    (up, env.now() - started)
                }
            };
            let mebibytes = place.bytes() / f64::from(1 << 20);
            let rate = |duration: std::time::Duration| mebibytes / duration.as_secs_f64();
            self.details.push(format!(
                "{side:?}: up {:.0} MiB/s, down {:.0} MiB/s",
                rate(up),
                rate(down)
            ));
            Ok(2.0 * mebibytes / (up + down).as_secs_f64())
        })
    }

    fn details(&self) -> Vec<String> {
        self.details.clone()
    }
}

struct CpuBench {
    place: Place,
    details: Vec<String>,
}

impl Bench for CpuBench {
    fn run(&mut self, side: Side) -> BoxFuture<'_, Result<f64>> {
        Box::pin(async move {
            let place = &mut self.place;
            let chunks = place.chunks()?;
            let per_gib = f64::from(1 << 30) / place.bytes();
            if side == Side::Baseline {
                let demanded = cpu::demanded(chunks.iter().map(|chunk| chunk.blob.raw()))?;
                self.details = demanded.describe(per_gib);
                return Ok(demanded.total().as_secs_f64() * per_gib);
            }
            let session = place.session().await?;
            let before = cpu::used()?;
            place.insert(&session, chunks).await?;
            let seconds = (cpu::used()? - before).as_secs_f64();
            end(session).await?;
            Ok(seconds * per_gib)
        })
    }

    fn details(&self) -> Vec<String> {
        self.details.clone()
    }
}

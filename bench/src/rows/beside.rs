//! `gc-beside-backup`: what backups lose while a collection runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use api_types::auth::Authid;
use api_types::digest::Digest;
use api_types::names::BackupTime;
use datastore::backend::s3::insert::Payload;
use datastore::chunk_store::PrefixDirs;
use datastore::format::blob::DataBlob;
use datastore::format::crypt::CryptConfig;
use datastore::gc::GcOptions;
use datastore::session::{SessionOptions, WriterSession};
use datastore::store::create::CreateOptions;
use datastore::store::{BackendOptions, DataStore};
use datastore::task::SilentTask;
use futures_util::future::{BoxFuture, try_join_all};
use s3_client::env::Env;
use s3_mock::{MockS3, Op};
use support::mock_endpoint;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::row::{Bench, Row, Setup, Side, Target, Unit};
use crate::world::chunk_files;
use crate::world::corpus::Corpus;
use crate::world::index_file::encode;
use crate::world::series::Series;
use crate::world::store::{STORE, options};

const BUCKET: &str = "bench";
const SESSIONS: u64 = 8;
const CHUNK: usize = 1 << 20;
/// How long the sessions are watched.
const WATCHED: Duration = Duration::from_secs(4);
const QUICK_WATCHED: Duration = Duration::from_millis(300);
/// Until everybody is under way.
const WARM_UP: Duration = Duration::from_millis(500);

const SERIES: Series = Series {
    groups: 10,
    snapshots: 10,
    changed_per_mille: 10,
};
const CHUNKS: usize = 200_000;
const QUICK_CHUNKS: usize = 2_000;
const OLD: i64 = 3 * 86_400;

/// A provider in the same country.
fn latency(op: Op) -> Duration {
    Duration::from_millis(match op {
        Op::ListObjects => 100,
        Op::DeleteObjects => 1000,
        Op::PutObject => 60,
        _ => 30,
    })
}

/// The row.
pub struct Beside;

impl Row for Beside {
    fn id(&self) -> &'static str {
        "gc-beside-backup"
    }

    fn measures(&self) -> &'static str {
        "Upload throughput of 8 sessions while a collection runs, against without"
    }

    fn unit(&self) -> Unit {
        Unit::throughput("MiB/s")
    }

    fn target(&self) -> Target {
        Target::Ratio(0.95)
    }

    fn text(&self) -> &'static str {
        include_str!("../../texts/gc-beside-backup.md")
    }

    fn prepare<'a>(&'a self, setup: &'a Setup) -> BoxFuture<'a, Result<Box<dyn Bench>>> {
        Box::pin(async move {
            let now = setup.env.unix_secs();
            let server = MockS3::builder().bucket(BUCKET).start_time(now);
            let server = server.start().await?;
            let client = mock_endpoint(&server, BUCKET)?.client(setup.env.clone())?;
            let base = setup.dir("store");
            let backend = BackendOptions::S3 {
                client,
                max_cache_bytes: None,
            };
            let options = options(&base, setup, backend)?;
            let create = CreateOptions {
                prefix_dirs: PrefixDirs::All,
                ..CreateOptions::default()
            };
            let store = DataStore::create(options, create, &SilentTask::new()).await?;
            let chunks = u64::try_from(setup.size(CHUNKS, QUICK_CHUNKS))?;
            let corpus = Corpus::new(chunks * 2);
            let written = SERIES.for_each(corpus, chunks - chunks / 10, |index| {
                let bytes = encode(index.kind, &index.digests, index.uuid);
                let path = base.join(index.relative());
                std::fs::create_dir_all(path.parent().context("a snapshot")?)?;
                std::fs::write(&path, &bytes)?;
                let key = format!("{STORE}/.cnt/{}", index.relative().display());
                server.put(BUCKET, &key, bytes);
                Ok(())
            })?;
            let digest = |i| corpus.digest(corpus.born(i));
            let garbage = written.chunks..written.chunks + chunks / 10;
            let data = vec![7; CHUNK];
            let key = CryptConfig::new([1; 32])?;
            let bench = BesideBench {
                blob: DataBlob::encode(&data, Some(&key), false, &setup.env)?,
                garbage: garbage.map(digest).collect(),
                watched: if setup.quick { QUICK_WATCHED } else { WATCHED },
                env: setup.env.clone(),
                next: Arc::new(AtomicU64::new(0)),
                collections: 0,
                round: 0,
                server,
                store,
                base,
            };
            let live: Vec<Digest> = (0..written.chunks).map(digest).collect();
            bench.put(&live)?;
            for op in Op::ALL {
                bench.server.configure(|b| b.set_latency(op, latency(op)));
            }
            Ok(Box::new(bench) as Box<dyn Bench>)
        })
    }
}

struct BesideBench {
    store: Arc<DataStore>,
    server: MockS3,
    base: PathBuf,
    env: Env,
    /// Encrypted: the server cannot check its digest, so that one serves for all.
    blob: DataBlob,
    garbage: Vec<Digest>,
    watched: Duration,
    /// The number of the next chunk that a session makes up.
    next: Arc<AtomicU64>,
    collections: u64,
    round: i64,
}

/// Digests of sessions, apart from those of the store.
fn made_up(number: u64) -> Digest {
    Digest::from_bytes(openssl::sha::sha256(&number.to_be_bytes()))
}

impl BesideBench {
    /// Old chunks, in the bucket and as markers.
    fn put(&self, digests: &[Digest]) -> Result<()> {
        let atime = self.env.unix_secs() - OLD;
        for digest in digests {
            self.server
                .put_at(BUCKET, &key(digest), "chunk", atime * 1000);
        }
        chunk_files::create(&self.base.join(".chunks"), digests, 0, atime)
    }

    /// A session that uploads chunk after chunk.
    async fn session(
        &self,
        number: u64,
        stop: &CancellationToken,
    ) -> Result<JoinHandle<Result<()>>> {
        let group = format!("host/session{number}").parse()?;
        let time = BackupTime::from_secs(1_760_000_000 + self.round)?;
        let mut options = SessionOptions::new(group, time, Authid::root());
        options.payload = Payload::Discard;
        let cancel = CancellationToken::new();
        let session = WriterSession::start(&self.store, options, &cancel).await?;
        let (next, blob, stop) = (Arc::clone(&self.next), self.blob.clone(), stop.clone());
        let size = u32::try_from(CHUNK)?;
        Ok(tokio::spawn(async move {
            while !stop.is_cancelled() {
                let digest = made_up(next.fetch_add(1, Ordering::Relaxed));
                session.insert_chunk(digest, size, blob.clone()).await?;
            }
            session.abort().await?;
            Ok(())
        }))
    }

    /// One collection after the other.
    fn collect(&self, stop: &CancellationToken) -> JoinHandle<Result<u64>> {
        let (store, stop) = (Arc::clone(&self.store), stop.clone());
        tokio::spawn(async move {
            let mut done = 0;
            while !stop.is_cancelled() {
                let options = GcOptions {
                    full: true,
                    ..GcOptions::default()
                };
                let task = Arc::new(SilentTask::new());
                let report = store.garbage_collection(task, options).await?;
                ensure!(report.missing == 0, "{} chunks are missing", report.missing);
                done += 1;
            }
            Ok(done)
        })
    }

    async fn watch(&mut self, side: Side) -> Result<f64> {
        self.round += 1;
        if side == Side::Ours {
            self.put(&self.garbage)?;
        }
        let first = self.next.load(Ordering::Relaxed);
        let stop = CancellationToken::new();
        let mut sessions = Vec::new();
        for number in 0..SESSIONS {
            sessions.push(self.session(number, &stop).await?);
        }
        let collector = (side == Side::Ours).then(|| self.collect(&stop));
        self.env.sleep(WARM_UP).await;
        let (before, started) = (self.next.load(Ordering::Relaxed), self.env.now());
        self.env.sleep(self.watched).await;
        let after = self.next.load(Ordering::Relaxed);
        let seconds = (self.env.now() - started).as_secs_f64();
        stop.cancel();
        for session in try_join_all(sessions).await? {
            session?;
        }
        if let Some(collector) = collector {
            self.collections += collector.await??;
        }
        for number in first..self.next.load(Ordering::Relaxed) {
            let digest = made_up(number);
            self.server.delete(BUCKET, &key(&digest));
            self.store.chunks().remove_chunk(&digest)?;
        }
        Ok((after - before) as f64 / seconds)
    }
}

fn key(digest: &Digest) -> String {
    format!(
        "{STORE}/.chunks/{}/{}",
        digest.prefix_hex(),
        digest.to_hex()
    )
}

impl Bench for BesideBench {
    fn run(&mut self, side: Side) -> BoxFuture<'_, Result<f64>> {
        Box::pin(self.watch(side))
    }

    fn details(&self) -> Vec<String> {
        vec![format!("{} collections ran beside", self.collections)]
    }
}

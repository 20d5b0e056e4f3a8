//! `gc-fs`: a whole collection of a filesystem datastore.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use api_types::digest::Digest;
use datastore::chunk_store::PrefixDirs;
use datastore::gc::GcOptions;
use datastore::store::create::CreateOptions;
use datastore::store::{BackendOptions, DataStore};
use datastore::task::SilentTask;
use futures_util::future::BoxFuture;
use s3_client::env::Env;
use tempfile::TempDir;

use crate::baseline::lru::DEFAULT_CAPACITY;
use crate::baseline::mark::{TouchFiles, mark};
use crate::baseline::sweep::sweep;
use crate::row::{Bench, Row, Setup, Side, Target, Unit};
use crate::world::chunk_files;
use crate::world::corpus::Corpus;
use crate::world::series::Series;
use crate::world::store::options;

/// As for `gc-mark`, so that the mark's part is known from there.
const SERIES: Series = Series {
    groups: 10,
    snapshots: 20,
    changed_per_mille: 10,
};
const CHUNKS: usize = 1_000_000;
const QUICK_CHUNKS: usize = 4_000;
/// Of a chunk file; sparse, so that no content needs room.
const CHUNK_LEN: u64 = 1 << 20;
/// Garbage was last used so long ago, more than the usual cutoff.
const UNUSED: Duration = Duration::from_secs(3 * 86_400);
const CUTOFF: i64 = 86_700;
/// The baseline's pause between two looks at the access time of its trial chunk (§1, step 4).
const TRIAL: Duration = Duration::from_secs(1);
/// Where the files go instead of memory, to see what a disk makes of it.
const PLACE: &str = "COFFER_BENCH_FS";
/// File system in memory.
const MEMORY: &str = "/dev/shm";

/// The row.
pub struct Filesystem;

impl Row for Filesystem {
    fn id(&self) -> &'static str {
        "gc-fs"
    }

    fn measures(&self) -> &'static str {
        "Filesystem datastore, whole collection, 1 M chunks, 10 % garbage, first mark"
    }

    fn unit(&self) -> Unit {
        Unit::cost("s")
    }

    fn target(&self) -> Target {
        Target::Ratio(3.0)
    }

    fn text(&self) -> &'static str {
        include_str!("../../texts/gc-fs.md")
    }

    fn prepare<'a>(&'a self, setup: &'a Setup) -> BoxFuture<'a, Result<Box<dyn Bench>>> {
        Box::pin(async move {
            let dir = place(setup)?;
            let base = dir.path().join("store");
            let options = options(&base, setup, BackendOptions::Filesystem)?;
            let create = CreateOptions {
                prefix_dirs: PrefixDirs::All,
                ..CreateOptions::default()
            };
            let store = DataStore::create(options, create, &SilentTask::new()).await?;
            let chunks = setup.size(CHUNKS, QUICK_CHUNKS);
            let live = u64::try_from(chunks - chunks / 10)?;
            let corpus = Corpus::new(u64::try_from(chunks)? * 2);
            let written = SERIES.write_indexes(&base, corpus, live)?;
            let digest = |i| corpus.digest(corpus.born(i));
            let live: Vec<Digest> = (0..written.chunks).map(digest).collect();
            let garbage = written.chunks..written.chunks + u64::try_from(chunks / 10)?;
            let bench = FilesystemBench {
                garbage: garbage.map(digest).collect(),
                parts: Vec::new(),
                env: setup.env.clone(),
                store,
                base,
                _dir: dir,
            };
            bench.create(&live)?;
            Ok(Box::new(bench) as Box<dyn Bench>)
        })
    }
}

/// Memory, so that the machine's disk and who else uses it play no part; else the scratch directory.
fn place(setup: &Setup) -> Result<TempDir> {
    let mut parent = setup.dir("fs");
    if let Some(place) = std::env::var_os(PLACE) {
        parent = place.into();
    } else if PathBuf::from(MEMORY).is_dir() {
        parent = MEMORY.into();
    } else {
        std::fs::create_dir_all(&parent)?;
    }
    tempfile::Builder::new()
        .prefix("coffer-bench-")
        .tempdir_in(&parent)
        .with_context(|| format!("cannot make a directory in {}", parent.display()))
}

struct FilesystemBench {
    store: Arc<DataStore>,
    base: PathBuf,
    env: Env,
    garbage: Vec<Digest>,
    parts: Vec<String>,
    _dir: TempDir,
}

impl FilesystemBench {
    fn create(&self, digests: &[Digest]) -> Result<()> {
        let unused = i64::try_from(UNUSED.as_secs())?;
        let atime = self.env.unix_secs() - unused;
        chunk_files::create(&self.base.join(".chunks"), digests, CHUNK_LEN, atime)
    }

    async fn ours(&self) -> Result<u64> {
        let options = GcOptions {
            full: true,
            ..GcOptions::default()
        };
        let task = Arc::new(SilentTask::new());
        let report = self.store.garbage_collection(task, options).await?;
        ensure!(report.missing == 0, "{} chunks are missing", report.missing);
        Ok(report.status.removed_chunks)
    }

    async fn baseline(&mut self) -> Result<u64> {
        let (base, env) = (self.base.clone(), self.env.clone());
        let min_atime = env.unix_secs() - CUTOFF;
        let started = env.now();
        env.sleep(TRIAL).await;
        let clock = env.clone();
        let (swept, marked) = env
            .blocking(move || -> Result<_> {
                let marked = mark(&base, &mut TouchFiles::new(&base)?, DEFAULT_CAPACITY)?;
                ensure!(marked.missing == 0, "chunks are missing: {marked:?}");
                let at = clock.now();
                Ok((sweep(&base, min_atime)?, at))
            })
            .await?;
        self.parts.push(format!(
            "baseline: trial 1 s, mark {:.2} s, sweep {:.2} s",
            (marked - started - TRIAL).as_secs_f64(),
            (env.now() - marked).as_secs_f64(),
        ));
        Ok(swept.removed)
    }
}

impl Bench for FilesystemBench {
    fn run(&mut self, side: Side) -> BoxFuture<'_, Result<f64>> {
        Box::pin(async move {
            self.create(&self.garbage)?;
            let env = self.env.clone();
            let started = env.now();
            let removed = match side {
                Side::Ours => self.ours().await?,
                Side::Baseline => self.baseline().await?,
            };
            let seconds = (env.now() - started).as_secs_f64();
            let expected = u64::try_from(self.garbage.len())?;
            ensure!(removed == expected, "{removed} removed, not {expected}");
            Ok(seconds)
        })
    }

    fn details(&self) -> Vec<String> {
        self.parts.last().cloned().into_iter().collect()
    }
}

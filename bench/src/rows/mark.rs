//! `gc-mark` and `gc-mark-again`: what the indexes of a store reference.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, ensure};
use datastore::gc::GcResult;
use datastore::gc::mark::{EpochGuard, MarkHost, MarkOptions, Marked, Marker, PinnedIndex};
use datastore::locks::MoveJournal;
use datastore::task::SilentTask;
use futures_util::future::BoxFuture;
use s3_client::env::Env;

use crate::baseline::lru::DEFAULT_CAPACITY;
use crate::baseline::mark::{TouchFiles, mark};
use crate::row::{Bench, Row, Setup, Side, Target, Unit};
use crate::world::corpus::Corpus;
use crate::world::markers;
use crate::world::series::{Series, Written};

/// 200 indexes of a million chunks, each named by about 17 of them; upstream's published store has
/// 21 references per chunk.
const SERIES: Series = Series {
    groups: 10,
    snapshots: 20,
    changed_per_mille: 10,
};
const CHUNKS: usize = 1_000_000;
const QUICK_CHUNKS: usize = 20_000;

/// Memory for marked digests, as in the product.
const MEMORY: usize = 256 << 20;

/// The first mark of a store.
pub struct First;

impl Row for First {
    fn id(&self) -> &'static str {
        "gc-mark"
    }

    fn measures(&self) -> &'static str {
        "First mark: distinct digests per second, 1 M chunks in 200 indexes, files in memory"
    }

    fn unit(&self) -> Unit {
        Unit::throughput("digests/s")
    }

    fn target(&self) -> Target {
        Target::Ratio(10.0)
    }

    fn text(&self) -> &'static str {
        include_str!("../../texts/gc-mark.md")
    }

    fn prepare<'a>(&'a self, setup: &'a Setup) -> BoxFuture<'a, Result<Box<dyn Bench>>> {
        Box::pin(async move {
            let store = Indexes::prepare(setup)?;
            let count = store.written.chunks;
            let live: Vec<_> = (0..count)
                .map(|i| store.corpus.digest(store.corpus.born(i)))
                .collect();
            markers::create(&store.base.join(".chunks"), &live)?;
            Ok(Box::new(FirstBench { store }) as Box<dyn Bench>)
        })
    }
}

/// A mark when nothing has changed since the last one.
pub struct Again;

impl Row for Again {
    fn id(&self) -> &'static str {
        "gc-mark-again"
    }

    fn measures(&self) -> &'static str {
        "Mark of the same store again, nothing changed; the baseline is our own first mark"
    }

    fn unit(&self) -> Unit {
        Unit::throughput("digests/s")
    }

    fn target(&self) -> Target {
        Target::Ratio(5.0)
    }

    fn text(&self) -> &'static str {
        include_str!("../../texts/gc-mark-again.md")
    }

    fn prepare<'a>(&'a self, setup: &'a Setup) -> BoxFuture<'a, Result<Box<dyn Bench>>> {
        Box::pin(async move {
            let store = Indexes::prepare(setup)?;
            Ok(Box::new(AgainBench { store }) as Box<dyn Bench>)
        })
    }
}

/// A store's index files.
struct Indexes {
    base: PathBuf,
    aside: PathBuf,
    env: Env,
    corpus: Corpus,
    written: Written,
}

impl Indexes {
    fn prepare(setup: &Setup) -> Result<Self> {
        let chunks = u64::try_from(setup.size(CHUNKS, QUICK_CHUNKS))?;
        let base = setup.dir("store");
        let corpus = Corpus::new(chunks * 2);
        let written = SERIES.write_indexes(&base, corpus, chunks)?;
        Ok(Self {
            base,
            aside: setup.dir("aside"),
            env: setup.env.clone(),
            corpus,
            written,
        })
    }

    /// Our mark, as the collection makes it; the digests it found per second.
    async fn mark(&self) -> Result<f64> {
        let options = MarkOptions {
            base: self.base.clone(),
            spill_dir: self.aside.join("spill"),
            memory_limit: MEMORY,
            cache_dir: self.cache_dir(),
            full: false,
            cache_limit: u64::MAX,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            skip_unreadable: Vec::new(),
        };
        let moves = MoveJournal::new(&self.aside, self.env.clone());
        std::fs::create_dir_all(&self.aside)?;
        let marker = Marker::new(options, Arc::new(Nobody), Arc::new(SilentTask::new()));
        let started = self.env.now();
        let marker = marker.run(&self.env, &moves).await?;
        let marked: GcResult<Marked> = self.env.blocking(move || marker.finish()).await;
        let seconds = (self.env.now() - started).as_secs_f64();
        let marked = marked?;
        ensure!(
            marked.counts.references == self.written.references,
            "{} references were read of {}",
            marked.counts.references,
            self.written.references
        );
        Ok(marked.set.len() as f64 / seconds)
    }

    fn cache_dir(&self) -> PathBuf {
        self.aside.join("mark-cache")
    }

    fn forget(&self) -> Result<()> {
        match std::fs::remove_dir_all(self.cache_dir()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// No sessions run.
struct Nobody;

impl MarkHost for Nobody {
    fn pins(&self) -> GcResult<Vec<PinnedIndex>> {
        Ok(Vec::new())
    }

    fn hold_epoch(&self) -> BoxFuture<'_, GcResult<EpochGuard>> {
        Box::pin(async { Ok(Box::new(()) as EpochGuard) })
    }
}

struct FirstBench {
    store: Indexes,
}

impl Bench for FirstBench {
    fn run(&mut self, side: Side) -> BoxFuture<'_, Result<f64>> {
        Box::pin(async move {
            if side == Side::Ours {
                self.store.forget()?;
                return self.store.mark().await;
            }
            let base = self.store.base.clone();
            let env = &self.store.env;
            let started = env.now();
            let marked = env
                .blocking(move || mark(&base, &mut TouchFiles::new(&base)?, DEFAULT_CAPACITY))
                .await?;
            let seconds = (env.now() - started).as_secs_f64();
            ensure!(
                marked.missing == 0 && marked.references == self.store.written.references,
                "the baseline has read something else: {marked:?}"
            );
            Ok(marked.touched as f64 / seconds)
        })
    }

    fn details(&self) -> Vec<String> {
        let Written {
            indexes,
            references,
            ..
        } = self.store.written;
        vec![format!("{references} references in {indexes} indexes")]
    }
}

struct AgainBench {
    store: Indexes,
}

impl Bench for AgainBench {
    fn run(&mut self, side: Side) -> BoxFuture<'_, Result<f64>> {
        Box::pin(async move {
            if side == Side::Baseline {
                self.store.forget()?;
            }
            self.store.mark().await
        })
    }
}

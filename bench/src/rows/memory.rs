//! `gc-memory`: what a collection keeps in memory, in a process of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use api_types::names::ArchiveName;
use futures_util::future::BoxFuture;

use crate::children;
use crate::children::collection::{Needed, STORE, Task};
use crate::row::{Bench, Round, Row, Setup, Side, Target, Unit};
use crate::world::corpus::Corpus;
use crate::world::index_file;
use crate::world::process::SERVICE;
use crate::world::series::{Series, Written};
use crate::world::snapshots;
use crate::world::synthetic::SyntheticServer;

const MILLION: u64 = 1_000_000;
/// Bytes that the collection of 50 M chunks may need, with the spill.
const MOST_AT_50_M: u64 = 512 << 20;
/// Memory does not depend on what else the machine does.
const RUNS: usize = 3;

/// Memory of a collection by the number of chunks.
pub struct Memory;

impl Row for Memory {
    fn id(&self) -> &'static str {
        "gc-memory"
    }

    fn measures(&self) -> &'static str {
        "Peak memory of a whole collection above start at 10 M synthetic chunks, 10 % garbage"
    }

    fn unit(&self) -> Unit {
        Unit::cost("bytes/chunk")
    }

    fn target(&self) -> Target {
        Target::AtMost(64.0)
    }

    fn text(&self) -> &'static str {
        include_str!("../../texts/gc-memory.md")
    }

    fn prepare<'a>(&'a self, setup: &'a Setup) -> BoxFuture<'a, Result<Box<dyn Bench>>> {
        Box::pin(async move {
            let scale = if setup.quick { MILLION / 400 } else { MILLION };
            Ok(Box::new(MemoryBench {
                setup_dir: setup.dir("memory"),
                scale,
                quick: setup.quick,
                details: Vec::new(),
            }) as Box<dyn Bench>)
        })
    }
}

struct MemoryBench {
    setup_dir: PathBuf,
    /// What a million is.
    scale: u64,
    quick: bool,
    details: Vec<String>,
}

impl MemoryBench {
    /// Bytes that one collection of `millions` needs.
    async fn measure(&self, millions: u64, side: Side) -> Result<u64> {
        let chunks = millions * self.scale;
        let corpus = Corpus::new(chunks);
        let dir = tempfile::tempdir_in(self.parent()?)?;
        let indexes = dir.path().join("indexes");
        let written = {
            let indexes = indexes.clone();
            tokio::task::spawn_blocking(move || write_indexes(&indexes, corpus)).await??
        };
        let server = SyntheticServer::start(corpus, STORE).await?;
        let task = Task {
            baseline: side == Side::Baseline,
            port: server.port(),
            base: dir.path().join("store"),
            indexes,
            run: dir.path().join("run"),
        };
        let needed = child(task).await?;
        if side == Side::Ours {
            let garbage = chunks - written.chunks;
            ensure!(
                needed.listed == chunks
                    && needed.deleted == garbage
                    && server.deleted() == garbage
                    && needed.marked == written.chunks,
                "the collection did something else: {needed:?} of {written:?}"
            );
        } else {
            ensure!(needed.marked == written.references && needed.listed > 0);
        }
        Ok(needed.bytes)
    }

    fn parent(&self) -> Result<&PathBuf> {
        std::fs::create_dir_all(&self.setup_dir)?;
        Ok(&self.setup_dir)
    }
}

/// A hundred groups with one snapshot each: every chunk is named once, which is the worst for the
/// memory of a mark.
fn write_indexes(base: &Path, corpus: Corpus) -> Result<Written> {
    let series = Series {
        groups: 100,
        snapshots: 1,
        changed_per_mille: 0,
    };
    series.for_each(corpus, corpus.count() / 10 * 9, |index| {
        let path = base.join(index.relative());
        index_file::write(&path, index.kind, &index.digests, index.uuid)?;
        let manifest = snapshots::manifest(&index.snapshot)?;
        let path = base.join(&index.snapshot).join(ArchiveName::MANIFEST);
        std::fs::write(path, manifest)?;
        Ok(())
    })
}

/// Runs this program once more.
async fn child(task: Task) -> Result<Needed> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let task = serde_json::to_string(&children::Task::Collection(task))?;
    let run = move || {
        let mut command = Command::new(program);
        command.envs(SERVICE).arg("--child").arg(task).output()
    };
    let output = tokio::task::spawn_blocking(run)
        .await?
        .context("cannot run this program again")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the process failed: {said}");
    serde_json::from_slice(&output.stdout).context("cannot read what the process needed")
}

impl Bench for MemoryBench {
    fn run(&mut self, side: Side) -> BoxFuture<'_, Result<f64>> {
        Box::pin(async move {
            let bytes = self.measure(10, side).await?;
            Ok(bytes as f64 / (10 * self.scale) as f64)
        })
    }

    /// Three runs at 10 M; one more at each of the other sizes.
    fn rounds(&mut self, runs: usize) -> BoxFuture<'_, Result<Vec<Round>>> {
        Box::pin(async move {
            let mut rounds = Vec::new();
            let (baseline, small) = tokio::try_join!(
                self.run_shared(10, Side::Baseline),
                self.run_shared(1, Side::Ours)
            )?;
            for _ in 0..runs.min(RUNS) {
                let ours = self.run(Side::Ours).await?;
                rounds.push(Round { ours, baseline });
            }
            let large = self.measure(50, Side::Ours).await?;
            let per_chunk = large as f64 / (50 * self.scale) as f64;
            let mib = large >> 20;
            self.details = vec![
                format!("at 1 M chunks: {small:.1} bytes a chunk (allowed are 64)"),
                format!(
                    "at 50 M chunks: {mib} MiB with the spill (allowed are 512), {per_chunk:.1} \
                     bytes a chunk"
                ),
                "the baseline keeps its marks in the file system; in memory it has its cache of \
                 2²⁰ digests"
                    .to_owned(),
            ];
            if large > MOST_AT_50_M && !self.quick {
                self.details
                    .push("**the limit at 50 M is not kept**".to_owned());
            }
            Ok(rounds)
        })
    }

    fn details(&self) -> Vec<String> {
        self.details.clone()
    }
}

impl MemoryBench {
    async fn run_shared(&self, millions: u64, side: Side) -> Result<f64> {
        let bytes = self.measure(millions, side).await?;
        Ok(bytes as f64 / (millions * self.scale) as f64)
    }
}

//! What a row of the table is. A new one: a file in `rows/`, a text in `texts/`, a line in
//! [`rows::all`](crate::rows::all).

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use futures_util::future::BoxFuture;
use s3_client::env::Env;

/// A measure: what it is called, what is to be reached, how it is set up.
pub trait Row: Send + Sync {
    /// Its id, as in the issue.
    fn id(&self) -> &'static str;

    /// What is measured, in one line.
    fn measures(&self) -> &'static str;

    /// What the figures count.
    fn unit(&self) -> Unit;

    /// What is to be reached.
    fn target(&self) -> Target;

    /// What bounds it, how far from the limit of machine or server it is, and why (Markdown).
    fn text(&self) -> &'static str;

    /// Prepares the data.
    fn prepare<'a>(&'a self, setup: &'a Setup) -> BoxFuture<'a, Result<Box<dyn Bench>>>;
}

/// A row with its data.
pub trait Bench: Send {
    /// Runs one side once and gives its figure, in the row's unit.
    fn run(&mut self, side: Side) -> BoxFuture<'_, Result<f64>>;

    /// All rounds: the baseline and ours in turn, unless a row has a reason for another way, which
    /// it then says in its text.
    fn rounds(&mut self, runs: usize) -> BoxFuture<'_, Result<Vec<Round>>> {
        Box::pin(async move {
            let mut rounds = Vec::with_capacity(runs);
            for _ in 0..runs {
                let baseline = self.run(Side::Baseline).await?;
                let ours = self.run(Side::Ours).await?;
                rounds.push(Round { ours, baseline });
            }
            Ok(rounds)
        })
    }

    /// Further figures for the document, a line each.
    fn details(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Which implementation is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Coffer.
    Ours,
    /// What it is compared with.
    Baseline,
}

/// One run of each side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    /// Our figure.
    pub ours: f64,
    /// The baseline's.
    pub baseline: f64,
}

/// What figures count, and which way they are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub name: &'static str,
    /// Whether more is better.
    pub better: Better,
}

/// Which figure is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// The higher: a throughput.
    Higher,
    /// The lower: a time, a number of requests, memory.
    Lower,
}

impl Unit {
    /// More is better.
    #[must_use]
    pub const fn throughput(name: &'static str) -> Self {
        Self {
            name,
            better: Better::Higher,
        }
    }

    /// Less is better.
    #[must_use]
    pub const fn cost(name: &'static str) -> Self {
        Self {
            name,
            better: Better::Lower,
        }
    }

    /// How many times better `ours` is than `baseline`.
    #[must_use]
    pub fn ratio(self, ours: f64, baseline: f64) -> f64 {
        match self.better {
            Better::Higher => ours / baseline,
            Better::Lower => baseline / ours,
        }
    }
}

/// What is to be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Better than the baseline by at least this factor.
    Ratio(f64),
    /// Our figure is at most this, whatever the baseline's is.
    AtMost(f64),
}

/// Where and how to measure.
#[derive(Debug)]
pub struct Setup {
    /// Small data: only whether it works.
    pub quick: bool,
    /// How often each side will be run.
    pub runs: usize,
    /// The machine's clock and randomness.
    pub env: Env,
    scratch: tempfile::TempDir,
    memory: tempfile::TempDir,
}

impl Setup {
    /// A setup with a directory of its own below `parent`, removed with it.
    pub fn new(parent: Option<&Path>, quick: bool, runs: usize) -> Result<Self> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let scratch = tempfile::Builder::new()
            .prefix("coffer-bench-")
            .tempdir_in(&parent)
            .with_context(|| format!("cannot make a directory in {}", parent.display()))?;
        let memory = support::scratch()?;
        Ok(Self {
            quick,
            runs,
            env: Env::system(),
            scratch,
            memory,
        })
    }

    /// A directory in memory, where there is such a file system.
    pub fn memory_dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.memory.path().join(name);
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(dir)
    }

    /// A directory for the row's data.
    #[must_use]
    pub fn dir(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// `full`, or `quick` in a quick run.
    #[must_use]
    pub fn size(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

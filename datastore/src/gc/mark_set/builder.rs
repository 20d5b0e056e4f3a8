//! Collecting the digests of all indexes into one sorted set within a bound of memory.

use std::path::{Path, PathBuf};

use api_types::digest::{DIGEST_LEN, Digest};

use super::run_file::{RunFile, RunWriter, merge};
use super::sort::{compare, sort_unique};
use super::{MarkSet, PARTITIONS};
use crate::gc::error::GcResult;

/// Runs of one level before they are merged into one of the next: bounds files and disk space.
const RUNS_PER_LEVEL: usize = 16;
/// Unsorted digests a partition keeps at least before it is compacted.
const MIN_FRESH: usize = 256;

/// Adds up referenced digests; see [`super`].
pub struct MarkSetBuilder {
    partitions: Vec<Partition>,
    /// Bytes allocated by the partitions.
    bytes: usize,
    limit: usize,
    spill_dir: PathBuf,
    /// Spilled runs, by how many merges are behind them.
    levels: Vec<Vec<RunFile>>,
    scratch: Vec<Digest>,
}

#[derive(Default)]
struct Partition {
    /// Strictly ascending.
    main: Vec<Digest>,
    /// Not in `main`, in no order, perhaps more than once.
    fresh: Vec<Digest>,
}

impl MarkSetBuilder {
    /// A set that spills to nameless files below `spill_dir` when it would take more than
    /// `memory_limit` bytes.
    #[must_use]
    pub fn new(memory_limit: usize, spill_dir: &Path) -> Self {
        Self {
            partitions: std::iter::repeat_with(Partition::default)
                .take(PARTITIONS)
                .collect(),
            bytes: 0,
            limit: memory_limit,
            spill_dir: spill_dir.to_path_buf(),
            levels: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Adds digests in any order.
    pub fn add(&mut self, digests: &[Digest]) -> GcResult<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.extend_from_slice(digests);
        sort_unique(&mut scratch);
        let outcome = self.add_sorted(&scratch);
        self.scratch = scratch;
        outcome
    }

    /// Adds strictly ascending digests, as an index's cached list has them. Cheaper than
    /// [`Self::add`] by the sort; a slice that is not ascending after all is sorted.
    pub fn add_sorted(&mut self, digests: &[Digest]) -> GcResult<()> {
        if !super::sort::is_strictly_sorted(digests) {
            return self.add(digests);
        }
        let mut rest = digests;
        while let Some(first) = rest.first() {
            let byte = first.as_bytes()[0];
            let (part, behind) = rest.split_at(rest.partition_point(|d| d.as_bytes()[0] <= byte));
            let partition = &mut self.partitions[usize::from(byte)];
            let before = partition.bytes();
            partition.absorb(part);
            self.bytes = self.bytes - before + partition.bytes();
            rest = behind;
        }
        if self.bytes > self.limit {
            self.shrink()?;
        }
        Ok(())
    }

    /// The set of everything added.
    pub fn finish(mut self) -> GcResult<MarkSet> {
        self.scratch = Vec::new();
        if self.levels.is_empty() {
            let partitions = self
                .partitions
                .into_iter()
                .map(Partition::into_sorted)
                .collect();
            return Ok(MarkSet::in_memory(partitions));
        }
        self.spill()?;
        let runs: Vec<RunFile> = self.levels.drain(..).flatten().collect();
        match <[RunFile; 1]>::try_from(runs) {
            Ok([run]) => Ok(MarkSet::on_disk(run)),
            Err(runs) => Ok(MarkSet::on_disk(merge(&runs, &self.spill_dir)?)),
        }
    }

    /// Gives memory back: duplicates first, then everything to disk.
    fn shrink(&mut self) -> GcResult<()> {
        for partition in &mut self.partitions {
            partition.compact();
            partition.fresh = Vec::new();
        }
        self.bytes = self.partitions.iter().map(Partition::bytes).sum();
        // Half, or the next few digests would bring us back here.
        if self.bytes > self.limit / 2 {
            self.spill()
        } else {
            Ok(())
        }
    }

    fn spill(&mut self) -> GcResult<()> {
        let mut writer = RunWriter::create(&self.spill_dir)?;
        for partition in &mut self.partitions {
            for digest in std::mem::take(partition).into_sorted() {
                writer.push(&digest)?;
            }
        }
        self.bytes = 0;
        self.keep_run(writer.finish()?)
    }

    fn keep_run(&mut self, mut run: RunFile) -> GcResult<()> {
        if run.count() == 0 {
            return Ok(());
        }
        let mut level = 0;
        loop {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            self.levels[level].push(run);
            if self.levels[level].len() < RUNS_PER_LEVEL {
                return Ok(());
            }
            run = merge(&std::mem::take(&mut self.levels[level]), &self.spill_dir)?;
            level += 1;
        }
    }
}

impl Partition {
    fn bytes(&self) -> usize {
        (self.main.capacity() + self.fresh.capacity()) * DIGEST_LEN
    }

    /// Takes in strictly ascending digests of this partition.
    fn absorb(&mut self, digests: &[Digest]) {
        if self.main.is_empty() && self.fresh.is_empty() {
            self.main = digests.to_vec();
            return;
        }
        let mut position = 0;
        for digest in digests {
            position = gallop(&self.main, position, digest);
            if self.main.get(position) == Some(digest) {
                position += 1;
            } else {
                self.fresh.push(*digest);
            }
        }
        if self.fresh.len() > MIN_FRESH.max(self.main.len() / 4) {
            self.compact();
        }
    }

    /// Sorts `fresh` into `main`.
    fn compact(&mut self) {
        if self.fresh.is_empty() {
            return;
        }
        sort_unique(&mut self.fresh);
        let (mut from, mut new) = (self.main.len(), self.fresh.len());
        self.main.reserve_exact(new);
        self.main.extend_from_slice(&self.fresh);
        // From the back, so that nothing is overwritten before it has moved.
        let mut to = self.main.len();
        while new > 0 {
            to -= 1;
            let from_main = from > 0 && compare(&self.main[from - 1], &self.fresh[new - 1]).is_gt();
            if from_main {
                from -= 1;
                self.main[to] = self.main[from];
            } else {
                new -= 1;
                self.main[to] = self.fresh[new];
            }
        }
        self.fresh.clear();
    }

    fn into_sorted(mut self) -> Vec<Digest> {
        self.compact();
        self.main
    }
}

/// The first position from `start` on whose digest is not below `digest`. The next one mostly is,
/// since the snapshots of a group resemble each other; else by doubling steps.
fn gallop(sorted: &[Digest], start: usize, digest: &Digest) -> usize {
    let below = |position: usize| {
        sorted
            .get(position)
            .is_some_and(|d| compare(d, digest).is_lt())
    };
    let (mut low, mut step) = (start, 1);
    if !below(low) {
        return low;
    }
    while below(low + step) {
        low += step;
        step *= 2;
    }
    let high = (low + step).min(sorted.len());
    low + 1 + sorted[low + 1..high].partition_point(|d| compare(d, digest).is_lt())
}

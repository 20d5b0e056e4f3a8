//! Collecting the digests of all indexes into one sorted set within a bound of memory.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use api_types::digest::{DIGEST_LEN, Digest};

use super::run_file::{RunFile, RunWriter, merge};
use super::sort::{compare, sort_unique};
use super::{MarkSet, PARTITIONS};
use crate::gc::error::GcResult;

/// Runs of one level before they are merged into one of the next: bounds files and disk space.
const RUNS_PER_LEVEL: usize = 16;
/// Unsorted digests a partition keeps at least before it is compacted.
const MIN_FRESH: usize = 256;

/// Adds up referenced digests; see [`super`]. Several threads may add at once.
pub struct MarkSetBuilder {
    partitions: Vec<Mutex<Partition>>,
    /// Bytes allocated by the partitions.
    bytes: AtomicUsize,
    limit: usize,
    spill_dir: PathBuf,
    /// Shared by those that add, exclusive for whoever gives memory back.
    spilled: RwLock<Levels>,
}

/// Spilled runs, by how many merges are behind them.
type Levels = Vec<Vec<RunFile>>;

#[derive(Default)]
struct Partition {
    /// Strictly ascending.
    main: Vec<Digest>,
    /// Not in `main`, in no order, perhaps more than once.
    fresh: Vec<Digest>,
}

fn lock(partition: &Mutex<Partition>) -> MutexGuard<'_, Partition> {
    // Whoever panicked has ended the mark: a partial set is never finished.
    partition.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MarkSetBuilder {
    /// A set that spills to nameless files below `spill_dir` when it would take more than
    /// `memory_limit` bytes.
    #[must_use]
    pub fn new(memory_limit: usize, spill_dir: &Path) -> Self {
        Self {
            partitions: std::iter::repeat_with(Mutex::default)
                .take(PARTITIONS)
                .collect(),
            bytes: AtomicUsize::new(0),
            limit: memory_limit,
            spill_dir: spill_dir.to_path_buf(),
            spilled: RwLock::default(),
        }
    }

    /// Adds digests in any order.
    pub fn add(&self, digests: &[Digest]) -> GcResult<()> {
        let mut sorted = digests.to_vec();
        sort_unique(&mut sorted);
        self.add_sorted(&sorted)
    }

    /// Adds strictly ascending digests, as an index's cached list has them. Cheaper than
    /// [`Self::add`] by the sort; a slice that is not ascending after all is sorted.
    pub fn add_sorted(&self, digests: &[Digest]) -> GcResult<()> {
        if !super::sort::is_strictly_sorted(digests) {
            return self.add(digests);
        }
        {
            let _adding = self.spilled.read().unwrap_or_else(PoisonError::into_inner);
            let mut rest = digests;
            while let Some(first) = rest.first() {
                let byte = first.as_bytes()[0];
                let end = rest.partition_point(|digest| digest.as_bytes()[0] <= byte);
                let (part, behind) = rest.split_at(end);
                let mut partition = lock(&self.partitions[usize::from(byte)]);
                let before = partition.bytes();
                partition.absorb(part);
                let after = partition.bytes();
                drop(partition);
                self.bytes.fetch_add(after, Ordering::Relaxed);
                self.bytes.fetch_sub(before, Ordering::Relaxed);
                rest = behind;
            }
        }
        if self.bytes.load(Ordering::Relaxed) > self.limit {
            self.shrink()?;
        }
        Ok(())
    }

    /// The set of everything added.
    pub fn finish(self) -> GcResult<MarkSet> {
        let mut levels = self
            .spilled
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let partitions = self.partitions.into_iter().map(|partition| {
            partition
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner)
        });
        if levels.is_empty() {
            return Ok(MarkSet::in_memory(
                partitions.map(Partition::into_sorted).collect(),
            ));
        }
        spill(partitions, &self.spill_dir, &mut levels)?;
        let runs: Vec<RunFile> = levels.into_iter().flatten().collect();
        match <[RunFile; 1]>::try_from(runs) {
            Ok([run]) => Ok(MarkSet::on_disk(run)),
            Err(runs) => Ok(MarkSet::on_disk(merge(&runs, &self.spill_dir)?)),
        }
    }

    /// Gives memory back: duplicates first, then everything to disk.
    fn shrink(&self) -> GcResult<()> {
        let mut levels = self.spilled.write().unwrap_or_else(PoisonError::into_inner);
        if self.bytes.load(Ordering::Relaxed) <= self.limit {
            // Another thread has done it meanwhile.
            return Ok(());
        }
        let mut bytes = 0;
        for partition in &self.partitions {
            let mut partition = lock(partition);
            partition.compact();
            partition.fresh = Vec::new();
            bytes += partition.bytes();
        }
        // Half, or the next few digests would bring us back here.
        if bytes > self.limit / 2 {
            let partitions = self.partitions.iter();
            let taken = partitions.map(|partition| std::mem::take(&mut *lock(partition)));
            spill(taken, &self.spill_dir, &mut levels)?;
            bytes = 0;
        }
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }
}

fn spill(
    partitions: impl Iterator<Item = Partition>,
    dir: &Path,
    levels: &mut Levels,
) -> GcResult<()> {
    let mut writer = RunWriter::create(dir)?;
    for partition in partitions {
        for digest in partition.into_sorted() {
            writer.push(&digest)?;
        }
    }
    keep_run(writer.finish()?, dir, levels)
}

fn keep_run(mut run: RunFile, dir: &Path, levels: &mut Levels) -> GcResult<()> {
    if run.count() == 0 {
        return Ok(());
    }
    let mut level = 0;
    loop {
        if levels.len() == level {
            levels.push(Vec::new());
        }
        levels[level].push(run);
        if levels[level].len() < RUNS_PER_LEVEL {
            return Ok(());
        }
        run = merge(&std::mem::take(&mut levels[level]), dir)?;
        level += 1;
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

//! The set of referenced digests: what the mark puts together and the sweep asks.
//!
//! Digests are kept in 256 partitions by their first byte, sorted and unique, 32 bytes each; above
//! a limit they are spilled as sorted runs and merged (gc.md §6.2 P1: 1.5 M chunks are 48 MB, 50 M
//! are 1.6 GB and go to disk). The sweep reads the set in digest order, shard by shard, beside the
//! listing, which comes in the same order.
//!
//! ◆ A partial mark never reaches the sweep: a [`MarkSet`] exists only after
//! [`MarkSetBuilder::finish`], and every block that was spilled is checked when it is read back.

mod builder;
mod run_file;
mod sort;

use std::path::Path;
use std::sync::Arc;

use api_types::digest::{DIGEST_LEN, Digest};

pub use builder::MarkSetBuilder;
pub use sort::{is_strictly_sorted, sort_unique};

use self::run_file::{RunFile, RunReader, RunWriter};
use super::error::GcResult;
use super::shards::ShardPrefix;

/// One per first byte.
const PARTITIONS: usize = 256;

/// All referenced digests. Cheap to clone; immutable.
#[derive(Clone, Debug)]
pub struct MarkSet {
    store: Store,
    count: u64,
}

#[derive(Clone, Debug)]
enum Store {
    /// One sorted vector per first byte.
    Memory(Arc<Vec<Vec<Digest>>>),
    Disk(RunFile),
}

impl MarkSet {
    fn in_memory(partitions: Vec<Vec<Digest>>) -> Self {
        let count = partitions.iter().map(Vec::len).sum::<usize>();
        Self {
            store: Store::Memory(Arc::new(partitions)),
            count: u64::try_from(count).unwrap_or(u64::MAX),
        }
    }

    fn on_disk(run: RunFile) -> Self {
        Self {
            count: run.count(),
            store: Store::Disk(run),
        }
    }

    /// A set of strictly ascending digests that takes no memory: a nameless file in `dir`.
    pub(super) fn on_disk_only(digests: &[Digest], dir: &Path) -> GcResult<Self> {
        let mut writer = RunWriter::create(dir)?;
        for digest in digests {
            writer.push(digest)?;
        }
        Ok(Self::on_disk(writer.finish()?))
    }

    /// Number of different digests.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether nothing is referenced.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the set had to be spilled.
    #[must_use]
    pub fn is_spilled(&self) -> bool {
        matches!(self.store, Store::Disk(_))
    }

    /// Whether `digest` is referenced. Reads a block of the disk if the set is spilled.
    pub fn contains(&self, digest: &Digest) -> GcResult<bool> {
        match &self.store {
            Store::Memory(partitions) => {
                let partition = &partitions[usize::from(digest.as_bytes()[0])];
                Ok(partition
                    .binary_search_by(|probe| sort::compare(probe, digest))
                    .is_ok())
            }
            Store::Disk(run) => run.contains(digest),
        }
    }

    /// Everything, ascending.
    #[must_use]
    pub fn iter(&self) -> MarkIter {
        self.range(&Digest::from_bytes([0; DIGEST_LEN]), None)
    }

    /// The digests with that first byte, ascending.
    #[must_use]
    pub fn partition(&self, first_byte: u8) -> MarkIter {
        let mut start = [0; DIGEST_LEN];
        start[0] = first_byte;
        let end = first_byte.checked_add(1).map(|next| {
            let mut end = [0; DIGEST_LEN];
            end[0] = next;
            Digest::from_bytes(end)
        });
        self.range(&Digest::from_bytes(start), end)
    }

    /// The digests of a shard, ascending.
    #[must_use]
    pub fn shard(&self, prefix: ShardPrefix) -> MarkIter {
        self.range(&prefix.first(), prefix.end())
    }

    /// The digests from `start` (inclusive) to `end` (exclusive; `None`: to the last), ascending.
    #[must_use]
    pub fn range(&self, start: &Digest, end: Option<Digest>) -> MarkIter {
        let source = match &self.store {
            Store::Memory(partitions) => {
                let partition = usize::from(start.as_bytes()[0]);
                let position =
                    partitions[partition].partition_point(|d| sort::compare(d, start).is_lt());
                Source::Memory {
                    partitions: Arc::clone(partitions),
                    partition,
                    position,
                    end,
                }
            }
            Store::Disk(run) => Source::Disk(run.range(start, end)),
        };
        MarkIter { source }
    }
}

/// Ascending digests of a [`MarkSet`]; owns what it reads, so that it can move to another task.
/// After an error it ends.
#[derive(Debug)]
pub struct MarkIter {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Memory {
        partitions: Arc<Vec<Vec<Digest>>>,
        partition: usize,
        position: usize,
        end: Option<Digest>,
    },
    Disk(RunReader),
    Failed,
}

impl Iterator for MarkIter {
    type Item = GcResult<Digest>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.source {
            Source::Memory {
                partitions,
                partition,
                position,
                end,
            } => loop {
                let digests = partitions.get(*partition)?;
                if let Some(digest) = digests.get(*position) {
                    if end.is_some_and(|end| *digest >= end) {
                        return None;
                    }
                    *position += 1;
                    return Some(Ok(*digest));
                }
                *partition += 1;
                *position = 0;
            },
            Source::Disk(reader) => {
                let next = reader.next_digest();
                if next.is_err() {
                    self.source = Source::Failed;
                }
                next.transpose()
            }
            Source::Failed => None,
        }
    }
}

#[cfg(test)]
mod tests;

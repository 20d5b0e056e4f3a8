//! The sweep's decision table as a streaming merge: marked digests, the bucket's listing and the
//! local chunk directory of one shard, all ascending, give one event per digest (design.md §4,
//! gc.md §6.2 P2). Pure: what an event leads to is decided under the digest's lock by the caller.
//!
//! Rules carried here:
//! * ◆ "not in the bucket" holds only for a shard whose listing is complete: those events wait
//!   until the end of the listing and are dropped if it did not get there (G10).
//! * ◆ A marked digest is never a candidate, whatever order, repetitions and gaps a listing has.
//!   The candidate test compares with the marked digests alone; a listing out of order switches
//!   the shard from comparing neighbours to looking digests up.
//! * ◆ A key outside of the shard fails the shard: its digest would be compared with marks that
//!   this shard has not got.
//! * Each listed key counts once: listed = live + candidates + bad + unknown (G12).

mod unordered;

use std::cmp::Ordering;
use std::collections::BTreeSet;

use api_types::digest::Digest;
use serde::Serialize;

use self::unordered::Unordered;
use super::chunk_key::ChunkKey;
use super::error::{GcError, GcResult};
use super::mark_set::{MarkIter, MarkSet};
use super::shards::ShardPrefix;

/// Most unknown keys that are remembered for the report.
const UNKNOWN_SAMPLES: usize = 10;

/// What the listing says about an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectFacts {
    /// Bytes.
    pub size: u64,
    /// `LastModified`, in milliseconds of the server's clock.
    pub last_modified: Option<i64>,
    /// The server's clock when it sent this page of the listing, in milliseconds.
    pub list_date: Option<i64>,
}

/// What is to be looked at, ascending by digest while the listing is in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeEvent {
    /// Marked and listed: it stays. Without a local file its presence is unknown, and to be
    /// created only after a HEAD.
    Live {
        /// The chunk.
        digest: Digest,
        /// Its object.
        object: ObjectFacts,
        /// Whether there was a local file when the directory was read.
        local: bool,
    },
    /// Listed and not marked: garbage, if the sweep condition says so.
    Candidate {
        /// The chunk.
        digest: Digest,
        /// Its object.
        object: ObjectFacts,
        /// Whether there was a local file when the directory was read.
        local: bool,
    },
    /// A corrupt chunk that verify renamed.
    Bad {
        /// The chunk it was.
        digest: Digest,
        /// The number in its name.
        number: u8,
        /// Its object.
        object: ObjectFacts,
        /// Whether the digest is marked.
        marked: bool,
        /// Whether a good object of the digest is listed, too.
        good_listed: bool,
    },
    /// Marked and not in a complete listing: heal from a cached payload, or missing.
    MarkedAbsent {
        /// The chunk.
        digest: Digest,
        /// Whether there was a local file when the directory was read.
        local: bool,
    },
    /// A local file of a digest that is neither marked nor in a complete listing.
    LocalOnly {
        /// The chunk.
        digest: Digest,
    },
}

/// How a shard's listing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListingEnd {
    /// The server said that this was all, and every page before was fine.
    Complete,
    /// An error, a loop, a repeated token: there may be more keys.
    Incomplete,
}

/// What a shard's listing contained.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MergeCounts {
    /// Keys, each once.
    pub listed: u64,
    /// Bytes of their objects.
    pub listed_bytes: u64,
    /// Marked chunks.
    pub live: u64,
    /// Bytes of them.
    pub live_bytes: u64,
    /// Marked chunks without a local file.
    pub live_without_local: u64,
    /// Unmarked chunks.
    pub candidates: u64,
    /// Bytes of them.
    pub candidate_bytes: u64,
    /// Bad chunks.
    pub bad: u64,
    /// Bytes of them.
    pub bad_bytes: u64,
    /// Keys that are no chunk's.
    pub unknown: u64,
    /// Bytes of them.
    pub unknown_bytes: u64,
    /// The first few of those keys, as they follow `.chunks/`.
    pub unknown_samples: Vec<String>,
    /// Keys that were listed again.
    pub duplicates: u64,
    /// Marked digests that a complete listing did not contain.
    pub marked_absent: u64,
    /// Local files whose digest is neither marked nor in a complete listing.
    pub local_only: u64,
    /// Digests that were not seen in a listing that did not end properly; nothing follows from it.
    pub undecided: u64,
    /// Listings that were out of order.
    pub disordered: u64,
    /// Listings that did not end properly.
    pub incomplete: u64,
}

impl MergeCounts {
    /// Adds another shard's counts.
    pub fn add(&mut self, other: &Self) {
        self.listed += other.listed;
        self.listed_bytes += other.listed_bytes;
        self.live += other.live;
        self.live_bytes += other.live_bytes;
        self.live_without_local += other.live_without_local;
        self.candidates += other.candidates;
        self.candidate_bytes += other.candidate_bytes;
        self.bad += other.bad;
        self.bad_bytes += other.bad_bytes;
        self.unknown += other.unknown;
        self.unknown_bytes += other.unknown_bytes;
        let room = UNKNOWN_SAMPLES.saturating_sub(self.unknown_samples.len());
        self.unknown_samples
            .extend(other.unknown_samples.iter().take(room).cloned());
        self.duplicates += other.duplicates;
        self.marked_absent += other.marked_absent;
        self.local_only += other.local_only;
        self.undecided += other.undecided;
        self.disordered += other.disordered;
        self.incomplete += other.incomplete;
    }

    /// The accounting identity (G12).
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.listed == self.live + self.candidates + self.bad + self.unknown
            && self.listed_bytes
                == self.live_bytes + self.candidate_bytes + self.bad_bytes + self.unknown_bytes
    }
}

/// The marked digests of a shard, in order and by lookup.
pub trait ShardMarks {
    /// The next digest; strictly ascending.
    fn next_mark(&mut self) -> GcResult<Option<Digest>>;
    /// Whether a digest of this shard is marked, wherever the stream is.
    fn is_marked(&self, digest: &Digest) -> GcResult<bool>;
}

/// A shard of a [`MarkSet`].
#[derive(Debug)]
pub struct MarkSetShard {
    set: MarkSet,
    iter: MarkIter,
}

impl MarkSetShard {
    /// The digests with that prefix.
    #[must_use]
    pub fn new(set: &MarkSet, prefix: ShardPrefix) -> Self {
        Self {
            set: set.clone(),
            iter: set.shard(prefix),
        }
    }
}

impl ShardMarks for MarkSetShard {
    fn next_mark(&mut self) -> GcResult<Option<Digest>> {
        self.iter.next().transpose()
    }

    fn is_marked(&self, digest: &Digest) -> GcResult<bool> {
        self.set.contains(digest)
    }
}

/// The merge of one shard: keys are pushed as pages arrive, events come out.
///
/// `L` yields the digests that have a local chunk file, ascending.
#[derive(Debug)]
pub struct ShardMerge<M, L> {
    prefix: ShardPrefix,
    prefix_text: String,
    streams: Streams<M, L>,
    last_key: Option<String>,
    /// The last chunk that was compared with the streams, and whether it is marked.
    frontier: Option<(Digest, bool)>,
    /// Passed without being listed, ascending.
    absent: Vec<Absent>,
    /// The candidates so far, ascending: should the listing turn out to be out of order, they tell
    /// a repetition from a late key.
    passed_candidates: Vec<Digest>,
    bad_seen: BTreeSet<(Digest, u8)>,
    unordered: Option<Unordered>,
    counts: MergeCounts,
}

/// A digest that is marked or has a local file, and was not listed where it belongs.
#[derive(Clone, Copy, Debug)]
struct Absent {
    digest: Digest,
    marked: bool,
    local: bool,
    /// Listed after all, in the wrong place.
    listed_late: bool,
}

impl<M, L> ShardMerge<M, L>
where
    M: ShardMarks,
    L: Iterator<Item = GcResult<Digest>>,
{
    /// Begins a shard.
    #[must_use]
    pub fn new(prefix: ShardPrefix, marks: M, local: L) -> Self {
        Self {
            prefix,
            prefix_text: prefix.to_string(),
            streams: Streams::new(marks, local),
            last_key: None,
            frontier: None,
            absent: Vec::new(),
            passed_candidates: Vec::new(),
            bad_seen: BTreeSet::new(),
            unordered: None,
            counts: MergeCounts::default(),
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> &MergeCounts {
        &self.counts
    }

    /// Takes the next listed key, as it follows `.chunks/`.
    ///
    /// An error ends the shard: it must be treated as not listed completely.
    pub fn push(
        &mut self,
        key: &str,
        object: ObjectFacts,
        events: &mut Vec<MergeEvent>,
    ) -> GcResult<()> {
        let parsed = ChunkKey::classify(key);
        let inside = match parsed {
            ChunkKey::Chunk(digest) | ChunkKey::Bad(digest, _) => self.prefix.contains(&digest),
            ChunkKey::Unknown => true,
        };
        if !inside || !key.starts_with(&self.prefix_text) {
            let (prefix, key) = (self.prefix_text.clone(), key.to_owned());
            return Err(GcError::KeyOutsideShard { prefix, key });
        }
        match self
            .last_key
            .as_deref()
            .map_or(Ordering::Greater, |last| key.cmp(last))
        {
            Ordering::Greater => self.last_key = Some(key.to_owned()),
            Ordering::Equal => {
                self.counts.duplicates += 1;
                return Ok(());
            }
            Ordering::Less => {
                if self.unordered.is_none() {
                    self.unordered = Some(Unordered::default());
                    self.counts.disordered = 1;
                }
            }
        }
        match parsed {
            ChunkKey::Chunk(digest) if self.unordered.is_some() => {
                self.collect_chunk(digest, object)
            }
            ChunkKey::Chunk(digest) => self.compare_chunk(digest, object, events),
            ChunkKey::Bad(digest, number) => self.take_bad(digest, number, object, events),
            ChunkKey::Unknown => {
                self.counts.unknown += 1;
                self.counts.unknown_bytes += object.size;
                self.counts.listed += 1;
                self.counts.listed_bytes += object.size;
                if self.counts.unknown_samples.len() < UNKNOWN_SAMPLES {
                    self.counts.unknown_samples.push(key.to_owned());
                }
                Ok(())
            }
        }
    }

    /// Ends the shard. Only a complete listing releases what was *not* listed.
    pub fn finish(
        mut self,
        end: ListingEnd,
        events: &mut Vec<MergeEvent>,
    ) -> GcResult<MergeCounts> {
        if let Some(unordered) = self.unordered.take() {
            self.decide_collected(unordered, events)?;
        }
        match end {
            ListingEnd::Complete => {
                while let Some(entry) = self.streams.next_below(None)? {
                    self.absent.push(entry);
                }
                for entry in std::mem::take(&mut self.absent) {
                    self.release(entry, events);
                }
            }
            ListingEnd::Incomplete => {
                self.counts.incomplete = 1;
                let unseen = self
                    .absent
                    .iter()
                    .filter(|entry| !entry.listed_late)
                    .count();
                self.counts.undecided = u64::try_from(unseen).unwrap_or(u64::MAX);
            }
        }
        Ok(self.counts)
    }

    fn release(&mut self, entry: Absent, events: &mut Vec<MergeEvent>) {
        let Absent {
            digest,
            marked,
            local,
            listed_late,
        } = entry;
        if listed_late {
            return;
        }
        if marked {
            self.counts.marked_absent += 1;
            events.push(MergeEvent::MarkedAbsent { digest, local });
        } else {
            self.counts.local_only += 1;
            events.push(MergeEvent::LocalOnly { digest });
        }
    }

    /// The next chunk of a listing in order: both streams catch up with it.
    fn compare_chunk(
        &mut self,
        digest: Digest,
        object: ObjectFacts,
        events: &mut Vec<MergeEvent>,
    ) -> GcResult<()> {
        while let Some(entry) = self.streams.next_below(Some(&digest))? {
            self.absent.push(entry);
        }
        let (marked, local) = self.streams.take(&digest)?;
        self.frontier = Some((digest, marked));
        if !marked {
            self.passed_candidates.push(digest);
        }
        self.decide(digest, object, marked, local, events);
        Ok(())
    }

    fn decide(
        &mut self,
        digest: Digest,
        object: ObjectFacts,
        marked: bool,
        local: bool,
        events: &mut Vec<MergeEvent>,
    ) {
        self.counts.listed += 1;
        self.counts.listed_bytes += object.size;
        if marked {
            self.counts.live += 1;
            self.counts.live_bytes += object.size;
            self.counts.live_without_local += u64::from(!local);
            events.push(MergeEvent::Live {
                digest,
                object,
                local,
            });
        } else {
            self.counts.candidates += 1;
            self.counts.candidate_bytes += object.size;
            events.push(MergeEvent::Candidate {
                digest,
                object,
                local,
            });
        }
    }

    fn take_bad(
        &mut self,
        digest: Digest,
        number: u8,
        object: ObjectFacts,
        events: &mut Vec<MergeEvent>,
    ) -> GcResult<()> {
        if !self.bad_seen.insert((digest, number)) {
            self.counts.duplicates += 1;
            return Ok(());
        }
        self.counts.bad += 1;
        self.counts.bad_bytes += object.size;
        self.counts.listed += 1;
        self.counts.listed_bytes += object.size;
        if let Some(unordered) = &mut self.unordered {
            unordered.bad.push((digest, number, object));
            return Ok(());
        }
        // In order, the good object comes right before its bad copies.
        let (good_listed, marked) = match self.frontier {
            Some((last, marked)) if last == digest => (true, marked),
            _ => (false, self.streams.marks.is_marked(&digest)?),
        };
        events.push(MergeEvent::Bad {
            digest,
            number,
            object,
            marked,
            good_listed,
        });
        Ok(())
    }
}

/// The two local streams, each with one digest of lookahead and a check of its order.
#[derive(Debug)]
struct Streams<M, L> {
    marks: M,
    next_mark: Option<Digest>,
    local: L,
    next_local: Option<Digest>,
    started: bool,
}

impl<M, L> Streams<M, L>
where
    M: ShardMarks,
    L: Iterator<Item = GcResult<Digest>>,
{
    fn new(marks: M, local: L) -> Self {
        Self {
            marks,
            next_mark: None,
            local,
            next_local: None,
            started: false,
        }
    }

    fn start(&mut self) -> GcResult<()> {
        if !self.started {
            self.started = true;
            self.next_mark = self.marks.next_mark()?;
            self.next_local = self.local.next().transpose()?;
        }
        Ok(())
    }

    /// The lowest digest of either stream, if it is below `limit`.
    fn next_below(&mut self, limit: Option<&Digest>) -> GcResult<Option<Absent>> {
        self.start()?;
        let lowest = match (self.next_mark, self.next_local) {
            (Some(mark), Some(local)) => mark.min(local),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return Ok(None),
        };
        if limit.is_some_and(|limit| lowest >= *limit) {
            return Ok(None);
        }
        let (marked, local) = self.take(&lowest)?;
        Ok(Some(Absent {
            digest: lowest,
            marked,
            local,
            listed_late: false,
        }))
    }

    /// Whether the streams, advanced to `digest`, have it; takes it from them.
    fn take(&mut self, digest: &Digest) -> GcResult<(bool, bool)> {
        self.start()?;
        let marked = self.next_mark == Some(*digest);
        if marked {
            self.next_mark = self.marks.next_mark()?;
        }
        let local = self.next_local == Some(*digest);
        if local {
            self.next_local = self.local.next().transpose()?;
            if let Some(next) = self.next_local.filter(|next| next <= digest) {
                return Err(GcError::LocalDisorder {
                    previous: *digest,
                    next,
                });
            }
        }
        Ok((marked, local))
    }
}

#[cfg(test)]
mod tests;

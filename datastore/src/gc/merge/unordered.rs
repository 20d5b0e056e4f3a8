//! The rest of a shard whose listing turned out to be out of order (gc.md §6.2 P2, T40): keys are
//! collected, and decided by lookup when the listing has ended.

use std::collections::BTreeMap;

use api_types::digest::Digest;

use super::{MergeEvent, ObjectFacts, ShardMarks, ShardMerge};
use crate::gc::error::GcResult;

/// What came after the first key out of order.
#[derive(Debug, Default)]
pub(super) struct Unordered {
    chunks: BTreeMap<Digest, ObjectFacts>,
    pub(super) bad: Vec<(Digest, u8, ObjectFacts)>,
}

impl<M, L> ShardMerge<M, L>
where
    M: ShardMarks,
    L: Iterator<Item = GcResult<Digest>>,
{
    /// Keeps a chunk for the end, unless it was listed before.
    pub(super) fn collect_chunk(&mut self, digest: Digest, object: ObjectFacts) -> GcResult<()> {
        let listed_before = self.behind_frontier(&digest) && self.was_compared(&digest)?;
        let Some(unordered) = &mut self.unordered else {
            return Ok(());
        };
        if listed_before || unordered.chunks.insert(digest, object).is_some() {
            self.counts.duplicates += 1;
        }
        Ok(())
    }

    /// Decides everything collected, in digest order.
    pub(super) fn decide_collected(
        &mut self,
        unordered: Unordered,
        events: &mut Vec<MergeEvent>,
    ) -> GcResult<()> {
        let bad = self.judge_bad(&unordered)?;
        for (digest, object) in unordered.chunks {
            if !self.behind_frontier(&digest) {
                self.compare_chunk(digest, object, events)?;
                continue;
            }
            // The streams have passed it: it is either among the absent ones, or it is neither
            // marked nor has it a local file.
            let (marked, local) = match self.absent_position(&digest) {
                Some(position) => {
                    let entry = &mut self.absent[position];
                    entry.listed_late = true;
                    (entry.marked, entry.local)
                }
                None => (false, false),
            };
            self.decide(digest, object, marked, local, events);
        }
        events.extend(bad);
        Ok(())
    }

    fn judge_bad(&self, unordered: &Unordered) -> GcResult<Vec<MergeEvent>> {
        let judge = |&(digest, number, object): &(Digest, u8, ObjectFacts)| {
            let marked = self.streams.marks.is_marked(&digest)?;
            let good_listed = unordered.chunks.contains_key(&digest)
                || (self.behind_frontier(&digest) && self.was_compared(&digest)?);
            Ok(MergeEvent::Bad {
                digest,
                number,
                object,
                marked,
                good_listed,
            })
        };
        unordered.bad.iter().map(judge).collect()
    }

    fn behind_frontier(&self, digest: &Digest) -> bool {
        self.frontier
            .is_some_and(|(frontier, _)| *digest <= frontier)
    }

    /// Whether a digest that the streams have passed was listed in its place.
    fn was_compared(&self, digest: &Digest) -> GcResult<bool> {
        if self.absent_position(digest).is_some() {
            return Ok(false);
        }
        if self.passed_candidates.binary_search(digest).is_ok() {
            return Ok(true);
        }
        // Marked and not absent: it was live.
        self.streams.marks.is_marked(digest)
    }

    fn absent_position(&self, digest: &Digest) -> Option<usize> {
        self.absent
            .binary_search_by(|entry| entry.digest.cmp(digest))
            .ok()
    }
}

//! What a sweep found and did.

use std::collections::BTreeMap;

use api_types::digest::Digest;

use crate::backend::s3::delete::BatchOutcome;
use crate::gc::candidate::PendingReason;
use crate::gc::merge::MergeCounts;

use super::shard::ShardOutput;

/// Number and bytes of some objects.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// Objects.
    pub count: u64,
    /// Bytes of them.
    pub bytes: u64,
}

impl Tally {
    /// Counts one more.
    pub fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// The sum of a sweep.
#[derive(Debug, Default)]
pub struct SweepResult {
    /// What the complete shards listed.
    pub counts: MergeCounts,
    /// Garbage deleted; in a dry run: that would be.
    pub deleted: Tally,
    /// Corrupt chunks deleted; in a dry run: that would be.
    pub deleted_bad: Tally,
    /// Corrupt chunks kept, as evidence or since an index needs them.
    pub kept_bad: Tally,
    /// Garbage that stays for now, by reason.
    pub pending: BTreeMap<PendingReason, Tally>,
    /// Garbage that the store refused to delete.
    pub retained: Tally,
    /// The refusals of the first few.
    pub refusals: Vec<(Digest, String)>,
    /// Garbage whose delete was not answered.
    pub suspect: Tally,
    /// Chunks uploaded again from the cache.
    pub healed: Vec<Digest>,
    /// Chunks that an index needs and that are proven absent.
    pub missing: Vec<Digest>,
    /// Marked, not listed, and not looked at since there are too many.
    pub missing_unconfirmed: u64,
    /// Markers created after a HEAD.
    pub presence_created: u64,
    /// Listed chunks without local file that were not looked at since there are too many.
    pub presence_unknown: u64,
    /// Local files removed whose object does not exist.
    pub stale_local_removed: u64,
    /// Failures that did not stop the rest.
    pub errors: Vec<String>,
}

/// Refusals that are reported one by one.
const MAX_REFUSALS: usize = 20;

impl SweepResult {
    pub(super) fn add_pending(&mut self, reason: PendingReason, bytes: u64) {
        self.pending.entry(reason).or_default().add(bytes);
    }

    pub(super) fn add_shard(&mut self, output: ShardOutput) {
        self.counts.add(&output.counts);
        self.stale_local_removed += output.stale_local_removed;
    }

    pub(super) fn add_batch(&mut self, outcome: &BatchOutcome) {
        for condemned in &outcome.deleted {
            self.deleted.add(condemned.size);
        }
        for (condemned, reason) in &outcome.retained {
            self.retained.add(condemned.size);
            if self.refusals.len() < MAX_REFUSALS {
                self.refusals.push((condemned.digest, reason.clone()));
            }
        }
        for condemned in &outcome.suspect {
            self.suspect.add(condemned.size);
        }
        for condemned in &outcome.taken_back {
            self.add_pending(PendingReason::Session, condemned.size);
        }
        if outcome.evidence_failed > 0 {
            let failed = outcome.evidence_failed;
            self.errors.push(format!("{failed} corrupt chunk objects could not be deleted"));
        }
    }

    /// All garbage that stays, with the retained and the suspect.
    #[must_use]
    pub fn staying(&self) -> Tally {
        let mut sum = self.retained;
        for tally in self.pending.values().chain([&self.suspect]) {
            sum.count += tally.count;
            sum.bytes += tally.bytes;
        }
        sum
    }
}

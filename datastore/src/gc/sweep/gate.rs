//! Holds candidates back until the share of garbage is known to be sane (`gc.md` §6.5).

use crate::error::{Error, Result};

use super::condemn::Candidate;
use super::shard::ShardOutput;

/// Below this many listed objects everything is listed before anything is deleted.
const HOLD_ALL_BELOW: u64 = 200_000;
/// Fewer candidates than this are never a catastrophe.
const HARMLESS: u64 = 1000;

/// The tripwire between listing and deleting.
#[derive(Debug)]
pub(super) struct Gate {
    guarded: bool,
    open: bool,
    shards: usize,
    shards_done: usize,
    listed: u64,
    listed_bytes: u64,
    candidates: u64,
    candidate_bytes: u64,
    held: Vec<Candidate>,
}

impl Gate {
    /// A gate before a listing of `shards`; an unguarded one is open.
    pub fn new(shards: usize, guarded: bool) -> Self {
        Self {
            guarded,
            open: !guarded,
            shards,
            shards_done: 0,
            listed: 0,
            listed_bytes: 0,
            candidates: 0,
            candidate_bytes: 0,
            held: Vec::new(),
        }
    }

    /// A shard is listed (`None` = not completely); returns the candidates that may be judged now.
    pub fn shard_done(&mut self, output: Option<&ShardOutput>) -> Result<Vec<Candidate>> {
        self.shards_done += 1;
        let Some(output) = output else { return Ok(Vec::new()) };
        self.listed += output.counts.listed;
        self.listed_bytes += output.counts.listed_bytes;
        self.candidates += output.counts.candidates;
        self.candidate_bytes += output.counts.candidate_bytes;
        self.held.extend(output.candidates.iter().copied());
        let enough = self.shards_done * 10 >= self.shards && self.listed >= HOLD_ALL_BELOW;
        if !self.open && !enough {
            return Ok(Vec::new());
        }
        self.release()
    }

    /// Everything is listed.
    pub fn listing_over(&mut self) -> Result<Vec<Candidate>> {
        self.release()
    }

    fn release(&mut self) -> Result<Vec<Candidate>> {
        let too_many = self.candidates > HARMLESS
            && (self.candidates * 2 > self.listed || self.candidate_bytes * 2 > self.listed_bytes);
        if self.guarded && too_many {
            return Err(Error::Refused(format!(
                "{} of {} listed chunks look unused, but no removal of snapshots on record explains \
                 that; nothing was deleted from here on. If it is right, run the garbage collection \
                 once with --force",
                self.candidates, self.listed
            )));
        }
        self.open = true;
        Ok(std::mem::take(&mut self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gc::merge::MergeCounts;

    fn output(listed: u64, candidates: u64) -> ShardOutput {
        let counts = MergeCounts { listed, candidates, ..MergeCounts::default() };
        ShardOutput { counts, ..ShardOutput::default() }
    }

    #[test]
    fn a_small_store_is_listed_whole_before_anything_is_deleted() {
        let mut gate = Gate::new(2, true);
        gate.shard_done(Some(&output(1000, 900))).unwrap();
        assert!(!gate.open);
        gate.shard_done(Some(&output(5000, 200))).unwrap();
        assert!(gate.listing_over().is_ok());
    }

    #[test]
    fn mostly_garbage_without_a_reason_stops_the_run() {
        let mut gate = Gate::new(1, true);
        gate.shard_done(Some(&output(3000, 1600))).unwrap();
        assert!(gate.listing_over().is_err());
        let mut forced = Gate::new(1, false);
        forced.shard_done(Some(&output(3000, 1600))).unwrap();
        assert!(forced.listing_over().is_ok());
    }

    #[test]
    fn a_large_store_is_judged_by_its_first_tenth() {
        let mut gate = Gate::new(16, true);
        gate.shard_done(Some(&output(150_000, 10))).unwrap();
        assert!(!gate.open);
        gate.shard_done(Some(&output(150_000, 10))).unwrap();
        assert!(gate.open);
        // And watched until the end.
        assert!(gate.shard_done(Some(&output(400_000, 380_000))).is_err());
    }
}

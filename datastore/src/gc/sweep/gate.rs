//! Holds candidates back until the share of garbage is known to be sane (`gc.md` §6.5).

use crate::error::Result;
use crate::gc::tripwire::{self, DeleteGate, Listed, Trip};

use super::condemn::Candidate;
use super::shard::ShardOutput;

/// The tripwire between listing and deleting.
#[derive(Debug)]
pub(super) struct Gate {
    wire: Option<DeleteGate>,
    listed: Listed,
    held: Vec<Candidate>,
    /// Younger objects are not deleted, whatever the rest of them says.
    grace: i64,
    /// A shard could not be listed: the run ends with that error, whatever is missing here.
    incomplete: bool,
}

impl Gate {
    /// A gate before a listing of `shards`; without a wire it is open.
    pub fn new(shards: usize, wire: Option<DeleteGate>, grace: i64) -> Self {
        let shards = u64::try_from(shards).unwrap_or(u64::MAX);
        Self {
            wire,
            listed: Listed {
                shards,
                ..Listed::default()
            },
            held: Vec::new(),
            grace,
            incomplete: false,
        }
    }

    /// A shard is listed (`None` = not completely); returns the candidates that may be judged now.
    pub fn shard_done(&mut self, output: Option<&ShardOutput>) -> Result<Vec<Candidate>> {
        self.listed.shards_done += 1;
        self.incomplete |= output.is_none();
        if let Some(output) = output {
            self.listed.objects += output.counts.listed;
            self.listed.bytes += output.counts.listed_bytes;
            // The first backup of a store looks like garbage until its index is there: what is too
            // young to be deleted is no reason for alarm.
            for candidate in &output.candidates {
                if let Some(bytes) = candidate.deletable_bytes(self.grace) {
                    self.listed.candidates += 1;
                    self.listed.candidate_bytes += bytes;
                }
            }
            self.held.extend(output.candidates.iter().copied());
        }
        let verdict = match &self.wire {
            None => tripwire::Gate::Open,
            Some(wire) => wire.check(&self.listed),
        };
        match verdict {
            tripwire::Gate::Wait => Ok(Vec::new()),
            tripwire::Gate::Open => Ok(std::mem::take(&mut self.held)),
            tripwire::Gate::Tripped(Trip::ListingEmpty { .. }) if self.incomplete => Ok(Vec::new()),
            tripwire::Gate::Tripped(trip) => Err(tripwire::stop(&trip)),
        }
    }
}

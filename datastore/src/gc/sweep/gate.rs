//! Holds candidates back until the share of garbage is known to be sane (`gc.md` §6.5).

use crate::error::{Error, Result};
use crate::gc::tripwire::{self, DeleteGate, Listed};

use super::condemn::Candidate;
use super::shard::ShardOutput;

/// The tripwire between listing and deleting.
#[derive(Debug)]
pub(super) struct Gate {
    wire: Option<DeleteGate>,
    listed: Listed,
    held: Vec<Candidate>,
}

impl Gate {
    /// A gate before a listing of `shards`; without a wire it is open.
    pub fn new(shards: usize, wire: Option<DeleteGate>) -> Self {
        let shards = u64::try_from(shards).unwrap_or(u64::MAX);
        Self {
            wire,
            listed: Listed {
                shards,
                ..Listed::default()
            },
            held: Vec::new(),
        }
    }

    /// A shard is listed (`None` = not completely); returns the candidates that may be judged now.
    pub fn shard_done(&mut self, output: Option<&ShardOutput>) -> Result<Vec<Candidate>> {
        self.listed.shards_done += 1;
        if let Some(output) = output {
            self.listed.objects += output.counts.listed;
            self.listed.bytes += output.counts.listed_bytes;
            self.listed.candidates += output.counts.candidates;
            self.listed.candidate_bytes += output.counts.candidate_bytes;
            self.held.extend(output.candidates.iter().copied());
        }
        let verdict = match &self.wire {
            None => tripwire::Gate::Open,
            Some(wire) => wire.check(&self.listed),
        };
        match verdict {
            tripwire::Gate::Wait => Ok(Vec::new()),
            tripwire::Gate::Open => Ok(std::mem::take(&mut self.held)),
            tripwire::Gate::Tripped(trip) => Err(Error::Refused(format!(
                "{trip}; nothing was deleted from here on. If it is right, run the garbage \
                 collection once with --force"
            ))),
        }
    }
}

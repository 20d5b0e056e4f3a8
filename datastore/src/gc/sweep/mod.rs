//! Sweep and delete on an S3 datastore (`gc.md` §6.2, P2 and P3).
//!
//! Shards of the digest space are listed at once, each merged with the marks and the local
//! directory ([`super::merge`]); what the merge finds is decided here, under each digest's lock.
//! Condemned digests flow through one channel into batches of a thousand, across pages and shards,
//! several of them in flight, so listing and deleting overlap:
//!
//! ```text
//! shard 0: list ─ merge ─ judge ┐
//! shard 1: list ─ merge ─ judge ┼─ candidates ─ gate ─ condemn ─ batch ─┬─ DeleteObjects
//! shard n: list ─ merge ─ judge ┘  (tripwire)                           └─ DeleteObjects
//! ```
//!
//! The gate holds candidates back until enough of the bucket has been seen to tell a normal run
//! from a catastrophe (`gc.md` §6.5); a dry run never opens it.

mod condemn;
mod shard;

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::digest::Digest;
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use s3_client::S3Client;

use crate::backend::s3::S3Backend;
use crate::backend::s3::delete::{BatchOutcome, DeleteBatch, is_fatal};
use crate::digests::Generation;
use crate::error::{Error, Result};
use crate::task::TaskContext;

use super::candidate::PendingReason;
use super::first_seen::FirstSeen;
use super::mark_set::MarkSet;
use super::merge::{MergeCounts, ObjectFacts};
use super::progress::SweepProgress;
use super::shards::ShardPrefix;

pub(super) use condemn::Candidate;

/// Most keys in one delete request (the API's limit).
const BATCH_KEYS: usize = 1000;
/// Most markers that one run creates after a HEAD; beyond that a refresh is cheaper.
pub(super) const MAX_PRESENCE_LOOKS: u64 = 10_000;
/// Most missing chunks that one run confirms by HEAD.
const MAX_MISSING_LOOKS: usize = 10_000;
/// Below this many listed objects, all are listed before the first one is deleted.
const HOLD_ALL_BELOW: u64 = 200_000;

/// The constants of a run.
#[derive(Clone, Debug)]
pub(super) struct SweepRules {
    pub floor: Generation,
    pub generation: Generation,
    /// Milliseconds.
    pub grace: i64,
    /// Evidence of corrupt chunks is kept this long, milliseconds.
    pub bad_retention: i64,
    pub dry_run: bool,
    /// Most candidates, as a share of what was listed, before the run is stopped; `None` = forced
    /// or explained by removals.
    pub tripwire: Option<super::tripwire::CandidateLimit>,
    pub list_concurrency: usize,
    pub delete_concurrency: usize,
}

/// What a sweep found and did.
#[derive(Debug, Default)]
pub(super) struct SweepResult {
    pub counts: MergeCounts,
    pub deleted_chunks: u64,
    pub deleted_bytes: u64,
    pub deleted_bad: u64,
    pub kept_bad: u64,
    pub kept_bad_bytes: u64,
    /// In a dry run: what would be deleted.
    pub would_delete_chunks: u64,
    pub would_delete_bytes: u64,
    pub pending: BTreeMap<PendingReason, (u64, u64)>,
    pub retained: Vec<(Digest, String)>,
    pub retained_bytes: u64,
    pub suspect: u64,
    pub suspect_bytes: u64,
    pub taken_back: u64,
    pub healed: Vec<Digest>,
    pub missing: Vec<Digest>,
    /// Marked and not listed, but not looked at since there are too many.
    pub missing_unconfirmed: u64,
    pub presence_created: u64,
    pub presence_unknown: u64,
    pub stale_local_removed: u64,
    /// Failures that did not stop the rest.
    pub errors: Vec<String>,
}

impl SweepResult {
    fn pending(&mut self, reason: PendingReason, size: u64) {
        let entry = self.pending.entry(reason).or_default();
        entry.0 += 1;
        entry.1 += size;
    }

    fn batch(&mut self, outcome: &BatchOutcome) {
        for condemned in &outcome.deleted {
            self.deleted_chunks += 1;
            self.deleted_bytes += condemned.size;
        }
        for (condemned, reason) in &outcome.retained {
            self.retained.push((condemned.digest, reason.clone()));
            self.retained_bytes += condemned.size;
        }
        for condemned in &outcome.suspect {
            self.suspect += 1;
            self.suspect_bytes += condemned.size;
        }
        for condemned in &outcome.taken_back {
            self.taken_back += 1;
            self.pending(PendingReason::Session, condemned.size);
        }
        self.deleted_bad += u64::try_from(outcome.evidence_deleted).unwrap_or(u64::MAX);
        self.kept_bad += u64::try_from(outcome.evidence_failed).unwrap_or(u64::MAX);
        if outcome.evidence_failed > 0 {
            self.errors.push(format!(
                "{} corrupt chunk objects could not be deleted",
                outcome.evidence_failed
            ));
        }
    }
}

/// Everything that the shards share.
#[derive(Clone)]
pub(super) struct Sweep {
    pub backend: Arc<S3Backend>,
    pub client: S3Client,
    pub marks: MarkSet,
    pub rules: Arc<SweepRules>,
    pub first_seen: Arc<FirstSeen>,
    pub task: Arc<dyn TaskContext>,
}

/// What a shard hands over.
pub(super) struct ShardOutput {
    prefix: ShardPrefix,
    counts: MergeCounts,
    candidates: Vec<Candidate>,
    /// Condemned already by the merge's page, or pending: counted.
    partial: SweepResult,
}

impl Sweep {
    /// Sweeps all shards.
    ///
    /// # Errors
    /// If the run must not go on: aborted, fenced, or a tripwire. Whatever was condemned and not
    /// sent is ordinary again, whatever was sent and not answered is suspect (the batches' guards).
    pub async fn run(
        &self,
        prefixes: Vec<ShardPrefix>,
        progress: &mut SweepProgress,
    ) -> Result<SweepResult> {
        let total_shards = prefixes.len();
        let mut gate = Gate::new(total_shards, &self.rules);
        let mut result = SweepResult::default();
        let mut batch = DeleteBatch::new(&self.backend);
        let mut deletes = FuturesUnordered::new();
        let mut shards = stream::iter(prefixes)
            .map(|prefix| shard::sweep_shard(self.clone(), prefix))
            .buffer_unordered(self.rules.list_concurrency.max(1))
            .fuse();
        loop {
            // Backpressure: no new pages while enough deletes are under way.
            let may_list = deletes.len() < self.rules.delete_concurrency.max(1) * 2;
            tokio::select! {
                biased;
                () = self.task.cancel().cancelled() => return Err(Error::Aborted),
                Some(outcome) = deletes.next(), if !deletes.is_empty() => {
                    self.account(outcome, &mut result)?;
                }
                output = shards.next(), if may_list => {
                    let Some(output) = output else { break };
                    let output: ShardOutput = match output {
                        Ok(output) => output,
                        Err(error) if is_fatal(&error) => return Err(error),
                        Err(error) => {
                            result.errors.push(error.to_string());
                            gate.shard_done(None);
                            continue;
                        }
                    };
                    progress.shard_done(output.prefix, &output.counts, &*self.task);
                    let candidates = gate.shard_done(Some(output.counts.clone())).admit(output.candidates);
                    result.merge(output.partial, &output.counts);
                    for candidate in gate.check(candidates)? {
                        self.condemn_into(candidate, &mut batch, &mut result).await?;
                        if batch.len() >= BATCH_KEYS {
                            let full = std::mem::replace(&mut batch, DeleteBatch::new(&self.backend));
                            deletes.push(self.send(full));
                        }
                    }
                }
            }
        }
        todo!()
    }
}

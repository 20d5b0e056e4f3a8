//! Sweep and delete on an S3 datastore (`gc.md` §6.2, P2 and P3).
//!
//! Shards of the digest space are listed at once, each merged with the marks and the local
//! directory ([`super::merge`]); what the merge finds is decided under each digest's lock. Condemned
//! digests of all shards share batches of a thousand, several of them in flight, so that listing
//! and deleting overlap:
//!
//! ```text
//! shard 0: list ─ merge ┐
//! shard 1: list ─ merge ┼─ candidates ─ gate ─ judge and condemn ─ batch ─┬─ DeleteObjects
//! shard n: list ─ merge ┘  (tripwire)                                     └─ DeleteObjects
//! ```
//!
//! The gate holds candidates back until enough of the bucket has been seen to tell a normal run
//! from a catastrophe (`gc.md` §6.5). A dry run judges, and condemns nothing.

mod condemn;
mod gate;
mod looks;
mod shard;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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
use super::report::{GcReport, Latencies};
use super::shards::ShardPrefix;
use super::tripwire::DeleteGate;

use condemn::Candidate;
use gate::Gate;
use shard::ShardOutput;

/// Most keys in one delete request (the API's limit).
const BATCH_KEYS: usize = 1000;
/// Refusals that are reported one by one.
const MAX_REFUSALS: u64 = 20;
/// Batches between two checkpoints of the delete journal.
const CHECKPOINT_EVERY: u64 = 64;
/// Batches whose records stay open, in memory too, until a checkpoint under way is over: beyond
/// them, deleting waits for it.
const MAX_UNSETTLED: u64 = 4 * CHECKPOINT_EVERY;
/// A batch that does not fill up is sent after this long.
const MAX_BATCH_AGE: Duration = Duration::from_secs(60);

/// The constants of a run.
#[derive(Clone, Debug)]
pub(super) struct SweepRules {
    /// Stamps from here on protect.
    pub floor: Generation,
    /// Generation of this run.
    pub generation: Generation,
    /// Younger objects stay; milliseconds.
    pub grace: i64,
    /// Corrupt chunks are kept as evidence this long; milliseconds.
    pub bad_retention: i64,
    /// Judge only.
    pub dry_run: bool,
    /// Stops the run if there is more garbage than anything explains; `None` = forced.
    pub gate: Option<DeleteGate>,
    /// Shards listed at once.
    pub list_concurrency: usize,
    /// Delete requests in flight.
    pub delete_concurrency: usize,
}

/// Everything that the parts of a sweep share.
#[derive(Clone)]
pub(super) struct Sweep {
    pub backend: Arc<S3Backend>,
    pub client: S3Client,
    pub marks: MarkSet,
    pub rules: Arc<SweepRules>,
    pub first_seen: Arc<FirstSeen>,
    /// Whether the bucket has said that it keeps versions of what is deleted.
    pub versioned: Arc<AtomicBool>,
    pub task: Arc<dyn TaskContext>,
}

impl Sweep {
    /// Sweeps all shards; `progress` hears of each finished one.
    ///
    /// # Errors
    /// If the run must not go on: aborted, fenced, or stopped by a tripwire. Whatever was condemned
    /// and not sent is ordinary again then, whatever was sent and not answered is suspect (the
    /// batches' guards). Failures of single shards and batches are in the result.
    pub async fn run(
        &self,
        prefixes: Vec<ShardPrefix>,
        report: &mut GcReport,
        mut progress: impl FnMut(u64, &GcReport),
    ) -> Result<()> {
        let mut shards_done = 0;
        let wire = self.rules.gate.clone().filter(|_| !self.rules.dry_run);
        let mut gate = Gate::new(prefixes.len(), wire, self.rules.grace);
        let mut admitted: VecDeque<Candidate> = VecDeque::new();
        let mut batch = DeleteBatch::new(&self.backend);
        let mut batch_due = None;
        let mut deletes = FuturesUnordered::new();
        // One at most; a sync takes its time on a busy disk, and nothing waits for it.
        let mut checkpoints = FuturesUnordered::new();
        let mut looks = looks::Looks::default();
        let mut shards = stream::iter(prefixes)
            .map(|prefix| shard::sweep_shard(self.clone(), prefix))
            .buffer_unordered(self.rules.list_concurrency.max(1))
            .fuse();
        let (mut list_latencies, mut delete_latencies) =
            (Latencies::default(), Latencies::default());
        let mut listing_over = false;
        // Batches ended: in all, when the last checkpoint began, and when the last one that is over did.
        let (mut ended, mut begun, mut settled) = (0_u64, 0, 0);
        loop {
            let is_settled = checkpoints.is_empty() || ended - settled < MAX_UNSETTLED;
            let may_delete = is_settled && deletes.len() < self.rules.delete_concurrency.max(1);
            if !admitted.is_empty() && may_delete {
                let room = BATCH_KEYS.saturating_sub(batch.len()).min(admitted.len());
                let page: Vec<Candidate> = admitted.drain(..room).collect();
                batch = self.judge_page(batch, page, report).await?;
                if !batch.is_empty() {
                    batch_due.get_or_insert(self.backend.env.now() + MAX_BATCH_AGE);
                }
            }
            let overdue = batch_due.is_some_and(|due| due <= self.backend.env.now());
            let last = listing_over && admitted.is_empty();
            if batch.len() >= BATCH_KEYS || (!batch.is_empty() && (overdue || last)) {
                let full = std::mem::replace(&mut batch, DeleteBatch::new(&self.backend));
                batch_due = None;
                deletes.push(self.send(full));
            }
            if last && deletes.is_empty() {
                break;
            }
            if !admitted.is_empty()
                && is_settled
                && deletes.len() < self.rules.delete_concurrency.max(1)
            {
                continue;
            }
            tokio::select! {
                biased;
                () = self.task.cancel().cancelled() => return Err(Error::Aborted),
                Some(outcome) = deletes.next(), if !deletes.is_empty() => {
                    outcome.attempts.iter().for_each(|took| delete_latencies.add(*took));
                    Self::account(outcome, report)?;
                    ended += 1;
                    if ended - begun >= CHECKPOINT_EVERY && checkpoints.is_empty() {
                        begun = ended;
                        checkpoints.push(self.backend.checkpoint_journal());
                    }
                }
                Some(done) = checkpoints.next(), if !checkpoints.is_empty() => {
                    done?;
                    settled = begun;
                }
                output = shards.next(), if !listing_over && admitted.is_empty() => match output {
                    Some(output) => {
                        let output = Self::shard_or_error(output, report)?;
                        admitted.extend(gate.shard_done(output.as_ref())?);
                        shards_done += 1;
                        if let Some(output) = output {
                            looks.collect(&output);
                            list_latencies.merge(&output.list_latencies);
                            report.listing.add(&output.counts);
                            report.local_removed += output.stale_local_removed;
                            progress(shards_done, report);
                        }
                    }
                    None => listing_over = true,
                },
                () = self.wait_until(batch_due), if batch_due.is_some() => {}
            }
        }
        report.versioned = self.versioned.load(Ordering::Relaxed);
        report.list_latency = list_latencies.summary();
        report.delete_latency = delete_latencies.summary();
        looks.resolve(self, report).await
    }

    async fn send(&self, batch: DeleteBatch) -> BatchOutcome {
        // Its digests' files are gone: whichever copy of the disk has one of them is older ◆.
        match self.backend.raise_epoch(&self.client).await {
            Ok(versioned) => {
                self.versioned.fetch_or(versioned, Ordering::Relaxed);
                self.backend.send_batch(&self.client, batch).await
            }
            Err(error) => self.backend.give_up(batch, error),
        }
    }

    async fn wait_until(&self, due: Option<tokio::time::Instant>) {
        let left = due.map(|due| due.saturating_duration_since(self.backend.env.now()));
        self.backend.env.sleep(left.unwrap_or(MAX_BATCH_AGE)).await;
    }

    fn shard_or_error(
        output: Result<ShardOutput>,
        report: &mut GcReport,
    ) -> Result<Option<ShardOutput>> {
        match output {
            Ok(output) => Ok(Some(output)),
            Err(error) if is_fatal(&error) => Err(error),
            Err(error) => {
                report.errors.push(error.to_string());
                Ok(None)
            }
        }
    }

    /// Counts each key of a batch by what became of it (G12).
    fn account(mut outcome: BatchOutcome, report: &mut GcReport) -> Result<()> {
        if let Some(error) = outcome.error.take() {
            if is_fatal(&error) {
                return Err(error);
            }
            let count = outcome.failed.len();
            report.errors.push(match count {
                0 => format!("a batch was deleted, but: {error}"),
                _ => format!("a batch of {count} chunks was not deleted: {error}"),
            });
        }
        for condemned in &outcome.failed {
            report.failed.add(condemned.size);
        }
        for condemned in &outcome.deleted {
            report.deleted.add(condemned.size);
        }
        for (condemned, reason) in &outcome.retained {
            if report.retained.count < MAX_REFUSALS {
                let digest = condemned.digest;
                report
                    .refusals
                    .push(format!("chunk {digest} was not deleted: {reason}"));
            }
            report.retained.add(condemned.size);
        }
        for condemned in &outcome.suspect {
            report.suspect.add(condemned.size);
        }
        for condemned in &outcome.taken_back {
            report.add_pending(PendingReason::Session, condemned.size);
        }
        for size in &outcome.evidence_deleted {
            report.removed_bad.add(*size);
        }
        for size in &outcome.evidence_failed {
            report.kept_bad.add(*size);
        }
        if !outcome.evidence_failed.is_empty() {
            let count = outcome.evidence_failed.len();
            report.refusals.push(format!(
                "{count} corrupt chunk objects could not be deleted"
            ));
        }
        Ok(())
    }
}

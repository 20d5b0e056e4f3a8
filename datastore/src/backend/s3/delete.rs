//! The only path by which chunk objects are deleted (`gc.md` §6.2 P3, §7), for the collection and
//! for verify alike.
//!
//! Order ◆: [`condemn`](S3Backend::condemn) removes the local file and sets `Condemned` in one
//! critical section; [`send_batch`](S3Backend::send_batch) then makes the journal record durable,
//! looks at each entry a last time (a session may have taken a digest back), checks the ownership
//! of the prefix and sends a request for exactly the digests left, signed with the time of that
//! check. No lock is held meanwhile: the entries' states are the lock.
//!
//! Interleavings considered, by the moment at which the process dies or the task is dropped:
//! before the record: garbage without presence, the next run handles it; after the record and
//! before or after the request: every digest of the record is suspect after the restart; while
//! waiting for the answer (abort, panic): the batch's guard makes the sent digests suspect at once
//! and the unsent ones ordinary without presence.

use std::sync::Arc;
use std::time::Duration;

use api_types::digest::Digest;
use s3_client::{KeyOutcome, ObjectKey, S3Client};

use crate::chunk_store::LocalChunk;
use crate::digests::{BatchId, Generation, State};
use crate::error::{Error, Result};
use crate::file_time::FileTime;

use super::S3Backend;
use super::journal::RecordId;
use super::ownership::Fence;

/// Attempts of one delete request, and the time they may take together.
const MAX_ATTEMPTS: usize = 3;
const MAX_DURATION: Duration = Duration::from_secs(120);
/// Pause before an attempt is repeated; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// What a judge of a candidate may look at, taken under the digest's lock.
#[derive(Clone, Copy, Debug)]
pub struct CandidateEntry {
    /// Something is going on with the digest.
    pub state: Option<State>,
    /// A delete of it may still be applied.
    pub suspect: bool,
    /// Its liveness stamp, if any.
    pub stamp: Option<Generation>,
    /// Its local file, if any.
    pub local: Option<LocalChunk>,
}

/// A digest condemned for a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Condemned {
    /// The digest.
    pub digest: Digest,
    /// Size of the object as listed.
    pub size: u64,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct BatchOutcome {
    /// Deleted for certain.
    pub deleted: Vec<Condemned>,
    /// Taken back by a session before the request was sent.
    pub taken_back: Vec<Condemned>,
    /// Refused by the store (retention, policy), presence put back; with code and message.
    pub retained: Vec<(Condemned, String)>,
    /// Answered ambiguously: suspect until the end of their quarantine.
    pub suspect: Vec<Condemned>,
    /// Not sent: ordinary, without presence.
    pub failed: Vec<Condemned>,
    /// Sizes of the objects deleted that are not chunks (evidence of bad chunks).
    pub evidence_deleted: Vec<u64>,
    /// Sizes of such objects that could not be deleted.
    pub evidence_failed: Vec<u64>,
    /// What went wrong beside all that: why nothing was sent, or a local file that could not be
    /// written.
    pub error: Option<Error>,
    /// How long each attempt took.
    pub attempts: Vec<Duration>,
}

/// Condemned digests on their way to one delete request.
///
/// Dropped before it was sent, it makes its digests ordinary again, without presence.
#[derive(Debug)]
pub struct DeleteBatch {
    backend: Arc<S3Backend>,
    id: BatchId,
    digests: Vec<Condemned>,
    evidence: Vec<Evidence>,
    /// Set once the record is written: from then on a dropped batch leaves suspects.
    sent: Option<RecordId>,
}

impl DeleteBatch {
    /// An empty batch.
    #[must_use]
    pub fn new(backend: &Arc<S3Backend>) -> Self {
        Self {
            id: BatchId(backend.next_batch_id()),
            backend: Arc::clone(backend),
            digests: Vec::new(),
            evidence: Vec::new(),
            sent: None,
        }
    }

    /// The id to condemn digests for.
    #[must_use]
    pub fn id(&self) -> BatchId {
        self.id
    }

    /// Adds a digest that has just been condemned for this batch.
    pub fn push(&mut self, condemned: Condemned) {
        self.digests.push(condemned);
    }

    /// Adds an object of `size` bytes that is no chunk: the evidence of a bad one.
    pub fn push_evidence(&mut self, key: ObjectKey, size: u64) {
        self.evidence.push(Evidence { key, size });
    }

    /// The chunks in it.
    #[must_use]
    pub fn chunks(&self) -> &[Condemned] {
        &self.digests
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.digests.len() + self.evidence.len()
    }

    /// Whether there is nothing to delete.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for DeleteBatch {
    fn drop(&mut self) {
        let until = self.backend.env.now() + self.backend.quarantine;
        for condemned in &self.digests {
            self.backend.table.with(&condemned.digest, |slot| {
                slot.release(self.id);
                if slot.end_deleting(self.id).is_some() {
                    slot.suspect(until);
                }
            });
        }
        if let Some(record) = self.sent {
            let backend = &self.backend;
            let journal = backend.journal();
            for condemned in &self.digests {
                let suspect = backend
                    .table
                    .with(&condemned.digest, |slot| slot.suspicion());
                if suspect.is_none() {
                    journal.resolve(record, &condemned.digest);
                }
            }
        }
    }
}

/// A record whose batch has not taken it over yet: if the task is dropped before that, nothing is
/// ever sent for it, so it must not stay open.
struct FreshRecord {
    backend: Arc<S3Backend>,
    id: RecordId,
    digests: Vec<Digest>,
}

impl FreshRecord {
    fn into_id(mut self) -> RecordId {
        self.digests.clear();
        self.id
    }
}

impl Drop for FreshRecord {
    fn drop(&mut self) {
        for digest in &self.digests {
            self.backend.journal().resolve(self.id, digest);
        }
    }
}

#[derive(Clone, Debug)]
struct Evidence {
    key: ObjectKey,
    size: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Open,
    Deleted,
    Refused,
}

struct Pending {
    condemned: Condemned,
    key: ObjectKey,
    fate: Fate,
    reason: String,
    /// An attempt ended without a definite answer for this key ◆.
    unresolved: bool,
}

impl S3Backend {
    /// Condemns an ordinary digest for `batch` if `judge` says so; blocking, to be called for many
    /// digests in a row from the blocking pool.
    ///
    /// The local file is removed in the same critical section in which the judge looked at it.
    ///
    /// # Errors
    /// If the local file cannot be looked at or removed; nothing has changed then.
    pub fn condemn<V>(
        &self,
        batch: BatchId,
        digest: &Digest,
        judge: impl FnOnce(&CandidateEntry) -> (bool, V),
    ) -> Result<(bool, V)> {
        self.table.with(digest, |slot| {
            let entry = CandidateEntry {
                state: slot.state(),
                suspect: slot.suspicion().is_some(),
                stamp: slot.stamp(),
                local: self.local.stat_chunk(digest)?,
            };
            let (delete, verdict) = judge(&entry);
            if !delete || !slot.is_ordinary() {
                return Ok((false, verdict));
            }
            let had = entry.local.is_some();
            if had {
                self.local.remove_chunk(digest)?;
                self.cache.forget(digest);
            }
            Ok((slot.condemn(batch, had), verdict))
        })
    }

    /// Removes the local file of an ordinary digest that is neither marked nor in the bucket.
    ///
    /// # Errors
    /// If the local file cannot be looked at or removed.
    pub fn drop_stale_presence(
        &self,
        digest: &Digest,
        judge: impl FnOnce(&CandidateEntry) -> bool,
    ) -> Result<bool> {
        self.table.with(digest, |slot| {
            let local = self.local.stat_chunk(digest)?;
            let entry = CandidateEntry {
                state: slot.state(),
                suspect: slot.suspicion().is_some(),
                stamp: slot.stamp(),
                local,
            };
            if local.is_none() || !slot.is_ordinary() || !judge(&entry) {
                return Ok(false);
            }
            self.drop_presence(digest)?;
            Ok(true)
        })
    }

    /// Sends a batch and waits until each of its digests has an outcome.
    ///
    /// If the record could not be made durable ([`Error::DeleteJournal`]) or the prefix is not
    /// ours, nothing is sent: the outcome says why, and its digests are ordinary, without presence.
    pub async fn send_batch(
        self: &Arc<Self>,
        client: &S3Client,
        mut batch: DeleteBatch,
    ) -> BatchOutcome {
        if let Err(error) = self.write_record(&mut batch).await {
            return self.give_up(batch, error);
        }
        let mut outcome = BatchOutcome::default();
        let pending = match self.last_look(&mut batch, &mut outcome) {
            Ok(pending) => pending,
            Err(error) => {
                let left = self.give_up(batch, error);
                outcome.failed = left.failed;
                outcome.error = left.error;
                return outcome;
            }
        };
        if pending.is_empty() && batch.evidence.is_empty() {
            return outcome;
        }
        let fence = match self.ownership.check(client, "delete chunks").await {
            Ok(fence) => fence,
            Err(error) => {
                let left = self.give_up(batch, error);
                outcome.failed = left.failed;
                outcome.evidence_failed = left.evidence_failed;
                outcome.error = left.error;
                return outcome;
            }
        };
        let pending = self
            .attempt(client, fence, pending, &batch.evidence, &mut outcome)
            .await;
        self.settle(&mut batch, pending, &mut outcome).await;
        outcome
    }

    /// Ends a batch of which nothing was sent, for this reason.
    pub fn give_up(&self, mut batch: DeleteBatch, error: Error) -> BatchOutcome {
        let mut outcome = BatchOutcome {
            error: Some(error),
            ..BatchOutcome::default()
        };
        for condemned in std::mem::take(&mut batch.digests) {
            let mine = self.table.with(&condemned.digest, |slot| {
                slot.release(batch.id) || slot.end_deleting(batch.id).is_some()
            });
            if let Some(record) = batch.sent {
                self.journal().resolve(record, &condemned.digest);
            }
            if mine {
                outcome.failed.push(condemned);
            } else {
                outcome.taken_back.push(condemned);
            }
        }
        let evidence = batch.evidence.iter().map(|evidence| evidence.size);
        outcome.evidence_failed = evidence.collect();
        outcome
    }

    async fn write_record(self: &Arc<Self>, batch: &mut DeleteBatch) -> Result<()> {
        if batch.digests.is_empty() {
            return Ok(());
        }
        let digests: Vec<Digest> = batch.digests.iter().map(|c| c.digest).collect();
        let this = Arc::clone(self);
        let record = self
            .blocking(move || -> Result<FreshRecord> {
                let id = this
                    .journal()
                    .append(&digests)
                    .map_err(|error| Error::DeleteJournal {
                        reason: error.to_string(),
                    })?;
                Ok(FreshRecord {
                    backend: Arc::clone(&this),
                    id,
                    digests,
                })
            })
            .await?;
        batch.sent = Some(record.into_id());
        Ok(())
    }

    /// The final re-check: what is still condemned becomes `Deleting`, the rest leaves the batch.
    fn last_look(
        &self,
        batch: &mut DeleteBatch,
        outcome: &mut BatchOutcome,
    ) -> Result<Vec<Pending>> {
        let mut pending = Vec::with_capacity(batch.digests.len());
        let mut kept = Vec::with_capacity(batch.digests.len());
        for condemned in std::mem::take(&mut batch.digests) {
            if self
                .table
                .with(&condemned.digest, |slot| slot.start_deleting(batch.id))
            {
                kept.push(condemned);
            } else {
                if let Some(record) = batch.sent {
                    self.journal().resolve(record, &condemned.digest);
                }
                outcome.taken_back.push(condemned);
            }
        }
        batch.digests = kept;
        for condemned in &batch.digests {
            pending.push(Pending {
                condemned: *condemned,
                key: self.keys.chunk(&condemned.digest)?,
                fate: Fate::Open,
                reason: String::new(),
                unresolved: false,
            });
        }
        Ok(pending)
    }

    /// Up to three attempts; a key leaves the request as soon as it has a definite answer. Each is
    /// signed with the time of a look at the owner that is less than a minute old ◆.
    async fn attempt(
        &self,
        client: &S3Client,
        mut fence: Fence,
        mut pending: Vec<Pending>,
        evidence: &[Evidence],
        outcome: &mut BatchOutcome,
    ) -> Vec<Pending> {
        let deadline = self.env.now() + MAX_DURATION;
        let mut evidence_left: Vec<Evidence> = evidence.to_vec();
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=MAX_ATTEMPTS {
            let open: Vec<usize> = (0..pending.len())
                .filter(|&i| pending[i].fate == Fate::Open)
                .collect();
            if open.is_empty() && evidence_left.is_empty() {
                break;
            }
            if attempt > 1 {
                if self.env.now() + pause >= deadline {
                    break;
                }
                self.env.sleep(pause).await;
                pause *= 2;
                match self.ownership.check(client, "delete chunks").await {
                    Ok(fresh) => fence = fresh,
                    Err(error) => {
                        tracing::warn!(%error, "a delete request is not repeated");
                        break;
                    }
                }
            }
            let keys: Vec<ObjectKey> = open
                .iter()
                .map(|&i| pending[i].key.clone())
                .chain(evidence_left.iter().map(|evidence| evidence.key.clone()))
                .collect();
            let fenced = client.signed_at(fence.signed_at);
            let left = deadline.saturating_duration_since(self.env.now());
            // Writers of these digests wait for us: an answer that does not come is none.
            let started = self.env.now();
            let answers = tokio::select! {
                biased;
                attempt = fenced.delete_objects_attempt(&keys) => attempt.outcomes,
                () = self.env.sleep(left) => Vec::new(),
            };
            let took = self.env.now().saturating_duration_since(started);
            outcome.attempts.push(took);
            for (position, &index) in open.iter().enumerate() {
                pending[index].note(answers.get(position));
            }
            let mut still_left = Vec::new();
            for (position, evidence) in evidence_left.into_iter().enumerate() {
                match answers.get(open.len() + position) {
                    Some(KeyOutcome::Deleted) => outcome.evidence_deleted.push(evidence.size),
                    Some(KeyOutcome::Refused { .. }) => {
                        outcome.evidence_failed.push(evidence.size);
                    }
                    Some(KeyOutcome::Retryable { .. } | KeyOutcome::Unresolved { .. }) | None => {
                        still_left.push(evidence);
                    }
                }
            }
            evidence_left = still_left;
        }
        outcome
            .evidence_failed
            .extend(evidence_left.iter().map(|evidence| evidence.size));
        pending
    }

    /// Turns the answers into states ◆ (`gc.md` §7, "outcome per key").
    async fn settle(
        self: &Arc<Self>,
        batch: &mut DeleteBatch,
        pending: Vec<Pending>,
        outcome: &mut BatchOutcome,
    ) {
        let this = Arc::clone(self);
        let id = batch.id;
        let record = batch.sent;
        let settled = self
            .blocking(move || {
                let until = this.env.now() + this.quarantine;
                let mut settled = BatchOutcome::default();
                for key in pending {
                    let digest = key.condemned.digest;
                    let certain = !key.unresolved;
                    let restored = this.table.with(&digest, |slot| -> Result<()> {
                        let had = slot.end_deleting(id);
                        if !certain {
                            slot.suspect(until);
                        } else if key.fate != Fate::Deleted && had == Some(true) {
                            this.local
                                .create_marker(&digest, FileTime::now(&this.env))?;
                        }
                        Ok(())
                    });
                    // Without its marker it is uploaded again, which finds it there: no harm, and
                    // no reason to leave the others unsettled.
                    settled.error = settled.error.or(restored.err());
                    if certain && let Some(record) = record {
                        this.journal().resolve(record, &digest);
                    }
                    match (key.fate, certain) {
                        // A later attempt saw it go: freed, whatever a late request still does.
                        (Fate::Deleted, _) => settled.deleted.push(key.condemned),
                        // Refused, or every attempt was put off by a definite answer.
                        (_, true) => settled.retained.push((key.condemned, key.reason)),
                        (_, false) => settled.suspect.push(key.condemned),
                    }
                }
                settled
            })
            .await;
        // Everything is settled: nothing left for the guard to do.
        batch.digests.clear();
        outcome.deleted = settled.deleted;
        outcome.retained = settled.retained;
        outcome.suspect = settled.suspect;
        outcome.error = settled.error;
    }
}

impl Pending {
    fn note(&mut self, answer: Option<&KeyOutcome>) {
        match answer {
            Some(KeyOutcome::Deleted) => self.fate = Fate::Deleted,
            Some(KeyOutcome::Refused { code, message }) => {
                self.fate = Fate::Refused;
                self.reason = format!("{code}: {message}");
            }
            Some(KeyOutcome::Retryable { code, message }) => {
                self.reason = format!("{code}: {message}");
            }
            Some(KeyOutcome::Unresolved { .. }) | None => self.unresolved = true,
        }
    }
}

/// Whether no further delete may be sent: the store is somebody else's or not to be trusted, the
/// journal cannot be written ◆, or the task is to end.
pub(crate) fn is_fatal(error: &Error) -> bool {
    matches!(
        error,
        Error::Fenced { .. }
            | Error::NeedsRefresh { .. }
            | Error::DeleteJournal { .. }
            | Error::Aborted
    )
}

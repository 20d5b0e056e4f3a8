//! The table of exceptional digest states and liveness stamps (`gc.md` §6.1, §7; ADR 0003).
//!
//! Presence of a chunk is a local file; this table holds what a file cannot say: that a digest is
//! being uploaded, is about to be deleted, is being deleted, or may still be deleted by a request
//! that nobody waits for any more. One table per datastore, shared by every handle in the process,
//! sharded by the first byte of the digest. A digest without an entry is *ordinary*.
//!
//! The shard mutex is held for a decision and the local file operation that belongs to it, never
//! across a network call: [`DigestTable::with`] takes a plain closure. Waiting for another task's
//! upload or delete is [`DigestTable::changed`], awaited with no lock held.

mod slot;
mod stamps;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use api_types::digest::Digest;
use tokio::time::Instant;

use crate::sync::{
    Arc, AtomicU64, AtomicUsize, Mutex, MutexGuard, Notified, Notify, Ordering, PoisonError,
};

use stamps::Stamps;

pub use slot::{BatchId, Slot, State, Suspicion, TakenBack, UploadToken};

const SHARDS: usize = 256;

/// A liveness generation: raised by each garbage collection, recorded by stamps and sessions.
pub type Generation = u64;

/// States, suspicions and stamps of all digests of one datastore.
#[derive(Debug)]
pub struct DigestTable {
    shards: Vec<Shard>,
    generation: AtomicU64,
    next_token: AtomicU64,
    /// Digests marked as lost now, and markings ever made.
    lost: AtomicUsize,
    losses: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    inner: Mutex<Inner>,
    /// Woken whenever a digest of this shard leaves a state.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    states: HashMap<Digest, State>,
    suspicions: HashMap<Digest, Suspicion>,
    stamps: Stamps,
    /// Digests that a collection proved to be missing and that nobody has uploaded since.
    lost: HashSet<Digest>,
}

impl DigestTable {
    /// An empty table at `generation`.
    #[must_use]
    pub fn new(generation: Generation) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            generation: AtomicU64::new(generation),
            next_token: AtomicU64::new(1),
            lost: AtomicUsize::new(0),
            losses: AtomicU64::new(0),
        }
    }

    /// The current generation: what a stamp or a new session records.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation.load(Ordering::SeqCst)
    }

    /// Raises the generation to `generation`; it never falls.
    pub fn raise_generation(&self, generation: Generation) {
        self.generation.fetch_max(generation, Ordering::SeqCst);
    }

    /// Runs `work` on the digest's slot while its shard is locked.
    ///
    /// `work` may do local file operations of this digest, nothing that waits. The waiters of the
    /// shard are woken if it changed a state.
    pub fn with<R>(&self, digest: &Digest, work: impl FnOnce(&mut Slot<'_>) -> R) -> R {
        let shard = self.shard(digest);
        // Woken however `work` ends: a waiter that is not woken waits for ever.
        let mut wake = Wake(None);
        let mut inner = lock(shard);
        let mut slot = Slot::new(digest, &mut inner, self);
        wake.0 = Some(&shard.changed);
        let result = work(&mut slot);
        if !slot.is_changed() {
            wake.0 = None;
        }
        drop(inner);
        result
    }

    /// A future that resolves at the next state change in the digest's shard.
    ///
    /// Create and `enable` it *before* looking at the state, then await it without a lock.
    pub fn changed(&self, digest: &Digest) -> Notified<'_> {
        self.shard(digest).changed.notified()
    }

    /// Forgets stamps below `floor`: no later collection can have a lower one.
    pub fn drop_stamps_below(&self, floor: Generation) {
        for shard in &self.shards {
            lock(shard).stamps.drop_below(floor);
        }
    }

    /// All suspect digests whose quarantine has ended at `now`.
    #[must_use]
    pub fn due_suspects(&self, now: Instant) -> Vec<Digest> {
        self.collect_suspects(|suspicion| suspicion.until <= now)
    }

    /// All suspect digests.
    #[must_use]
    pub fn suspects(&self) -> Vec<Digest> {
        self.collect_suspects(|_| true)
    }

    fn collect_suspects(&self, wanted: impl Fn(&Suspicion) -> bool) -> Vec<Digest> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let inner = lock(shard);
            found.extend(
                inner
                    .suspicions
                    .iter()
                    .filter(|(_, s)| wanted(s))
                    .map(|(d, _)| *d),
            );
        }
        found.sort_unstable();
        found
    }

    /// The earliest end of a quarantine, if any digest is suspect.
    #[must_use]
    pub fn next_quarantine_end(&self) -> Option<Instant> {
        self.shards
            .iter()
            .filter_map(|s| lock(s).suspicions.values().map(|s| s.until).min())
            .min()
    }

    /// The latest end of a quarantine, if any digest is suspect.
    #[must_use]
    pub fn last_quarantine_end(&self) -> Option<Instant> {
        self.shards
            .iter()
            .filter_map(|s| lock(s).suspicions.values().map(|s| s.until).max())
            .max()
    }

    /// Whether any digest is known to be missing.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst) > 0
    }

    /// How often a digest was marked as lost; raised under the digest's lock.
    #[must_use]
    pub fn losses(&self) -> u64 {
        self.losses.load(Ordering::SeqCst)
    }

    /// Number of digests in a state or under suspicion (for tests of bounded staleness, G11).
    #[must_use]
    pub fn exceptional_count(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| {
                let inner = lock(shard);
                let only_suspect = inner
                    .suspicions
                    .keys()
                    .filter(|d| !inner.states.contains_key(*d))
                    .count();
                inner.states.len() + only_suspect
            })
            .sum()
    }

    fn shard(&self, digest: &Digest) -> &Shard {
        &self.shards[usize::from(digest.as_bytes()[0])]
    }

    fn next_token(&self) -> u64 {
        self.next_token.fetch_add(1, Ordering::SeqCst)
    }
}

/// Wakes the waiters of a shard when dropped.
struct Wake<'a>(Option<&'a Notify>);

impl Drop for Wake<'_> {
    fn drop(&mut self) {
        if let Some(changed) = self.0 {
            changed.notify_waiters();
        }
    }
}

fn lock(shard: &Shard) -> MutexGuard<'_, Inner> {
    // A panic inside `with` cannot leave a half-made transition: each is one map operation.
    shard.inner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Clears a digest's `Uploading` state when its task ends in whatever way.
///
/// Dropped without [`finish`](Self::finish), as by an error or a cancellation, it leaves the digest
/// as it was before the upload; the PUT may still be applied, which only brings back an object
/// that nobody believes present. Not to be dropped inside [`DigestTable::with`]: it takes the lock.
#[derive(Debug)]
pub struct UploadGuard {
    table: Arc<DigestTable>,
    digest: Digest,
    token: Option<UploadToken>,
}

impl UploadGuard {
    /// Guards an upload that [`Slot::begin_upload`] has just begun.
    #[must_use]
    pub fn new(table: Arc<DigestTable>, digest: Digest, token: UploadToken) -> Self {
        Self {
            table,
            digest,
            token: Some(token),
        }
    }

    /// Ends the upload: runs `work` under the shard lock and clears the state if it succeeds.
    ///
    /// # Errors
    /// Whatever `work` returns; the state is cleared then as well, without its effects.
    pub fn finish<R, E>(
        mut self,
        work: impl FnOnce(&mut Slot<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        let token = self.token.take();
        self.table.with(&self.digest, |slot| {
            if let Some(token) = token {
                slot.end_upload(token);
            }
            work(slot)
        })
    }
}

impl Drop for UploadGuard {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            self.table.with(&self.digest, |slot| slot.end_upload(token));
        }
    }
}

//! One digest's part of the table: the legal transitions, each a few lines over plain values.

use api_types::digest::Digest;
use tokio::time::Instant;

use crate::sync::Ordering;

use super::{DigestTable, Generation, Inner};

/// Identifies a batch of condemned digests.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BatchId(pub u64);

/// Identifies one upload, so that only its own guard ends it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UploadToken(u64);

/// What is happening to a digest that is not ordinary.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Somebody puts the object, or holds the digest to look at the object (heal, HEAD before a
    /// marker, end of a quarantine).
    Uploading(UploadToken),
    /// Its presence has been removed and a batch means to delete the object; not sent yet.
    Condemned {
        /// The batch.
        batch: BatchId,
        /// Whether a local file was removed by the condemnation.
        had: bool,
    },
    /// The batch has been, or is just being, sent.
    Deleting {
        /// The batch.
        batch: BatchId,
        /// Whether a local file was removed by the condemnation.
        had: bool,
    },
}

/// A delete of the digest may still be applied by the provider; backed by an open journal record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Suspicion {
    /// End of the quarantine on the monotonic clock.
    pub until: Instant,
}

/// What taking a digest back from its batch found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TakenBack {
    /// The condemnation removed a local file: presence has to be put back.
    HadPresence,
    /// There was no local file: the object is as unproven as before.
    HadNone,
}

/// A digest under its shard's lock.
#[derive(Debug)]
pub struct Slot<'a> {
    digest: &'a Digest,
    inner: &'a mut Inner,
    table: &'a DigestTable,
    changed: bool,
}

impl<'a> Slot<'a> {
    pub(super) fn new(digest: &'a Digest, inner: &'a mut Inner, table: &'a DigestTable) -> Self {
        Self {
            digest,
            inner,
            table,
            changed: false,
        }
    }

    pub(super) fn is_changed(&self) -> bool {
        self.changed
    }

    /// The digest.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        self.digest
    }

    /// The state, `None` if nothing is going on (the digest may still be suspect).
    #[must_use]
    pub fn state(&self) -> Option<State> {
        self.inner.states.get(self.digest).copied()
    }

    /// The suspicion, if any.
    #[must_use]
    pub fn suspicion(&self) -> Option<Suspicion> {
        self.inner.suspicions.get(self.digest).copied()
    }

    /// Neither in a state nor suspect: presence is decided by the local file alone.
    #[must_use]
    pub fn is_ordinary(&self) -> bool {
        self.state().is_none() && self.suspicion().is_none()
    }

    /// The generation of the last insert or duplicate answer, if it is still remembered.
    #[must_use]
    pub fn stamp(&self) -> Option<Generation> {
        self.inner.stamps.get(self.digest)
    }

    /// Stamps the digest with the current generation, read inside the critical section ◆.
    pub fn stamp_now(&mut self) {
        let generation = self.table.generation();
        self.inner.stamps.set(self.digest, generation);
    }

    /// Whether a collection found the chunk missing and nobody has uploaded it since.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.inner.lost.contains(self.digest)
    }

    /// Records whether the chunk is known to be missing.
    pub fn set_lost(&mut self, lost: bool) {
        if lost {
            if self.inner.lost.insert(*self.digest) {
                self.table.lost.fetch_add(1, Ordering::SeqCst);
                self.table.losses.fetch_add(1, Ordering::SeqCst);
            }
        } else if self.inner.lost.remove(self.digest) {
            self.table.lost.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Begins an upload (or another exclusive look at the object) if nothing else is going on.
    ///
    /// Legal for ordinary and for suspect digests; `None` while another state is set.
    pub fn begin_upload(&mut self) -> Option<UploadToken> {
        if self.state().is_some() {
            return None;
        }
        let token = UploadToken(self.table.next_token());
        self.inner
            .states
            .insert(*self.digest, State::Uploading(token));
        self.changed = true;
        Some(token)
    }

    /// Ends the upload `token`; no effect on any other state. A suspicion stays ◆.
    pub fn end_upload(&mut self, token: UploadToken) {
        if self.state() == Some(State::Uploading(token)) {
            self.clear_state();
        }
    }

    /// Condemns an ordinary digest for `batch`; `had` = its local file has just been removed.
    ///
    /// Returns false, and does nothing, unless the digest is ordinary ◆.
    #[must_use]
    pub fn condemn(&mut self, batch: BatchId, had: bool) -> bool {
        if !self.is_ordinary() {
            return false;
        }
        self.inner
            .states
            .insert(*self.digest, State::Condemned { batch, had });
        self.changed = true;
        true
    }

    /// Takes a condemned digest out of its batch, which then will not send it.
    ///
    /// `None` unless the state is `Condemned`. The caller restores what was taken, no more ◆.
    pub fn take_back(&mut self) -> Option<TakenBack> {
        let Some(State::Condemned { had, .. }) = self.state() else {
            return None;
        };
        self.clear_state();
        Some(if had {
            TakenBack::HadPresence
        } else {
            TakenBack::HadNone
        })
    }

    /// Gives up the condemnation by `batch` before sending: the digest becomes ordinary, without
    /// presence. Returns whether it was condemned by that batch.
    pub fn release(&mut self, batch: BatchId) -> bool {
        let mine = matches!(self.state(), Some(State::Condemned { batch: b, .. }) if b == batch);
        if mine {
            self.clear_state();
        }
        mine
    }

    /// The last look before sending: still condemned by `batch`? Then it is being deleted.
    #[must_use]
    pub fn start_deleting(&mut self, batch: BatchId) -> bool {
        match self.state() {
            Some(State::Condemned { batch: b, had }) if b == batch => {
                self.inner
                    .states
                    .insert(*self.digest, State::Deleting { batch, had });
                self.changed = true;
                true
            }
            _ => false,
        }
    }

    /// Ends the delete by `batch`: the digest is ordinary again. Returns whether it had a local
    /// file before its condemnation, `None` if it is not being deleted by that batch.
    pub fn end_deleting(&mut self, batch: BatchId) -> Option<bool> {
        match self.state() {
            Some(State::Deleting { batch: b, had }) if b == batch => {
                self.clear_state();
                Some(had)
            }
            _ => None,
        }
    }

    /// Flags the digest: a delete may still be applied until `until`. Survives uploads; a second
    /// suspicion only prolongs the first.
    pub fn suspect(&mut self, until: Instant) {
        let suspicion = self
            .inner
            .suspicions
            .entry(*self.digest)
            .or_insert(Suspicion { until });
        suspicion.until = suspicion.until.max(until);
        self.changed = true;
    }

    /// Ends the suspicion, after the look at the object that closes a quarantine ◆.
    pub fn clear_suspicion(&mut self) {
        self.changed |= self.inner.suspicions.remove(self.digest).is_some();
    }

    fn clear_state(&mut self) {
        self.inner.states.remove(self.digest);
        self.changed = true;
    }
}

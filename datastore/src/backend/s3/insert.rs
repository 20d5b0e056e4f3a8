//! Inserting a chunk (`gc.md` §6.3, `s3-backend.md` §5).
//!
//! The decision is made under the digest's shard lock by `S3Backend::plan_insert`, the request is
//! sent with nothing held but the `Uploading` state, the effect is recorded under the lock again.
//! A cancelled insert leaves the digest as it was: the PUT may still be applied, which only brings
//! back an object that nobody believes present.

use std::pin::pin;
use std::sync::Arc;

use api_types::digest::Digest;
use s3_client::{PutMode, S3Client};

use crate::chunk_store::LocalChunk;
use crate::digests::{Slot, State, TakenBack, UploadGuard};
use crate::error::{Error, Result};
use crate::file_time::FileTime;
use crate::format::blob::DataBlob;

use super::S3Backend;
use super::existing::{BlobKind, Clash, Stored};

/// What an insert did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InsertOutcome {
    /// The chunk was there before.
    pub duplicate: bool,
    /// Encoded size of the stored chunk as far as known, else of the one given.
    pub stored_size: u64,
}

impl From<crate::chunk_store::InsertOutcome> for InsertOutcome {
    fn from(outcome: crate::chunk_store::InsertOutcome) -> Self {
        Self {
            duplicate: outcome.duplicate,
            stored_size: outcome.stored_size,
        }
    }
}

/// Whether to keep the payload of an uploaded chunk in the local cache.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Payload {
    /// Keep it if there is room.
    Cache,
    /// Do not (the protocol's `no-cache`); presence is recorded all the same (H2).
    Discard,
}

enum Plan {
    /// Somebody uploads or deletes the digest: wait for a change and look again.
    Wait,
    Duplicate {
        stored_size: Option<u64>,
    },
    /// It is present, but may not be what its digest says: look at the object first.
    Look {
        guard: UploadGuard,
    },
    Upload {
        guard: UploadGuard,
        mode: PutMode,
        /// A late delete may still hit the object: the payload must be durable on disk ◆.
        keep_durably: bool,
    },
}

impl S3Backend {
    /// Inserts a chunk: "duplicate" if it is known to be present, else uploads it.
    ///
    /// # Errors
    /// If the bucket refuses the object, a local file operation fails, the chunk clashes with the
    /// stored one in a way that means forgery, or `client`'s task is aborted.
    pub async fn insert(
        self: &Arc<Self>,
        client: &S3Client,
        digest: Digest,
        blob: &DataBlob,
        payload: Payload,
    ) -> Result<InsertOutcome> {
        let kind = BlobKind::of(blob);
        loop {
            let mut changed = pin!(self.table.changed(&digest));
            changed.as_mut().enable();
            let plan = self
                .with_judged_slot(digest, move |this, slot| this.plan_insert(slot, kind))
                .await?;
            match plan {
                Plan::Wait => or_aborted(client, changed).await?,
                Plan::Duplicate { stored_size } => {
                    let stored_size = stored_size.unwrap_or(kind.encoded_size);
                    return Ok(InsertOutcome {
                        duplicate: true,
                        stored_size,
                    });
                }
                Plan::Look { guard } => {
                    let mode = match self.look_at_kind(client, &digest).await? {
                        Stored::Plain => {
                            self.record_plain(guard).await?;
                            return Ok(InsertOutcome {
                                duplicate: true,
                                stored_size: kind.encoded_size,
                            });
                        }
                        Stored::Other => {
                            warn_of_forgery(&digest);
                            PutMode::Replace
                        }
                        Stored::Absent => PutMode::CreateOnly,
                    };
                    let plan = (guard, mode, false);
                    return self.carry_out(client, digest, blob, payload, plan).await;
                }
                Plan::Upload {
                    guard,
                    mode,
                    keep_durably,
                } => {
                    let plan = (guard, mode, keep_durably);
                    return self.carry_out(client, digest, blob, payload, plan).await;
                }
            }
        }
    }

    async fn carry_out(
        self: &Arc<Self>,
        client: &S3Client,
        digest: Digest,
        blob: &DataBlob,
        payload: Payload,
        (guard, mode, keep_durably): (UploadGuard, PutMode, bool),
    ) -> Result<InsertOutcome> {
        self.upload_chunk(client, digest, blob, mode).await?;
        self.record_upload(guard, digest, blob, payload, keep_durably)
            .await?;
        Ok(InsertOutcome {
            duplicate: false,
            stored_size: blob.raw_size(),
        })
    }

    /// Answers whether the chunk is present, and protects it for the asking session if it is.
    ///
    /// A positive answer stamps the digest like an insert ◆. Waits while the digest is being
    /// uploaded or deleted; a suspect digest is answered "absent".
    ///
    /// # Errors
    /// If a local file operation fails, or `client`'s task is aborted while this waits.
    pub async fn touch_known(
        self: &Arc<Self>,
        client: &S3Client,
        digest: Digest,
    ) -> Result<Option<LocalChunk>> {
        loop {
            let mut changed = pin!(self.table.changed(&digest));
            changed.as_mut().enable();
            let answer = self
                .with_judged_slot(digest, |this, slot| match slot.state() {
                    Some(State::Uploading(_) | State::Deleting { .. }) => Ok(None),
                    Some(State::Condemned { had: false, .. }) => Ok(Some(None)),
                    Some(State::Condemned { had: true, .. })
                        if this.bad_list.contains(slot.digest()) =>
                    {
                        Ok(Some(None))
                    }
                    Some(State::Condemned { had: true, .. }) => {
                        slot.take_back();
                        this.restore_presence(slot)?;
                        this.local
                            .stat_chunk(slot.digest())
                            .map(Some)
                            .map_err(Error::from)
                    }
                    None => this.touch_ordinary(slot).map(Some),
                })
                .await?;
            match answer {
                Some(known) => return Ok(known),
                None => or_aborted(client, changed).await?,
            }
        }
    }

    /// Runs `work` on the digest's slot, with the bad list of all processes at hand.
    async fn with_judged_slot<R, F>(self: &Arc<Self>, digest: Digest, work: F) -> Result<R>
    where
        R: Send + 'static,
        F: FnOnce(&Arc<Self>, &mut Slot<'_>) -> Result<R> + Send + 'static,
    {
        let this = Arc::clone(self);
        self.blocking(move || {
            this.bad_list.look_again(&this.env)?;
            this.table.with(&digest, |slot| work(&this, slot))
        })
        .await
    }

    fn plan_insert(self: &Arc<Self>, slot: &mut Slot<'_>, new: BlobKind) -> Result<Plan> {
        match slot.state() {
            Some(State::Uploading(_) | State::Deleting { .. }) => return Ok(Plan::Wait),
            Some(State::Condemned { .. }) => match slot.take_back() {
                Some(TakenBack::HadPresence) if !self.bad_list.contains(slot.digest()) => {
                    self.restore_presence(slot)?;
                    if let Some(chunk) = self.local.stat_chunk(slot.digest())? {
                        return self.plan_present(slot, chunk, new);
                    }
                }
                // ◆ The listing that condemned it proves nothing about the object.
                Some(TakenBack::HadPresence | TakenBack::HadNone) | None => {}
            },
            None => {
                if let Some(chunk) = self.touch_ordinary(slot)? {
                    return self.plan_present(slot, chunk, new);
                }
            }
        }
        if new.encrypted
            && let Some(chunk) = self.local.stat_chunk(slot.digest())?
        {
            // It would replace the object.
            self.clash(slot.digest(), chunk, new)?
                .refuse_forgery(slot.digest())?;
        }
        let suspect = slot.suspicion().is_some();
        let mode = if suspect || self.bad_list.contains(slot.digest()) {
            PutMode::Replace
        } else {
            PutMode::CreateOnly
        };
        let Some(guard) = self.begin_upload(slot) else {
            return Ok(Plan::Wait);
        };
        Ok(Plan::Upload {
            guard,
            mode,
            keep_durably: suspect,
        })
    }

    /// A chunk whose presence counts, if it is what the digest says ◆.
    fn plan_present(
        self: &Arc<Self>,
        slot: &mut Slot<'_>,
        chunk: LocalChunk,
        new: BlobKind,
    ) -> Result<Plan> {
        let duplicate = Plan::Duplicate {
            stored_size: (chunk.size > 0).then_some(chunk.size),
        };
        if new.encrypted {
            self.clash(slot.digest(), chunk, new)?
                .refuse_forgery(slot.digest())?;
            return Ok(duplicate);
        }
        if chunk.known_plain {
            return Ok(duplicate);
        }
        if chunk.is_marker() {
            let guard = self.begin_upload(slot);
            return Ok(guard.map_or(Plan::Wait, |guard| Plan::Look { guard }));
        }
        // What cannot be read is damage.
        let kind = self.local.payload_kind(slot.digest()).ok().flatten();
        if kind.is_some_and(|kind| !kind.is_encrypted()) {
            return Ok(duplicate);
        }
        let Some(guard) = self.begin_upload(slot) else {
            return Ok(Plan::Wait);
        };
        warn_of_forgery(slot.digest());
        Ok(Plan::Upload {
            guard,
            mode: PutMode::Replace,
            keep_durably: false,
        })
    }

    fn begin_upload(&self, slot: &mut Slot<'_>) -> Option<UploadGuard> {
        let token = slot.begin_upload()?;
        let table = Arc::clone(&self.table);
        Some(UploadGuard::new(table, *slot.digest(), token))
    }

    /// The duplicate answer for an ordinary digest: touch and stamp in one step ◆.
    ///
    /// A digest on the bad list is answered "absent", so that the next upload repairs it.
    fn touch_ordinary(&self, slot: &mut Slot<'_>) -> Result<Option<LocalChunk>> {
        if !slot.is_ordinary() || self.bad_list.contains(slot.digest()) {
            return Ok(None);
        }
        let known = self
            .local
            .cond_touch_chunk(slot.digest(), FileTime::now(&self.env))?;
        if known.is_some() {
            slot.stamp_now();
        }
        Ok(known)
    }

    /// Gives a digest taken back from its batch the presence that the condemnation removed.
    fn restore_presence(&self, slot: &mut Slot<'_>) -> Result<()> {
        self.local
            .create_marker(slot.digest(), FileTime::now(&self.env))?;
        slot.stamp_now();
        Ok(())
    }

    /// Same digest, different encoding: the rules of `datastore-layout.md` §6, for an encrypted
    /// chunk and as far as it is known what is stored.
    fn clash(&self, digest: &Digest, chunk: LocalChunk, new: BlobKind) -> Result<Clash> {
        if chunk.known_plain {
            return Ok(Clash::Forged(
                "an encrypted chunk must not replace a plain one",
            ));
        }
        if chunk.is_marker() || chunk.size == new.encoded_size {
            return Ok(Clash::KeepStored);
        }
        // An undecodable payload is the reader's business: it fetches the object again.
        let kind = self.local.payload_kind(digest).ok().flatten();
        Ok(kind.map_or(Clash::KeepStored, |kind| {
            Clash::between(BlobKind::stored(kind, chunk.size), new)
        }))
    }

    /// The object of a present chunk was found to be plain: a duplicate, now and without a look
    /// from now on.
    async fn record_plain(self: &Arc<Self>, guard: UploadGuard) -> Result<()> {
        let this = Arc::clone(self);
        self.blocking(move || {
            guard.finish(|slot| -> Result<()> {
                let now = FileTime::now(&this.env);
                this.local.put_marker(slot.digest(), true, now)?;
                slot.stamp_now();
                slot.set_lost(false);
                Ok(())
            })
        })
        .await
    }

    /// Puts the object; one that is there already is believed only after a look at it.
    async fn upload_chunk(
        &self,
        client: &S3Client,
        digest: Digest,
        blob: &DataBlob,
        mode: PutMode,
    ) -> Result<()> {
        self.put_validated(client, digest, blob, mode).await?;
        if self.bad_list.contains(&digest) {
            self.bad_list.remove(&self.env, digest).await?;
        }
        Ok(())
    }

    async fn record_upload(
        self: &Arc<Self>,
        guard: UploadGuard,
        digest: Digest,
        blob: &DataBlob,
        payload: Payload,
        keep_durably: bool,
    ) -> Result<()> {
        let this = Arc::clone(self);
        let raw = blob.raw().clone();
        let size = u64::try_from(raw.len()).unwrap_or(u64::MAX);
        let is_plain = !blob.is_encrypted();
        let wanted = keep_durably || (payload == Payload::Cache && self.cache.admits(size));
        let cached = self
            .blocking(move || -> Result<bool> {
                let now = FileTime::now(&this.env);
                // Written, and synced if it must be, before the lock; only the rename is under it.
                let prepared = match wanted {
                    true => match this.local.prepare_payload(&digest, &raw, now, keep_durably) {
                        Ok(prepared) => Some(prepared),
                        Err(error) if keep_durably => return Err(error.into()),
                        // A full cache disk must not fail a backup.
                        Err(error) => {
                            tracing::warn!(%digest, %error, "chunk not cached");
                            None
                        }
                    },
                    false => None,
                };
                let cached = prepared.is_some();
                guard.finish(|slot| -> Result<()> {
                    match prepared {
                        Some(prepared) => this.local.commit_payload(prepared)?,
                        None => {
                            // Not beside a payload of what was replaced.
                            this.local.put_marker(slot.digest(), is_plain, now)?;
                            this.cache.forget(slot.digest());
                        }
                    }
                    slot.stamp_now();
                    slot.set_lost(false);
                    Ok(())
                })?;
                if keep_durably {
                    this.local.sync_chunk_dir(&digest)?;
                }
                Ok(cached)
            })
            .await?;
        if cached {
            self.admit_to_cache(digest, size).await;
        }
        Ok(())
    }
}

fn warn_of_forgery(digest: &Digest) {
    tracing::warn!(%digest, "replacing a chunk that is not what its digest says");
}

/// Waits for another task's upload or delete, unless our own task is aborted first.
async fn or_aborted(client: &S3Client, changed: impl Future<Output = ()>) -> Result<()> {
    tokio::select! {
        biased;
        () = client.cancel_token().cancelled() => Err(Error::Aborted),
        () = changed => Ok(()),
    }
}

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
use super::existing::{BlobKind, Clash};

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
                .with_slot(digest, move |this, slot| this.plan_insert(slot, kind))
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
                Plan::Upload {
                    guard,
                    mode,
                    keep_durably,
                } => {
                    self.upload_chunk(client, digest, blob, mode).await?;
                    self.record_upload(guard, digest, blob, payload, keep_durably)
                        .await?;
                    return Ok(InsertOutcome {
                        duplicate: false,
                        stored_size: kind.encoded_size,
                    });
                }
            }
        }
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
                .with_slot(digest, |this, slot| match slot.state() {
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

    fn plan_insert(self: &Arc<Self>, slot: &mut Slot<'_>, new: BlobKind) -> Result<Plan> {
        match slot.state() {
            Some(State::Uploading(_) | State::Deleting { .. }) => return Ok(Plan::Wait),
            Some(State::Condemned { .. }) => match slot.take_back() {
                Some(TakenBack::HadPresence) if !self.bad_list.contains(slot.digest()) => {
                    self.restore_presence(slot)?;
                    return Ok(Plan::Duplicate { stored_size: None });
                }
                // ◆ The listing that condemned it proves nothing about the object.
                Some(TakenBack::HadPresence | TakenBack::HadNone) | None => {}
            },
            None => {
                if let Some(chunk) = self.touch_ordinary(slot)? {
                    self.refuse_clash(slot.digest(), chunk, new)?;
                    let stored_size = (chunk.size > 0).then_some(chunk.size);
                    return Ok(Plan::Duplicate { stored_size });
                }
            }
        }
        let suspect = slot.suspicion().is_some();
        let mode = if suspect || self.bad_list.contains(slot.digest()) {
            PutMode::Replace
        } else {
            PutMode::CreateOnly
        };
        let Some(token) = slot.begin_upload() else {
            return Ok(Plan::Wait);
        };
        let guard = UploadGuard::new(Arc::clone(&self.table), *slot.digest(), token);
        Ok(Plan::Upload {
            guard,
            mode,
            keep_durably: suspect,
        })
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

    /// Same digest, cached payload, different encoding: the rules of `datastore-layout.md` §6.
    fn refuse_clash(&self, digest: &Digest, chunk: LocalChunk, new: BlobKind) -> Result<()> {
        if chunk.size == 0 || chunk.size == new.encoded_size {
            return Ok(());
        }
        let Some(stored) = self.local.read_chunk(digest)? else {
            return Ok(());
        };
        match DataBlob::from_bytes(stored) {
            Ok(stored) => Clash::between(BlobKind::of(&stored), new).refuse_forgery(digest),
            // An undecodable payload is the reader's business: it fetches the object again.
            Err(_) => Ok(()),
        }
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
                            this.local.create_marker(slot.digest(), now)?;
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

/// Waits for another task's upload or delete, unless our own task is aborted first.
async fn or_aborted(client: &S3Client, changed: impl Future<Output = ()>) -> Result<()> {
    tokio::select! {
        biased;
        () = client.cancel_token().cancelled() => Err(Error::Aborted),
        () = changed => Ok(()),
    }
}

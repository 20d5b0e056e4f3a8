//! Looking at an object while its digest's entry is held: what the collection's merge and the end
//! of a quarantine need (`gc.md` §6.2 P2).
//!
//! A listing may be older than a delete, so nothing is concluded from it alone: presence is created
//! and a chunk is called missing only after a HEAD that no upload or delete of the digest can
//! overlap.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use api_types::digest::Digest;
use s3_client::{PutMode, S3Client};

use crate::digests::{Slot, UploadGuard};
use crate::error::Result;
use crate::file_time::FileTime;
use crate::format::blob::DataBlob;

use super::S3Backend;
#[cfg(doc)]
use super::losses::Losses;

/// Result of a look at a digest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Look {
    /// The object is there; the local file too, now.
    Present,
    /// The object was gone and has been uploaded again from the cached payload.
    Healed,
    /// The object is proven absent and there is no payload: presence is dropped, the digest lost.
    Missing,
    /// The digest is not ordinary, or its situation has changed meanwhile: leave it alone ◆.
    Busy,
}

enum Held {
    Busy,
    Object { guard: UploadGuard },
    Payload { guard: UploadGuard, blob: DataBlob },
}

impl S3Backend {
    /// Marked, listed, no local file: creates the marker if the object answers.
    ///
    /// # Errors
    /// If the bucket does not answer or the marker cannot be written.
    pub async fn confirm_presence(
        self: &Arc<Self>,
        client: &S3Client,
        digest: Digest,
    ) -> Result<Look> {
        let guard = self
            .with_slot(digest, |this, slot| -> Result<Option<UploadGuard>> {
                if this.local.stat_chunk(slot.digest())?.is_some()
                    || this.bad_list.contains(slot.digest())
                {
                    return Ok(None);
                }
                Ok(this.hold_ordinary(slot))
            })
            .await?;
        let Some(guard) = guard else {
            return Ok(Look::Busy);
        };
        let exists = client
            .head_object(&self.keys.chunk(&digest)?)
            .await?
            .is_some();
        let this = Arc::clone(self);
        self.blocking(move || {
            guard.finish(|slot| {
                if exists {
                    this.local
                        .create_marker(slot.digest(), FileTime::now(&this.env))?;
                    slot.set_lost(false);
                }
                Ok(if exists { Look::Present } else { Look::Busy })
            })
        })
        .await
    }

    /// Marked, not listed: heals from a valid cached payload, else confirms that the chunk is
    /// missing and makes the next backup upload it.
    ///
    /// # Errors
    /// If the bucket does not answer or a local file operation fails.
    pub async fn heal_or_confirm_missing(
        self: &Arc<Self>,
        client: &S3Client,
        digest: Digest,
    ) -> Result<Look> {
        let held = self
            .with_slot(digest, |this, slot| -> Result<Held> {
                // Read first: a guard dropped in here would wait for the lock that we hold.
                let payload = this.valid_payload(slot.digest())?;
                let Some(guard) = this.hold_ordinary(slot) else {
                    return Ok(Held::Busy);
                };
                Ok(match payload {
                    Some(blob) => Held::Payload { guard, blob },
                    None => Held::Object { guard },
                })
            })
            .await?;
        let key = self.keys.chunk(&digest)?;
        let (guard, healed) = match held {
            Held::Busy => return Ok(Look::Busy),
            Held::Payload { guard, blob } => {
                // The listing may be stale: an object that is there after all is kept.
                let absent = client.head_object(&key).await?.is_none();
                if absent {
                    self.put_validated(client, digest, &blob, PutMode::CreateOnly)
                        .await?;
                    self.count_healed();
                }
                (guard, Some(absent))
            }
            Held::Object { guard } => {
                let exists = client.head_object(&key).await?.is_some();
                if !exists {
                    self.losses.note(&self.env).await?;
                }
                (guard, exists.then_some(false))
            }
        };
        let this = Arc::clone(self);
        self.blocking(move || match healed {
            Some(healed) => guard.finish(|slot| {
                slot.set_lost(false);
                Ok(if healed { Look::Healed } else { Look::Present })
            }),
            None => {
                this.end_as_lost(guard, &digest)?;
                Ok(Look::Missing)
            }
        })
        .await
    }

    /// Ends the hold of a digest whose object is proven absent, which was [noted](Losses::note)
    /// before: it has no presence and counts as lost, in every process; blocking.
    pub(crate) fn end_as_lost(&self, guard: UploadGuard, digest: &Digest) -> Result<()> {
        guard.finish(|slot| -> Result<()> {
            self.drop_presence(slot.digest())?;
            slot.set_lost(true);
            Ok(())
        })?;
        self.losses.record(digest)
    }

    /// Learns which chunks other processes have found to be missing, and whether there may be
    /// snapshots that need them.
    ///
    /// # Errors
    /// If their record cannot be read, or a local file operation fails.
    pub(crate) async fn learn_losses(self: &Arc<Self>) -> Result<()> {
        let this = Arc::clone(self);
        self.blocking(move || {
            this.losses.look(|digest| {
                this.table.with(digest, |slot| {
                    // What is present was uploaded since: presence goes before the record is made.
                    if this.local.stat_chunk(slot.digest())?.is_none() {
                        slot.set_lost(true);
                    }
                    Ok(())
                })
            })
        })
        .await
    }

    /// Removes the local file of a digest that is held and whose object is proven absent, or that
    /// nobody needs. There is no journal record that would repeat it after a power failure, so
    /// whoever calls this ends with [`Self::sync_dropped_presence`] or
    /// [`Self::checkpoint_journal`].
    pub(crate) fn drop_presence(&self, digest: &Digest) -> Result<()> {
        self.cache.forget(digest);
        self.local.remove_chunk(digest)?;
        self.presence_dropped.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Holds an ordinary digest like an upload would; `None` if it is not ordinary.
    pub(crate) fn hold_ordinary(&self, slot: &mut Slot<'_>) -> Option<UploadGuard> {
        if !slot.is_ordinary() {
            return None;
        }
        let token = slot.begin_upload()?;
        Some(UploadGuard::new(
            Arc::clone(&self.table),
            *slot.digest(),
            token,
        ))
    }

    /// The cached payload of a digest if it decodes and fits the digest.
    pub(crate) fn valid_payload(&self, digest: &Digest) -> Result<Option<DataBlob>> {
        let Some(raw) = self.local.read_chunk(digest)? else {
            return Ok(None);
        };
        let Ok(blob) = DataBlob::from_bytes(raw) else {
            return Ok(None);
        };
        Ok(blob
            .verify_unencrypted(digest, None)
            .is_ok()
            .then_some(blob))
    }
}

//! Chunk objects in a bucket: looking at them, healing or setting aside damaged ones
//! (`gc.md` §6.3 "Verify", `s3-backend.md` §10).
//!
//! Order, for an object whose bytes were found damaged:
//!
//! ```text
//! lease     the exclusive process lock ◆; somebody else is at work → only the bad list
//! hold      the digest's entry, if it is ordinary ◆
//! heal      a sound payload in the cache → PUT Replace, done
//! look      GET again: an upload may have repaired the object since ◆
//! list      on the bad list, so that the next upload replaces whatever is there by then
//! epoch     the generation in the bucket, once per run ◆
//! condemn   local file gone and state Condemned, in one critical section
//! copy      to `.N.bad`, as evidence
//! delete    like a batch of the collection: journal, last look, fence ◆
//! unlist    if it is gone for certain
//! ```
//!
//! It is condemned as one that had no local file, although it may have had: a session that takes
//! it back must upload it, and a refused delete must not make it present again.

use std::sync::Arc;

use api_types::digest::Digest;
use s3_client::{CopyOutcome, ListOptions, ObjectKey, PutMode, S3Client};

use crate::backend::s3::S3Backend;
use crate::backend::s3::bounded::{Bounded, OVERSIZED};
use crate::backend::s3::confirm::Look;
use crate::backend::s3::delete::{BatchOutcome, Condemned, DeleteBatch, is_fatal};
use crate::digests::UploadGuard;
use crate::error::{Error, Result};
use crate::format::blob::DataBlob;

use super::VerifyMode;
use super::chunk::{Verdict, judge};
use super::run::Run;

/// The bucket as a run uses it.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    pub(super) backend: Arc<S3Backend>,
    pub(super) client: S3Client,
}

/// What the repairs of a run share; also their queue, since the lease they need is exclusive.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    /// Whether deletes were sent, whose journal records can be dropped at the end.
    set_aside: bool,
}

/// What became of a damaged object.
enum Repaired {
    /// Replaced by the cached payload.
    Healed,
    /// The second look found something else than damage.
    Overtaken(Verdict),
    /// Moved out of the way.
    SetAside(ObjectKey),
    /// On the bad list only, for this reason.
    Listed(String),
}

impl Run<'_> {
    pub(super) async fn check_object(
        &self,
        remote: &Remote,
        digest: Digest,
        len: u64,
    ) -> Result<Verdict> {
        if self.options.mode == VerifyMode::Quick && self.is_plausible(digest, len).await? {
            return Ok(Verdict::Plausible);
        }
        let verdict = self.look(remote, digest).await?;
        let repaired = match &verdict {
            Verdict::Corrupt(reason) => {
                self.task.log(&format!("corrupt chunk {digest}: {reason}"));
                self.repair(remote, digest).await?
            }
            Verdict::Missing => return self.confirm_missing(remote, digest).await,
            _ => return Ok(verdict),
        };
        match repaired {
            Repaired::Overtaken(verdict) => Ok(verdict),
            Repaired::Healed => {
                self.note_healed(&format!("chunk {digest} healed from the local cache"));
                self.look(remote, digest).await
            }
            Repaired::SetAside(key) => {
                self.task.log(&format!("corrupt chunk renamed to {key}"));
                Ok(verdict)
            }
            Repaired::Listed(reason) => {
                self.task.log(&format!(
                    "corrupt chunk {digest} could not be renamed ({reason}); the next upload of it \
                     will replace it"
                ));
                Ok(verdict)
            }
        }
    }

    /// GETs a chunk object, past the cache, and judges it.
    async fn look(&self, remote: &Remote, digest: Digest) -> Result<Verdict> {
        let object = {
            let _permit = self.readers.acquire().await;
            remote.backend.get_chunk(&remote.client, &digest).await?
        };
        let body = match object {
            Bounded::Found(body) => body,
            Bounded::Absent => return Ok(Verdict::Missing),
            Bounded::Oversized => return Ok(Verdict::Corrupt(OVERSIZED.into())),
        };
        let _permit = self.workers.acquire().await;
        Ok(self.store.env.blocking(move || judge(body, &digest)).await)
    }

    /// An object that a GET or the listing did not find: heals it, or confirms that it is missing.
    async fn confirm_missing(&self, remote: &Remote, digest: Digest) -> Result<Verdict> {
        let _lease = match self.store.try_writer_lease(self.task.cancel()).await {
            Ok(lease) => lease,
            // Another process collects: nothing may be written, the verdict stands.
            Err(Error::Locked { .. }) => return Ok(Verdict::Missing),
            Err(error) => return Err(error),
        };
        match remote
            .backend
            .heal_or_confirm_missing(&remote.client, digest)
            .await?
        {
            Look::Missing => Ok(Verdict::Missing),
            Look::Present => self.look(remote, digest).await,
            Look::Healed => {
                self.note_healed(&format!(
                    "missing chunk {digest} healed from the local cache"
                ));
                self.look(remote, digest).await
            }
            Look::Busy => Ok(Verdict::Trouble(Error::Refused(format!(
                "chunk {digest} is being uploaded or deleted; verify again later"
            )))),
        }
    }

    async fn repair(&self, remote: &Remote, digest: Digest) -> Result<Repaired> {
        let mut repairs = self.repairs.lock().await;
        let cancel = self.task.cancel();
        let sweeper = match self.store.sweeper_lease(cancel).await {
            Ok(lease) => Some(lease),
            Err(Error::Locked { .. }) => None,
            Err(error) => return Err(error),
        };
        // Not alone, it may still heal, as a writer.
        let writer = match &sweeper {
            Some(_) => None,
            None => match self.store.try_writer_lease(cancel).await {
                Ok(lease) => Some(lease),
                Err(Error::Locked { .. }) => None,
                Err(error) => return Err(error),
            },
        };
        let in_use = "the datastore is in use by a garbage collection or another process";
        if sweeper.is_none() && writer.is_none() {
            return self.list(remote, digest, in_use).await;
        }
        let Some((guard, payload)) = hold(remote, digest).await? else {
            return self
                .list(remote, digest, "it is being uploaded or deleted")
                .await;
        };
        if let Some(blob) = payload {
            return self.heal(remote, digest, guard, &blob).await;
        }
        // ◆ The verdict is repeated while the entry is held.
        match self.look(remote, digest).await? {
            Verdict::Corrupt(_) => {}
            Verdict::Missing => {
                let backend = Arc::clone(&remote.backend);
                backend.losses.note(&self.store.env).await?;
                let ended = move || backend.end_as_lost(guard, &digest);
                remote.backend.blocking(ended).await?;
                return Ok(Repaired::Overtaken(Verdict::Missing));
            }
            verdict => return Ok(Repaired::Overtaken(verdict)),
        }
        remote.backend.bad_list.add(&self.store.env, digest).await?;
        if sweeper.is_none() {
            return Ok(Repaired::Listed(in_use.into()));
        }
        repairs.set_aside = true;
        self.set_aside(remote, digest, guard).await
    }

    async fn heal(
        &self,
        remote: &Remote,
        digest: Digest,
        guard: UploadGuard,
        blob: &DataBlob,
    ) -> Result<Repaired> {
        let Remote { backend, client } = remote;
        backend
            .put_validated(client, digest, blob, PutMode::Replace)
            .await?;
        backend.bad_list.remove(&self.store.env, digest).await?;
        guard.finish(|slot| -> Result<()> {
            slot.set_lost(false);
            Ok(())
        })?;
        backend.count_healed();
        Ok(Repaired::Healed)
    }

    async fn list(&self, remote: &Remote, digest: Digest, reason: &str) -> Result<Repaired> {
        remote.backend.bad_list.add(&self.store.env, digest).await?;
        Ok(Repaired::Listed(reason.to_owned()))
    }

    /// Moves a damaged object out of the way; the digest is held and on the bad list.
    async fn set_aside(
        &self,
        remote: &Remote,
        digest: Digest,
        guard: UploadGuard,
    ) -> Result<Repaired> {
        let Remote { backend, client } = remote;
        let original = backend.keys.chunk(&digest)?;
        let target = free_name(backend, client, &digest).await?;
        backend.losses.note(&self.store.env).await?;
        let mut batch = DeleteBatch::new(backend);
        let id = batch.id();
        // No await between the condemnation and its place in the batch, whose guard undoes it.
        let condemned = guard.finish(|slot| -> Result<bool> {
            // If the object is gone already there will be no journal record of it.
            backend.drop_presence(slot.digest())?;
            slot.set_lost(true);
            Ok(slot.condemn(id, false))
        })?;
        if !condemned {
            return Ok(Repaired::Listed("it is being uploaded or deleted".into()));
        }
        batch.push(Condemned { digest, size: 0 });
        match client
            .copy_object(&original, &target)
            .await
            .map(|answer| answer.outcome)
        {
            Ok(CopyOutcome::Copied) => {}
            Ok(CopyOutcome::SourceMissing) => return Ok(Repaired::Overtaken(Verdict::Missing)),
            Err(error) => return listed_unless_fatal(error.into()),
        }
        let mut outcome = match backend.raise_epoch(client).await {
            Ok(_) => backend.send_batch(client, batch).await,
            Err(error) => backend.give_up(batch, error),
        };
        match outcome.error.take() {
            None => self.conclude(remote, digest, target, outcome).await,
            Some(error) => listed_unless_fatal(error),
        }
    }

    async fn conclude(
        &self,
        remote: &Remote,
        digest: Digest,
        target: ObjectKey,
        outcome: BatchOutcome,
    ) -> Result<Repaired> {
        if let Some((_, reason)) = outcome.retained.first() {
            return Ok(Repaired::Listed(format!(
                "the bucket refuses to delete it: {reason}"
            )));
        }
        if !outcome.taken_back.is_empty() {
            return Ok(Repaired::Listed("a backup is uploading it".into()));
        }
        // After an ambiguous answer the damaged object may still be there: it stays on the list.
        if outcome.suspect.is_empty() {
            remote
                .backend
                .bad_list
                .remove(&self.store.env, digest)
                .await?;
        }
        Ok(Repaired::SetAside(target))
    }

    /// Makes the unlinks of missing and set-aside chunks durable, and drops the journal records of
    /// the latter.
    pub(super) async fn finish_repairs(&self) -> Result<()> {
        let repairs = self.repairs.lock().await;
        let Some(remote) = &self.remote else {
            return Ok(());
        };
        remote.backend.sync_dropped_presence().await?;
        if !repairs.set_aside {
            return Ok(());
        }
        match self.store.sweeper_lease(self.task.cancel()).await {
            Ok(_lease) => remote.backend.checkpoint_journal().await,
            // Whoever is at work does it at its end.
            Err(Error::Locked { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Holds an ordinary digest; with its cached payload if that is sound.
async fn hold(remote: &Remote, digest: Digest) -> Result<Option<(UploadGuard, Option<DataBlob>)>> {
    remote
        .backend
        .with_slot(digest, |backend, slot| {
            // Read first: a guard dropped in here would wait for the lock that we hold.
            let payload = backend.valid_payload(slot.digest())?;
            Ok(backend.hold_ordinary(slot).map(|guard| (guard, payload)))
        })
        .await
}

/// The first `.N.bad` name that is free here and in the bucket.
async fn free_name(backend: &S3Backend, client: &S3Client, digest: &Digest) -> Result<ObjectKey> {
    let names = (0..=9).map(|n| Ok((n, backend.keys.bad_chunk(digest, n)?)));
    let names: Vec<(u8, ObjectKey)> = names.collect::<Result<_>>()?;
    let chunks = backend.keys.chunks()?;
    let prefix = chunks.string_prefix(&format!("{}/{digest}.", digest.prefix_hex()));
    let mut listing = client.list(prefix, ListOptions::default());
    let mut taken = Vec::new();
    while let Some(page) = listing.next_page().await {
        let page = page?;
        let is_there = |key: &ObjectKey| page.objects.iter().any(|object| object.key == *key);
        taken.extend(
            names
                .iter()
                .filter(|(_, key)| is_there(key))
                .map(|(n, _)| *n),
        );
    }
    let number = backend.local.next_bad_number(digest, &taken)?;
    Ok(backend.keys.bad_chunk(digest, number)?)
}

fn listed_unless_fatal(error: Error) -> Result<Repaired> {
    if is_fatal(&error) {
        Err(error)
    } else {
        Ok(Repaired::Listed(error.to_string()))
    }
}

//! Ends of quarantines: what became of a delete whose answer nobody saw (`gc.md` §7).
//!
//! While a digest is suspect, uploads of it keep their payload durably on disk. When the quarantine
//! is over, the object is looked at: gone but payload here = a late delete hit it, so it is put
//! back; gone and only a marker here = the marker goes. Not under an upload of the digest ◆, and
//! only by a process that is alone with the store ◆ (the caller holds the exclusive process lock).

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use api_types::digest::Digest;
use s3_client::{PutMode, S3Client};

use crate::digests::UploadGuard;
use crate::error::Result;
use crate::format::blob::DataBlob;

use super::S3Backend;
use super::journal::sync_file_system;

/// When a look that failed is repeated.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// What a round of resolving did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ResolveReport {
    /// Quarantines that ended.
    pub resolved: usize,
    /// Objects that a late delete had taken and that were put back.
    pub restored: usize,
    /// Digests whose object could not be looked at; they stay suspect.
    pub failed: usize,
    /// Digests still in quarantine.
    pub waiting: usize,
}

struct Held {
    guard: UploadGuard,
    payload: Option<DataBlob>,
    has_file: bool,
}

impl S3Backend {
    /// Resolves every quarantine that is over. The caller holds the exclusive process lock and is
    /// its only holder ◆.
    ///
    /// # Errors
    /// Only if the journal cannot be written; a digest that cannot be resolved stays suspect.
    pub async fn resolve_quarantine(self: &Arc<Self>, client: &S3Client) -> Result<ResolveReport> {
        let mut report = ResolveReport::default();
        for digest in self.table.due_suspects(self.env.now()) {
            match self.resolve_digest(client, digest).await {
                Ok(None) => {}
                Ok(Some(restored)) => {
                    report.resolved += 1;
                    report.restored += usize::from(restored);
                }
                Err(error) => {
                    tracing::warn!(%digest, %error, "unable to end the quarantine of a chunk");
                    let until = self.env.now() + RETRY_AFTER;
                    self.table.with(&digest, |slot| slot.suspect(until));
                    report.failed += 1;
                }
            }
        }
        report.waiting = self.table.suspects().len();
        self.checkpoint_journal().await?;
        Ok(report)
    }

    /// Makes unlinks durable and drops the journal records that nothing waits for ◆.
    ///
    /// # Errors
    /// If syncing or rewriting the journal fails; the records stay then.
    pub async fn checkpoint_journal(self: &Arc<Self>) -> Result<()> {
        let this = Arc::clone(self);
        self.blocking(move || {
            let settled = this.journal().settled();
            // Takes seconds on a busy disk: the journal stays usable meanwhile.
            this.sync_unlinks(!settled.is_empty())?;
            if settled.is_empty() {
                return Ok(());
            }
            this.journal().drop_settled(&settled)
        })
        .await
    }

    /// Makes it durable that the files of absent chunks are gone. A power failure would bring them
    /// back, and a backup would be told "duplicate" for a chunk that has been reported missing.
    ///
    /// # Errors
    /// If syncing fails; it is tried again at the next call.
    pub async fn sync_dropped_presence(self: &Arc<Self>) -> Result<()> {
        let this = Arc::clone(self);
        self.blocking(move || this.sync_unlinks(false)).await
    }

    /// Syncs, if anything was dropped or in any case. Whoever finds another one at it waits: what
    /// that one took over is not durable before it is through.
    fn sync_unlinks(&self, always: bool) -> Result<()> {
        let _one = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.presence_dropped.swap(false, Ordering::SeqCst) && !always {
            return Ok(());
        }
        sync_file_system(self.local.chunk_dir())
            .inspect_err(|_| self.presence_dropped.store(true, Ordering::SeqCst))
    }

    /// Whether no delete is unresolved: the precondition of a presence rebuild ◆.
    #[must_use]
    pub fn journal_is_empty(&self) -> bool {
        self.journal().is_empty()
    }

    /// Looks at one suspect digest: whether its object had to be put back, `None` if the digest is
    /// being uploaded and stays suspect.
    async fn resolve_digest(
        self: &Arc<Self>,
        client: &S3Client,
        digest: Digest,
    ) -> Result<Option<bool>> {
        let held = self
            .with_slot(digest, |this, slot| -> Result<Option<Held>> {
                // Read first: a guard dropped in here would wait for the lock that we hold.
                let payload = this.valid_payload(slot.digest())?;
                let has_file = this.local.stat_chunk(slot.digest())?.is_some();
                // An upload under way: its payload is not on disk yet, look again later.
                let Some(token) = slot.begin_upload() else {
                    return Ok(None);
                };
                let guard = UploadGuard::new(Arc::clone(&this.table), *slot.digest(), token);
                Ok(Some(Held {
                    guard,
                    payload,
                    has_file,
                }))
            })
            .await?;
        let Some(Held {
            guard,
            payload,
            has_file,
        }) = held
        else {
            let until = self.env.now() + RETRY_AFTER;
            self.table.with(&digest, |slot| slot.suspect(until));
            return Ok(None);
        };
        // While the digest is held no delete of it begins. One that begins right after, before an
        // aborted task's last step below is through, has a record that is not ours to resolve ◆.
        let records = self.journal().records_of(&digest);
        let mut restored = false;
        let mut drop_file = false;
        if has_file
            && client
                .head_object(&self.keys.chunk(&digest)?)
                .await?
                .is_none()
        {
            match &payload {
                Some(blob) => {
                    self.put_validated(client, digest, blob, PutMode::Replace)
                        .await?;
                    self.keep_rescued(digest);
                    restored = true;
                }
                None => drop_file = true,
            }
        }
        let this = Arc::clone(self);
        self.blocking(move || {
            guard.finish(|slot| -> Result<()> {
                // Another process's session may have stored a payload since, for good; one that a power
                // failure has damaged is no better than a marker ◆.
                if drop_file && this.valid_payload(slot.digest())?.is_none() {
                    this.cache.forget(slot.digest());
                    this.local.remove_chunk(slot.digest())?;
                }
                slot.clear_suspicion();
                Ok(())
            })?;
            let journal = this.journal();
            for record in records {
                journal.resolve(record, &digest);
            }
            Ok(Some(restored))
        })
        .await
    }

    /// Digests whose payload was put back after a late delete: unevictable until a complete
    /// listing shows their object, for providers slower than the quarantine.
    fn keep_rescued(&self, digest: Digest) {
        self.rescued().insert(digest);
    }

    /// Whether the payload of `digest` must stay on disk.
    pub(crate) fn is_rescued(&self, digest: &Digest) -> bool {
        self.rescued().contains(digest)
    }

    /// A complete listing has shown the object of `digest`.
    pub fn seen_in_listing(&self, digest: &Digest) {
        let mut rescued = self.rescued();
        if !rescued.is_empty() {
            rescued.remove(digest);
        }
    }

    fn rescued(&self) -> std::sync::MutexGuard<'_, BTreeSet<Digest>> {
        self.rescued
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

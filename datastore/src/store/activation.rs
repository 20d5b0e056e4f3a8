//! What has to happen when this process takes the process lock without having held it (`gc.md`
//! §6.6).
//!
//! Another one may have written in between: the generation and the delete journal are read again,
//! and the ownership of the bucket prefix is confirmed, before anything touches a chunk file ◆.
//!
//! One asks the bucket and the others wait for that; it does not take longer than
//! [`BUCKET_PATIENCE`], and if it fails, it has failed for all who waited: a bucket that does not
//! answer is not asked by one after the other, with the last of them waiting for hours.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use s3_client::S3Client;
use tokio_util::sync::CancellationToken;

use crate::backend::s3::S3Backend;
use crate::backend::s3::epoch::Epoch;
use crate::error::{Error, Result};

use super::DataStore;
use super::state_dir::RebuildNeeded;

/// How long the bucket may take to say that the store may be used, all attempts together: enough for
/// a third one after two that hang for a minute each.
pub const BUCKET_PATIENCE: Duration = Duration::from_secs(150);

/// What this process knows about its right to use the store, and how it finds out.
#[derive(Debug, Default)]
pub struct Activation {
    known: tokio::sync::Mutex<Known>,
    /// How often the bucket was asked in vain.
    failures: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    /// The hold of the process lock for which everything that another process may have changed
    /// was read again.
    hold: Option<u64>,
    /// The epoch in the bucket has been compared with the local generation.
    epoch_compared: bool,
    /// Why the bucket was asked in vain the last time.
    last_failure: String,
}

/// One's turn to find out.
pub(super) struct Turn<'a> {
    known: tokio::sync::MutexGuard<'a, Known>,
    /// Somebody has asked the bucket in vain while this one waited for its turn.
    has_failed: bool,
}

impl Activation {
    /// One's turn, if nobody is finding out at the moment.
    pub(super) fn try_turn(&self) -> Option<Turn<'_>> {
        let known = self.known.try_lock().ok()?;
        Some(Turn {
            known,
            has_failed: false,
        })
    }
}

impl Turn<'_> {
    /// Whether all is known that this hold of the process lock needs.
    pub(super) fn is_active(&self, hold: u64) -> bool {
        self.known.hold == Some(hold)
    }
}

impl DataStore {
    /// Waits for one's turn.
    pub(super) async fn wait_for_turn(&self, cancel: &CancellationToken) -> Result<Turn<'_>> {
        let failures = || self.activation.failures.load(Ordering::SeqCst);
        let before = failures();
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::Aborted),
            known = self.activation.known.lock() => Ok(Turn {
                known,
                has_failed: failures() != before,
            }),
        }
    }

    /// Activates the store once per hold of the process lock.
    pub(super) async fn activate_hold(
        &self,
        hold: u64,
        turn: Turn<'_>,
        cancel: &CancellationToken,
    ) -> Result<()> {
        if turn.is_active(hold) {
            return Ok(());
        }
        let Turn {
            mut known,
            has_failed,
        } = turn;
        if has_failed {
            return Err(self.unreachable(known.last_failure.clone()));
        }
        let activated = self.activate(&mut known, cancel).await;
        match &activated {
            Ok(()) => known.hold = Some(hold),
            Err(Error::Unreachable { reason, .. }) => {
                known.last_failure.clone_from(reason);
                self.activation.failures.fetch_add(1, Ordering::SeqCst);
            }
            Err(_) => {}
        }
        activated
    }

    fn unreachable(&self, reason: String) -> Error {
        Error::Unreachable {
            store: self.name.clone(),
            reason,
        }
    }

    async fn activate(&self, known: &mut Known, cancel: &CancellationToken) -> Result<()> {
        self.table.raise_generation(self.state.read_generation()?);
        let Some(backend) = self.backend.s3() else {
            return Ok(());
        };
        if let Some(needed) = self.state.read_rebuild_needed()? {
            return Err(Error::NeedsRefresh {
                reason: needed.reason,
            });
        }
        let adopted = {
            let backend = Arc::clone(backend);
            self.env
                .blocking(move || {
                    backend.bad_list.reload()?;
                    backend.adopt_journal()
                })
                .await?
        };
        backend.cleanup.adopt(&self.env).await?;
        backend.losses.reload(&self.env).await?;
        if adopted > 0 {
            tracing::info!(store = %self.name, adopted, "deletes of an earlier run are unresolved");
        }
        tokio::select! {
            biased;
            asked = self.ask_bucket(backend, known, cancel) => match asked {
                Err(Error::S3(error)) if error.is_transient() => {
                    Err(self.unreachable(error.to_string()))
                }
                asked => asked,
            },
            () = self.env.sleep(BUCKET_PATIENCE) => Err(self.unreachable(format!(
                "nothing came within {} s",
                BUCKET_PATIENCE.as_secs()
            ))),
        }
    }

    /// Whether the prefix is ours, and the local state not older than the bucket.
    async fn ask_bucket(
        &self,
        backend: &S3Backend,
        known: &mut Known,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let client = backend.client.with_cancel(cancel.clone());
        backend.ownership.check(&client, "use it").await?;
        if !known.epoch_compared {
            self.compare_epoch(backend, &client).await?;
            known.epoch_compared = true;
        }
        Ok(())
    }

    /// The epoch needs no comparing: this process has just created or rebuilt the local state.
    pub(crate) async fn trust_local_state(&self) {
        self.activation.known.lock().await.epoch_compared = true;
    }

    async fn compare_epoch(&self, backend: &S3Backend, client: &S3Client) -> Result<()> {
        match self.note_rollback(backend, client).await? {
            None => Ok(()),
            Some(needed) => Err(Error::NeedsRefresh {
                reason: needed.reason,
            }),
        }
    }

    /// A bucket ahead of the disk means that the disk was rolled back: its markers may name objects
    /// deleted since, and deletes that its journal knows nothing of may still be under way ◆. That
    /// is recorded durably, so that no interrupted refresh makes it forgotten.
    pub(crate) async fn note_rollback(
        &self,
        backend: &S3Backend,
        client: &S3Client,
    ) -> Result<Option<RebuildNeeded>> {
        let reason = match backend.read_epoch(client).await? {
            Epoch::At(epoch) if self.table.generation() >= epoch => return Ok(None),
            Epoch::At(epoch) => format!(
                "the bucket is at generation {epoch}, the local state at {}, as after restoring an \
                 old copy of the disk",
                self.table.generation()
            ),
            Epoch::Unreadable => "the epoch in the bucket is unreadable".into(),
        };
        let needed = RebuildNeeded { wait: true, reason };
        self.state.write_rebuild_needed(Some(&needed))?;
        Ok(Some(needed))
    }
}

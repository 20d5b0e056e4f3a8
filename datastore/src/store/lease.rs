//! Leases: the process lock, with what has to happen when it is first taken (`gc.md` §6.6).
//!
//! Writers share the lock for their whole life; whatever deletes chunks holds it exclusively.
//! Within this process both coexist, ordered by the digest table. When this process takes the lock
//! without having held it, another one may have written in between: the generation and the delete
//! journal are read again, and the ownership of the bucket prefix is confirmed, before anything
//! touches a chunk file ◆.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use s3_client::S3Client;
use tokio_util::sync::CancellationToken;

use crate::backend::s3::S3Backend;
use crate::backend::s3::epoch::Epoch;
use crate::error::{Error, Result};
use crate::locks::{ExclusiveGuard, SharedGuard};

use super::DataStore;
use super::state_dir::RebuildNeeded;

/// How long a writer waits for a collection of another process to end.
const WRITER_PATIENCE: Duration = Duration::from_secs(30);
const WRITER_PAUSE: Duration = Duration::from_millis(250);

/// What this process knows about its right to use the store.
#[derive(Debug, Default)]
pub struct Activation {
    /// The hold of the process lock for which everything that another process may have changed
    /// was read again.
    hold: Option<u64>,
    /// The epoch in the bucket has been compared with the local generation.
    epoch_compared: bool,
}

/// A writer's hold on the store: no other process deletes chunks while it lives.
#[derive(Debug)]
pub struct WriterLease {
    _guard: SharedGuard,
}

/// A collector's hold on the store: no other process writes or deletes while it lives.
#[derive(Debug)]
pub struct SweeperLease {
    _guard: ExclusiveGuard,
}

/// A refresh's hold on the store: nobody else, in this process or another, writes or deletes.
#[derive(Debug)]
pub(crate) struct MaintenanceLease {
    refreshing: Arc<AtomicBool>,
    _guard: ExclusiveGuard,
}

impl Drop for MaintenanceLease {
    fn drop(&mut self) {
        self.refreshing.store(false, Ordering::SeqCst);
    }
}

impl DataStore {
    /// Takes a writer's lease, waiting a while for another process's collection.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Fenced`], [`Error::NeedsRefresh`], [`Error::Aborted`].
    pub async fn writer_lease(&self, cancel: &CancellationToken) -> Result<WriterLease> {
        let deadline = self.env.now() + WRITER_PATIENCE;
        loop {
            match self.try_writer_lease(cancel).await {
                Err(error @ Error::Locked { .. }) => {
                    if self.env.now() >= deadline {
                        return Err(error);
                    }
                }
                result => return result,
            }
            tokio::select! {
                biased;
                () = self.env.sleep(WRITER_PAUSE) => {}
                () = cancel.cancelled() => return Err(Error::Aborted),
            }
        }
    }

    /// Takes a writer's lease if no other process is collecting.
    ///
    /// # Errors
    /// As for [`writer_lease`](Self::writer_lease).
    pub async fn try_writer_lease(&self, cancel: &CancellationToken) -> Result<WriterLease> {
        let mut activation = self.lock_activation(cancel).await?;
        self.refuse_while_refreshing()?;
        let guard = self.process.try_shared()?;
        self.activate_hold(guard.hold(), &mut activation, cancel)
            .await?;
        Ok(WriterLease { _guard: guard })
    }

    /// Takes the collector's lease.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process uses the store or this one already collects,
    /// [`Error::Fenced`] or [`Error::NeedsRefresh`] if it must not.
    pub async fn sweeper_lease(&self, cancel: &CancellationToken) -> Result<SweeperLease> {
        let mut activation = self.lock_activation(cancel).await?;
        self.refuse_while_refreshing()?;
        let guard = self.process.try_exclusive()?;
        self.activate_hold(guard.hold(), &mut activation, cancel)
            .await?;
        Ok(SweeperLease { _guard: guard })
    }

    /// A lease for as long as somebody else in this process has one anyway, for what is done only
    /// if it costs nothing.
    pub(crate) fn held_lease(&self) -> Option<WriterLease> {
        let activation = self.activation.try_lock().ok()?;
        if !self.process.is_held() || self.refuse_while_refreshing().is_err() {
            return None;
        }
        let guard = self.process.try_shared().ok()?;
        (activation.hold == Some(guard.hold())).then_some(WriterLease { _guard: guard })
    }

    /// Whether somebody in this process has a lease at the moment: what another process may have
    /// changed has been read then.
    #[must_use]
    pub fn has_lease(&self) -> bool {
        self.held_lease().is_some()
    }

    /// The lease for a refresh, which repairs what the others refuse to work with.
    pub(crate) async fn maintenance_lease(
        &self,
        cancel: &CancellationToken,
    ) -> Result<MaintenanceLease> {
        let _activation = self.lock_activation(cancel).await?;
        if self.process.is_held() {
            return Err(Error::Locked {
                what: format!("datastore '{}'", self.name),
                reason: "backups or other tasks are running; try again when they have ended".into(),
            });
        }
        let guard = self.process.try_exclusive()?;
        self.table.raise_generation(self.state.read_generation()?);
        self.refreshing.store(true, Ordering::SeqCst);
        Ok(MaintenanceLease {
            refreshing: Arc::clone(&self.refreshing),
            _guard: guard,
        })
    }

    /// In this process the exclusive lock alone would not keep writers out of a refresh.
    fn refuse_while_refreshing(&self) -> Result<()> {
        if self.refreshing.load(Ordering::SeqCst) {
            return Err(Error::Locked {
                what: format!("datastore '{}'", self.name),
                reason: "it is being refreshed".into(),
            });
        }
        Ok(())
    }

    async fn lock_activation(
        &self,
        cancel: &CancellationToken,
    ) -> Result<tokio::sync::MutexGuard<'_, Activation>> {
        tokio::select! {
           biased;
            () = cancel.cancelled() => Err(Error::Aborted),
            activation = self.activation.lock() => Ok(activation),
        }
    }

    /// Activates the store once per hold of the process lock.
    async fn activate_hold(
        &self,
        hold: u64,
        activation: &mut Activation,
        cancel: &CancellationToken,
    ) -> Result<()> {
        if activation.hold != Some(hold) {
            self.activate(activation, cancel).await?;
            activation.hold = Some(hold);
        }
        Ok(())
    }

    async fn activate(
        &self,
        activation: &mut Activation,
        cancel: &CancellationToken,
    ) -> Result<()> {
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
                    backend.cleanup.reload()?;
                    backend.adopt_journal()
                })
                .await?
        };
        backend.losses.reload(&self.env).await?;
        if adopted > 0 {
            tracing::info!(store = %self.name, adopted, "deletes of an earlier run are unresolved");
        }
        let client = backend.client.with_cancel(cancel.clone());
        backend.ownership.check(&client, "use it").await?;
        if !activation.epoch_compared {
            self.compare_epoch(backend, &client).await?;
            activation.epoch_compared = true;
        }
        Ok(())
    }

    /// The epoch needs no comparing: this process has just created or rebuilt the local state.
    pub(crate) async fn trust_local_state(&self) {
        self.activation.lock().await.epoch_compared = true;
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

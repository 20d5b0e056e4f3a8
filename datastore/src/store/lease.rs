//! Leases: the process lock, once this process has found out that it may use the store
//! (`activation`, `gc.md` §6.6).
//!
//! Writers share the lock for their whole life; whatever deletes chunks holds it exclusively.
//! Within this process both coexist, ordered by the digest table. Who only reads needs no lease:
//! [`DataStore::read_chunk`] works without one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::locks::{ExclusiveGuard, LockFile, SharedGuard};

use super::DataStore;

/// How long a writer waits for a collection of another process to end.
const WRITER_PATIENCE: Duration = Duration::from_secs(30);
const WRITER_PAUSE: Duration = Duration::from_millis(250);

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

/// A refresh's hold on the store: nobody else, in this process or another, writes or deletes, or
/// changes the metadata.
#[derive(Debug)]
pub(crate) struct MaintenanceLease {
    refreshing: Arc<AtomicBool>,
    /// Given back before the process lock.
    _metadata: Option<LockFile>,
    _guard: ExclusiveGuard,
}

/// What a [`MaintenanceLease`] is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Maintenance {
    /// The local tree is exchanged, or goes.
    Exchange,
    /// Nothing is changed.
    Look,
}

/// A hold on the metadata while some of it changes: no refresh, in this process or another, exchanges
/// the local tree meanwhile ◆.
#[derive(Debug)]
#[must_use = "it lasts as long as this lives"]
pub(crate) struct ChangeLease {
    _metadata: Option<LockFile>,
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
    /// [`Error::Locked`], [`Error::Fenced`], [`Error::NeedsRefresh`], [`Error::Unreachable`],
    /// [`Error::Aborted`].
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
        let turn = self.wait_for_turn(cancel).await?;
        self.refuse_while_refreshing()?;
        let guard = self.process.try_shared()?;
        self.activate_hold(guard.hold(), turn, cancel).await?;
        Ok(WriterLease { _guard: guard })
    }

    /// Takes the collector's lease.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process uses the store or this one already collects,
    /// [`Error::Fenced`] or [`Error::NeedsRefresh`] if it must not, [`Error::Unreachable`].
    pub async fn sweeper_lease(&self, cancel: &CancellationToken) -> Result<SweeperLease> {
        let turn = self.wait_for_turn(cancel).await?;
        self.refuse_while_refreshing()?;
        let guard = self.process.try_exclusive()?;
        self.activate_hold(guard.hold(), turn, cancel).await?;
        Ok(SweeperLease { _guard: guard })
    }

    /// A lease for as long as somebody else in this process has one anyway, for what is done only
    /// if it costs nothing.
    pub(crate) fn held_lease(&self) -> Option<WriterLease> {
        let turn = self.activation.try_turn()?;
        if !self.process.is_held() || self.refuse_while_refreshing().is_err() {
            return None;
        }
        let guard = self.process.try_shared().ok()?;
        turn.is_active(guard.hold())
            .then_some(WriterLease { _guard: guard })
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
        purpose: Maintenance,
        cancel: &CancellationToken,
    ) -> Result<MaintenanceLease> {
        let _turn = self.wait_for_turn(cancel).await?;
        if self.process.is_held() {
            return Err(Error::Locked {
                what: format!("datastore '{}'", self.name),
                reason: "backups or other tasks are running; try again when they have ended".into(),
            });
        }
        let guard = self.process.try_exclusive()?;
        // Whoever writes elsewhere is refused now, and changes nothing.
        let metadata = match purpose {
            // Nobody shares it elsewhere.
            Maintenance::Exchange if self.backend.s3().is_some() => {
                Some(self.metadata_alone(cancel).await?)
            }
            _ => None,
        };
        self.table.raise_generation(self.state.read_generation()?);
        self.refreshing.store(true, Ordering::SeqCst);
        Ok(MaintenanceLease {
            refreshing: Arc::clone(&self.refreshing),
            _metadata: metadata,
            _guard: guard,
        })
    }

    /// The lease for a change of the metadata.
    ///
    /// # Errors
    /// [`Error::Locked`] during a refresh, [`Error::NeedsRefresh`] if it has to come first: what is here
    /// must not replace what another owner has left in the bucket ◆.
    pub(crate) fn change_lease(&self) -> Result<ChangeLease> {
        // Only what has a bucket is refreshed.
        let metadata = self.backend.s3().map(|_| self.locks.metadata_shared());
        let metadata = match metadata.transpose() {
            Ok(metadata) => metadata,
            Err(error) if error.is_busy() => return Err(self.is_refreshed()),
            Err(error) => return Err(error.into()),
        };
        let needed = match metadata {
            Some(_) => self.state.read_rebuild_needed()?,
            None => None,
        };
        match needed {
            Some(needed) => Err(Error::NeedsRefresh {
                reason: needed.reason,
            }),
            None => Ok(ChangeLease {
                _metadata: metadata,
            }),
        }
    }

    /// The metadata, when those are done who are changing some of it.
    async fn metadata_alone(&self, cancel: &CancellationToken) -> Result<LockFile> {
        let deadline = self.env.now() + WRITER_PATIENCE;
        loop {
            match self.locks.metadata_exclusive() {
                Err(error) if error.is_busy() && self.env.now() < deadline => {}
                Err(error) if error.is_busy() => {
                    return Err(Error::Locked {
                        what: format!("datastore '{}'", self.name),
                        reason: "snapshots are being changed or removed; try again when that has \
                                 ended"
                            .into(),
                    });
                }
                result => return Ok(result?),
            }
            tokio::select! {
                biased;
                () = self.env.sleep(WRITER_PAUSE) => {}
                () = cancel.cancelled() => return Err(Error::Aborted),
            }
        }
    }

    /// In this process the exclusive lock alone would not keep writers out of a refresh.
    fn refuse_while_refreshing(&self) -> Result<()> {
        if self.refreshing.load(Ordering::SeqCst) {
            return Err(self.is_refreshed());
        }
        Ok(())
    }

    fn is_refreshed(&self) -> Error {
        Error::Locked {
            what: format!("datastore '{}'", self.name),
            reason: "it is being refreshed".into(),
        }
    }
}

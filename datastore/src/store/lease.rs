//! Leases: the process lock, with what has to happen when it is first taken (`gc.md` §6.6).
//!
//! Writers share the lock for their whole life; whatever deletes chunks holds it exclusively.
//! Within this process both coexist, ordered by the digest table. When this process takes the lock
//! without having held it, another one may have written in between: the generation and the delete
//! journal are read again, and the ownership of the bucket prefix is confirmed, before anything
//! touches a chunk file ◆.

use std::sync::Arc;
use std::time::Duration;

use s3_client::S3Client;
use tokio_util::sync::CancellationToken;

use crate::backend::s3::S3Backend;
use crate::error::{Error, Result};
use crate::locks::{ExclusiveGuard, SharedGuard};

use super::DataStore;

/// How long a writer waits for a collection of another process to end.
const WRITER_PATIENCE: Duration = Duration::from_secs(30);
const WRITER_PAUSE: Duration = Duration::from_millis(250);

/// What this process knows about its right to use the store.
#[derive(Debug, Default)]
pub struct Activation {
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
        let mut activation = self.activation.lock().await;
        let first = !self.process.is_held();
        let guard = self.process.try_shared()?;
        if first {
            self.activate(&mut activation, cancel).await?;
        }
        Ok(WriterLease { _guard: guard })
    }

    /// Takes the collector's lease.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process uses the store or this one already collects,
    /// [`Error::Fenced`] or [`Error::NeedsRefresh`] if it must not.
    pub async fn sweeper_lease(&self, cancel: &CancellationToken) -> Result<SweeperLease> {
        let mut activation = self.activation.lock().await;
        let first = !self.process.is_held();
        let guard = self.process.try_exclusive()?;
        if first {
            self.activate(&mut activation, cancel).await?;
        }
        Ok(SweeperLease { _guard: guard })
    }

    /// The collector's lease for a refresh, which repairs what the others refuse to work with.
    pub(crate) async fn maintenance_lease(&self) -> Result<SweeperLease> {
        let mut activation = self.activation.lock().await;
        if self.process.is_held() {
            return Err(Error::Locked {
                what: format!("datastore '{}'", self.name),
                reason: "backups or other tasks are running; try again when they have ended".into(),
            });
        }
        let guard = self.process.try_exclusive()?;
        activation.epoch_compared = true;
        Ok(SweeperLease { _guard: guard })
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
            self.env.blocking(move || backend.adopt_journal()).await?
        };
        if adopted > 0 {
            tracing::info!(store = %self.name, adopted, "deletes of an earlier run are unresolved");
        }
        let client = backend.client.with_cancel(cancel.clone());
        backend.ownership.check(&client, "use it").await?;
        if !activation.epoch_compared {
            compare_epoch(backend, &client, self.table.generation()).await?;
            activation.epoch_compared = true;
        }
        Ok(())
    }

    /// The epoch needs no comparing: this process has just created or rebuilt the local state.
    pub(crate) async fn trust_local_state(&self) {
        self.activation.lock().await.epoch_compared = true;
    }
}

/// A bucket ahead of the disk means that the disk was rolled back: its markers may name objects
/// deleted since ◆.
async fn compare_epoch(backend: &S3Backend, client: &S3Client, generation: u64) -> Result<()> {
    let Some(object) = client.get_object(&backend.keys.epoch()?).await? else {
        return Ok(());
    };
    let epoch = std::str::from_utf8(&object.body)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    match epoch {
        Some(epoch) if generation >= epoch => Ok(()),
        Some(epoch) => Err(Error::NeedsRefresh {
            reason: format!(
                "the bucket is at generation {epoch}, the local state at {generation}, as after \
                 restoring an old copy of the disk"
            ),
        }),
        None => Err(Error::NeedsRefresh {
            reason: "the epoch in the bucket is unreadable".into(),
        }),
    }
}

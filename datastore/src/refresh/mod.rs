//! Rebuilding all local state from the bucket (`s3-backend.md` §13, `gc.md` §6.6).
//!
//! Two halves with different needs. The *metadata* tree is built completely beside the old one and
//! exchanged by a [redo log](swap): a crash leaves the old generation or the new one, never a mix
//! (H12). *Presence* is corrected in place: each digest is independent, a marker is created only
//! for an object that the listing shows and removed only for one that it does not show, so any mix
//! of old and corrected presence is at least as true as the old one.
//!
//! What makes the listing a proof is that nothing can delete or upload meanwhile: the exclusive
//! process lock is held, no session runs in this process, the delete journal is empty ◆, and after
//! a takeover or a lost journal a whole quarantine has passed since the claim ◆.

mod metadata;
mod presence;
mod referenced;
pub mod swap;
mod tree_key;

use std::sync::Arc;

use s3_client::{S3Client, TaskKind};
use serde::Serialize;

use crate::backend::s3::S3Backend;
use crate::backend::s3::epoch::Epoch;
use crate::error::{Error, Result};
use crate::store::DataStore;
use crate::store::lease::{Maintenance, MaintenanceLease};
use crate::store::state_dir::RebuildNeeded;
use crate::task::{Progress, TaskContext, check_abort};

pub use metadata::MetadataReport;
pub use presence::PresenceReport;

/// How a refresh is to be done.
#[derive(Clone, Copy, Debug, Default)]
pub struct RefreshOptions {
    /// Only report what would change.
    pub dry_run: bool,
    /// Take the prefix over from another instance.
    pub overwrite_in_use: bool,
}

/// What a refresh found and did.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RefreshReport {
    /// Snapshots, groups and other metadata files.
    pub metadata: MetadataReport,
    /// Chunks.
    pub presence: PresenceReport,
}

impl DataStore {
    /// Rebuilds metadata and presence from the bucket.
    ///
    /// # Errors
    /// If the store is in use, belongs to another instance, or the bucket does not answer; the old
    /// local state is in force then.
    pub async fn s3_refresh(
        self: &Arc<Self>,
        task: &dyn TaskContext,
        options: RefreshOptions,
    ) -> Result<RefreshReport> {
        let backend = self.backend.s3().ok_or_else(|| {
            Error::Refused(format!("datastore '{}' has no S3 backend", self.name))
        })?;
        let client = backend
            .client
            .with_task(TaskKind::Refresh)
            .with_cancel(task.cancel().clone());
        let _tending = self.pause_tending(task.cancel()).await?;
        let purpose = match options.dry_run {
            true => Maintenance::Look,
            false => Maintenance::Exchange,
        };
        let lease = self.maintenance_lease(purpose, task.cancel()).await?;
        let lease = Arc::new(lease);
        if options.dry_run {
            return self.plan_refresh(backend, &client, task, &lease).await;
        }
        // Of a refresh whose process has ended since this one opened the store.
        let (base, state) = (self.base.clone(), self.state.clone());
        self.blocking_held(&lease, move || swap::complete_interrupted(&base, &state))
            .await?;
        self.settle_ownership(backend, &client, options, task)
            .await?;
        self.wait_for_late_deletes(backend, &client, task).await?;
        // From the listing to the exchange nobody removes snapshots: they would come back.
        let _quiet = tokio::select! {
            biased;
            quiet = self.metadata_epoch.write() => quiet,
            () = task.cancel().cancelled() => return Err(Error::Aborted),
        };
        if self.state.read_rebuild_needed()?.is_none() {
            // What could not be deleted so far must not come back with the tree.
            self.reconcile_metadata(backend, &client).await?;
        }
        task.log("Start refresh phase1 (metadata)");
        let metadata = self.refresh_metadata(&client, task, &lease, false).await?;
        metadata.log(task);
        task.log("Start refresh phase2 (chunk presence)");
        let presence = self.rebuild_presence(&client, task, &lease).await?;
        presence.log(task);
        // What the bucket does not have must not come back once this state is trusted.
        backend.sync_dropped_presence().await?;
        self.adopt_epoch(backend, &client).await?;
        self.state.write_rebuild_needed(None)?;
        self.trust_local_state().await;
        Ok(RefreshReport { metadata, presence })
    }

    /// Blocking work that changes the disk. It keeps the lease to its end ◆: a refresh that is
    /// dropped, or fails elsewhere, leaves such work behind, and a collection that begins meanwhile
    /// would delete what this is about to vouch for.
    async fn blocking_held<T, F>(&self, lease: &Arc<MaintenanceLease>, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let hold = Arc::clone(lease);
        self.env
            .blocking(move || {
                let result = work();
                drop(hold);
                result
            })
            .await
    }

    async fn plan_refresh(
        self: &Arc<Self>,
        backend: &Arc<S3Backend>,
        client: &S3Client,
        task: &dyn TaskContext,
        lease: &Arc<MaintenanceLease>,
    ) -> Result<RefreshReport> {
        backend.ownership.check(client, "refresh it").await?;
        let metadata = self.refresh_metadata(client, task, lease, true).await?;
        metadata.log(task);
        Ok(RefreshReport {
            metadata,
            presence: PresenceReport::default(),
        })
    }

    /// Makes the prefix ours, or finds that it is.
    async fn settle_ownership(
        &self,
        backend: &Arc<S3Backend>,
        client: &S3Client,
        options: RefreshOptions,
        task: &dyn TaskContext,
    ) -> Result<()> {
        let marker = backend.ownership.read(client).await?;
        let ours = marker
            .as_ref()
            .is_some_and(|m| m.is_of(backend.ownership.instance()));
        if !ours {
            if let Some(owner) = marker.as_ref().filter(|_| !options.overwrite_in_use) {
                return Err(Error::Fenced {
                    owner: owner.owner(),
                    action: "refresh it",
                });
            }
            // Durable before the claim: whatever happens next, the quarantine is waited for.
            self.state.write_rebuild_needed(Some(&RebuildNeeded {
                wait: marker.is_some(),
                reason: match &marker {
                    Some(owner) => format!("the prefix was taken over from {}", owner.owner()),
                    None => "the prefix was not claimed".into(),
                },
            }))?;
            task.log("claiming the bucket prefix");
            backend
                .ownership
                .claim(client, options.overwrite_in_use)
                .await?;
        }
        // A journal that does not tell what was sent, or a disk that is not the last one: as after
        // a takeover ◆. The reason is durable before the journal is replaced.
        match backend.adopt_journal() {
            Ok(_) => {}
            Err(Error::NeedsRefresh { reason }) => {
                self.state
                    .write_rebuild_needed(Some(&RebuildNeeded { wait: true, reason }))?;
                backend.journal().reset()?;
            }
            Err(error) => return Err(error),
        }
        if self.state.read_rebuild_needed()?.is_none() {
            self.note_rollback(backend, client).await?;
        }
        Ok(())
    }

    /// Waits until no late delete can be applied any more ◆.
    async fn wait_for_late_deletes(
        &self,
        backend: &Arc<S3Backend>,
        client: &S3Client,
        task: &dyn TaskContext,
    ) -> Result<()> {
        let needed = self.state.read_rebuild_needed()?;
        let until = match &needed {
            Some(needed) if needed.wait => Some(self.env.now() + backend.quarantine),
            _ => self.table.last_quarantine_end(),
        };
        if let Some(until) = until {
            let left = until.saturating_duration_since(self.env.now());
            task.log(&format!(
                "waiting {} s, until no late request of an earlier owner or run can be applied",
                left.as_secs()
            ));
            loop {
                let left = until.saturating_duration_since(self.env.now());
                task.progress(
                    Progress::new("waiting", 0, None, "s").with_eta(Some(left.as_secs())),
                );
                if left.is_zero() {
                    break;
                }
                tokio::select! {
                    biased;
                    () = self.env.sleep(left.min(std::time::Duration::from_secs(10))) => {}
                    () = task.cancel().cancelled() => return Err(Error::Aborted),
                }
            }
        }
        check_abort(task)?;
        let report = backend.resolve_quarantine(client).await?;
        if report.restored > 0 {
            task.log(&format!(
                "uploaded {} chunks again that a late delete took",
                report.restored
            ));
        }
        if !backend.journal_is_empty() {
            return Err(Error::Refused(format!(
                "unable to refresh: {} deletes of an earlier run are still unresolved; try again \
                 in a few minutes",
                report.waiting
            )));
        }
        if let Some(needed) = needed {
            self.state.write_rebuild_needed(Some(&RebuildNeeded {
                wait: false,
                ..needed
            }))?;
        }
        Ok(())
    }

    /// Continues the bucket's generation, if it is ahead of ours.
    pub(crate) async fn adopt_epoch(
        &self,
        backend: &Arc<S3Backend>,
        client: &S3Client,
    ) -> Result<()> {
        let Epoch::At(epoch) = backend.read_epoch(client).await? else {
            return backend
                .write_epoch(client, self.table.generation())
                .await
                .map(|_| ());
        };
        if epoch > self.table.generation() {
            self.state.write_generation(epoch)?;
            self.table.raise_generation(epoch);
        }
        Ok(())
    }
}

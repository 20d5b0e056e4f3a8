//! What is left to do later: quarantines that end, metadata objects that are to be looked at once
//! more, sessions that ended without an end (`gc.md` §7 and G11, `s3-backend.md` §7, §17.1).
//!
//! A collection sees to most of it, but it may come once a week; until then a suspect chunk would
//! depend on the cache disk, a lost request on metadata would stay unrepaired and a cancelled
//! backup would stay in sight. So a daemon has [`Stores`](super::Stores) keep its datastores and run
//! [`DataStore::tend_regularly`] beside each. Nothing else is needed: a round takes the
//! leases it needs, does nothing while somebody else is at work, and costs no request if nothing is
//! due.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use api_types::names::{BackupDir, BackupNamespace, SnapshotPath};
use s3_client::TaskKind;
use tokio::sync::MutexGuard;
use tokio_util::sync::CancellationToken;

use crate::backend::s3::cleanup::ReconcileReport;
use crate::backend::s3::quarantine::ResolveReport;
use crate::error::{Error, Result};
use crate::gc::history::RemovalKind;
use crate::session::Abandoned;

use super::DataStore;

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(60);

/// What was seen to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tended {
    /// Quarantines.
    pub quarantines: ResolveReport,
    /// Metadata objects.
    pub metadata: ReconcileReport,
    /// Leftovers of abandoned sessions that are gone now.
    pub abandoned: usize,
}

impl DataStore {
    /// Sees to what is due, once a minute, until `cancel` says stop.
    pub async fn tend_regularly(&self, cancel: &CancellationToken) {
        let mut last_trouble = String::new();
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                () = self.env.sleep(ROUND) => {}
            }
            let trouble = match self.tend(cancel).await {
                Ok(_) => String::new(),
                Err(Error::Aborted) => return,
                Err(error) => error.to_string(),
            };
            // A bucket that is away for a day is told once.
            if !trouble.is_empty() && trouble != last_trouble {
                tracing::warn!(store = %self.name, error = %trouble, "unable to tend the datastore");
            }
            last_trouble = trouble;
        }
    }

    /// Sees to what is due; `None` if nothing is, or if somebody else is at work on the store.
    ///
    /// # Errors
    /// If the store is not to be trusted, the bucket does not answer or the disk refuses.
    pub async fn tend(&self, cancel: &CancellationToken) -> Result<Option<Tended>> {
        let Ok(_tending) = self.tending.try_lock() else {
            return Ok(None);
        };
        let mut tended = Tended::default();
        let left = self.abandoned();
        let any_left = !left.is_empty();
        if any_left {
            tended.abandoned = self.clear_abandoned(left, cancel).await?;
        }
        let (Some(backend), Some(client)) =
            (self.backend.s3(), self.client(TaskKind::Other, cancel))
        else {
            return Ok(any_left.then_some(tended));
        };
        // Also what another process has left that ended meanwhile.
        backend.cleanup.adopt(&self.env).await?;
        let due = !self.table.due_suspects(self.env.now()).is_empty()
            || backend.cleanup.is_due(self.env.now())
            || backend.has_unread_journal();
        if !due {
            return Ok(any_left.then_some(tended));
        }
        // Only a process that is alone may resolve records ◆.
        let _lease = match self.sweeper_lease(cancel).await {
            Ok(lease) => lease,
            Err(Error::Locked { .. }) => return Ok(any_left.then_some(tended)),
            Err(error) => return Err(error),
        };
        tended.quarantines = backend.resolve_quarantine(&client).await?;
        tended.metadata = self.reconcile_metadata(backend, &client).await?;
        Ok(Some(tended))
    }

    /// Waits for the round that is under way; there is none while what is returned lives. For work
    /// whose lease a round would be in the way of.
    pub(crate) async fn pause_tending(
        &self,
        cancel: &CancellationToken,
    ) -> Result<MutexGuard<'_, ()>> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::Aborted),
            paused = self.tending.lock() => Ok(paused),
        }
    }

    /// A session ended without commit and without a complete cleanup.
    pub(crate) fn abandon(&self, left: Abandoned) {
        self.abandoned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(left);
    }

    /// Whether what an unfinished session left of the snapshot is to be cleared away.
    pub(crate) fn awaits_clearing(&self, ns: &BackupNamespace, dir: &BackupDir) -> bool {
        self.abandoned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .any(|left| left.snapshot.ns == *ns && left.snapshot.dir == *dir)
    }

    fn abandoned(&self) -> Vec<Abandoned> {
        let abandoned = self.abandoned.lock();
        abandoned.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Removes what abandoned sessions have left; returns how many of them are cleared away. The
    /// others stay noted, and so does each of them until it is ◆: nobody uses its name meanwhile.
    async fn clear_abandoned(
        &self,
        notes: Vec<Abandoned>,
        cancel: &CancellationToken,
    ) -> Result<usize> {
        let _lease = match self.try_writer_lease(cancel).await {
            Ok(lease) => lease,
            Err(Error::Locked { .. }) => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut cleared = 0;
        for left in notes {
            match self.clear_one(&left, cancel).await {
                Ok(()) => {
                    cleared += 1;
                    let mut abandoned = self
                        .abandoned
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    abandoned.retain(|note| *note != left);
                }
                Err(Error::Aborted) => return Err(Error::Aborted),
                Err(error) => {
                    let snapshot = &left.snapshot;
                    tracing::warn!(%snapshot, %error, "leftovers of an abandoned backup stay for now");
                }
            }
        }
        Ok(cleared)
    }

    async fn clear_one(&self, left: &Abandoned, cancel: &CancellationToken) -> Result<()> {
        let client = self.client(TaskKind::Other, cancel);
        if let Some(backend) = self.backend.s3() {
            // Its requests may still be under way: looked at now, and once more when they are over.
            let objects: BTreeSet<String> = left.objects.clone();
            backend
                .cleanup
                .add(&self.env, objects.into_iter().collect())
                .await?;
        }
        let SnapshotPath { ns, dir } = &left.snapshot;
        // A finish that was dropped after its manifest became visible, before its last look for lost
        // chunks: committed only if there was none to find. The manifest of a session that never came
        // so far is somebody else's, who has used the name again ◆.
        self.learn_losses().await?;
        let found_none = |losses| losses == self.table.losses();
        let committed = self.snapshots.has_manifest(ns, dir)? && left.losses.is_none_or(found_none);
        if !committed && self.snapshots.snapshot_exists(ns, dir)? {
            let paths = std::slice::from_ref(&left.snapshot);
            let forgotten = self
                .forget_snapshots(client.as_ref(), paths, RemovalKind::Cleanup, cancel)
                .await;
            let failed = forgotten.failed.into_iter().map(|(_, error)| error);
            failed.chain(forgotten.stopped).next().map_or(Ok(()), Err)?;
        }
        if left.group_is_new {
            self.remove_idle_group(client.as_ref(), ns, &dir.group)
                .await?;
        }
        Ok(())
    }

    /// A snapshot of the same name that was removed, or that an earlier session has left behind:
    /// late requests of it would hit the new one's objects, and the new one would be cleared away in
    /// its place ◆.
    pub(crate) async fn refuse_old_leftovers(
        &self,
        ns: &BackupNamespace,
        dir: &BackupDir,
    ) -> Result<()> {
        if self.awaits_clearing(ns, dir) {
            return Err(Error::Refused(format!(
                "an earlier backup {dir} was given up and is being cleared away; use another backup \
                 time, or try again in a minute"
            )));
        }
        let Some(backend) = self.backend.s3() else {
            return Ok(());
        };
        let path = ns.path_of(&dir.path());
        if !backend.cleanup.has_below(&self.env, &path).await? {
            return Ok(());
        }
        Err(Error::Refused(format!(
            "late requests of an earlier backup {dir}, or of its removal, may still reach the \
             bucket; use another backup time, or try again in half an hour"
        )))
    }
}

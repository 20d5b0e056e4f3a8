//! The move of a group to another namespace.

use std::sync::Arc;

use api_types::auth::Authid;
use api_types::names::{BackupDir, BackupGroup, BackupNamespace};
use s3_client::{S3Client, TaskKind};

use crate::error::{Error, Result};
use crate::locks::LockFile;
use crate::manage::forget::batch_size;
use crate::snapshot::BackupInfo;
use crate::store::DataStore;
use crate::task::{TaskContext, check_abort};

use super::batch::{LOCKS_PER_SNAPSHOT, Route};

/// Upstream's limit.
const MAX_BATCH: usize = 512;

/// What a move of a group did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct GroupMoved {
    /// Snapshots moved.
    pub snapshots: u64,
    /// The target group was there before, with snapshots.
    pub merged: bool,
}

/// A group on its way.
struct GroupMove<'a> {
    route: Route<'a>,
    group: &'a BackupGroup,
    owner: Authid,
}

impl DataStore {
    /// Moves a group with all its snapshots to another namespace. If it exists there, the snapshots
    /// join it when `merge` allows that, the owner is the same, and all of them are newer.
    ///
    /// # Errors
    /// If one of the groups or a snapshot is in use, a rule forbids the move, the task is aborted,
    /// or the bucket or the disk refuses. Snapshots moved until then stay where they are now; the
    /// rest can be moved by another attempt.
    pub async fn move_group(
        self: &Arc<Self>,
        task: &dyn TaskContext,
        from: &BackupNamespace,
        group: &BackupGroup,
        to: &BackupNamespace,
        merge: bool,
    ) -> Result<GroupMoved> {
        let _lease = self.writer_lease(task.cancel()).await?;
        let client = self.client(TaskKind::Other, task.cancel());
        self.move_group_leased(task, client.as_ref(), (from, to), group, merge)
            .await
    }

    /// [`Self::move_group`] for a caller with a writer's lease.
    pub(super) async fn move_group_leased(
        &self,
        task: &dyn TaskContext,
        client: Option<&S3Client>,
        (from, to): (&BackupNamespace, &BackupNamespace),
        group: &BackupGroup,
        merge: bool,
    ) -> Result<GroupMoved> {
        if from == to {
            return Err(Error::Refused(format!(
                "group {group} is in namespace '{to}' already"
            )));
        }
        self.check_group(from, group).await?;
        let lock = self.locks.group(from, group)?;
        self.check_group(from, group).await?;
        let owner = self.owner_of(from, group).await?.ok_or_else(|| {
            Error::Refused(format!(
                "group {group} has no owner: set one with 'change-owner' first"
            ))
        })?;
        let group_move = GroupMove {
            route: Route {
                store: self,
                task,
                client,
                from,
                to,
            },
            group,
            owner,
        };
        group_move.run(lock, merge).await
    }

    async fn owner_of(&self, ns: &BackupNamespace, group: &BackupGroup) -> Result<Option<Authid>> {
        let (ns, group) = (ns.clone(), group.clone());
        self.local(move |snapshots| snapshots.owner(&ns, &group))
            .await
    }

    /// The snapshots of a group, oldest first.
    async fn oldest_first(
        &self,
        ns: &BackupNamespace,
        group: &BackupGroup,
    ) -> Result<Vec<BackupInfo>> {
        let (ns, group) = (ns.clone(), group.clone());
        let mut infos = self
            .local(move |snapshots| snapshots.list_snapshots(&ns, &group))
            .await?;
        infos.reverse();
        Ok(infos)
    }
}

impl GroupMove<'_> {
    async fn run(&self, old_lock: LockFile, merge: bool) -> Result<GroupMoved> {
        let Route {
            store,
            task,
            from,
            to,
            ..
        } = self.route;
        let new_lock = self.enter_target().await?;
        let mut moved = GroupMoved::default();
        let outcome = async {
            let dirs = self.check(merge, &mut moved).await?;
            let size = batch_size(LOCKS_PER_SNAPSHOT).min(MAX_BATCH);
            for batch in dirs.chunks(size) {
                check_abort(task)?;
                self.route.move_batch(batch, &mut moved.snapshots).await?;
            }
            self.move_notes().await
        };
        if let Err(error) = outcome.await {
            // A target that was made for nothing goes again; not by the task's client, which makes no
            // request once the task is aborted.
            match store.remove_group_if_empty(None, to, self.group).await {
                Ok(true) => new_lock.remove()?,
                Ok(false) => {}
                Err(left) => {
                    tracing::warn!(ns = %to, group = %self.group, error = %left, "unable to remove an empty group");
                }
            }
            return Err(error);
        }
        let old = store.snapshots().group_path(from, self.group);
        task.log(&format!("removing backup group {old:?}"));
        if store
            .remove_group_if_empty(self.route.client, from, self.group)
            .await?
        {
            old_lock.remove()?;
        } else {
            task.warn(&format!("group {} is not empty and stays", self.group));
        }
        Ok(moved)
    }

    /// Creates the target group if it is missing, locks it, and compares or sets its owner.
    async fn enter_target(&self) -> Result<LockFile> {
        let Route {
            store,
            task,
            client,
            to,
            ..
        } = self.route;
        let lock = {
            // A removal of the namespace finds the group, which nobody else removes once it is
            // locked, or we find no namespace.
            let _epoch = store.share_metadata_epoch(task.cancel()).await?;
            if !store.namespace_exists(to).await? {
                return Err(Error::NotFound {
                    what: format!("namespace '{to}'"),
                });
            }
            let (dir, group) = (to.clone(), self.group.clone());
            store
                .local(move |snapshots| snapshots.create_group_dir(&dir, &group))
                .await?;
            store.locks.group(to, self.group)?
        };
        match store.owner_of(to, self.group).await? {
            Some(owner) if owner == self.owner => {}
            Some(owner) => {
                return Err(Error::Refused(format!(
                    "unable to move group {} to namespace '{to}': it exists there and belongs to \
                     {owner}, not to {}",
                    self.group, self.owner
                )));
            }
            None => {
                let owner = &self.owner;
                store.create_owner(client, to, self.group, owner).await?;
            }
        }
        // The directories are on disk before anything is moved into them.
        let chunks = Arc::clone(&store.chunks);
        store.env.blocking(move || chunks.sync_filesystem()).await?;
        Ok(lock)
    }

    /// The snapshots to be moved, oldest first, if they may join those that are there.
    async fn check(&self, merge: bool, moved: &mut GroupMoved) -> Result<Vec<BackupDir>> {
        let Route {
            store, from, to, ..
        } = self.route;
        let here = store.oldest_first(from, self.group).await?;
        let there = store.oldest_first(to, self.group).await?;
        moved.merged = !there.is_empty();
        let refused = |reason: String| {
            Err(Error::Refused(format!(
                "unable to move group {} to namespace '{to}': {reason}",
                self.group
            )))
        };
        if moved.merged && !merge {
            return refused("it exists there, and groups are not to be merged".into());
        }
        if let (Some(oldest), Some(newest)) = (here.first(), there.last())
            && oldest.dir.time <= newest.dir.time
        {
            return refused(format!(
                "its snapshot {} is not newer than {} there",
                oldest.dir.time, newest.dir.time
            ));
        }
        Ok(here.into_iter().map(|info| info.dir).collect())
    }

    /// Notes of the target stay; without any, those of the source come along.
    async fn move_notes(&self) -> Result<()> {
        let Route {
            store,
            task,
            client,
            from,
            to,
        } = self.route;
        let old = store.group_notes(from, self.group).await?;
        let new = store.group_notes(to, self.group).await?;
        if old.is_empty() || old == new {
            return Ok(());
        }
        if !new.is_empty() {
            task.warn(&format!(
                "group {} has other notes in namespace '{to}', which stay",
                self.group
            ));
            return Ok(());
        }
        store.write_group_notes(client, to, self.group, &old).await
    }
}

//! What the source has no more is removed here, if that is wanted: never what is protected, never a
//! group that the group filter leaves out, of groups only those of the owner. Snapshots that
//! `verified-only` or `encrypted-only` leaves out count as vanished (`jobs-and-sync.md` §7.2).

use anyhow::Result;
use api_types::access::Privilege;
use api_types::auth::Authid;
use api_types::names::{BackupDir, BackupGroup, BackupNamespace, BackupTime, SnapshotPath};
use datastore::gc::history::RemovalKind;
use datastore::snapshot::BackupInfo;
use datastore::task::{TaskContext as _, check_abort};
use s3_client::TaskKind;

use super::Pull;
use crate::sync::summary::Removed;

impl Pull {
    /// Removes snapshots of a group.
    pub(super) async fn remove_vanished_snapshots(
        &self,
        ns: &BackupNamespace,
        here: &[BackupInfo],
        vanished: &[BackupTime],
    ) -> Result<()> {
        let gone = here.iter().filter(|info| vanished.contains(&info.dir.time));
        let (protected, doomed): (Vec<_>, Vec<_>) = gone.partition(|info| info.protected);
        for BackupInfo { dir, .. } in protected {
            let group = &dir.group;
            self.log(&format!(
                "[{group}]: don't delete vanished snapshot {dir} (protected)"
            ));
        }
        if doomed.is_empty() {
            return Ok(());
        }
        let path = |dir: &BackupDir| SnapshotPath::new(ns.clone(), dir.clone());
        let mut paths = Vec::new();
        // Oldest first: what is left after a failure is a group that still has its newest ones.
        for BackupInfo { dir, .. } in doomed.into_iter().rev() {
            let group = &dir.group;
            self.log(&format!("[{group}]: delete vanished snapshot {dir}"));
            paths.push(path(dir));
        }
        let cancel = self.task.cancel();
        let client = self.store.client(TaskKind::Sync, cancel);
        let forgotten = self
            .store
            .forget_snapshots(client.as_ref(), &paths, RemovalKind::Sync, cancel)
            .await;
        self.totals.removed(Removed {
            snapshots: count(forgotten.removed.len()),
            groups: forgotten.removed_groups,
            namespaces: 0,
        });
        let failed = forgotten.failed.into_iter().map(|(_, error)| error);
        match failed.chain(forgotten.stopped).next() {
            None => Ok(()),
            Some(error) => Err(error.into()),
        }
    }

    /// Removes groups of a namespace; whether that went well. `all` is what the source has.
    pub(super) async fn remove_vanished_groups(
        &self,
        ns: &BackupNamespace,
        all: &[BackupGroup],
    ) -> Result<bool> {
        let mut sound = true;
        for group in self.groups_here(ns).await? {
            check_abort(&*self.task)?;
            if all.contains(&group) || !self.options.filters.pass(&group) {
                continue;
            }
            if self.owner_of(ns, &group).await?.as_ref() != Some(&self.options.owner) {
                continue;
            }
            self.log(&format!("delete vanished group '{group}'"));
            sound &= self.remove_group(ns, &group).await;
        }
        Ok(sound)
    }

    /// Removes namespaces below the anchor that are none of the source's, children first; whether
    /// that went well.
    pub(super) async fn remove_vanished_namespaces(
        &self,
        synced: &[BackupNamespace],
    ) -> Result<bool> {
        let mapping = &self.options.namespaces;
        let (anchor, depth) = (mapping.target(), mapping.max_depth());
        let mut levels = self.store.list_namespaces(anchor, depth).await?;
        // Children come after their parents in the list.
        levels.reverse();
        let mut sound = true;
        for ns in levels.into_iter().map(|item| item.ns) {
            check_abort(&*self.task)?;
            if ns == *anchor || synced.contains(&ns) {
                continue;
            }
            match self.remove_namespace(&ns).await {
                Ok(emptied) => sound &= emptied,
                Err(error) => {
                    sound = false;
                    self.log(&format!(
                        "failed to remove vanished namespace '{ns}' - {error:#}"
                    ));
                }
            }
        }
        Ok(sound)
    }

    async fn remove_namespace(&self, ns: &BackupNamespace) -> Result<bool> {
        if let Some(parent) = ns.parent() {
            self.require(&parent, Privilege::DatastoreModify)?;
        }
        let mut sound = true;
        for group in self.groups_here(ns).await? {
            if self.options.filters.pass(&group) {
                sound &= self.remove_group(ns, &group).await;
            }
        }
        let cancel = self.task.cancel();
        let client = self.store.client(TaskKind::Sync, cancel);
        let removed = self
            .store
            .destroy_namespace(client.as_ref(), ns, false, cancel)
            .await?;
        self.totals.removed(Removed {
            namespaces: removed.removed_namespaces,
            ..Removed::default()
        });
        self.log(&match removed.removed_namespaces {
            0 => format!("kept vanished namespace '{ns}': it is not empty"),
            _ => format!("removed vanished namespace '{ns}'"),
        });
        Ok(sound)
    }

    /// Removes a group but for what is protected; whether that went well.
    async fn remove_group(&self, ns: &BackupNamespace, group: &BackupGroup) -> bool {
        let cancel = self.task.cancel();
        let client = self.store.client(TaskKind::Sync, cancel);
        let removed = self
            .store
            .destroy_group(client.as_ref(), ns, group, cancel)
            .await;
        match removed {
            Ok(stats) => {
                self.totals.removed(Removed {
                    snapshots: stats.removed_snapshots,
                    groups: stats.removed_groups,
                    namespaces: 0,
                });
                if stats.protected_snapshots > 0 {
                    self.log(&format!("kept some protected snapshots of group '{group}'"));
                }
                true
            }
            Err(error) => {
                self.log(&format!("failed to remove group '{group}' - {error}"));
                false
            }
        }
    }

    async fn groups_here(&self, ns: &BackupNamespace) -> Result<Vec<BackupGroup>> {
        let (snapshots, ns) = (self.store.snapshots().clone(), ns.clone());
        let list = move || snapshots.list_groups(&ns);
        Ok(self.store.env().blocking(list).await?)
    }

    /// Whose a group here is, if there is one.
    pub(super) async fn owner_of(
        &self,
        ns: &BackupNamespace,
        group: &BackupGroup,
    ) -> Result<Option<Authid>> {
        let (snapshots, ns, group) = (self.store.snapshots().clone(), ns.clone(), group.clone());
        let read = move || snapshots.owner(&ns, &group);
        Ok(self.store.env().blocking(read).await?)
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

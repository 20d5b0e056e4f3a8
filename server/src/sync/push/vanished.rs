//! Groups and namespaces of the target that are no longer here.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use api_types::access::Privilege;
use api_types::auth::Authid;
use api_types::names::{BackupGroup, BackupNamespace};

use super::plan::vanished_namespaces;
use super::{Push, named};
use crate::sync::remote::calls::RemovedThere;
use crate::sync::summary::Removed;

impl Push {
    /// Removes the groups of a namespace at the target that are meant, ours, and none of those
    /// that are here.
    pub(super) async fn remove_vanished_groups(
        &self,
        target_ns: &BackupNamespace,
        at_target: &BTreeMap<BackupGroup, Option<Authid>>,
        here: &BTreeSet<BackupGroup>,
    ) {
        for (group, owner) in at_target {
            if here.contains(group) || !self.may_remove(group, owner.as_ref()) {
                continue;
            }
            let removed = self.remove_vanished_group(target_ns, group).await;
            self.note(&format!("vanished group {group}"), removed);
        }
    }

    fn may_remove(&self, group: &BackupGroup, owner: Option<&Authid>) -> bool {
        self.options.filters.pass(group) && self.is_ours(owner)
    }

    async fn remove_vanished_group(
        &self,
        target_ns: &BackupNamespace,
        group: &BackupGroup,
    ) -> Result<()> {
        self.rights
            .require(target_ns, Privilege::RemoteDatastorePrune)?;
        let removed = self
            .target
            .remove_group(target_ns, group, self.statistics)
            .await?;
        self.log(&format!("removed vanished group {group}"));
        self.count(removed, 1);
        Ok(())
    }

    /// Removes the namespaces at the target that are no longer here, children first.
    pub(super) async fn remove_vanished_namespaces(
        &self,
        existing: &BTreeSet<BackupNamespace>,
        synced: &BTreeSet<BackupNamespace>,
    ) {
        let mapping = &self.options.namespaces;
        let (anchor, max_depth) = (mapping.target(), mapping.max_depth());
        let mut kept: Vec<BackupNamespace> = Vec::new();
        for ns in vanished_namespaces(existing, synced, anchor, max_depth) {
            // It would go with what it holds.
            let must_stay = kept.iter().any(|child| ns.contains(child));
            match self.remove_vanished_namespace(&ns, must_stay).await {
                Ok(true) => {}
                Ok(false) => kept.push(ns),
                Err(error) => {
                    self.note(&format!("vanished {}", named(&ns)), Err(error));
                    kept.push(ns);
                }
            }
        }
    }

    /// Removes a namespace, or of its groups those that may be; whether it is gone.
    async fn remove_vanished_namespace(
        &self,
        ns: &BackupNamespace,
        must_stay: bool,
    ) -> Result<bool> {
        let parent = ns.parent().unwrap_or_default();
        self.rights
            .require(&parent, Privilege::RemoteDatastoreModify)?;
        let groups = self.groups_at_target(ns).await?;
        let foreign = groups
            .iter()
            .any(|(group, owner)| !self.may_remove(group, owner.as_ref()));
        if foreign || must_stay {
            self.log(&format!(
                "vanished {} is kept: it has groups that are not meant or not ours, or a \
                 namespace that is kept",
                named(ns)
            ));
            self.remove_vanished_groups(ns, &groups, &BTreeSet::new())
                .await;
            return Ok(false);
        }
        let removed = self.target.remove_namespace(ns, self.statistics).await?;
        let groups = u64::try_from(groups.len()).unwrap_or(u64::MAX);
        let protected = removed.is_some_and(|removed| removed.protected_snapshots > 0);
        self.count(removed, groups);
        if protected {
            self.log(&format!(
                "vanished {} is kept: it has protected snapshots",
                named(ns)
            ));
            return Ok(false);
        }
        self.log(&format!("removed vanished {}", named(ns)));
        self.totals.removed(Removed {
            namespaces: 1,
            ..Removed::default()
        });
        Ok(true)
    }

    /// Counts what was removed: as the target says, or else so many groups.
    fn count(&self, removed: Option<RemovedThere>, groups: u64) {
        let removed = removed.unwrap_or(RemovedThere {
            removed_groups: groups,
            ..RemovedThere::default()
        });
        self.totals.removed(Removed {
            snapshots: removed.removed_snapshots,
            groups: removed.removed_groups,
            namespaces: 0,
        });
        if removed.protected_snapshots > 0 {
            self.log(&format!(
                "kept {} protected snapshots",
                removed.protected_snapshots
            ));
        }
    }
}

//! The groups of a namespace, some of them at once.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use api_types::access::Privilege;
use api_types::auth::Authid;
use api_types::names::{BackupGroup, BackupNamespace};
use futures_util::{FutureExt as _, StreamExt as _, stream};

use super::plan::missing_levels;
use super::{Push, named};
use crate::api::rights::{may_touch, reach};

/// Who may push: all groups with the first, their own with the second.
const FULL: &[Privilege] = &[Privilege::DatastoreRead];
const PARTIAL: &[Privilege] = &[Privilege::DatastoreBackup];

/// The groups of a namespace here.
struct SourceGroups {
    /// All there are: none of them has vanished, whoever may read it.
    all: BTreeSet<BackupGroup>,
    /// Those that pass the filters and that the owner may read, by type and id.
    meant: Vec<BackupGroup>,
}

impl Push {
    /// The namespaces here, parents before children: all that are meant, and those of them that
    /// the owner may read from.
    pub(super) async fn source_namespaces(
        &self,
    ) -> Result<(Vec<BackupNamespace>, Vec<BackupNamespace>)> {
        let (options, store) = (&self.options, self.source.name());
        let mapping = &options.namespaces;
        let listed = self
            .source
            .list_namespaces(mapping.source(), mapping.max_depth());
        let listed = listed.await.context("failed to list namespaces")?;
        let all = mapping.of_source(listed.into_iter().map(|item| item.ns).collect());
        let mut readable = all.clone();
        readable.retain(|ns| {
            reach(&self.site.access, &options.owner, store, ns, FULL, PARTIAL).is_some()
        });
        ensure!(
            !readable.is_empty(),
            "{} has no permission to read from datastore '{store}', {}",
            options.owner,
            named(mapping.source())
        );
        Ok((all, readable))
    }

    /// Pushes a namespace, which is created if it is not among the `existing` ones.
    pub(super) async fn push_namespace(
        &self,
        ns: &BackupNamespace,
        existing: &mut BTreeSet<BackupNamespace>,
    ) -> Result<()> {
        let target_ns = &self.options.namespaces.to_target(ns)?;
        self.rights
            .require(target_ns, Privilege::RemoteDatastoreBackup)?;
        for missing in missing_levels(existing, target_ns) {
            let parent = missing.parent().unwrap_or_default();
            self.rights
                .require(&parent, Privilege::RemoteDatastoreModify)?;
            self.target.create_namespace(&missing).await?;
            self.log(&format!("created {} at the target", named(&missing)));
            existing.insert(missing);
        }
        let at_target = self.groups_at_target(target_ns).await?;
        let SourceGroups { all, meant: groups } = self.source_groups(ns).await?;
        self.log(&format!("{}: {} groups to push", named(ns), groups.len()));
        let work = groups.iter().map(|group| {
            let owner = at_target.get(group);
            self.push_or_skip(ns, target_ns, group, owner).boxed()
        });
        // Collected, since a lazy iterator over borrowed groups is nothing a task can hold.
        stream::iter(work.collect::<Vec<_>>())
            .buffer_unordered(self.options.worker_threads)
            .collect::<()>()
            .await;
        if self.options.remove_vanished {
            self.remove_vanished_groups(target_ns, &at_target, &all)
                .await;
        }
        Ok(())
    }

    /// The groups of a namespace at the target, with their owners as far as they are known.
    pub(super) async fn groups_at_target(
        &self,
        ns: &BackupNamespace,
    ) -> Result<BTreeMap<BackupGroup, Option<Authid>>> {
        // Named even if it is the root.
        let listed = self.target.groups(Some(ns)).await?;
        Ok(listed
            .into_iter()
            .map(|item| {
                (
                    BackupGroup::new(item.backup_type, item.backup_id),
                    item.owner,
                )
            })
            .collect())
    }

    async fn source_groups(&self, ns: &BackupNamespace) -> Result<SourceGroups> {
        let (access, owner) = (&self.site.access, &self.options.owner);
        let may_read = may_touch(access, owner, FULL, PARTIAL, &self.source);
        let (snapshots, ns) = (self.source.snapshots().clone(), ns.clone());
        let filters = self.options.filters.clone();
        let listed = self.source.env().blocking(move || {
            let all: BTreeSet<_> = snapshots.list_groups(&ns)?.into_iter().collect();
            let is_meant = |group: &&BackupGroup| filters.pass(group) && may_read(&ns, group);
            let meant = all.iter().filter(is_meant).cloned().collect();
            datastore::local_error::LocalResult::Ok(SourceGroups { all, meant })
        });
        listed.await.context("failed to list groups")
    }

    /// Pushes a group, unless it is somebody else's at the target.
    async fn push_or_skip(
        &self,
        ns: &BackupNamespace,
        target_ns: &BackupNamespace,
        group: &BackupGroup,
        at_target: Option<&Option<Authid>>,
    ) {
        if let Some(owner) = at_target
            && !self.is_ours(owner.as_ref())
        {
            let owner = owner
                .as_ref()
                .map_or("somebody else".to_owned(), ToString::to_string);
            self.warn(&format!(
                "group {group} is skipped: it is owned by {owner} at the target, not by {}",
                self.target.auth_id()
            ));
            return;
        }
        let pushed = self.push_group(ns, target_ns, group).await;
        self.note(&format!("group {group}"), pushed);
    }

    /// Whether a group at the target belongs to whom we are there.
    pub(super) fn is_ours(&self, owner: Option<&Authid>) -> bool {
        owner == Some(self.target.auth_id())
    }
}

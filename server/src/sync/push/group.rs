//! The snapshots of a group, one after the other.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use api_types::access::Privilege;
use api_types::names::{BackupDir, BackupGroup, BackupNamespace};
use api_types::status::SnapshotListItem;

use super::Push;
use super::plan::choose;
use super::snapshot::Route;
use crate::sync::candidates::{Candidate, Chosen, Offered};
use crate::sync::summary::Removed;

impl Push {
    /// Pushes what the target does not have of a group, and removes there what has vanished here.
    pub(super) async fn push_group(
        &self,
        ns: &BackupNamespace,
        target_ns: &BackupNamespace,
        group: &BackupGroup,
    ) -> Result<()> {
        let source = self
            .source
            .list_snapshots(ns, Some(group.ty), Some(&group.id));
        let source = source.await.context("failed to list its snapshots")?;
        let target = self.target.snapshots(target_ns, group).await?;
        let newest = target.iter().max_by_key(|item| item.backup_time);
        self.warn_of_unfinished(newest, &source);
        let newest = newest.map(|item| item.backup_time);
        let selection = &self.options.selection;
        let offered = Offered::of(&source, selection);
        let chosen = choose(&offered, newest, selection.transfer_last);
        self.tell_skipped(group, &offered, &chosen);
        let mut has_previous = newest.is_some();
        for Candidate { time, .. } in chosen.candidates {
            let dir = BackupDir::new(group.clone(), time);
            let route = Route {
                ns,
                target_ns,
                dir: &dir,
            };
            self.log(&format!("push snapshot {dir}"));
            if self.push_snapshot(route, has_previous).await? {
                has_previous = true;
                self.log(&format!("push snapshot {dir} done"));
            }
        }
        if self.options.remove_vanished {
            self.remove_vanished_snapshots(target_ns, &source, &target)
                .await?;
        }
        Ok(())
    }

    /// What a target that broke down has left of a push counts as its newest snapshot, and is in
    /// the way of the whole one.
    fn warn_of_unfinished(&self, newest: Option<&SnapshotListItem>, source: &[SnapshotListItem]) {
        let Some(newest) = newest.filter(|item| item.size.is_none()) else {
            return;
        };
        let same = |item: &&SnapshotListItem| item.backup_time == newest.backup_time;
        if source
            .iter()
            .find(same)
            .is_some_and(|item| item.size.is_some())
        {
            self.warn(&format!(
                "snapshot {} is not pushed: it is unfinished at the target; unless a backup is \
                 making it, remove it there",
                newest.dir()
            ));
        }
    }

    fn tell_skipped(&self, group: &BackupGroup, offered: &Offered, chosen: &Chosen) {
        for time in &offered.in_progress {
            self.log(&format!(
                "group {group}: skipped {time} - it has no manifest, or is being made"
            ));
        }
        let filtered = [
            (offered.not_verified, "not verified"),
            (offered.not_encrypted, "not encrypted"),
        ];
        for (count, why) in filtered.into_iter().filter(|(count, _)| *count > 0) {
            self.log(&format!(
                "group {group}: skipped {count} snapshot(s) - {why}"
            ));
        }
        for line in chosen.skipped_lines() {
            self.log(&format!("group {group}: {line}"));
        }
    }

    /// Removes the target's snapshots that are no longer here, but for protected ones.
    async fn remove_vanished_snapshots(
        &self,
        target_ns: &BackupNamespace,
        source: &[SnapshotListItem],
        target: &[SnapshotListItem],
    ) -> Result<()> {
        // What a filter leaves out is still here.
        let here: BTreeSet<_> = source.iter().map(|item| item.backup_time).collect();
        for item in target {
            let dir = item.dir();
            if here.contains(&item.backup_time) {
                continue;
            }
            if item.protected {
                self.log(&format!("vanished snapshot {dir} is kept: it is protected"));
                continue;
            }
            self.rights
                .require(target_ns, Privilege::RemoteDatastorePrune)?;
            self.target.remove_snapshot(target_ns, &dir).await?;
            self.log(&format!("removed vanished snapshot {dir}"));
            self.totals.removed(Removed {
                snapshots: 1,
                ..Removed::default()
            });
        }
        Ok(())
    }
}

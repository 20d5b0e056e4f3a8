//! A group: which of its snapshots come, one after the other.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail};
use api_types::names::{BackupDir, BackupGroup, BackupNamespace, BackupTime};
use datastore::snapshot::BackupInfo;
use datastore::task::check_abort;

use super::Pull;
use crate::sync::candidates::{Candidate, Offered, Present};
use crate::sync::summary::progress;

/// Where groups come from and go to, and how far they are.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) ns: &'a BackupNamespace,
    pub(super) target: &'a BackupNamespace,
    /// Groups done.
    pub(super) done: &'a AtomicUsize,
    /// Groups in all.
    pub(super) all: usize,
}

impl Pull {
    /// Pulls a group.
    pub(super) async fn group(&self, place: &Place<'_>, group: &BackupGroup) -> Result<()> {
        let pulled = self.snapshots(place, group).await;
        place.done.fetch_add(1, Ordering::Relaxed);
        pulled
    }

    async fn snapshots(&self, place: &Place<'_>, group: &BackupGroup) -> Result<()> {
        self.check_owner(place.target, group).await?;
        let listed = self.source.snapshots(place.ns, group);
        let listed = self.unless_aborted(listed).await??;
        let offered = Offered::of(&listed, &self.options.selection);
        let here = self.present(place.target, group).await?;
        let chosen = offered.choose(&here, self.options.selection.transfer_last);
        for line in chosen.skipped_lines() {
            self.log(&format!("[{group}]: {line}"));
        }
        let all = chosen.candidates.len();
        for (number, Candidate { time, corrupt }) in chosen.candidates.into_iter().enumerate() {
            check_abort(&*self.task)?;
            let dir = BackupDir::new(group.clone(), time);
            self.snapshot(place.ns, place.target, &dir, corrupt).await?;
            let groups = (place.done.load(Ordering::Relaxed), place.all);
            self.log(&format!(
                "[{group}]: {}",
                progress(groups, (number + 1, all))
            ));
        }
        if self.options.remove_vanished {
            let infos = self.finished(place.target, group).await?;
            let times: Vec<BackupTime> = infos.iter().map(|info| info.dir.time).collect();
            let vanished = offered.vanished(&times);
            self.remove_vanished_snapshots(place.target, &infos, &vanished)
                .await?;
        }
        Ok(())
    }

    /// Nobody's backups are mixed with those of another.
    async fn check_owner(&self, ns: &BackupNamespace, group: &BackupGroup) -> Result<()> {
        let found = self.owner_of(ns, group).await?;
        let wanted = &self.options.owner;
        match found {
            Some(owner) if owner != *wanted => {
                bail!("owner check failed ({wanted} != {owner})")
            }
            _ => Ok(()),
        }
    }

    /// What there is of a group here.
    async fn present(&self, ns: &BackupNamespace, group: &BackupGroup) -> Result<Present> {
        let infos = self.finished(ns, group).await?;
        let mut corrupt = BTreeSet::new();
        if self.options.selection.resync_corrupt {
            for info in &infos {
                let manifest = self.store.load_manifest(ns, &info.dir).await;
                if manifest.map_or(true, |manifest| manifest.has_failed()) {
                    corrupt.insert(info.dir.time);
                }
            }
        }
        Ok(Present {
            last: infos.iter().map(|info| info.dir.time).max(),
            corrupt,
        })
    }

    /// The finished snapshots of a group here.
    async fn finished(&self, ns: &BackupNamespace, group: &BackupGroup) -> Result<Vec<BackupInfo>> {
        let snapshots = self.store.snapshots().clone();
        let (ns, group) = (ns.clone(), group.clone());
        let list = move || snapshots.list_snapshots(&ns, &group);
        let mut infos = self.store.env().blocking(list).await?;
        infos.retain(BackupInfo::is_finished);
        Ok(infos)
    }
}

//! Those who remove, protect and annotate snapshots.
//!
//! Whatever is about to be removed is doubtful from the beginning of the call on, in the book;
//! what the store says that it kept is committed again.

use std::sync::Arc;

use anyhow::{Result, bail};
use api_types::names::SnapshotPath;
use api_types::prune::KeepOptions;
use datastore::gc::history::RemovalKind;
use datastore::prune::PruneOptions;
use datastore::task::SilentTask;
use s3_client::TaskKind;

use crate::book::{Change, Status, places};
use crate::coverage::Kind;
use crate::invariants::Violation;
use crate::machine::Server;
use crate::sim::{Core, Sim};

use super::{Call, make_namespaces, place};

/// Snapshots that a call may remove, until it ends in whatever way. Not to be dropped while the
/// core is locked.
struct AtRisk {
    sim: Arc<Sim>,
    snapshots: Vec<usize>,
    kept: Vec<usize>,
}

impl AtRisk {
    /// These are at risk from now on.
    fn take(sim: &Arc<Sim>, core: &mut Core, snapshots: impl IntoIterator<Item = usize>) -> Self {
        let there = |index: &usize| {
            let status = core.book.snapshots[*index].status;
            matches!(status, Status::Committed | Status::Doubtful)
        };
        let snapshots: Vec<usize> = snapshots.into_iter().filter(there).collect();
        for &index in &snapshots {
            let risks = core.book.snapshots[index].risks + 1;
            core.book.set_risks(index, risks);
        }
        Self {
            sim: Arc::clone(sim),
            snapshots,
            kept: Vec::new(),
        }
    }

    /// The store says that it has kept this one.
    fn kept(&mut self, index: usize) {
        self.kept.push(index);
    }
}

impl Drop for AtRisk {
    fn drop(&mut self) {
        let mut core = self.sim.core();
        for &index in &self.snapshots {
            let risks = core.book.snapshots[index].risks - 1;
            core.book.set_risks(index, risks);
            let status = core.book.snapshots[index].status;
            if status == Status::Committed && !self.kept.contains(&index) {
                core.book.set_status(index, Status::Doubtful);
            }
        }
    }
}

fn gone(core: &mut Core, index: usize) {
    core.coverage.add(Kind::Removed);
    core.book.set_status(index, Status::Gone);
    let snapshot = &core.book.snapshots[index];
    if snapshot.protected.certain() == Some(&true) {
        let text = format!("{} was removed although it is protected", snapshot.relative);
        core.fail(Violation::new("protection", text));
    }
}

/// Removes a snapshot.
pub async fn forget(server: &Server, pick: u8) -> Result<()> {
    let picked = server.sim.core().book.pick(pick);
    match picked {
        Some(index) => forget_one(server, index).await,
        None => Ok(()),
    }
}

/// Removes this snapshot.
pub async fn forget_one(server: &Server, index: usize) -> Result<()> {
    let sim = &server.sim;
    let (path, mut at_risk) = {
        let mut core = sim.core();
        let snapshot = &core.book.snapshots[index];
        let standing = snapshot.standing(&server.store);
        let path = standing.unwrap_or_else(|| snapshot.path.clone());
        (path, AtRisk::take(sim, &mut core, [index]))
    };
    let client = server.store.client(TaskKind::Prune, &server.cancel);
    let call = Call::begin(sim, "remove");
    let paths = [path];
    let forgotten = server
        .store
        .forget_snapshots(client.as_ref(), &paths, RemovalKind::Forget, &server.cancel)
        .await;
    drop(call);
    let mut core = sim.core();
    if !forgotten.removed.is_empty() {
        gone(&mut core, index);
    } else if !forgotten.protected.is_empty() {
        at_risk.kept(index);
    }
    if let Some((_, error)) = forgotten.failed.into_iter().next() {
        return Err(error.into());
    }
    Ok(())
}

/// Snapshots of the group, the newest first, wherever they are: a move may bring them home while they
/// are being removed there. One that is being written is not there yet for whoever removes; one that is
/// synced again is.
fn of_group(core: &Core, group: u8) -> Result<Vec<usize>> {
    let (_, group) = place(group)?;
    let mut found: Vec<usize> = (0..core.book.snapshots.len())
        .filter(|&index| {
            let snapshot = &core.book.snapshots[index];
            let session = snapshot.session.and_then(|id| core.book.sessions.get(&id));
            let is_new = session.is_some_and(|it| !it.again) && !snapshot.acknowledged;
            !is_new && snapshot.path.dir.group == group
        })
        .collect();
    found.sort_by_key(|&index| std::cmp::Reverse(core.book.snapshots[index].path.dir.time));
    Ok(found)
}

/// Prunes a group to its last snapshots.
pub async fn prune(server: &Server, group: u8, keep: u8) -> Result<()> {
    let sim = &server.sim;
    let (ns, name) = place(group)?;
    let mut at_risk = {
        let mut core = sim.core();
        let all = of_group(&core, group)?;
        // The newest but one is safe even if another is committed before the prune decides.
        let safe = usize::from(keep).saturating_sub(1);
        // One that may be there takes its place among those that are kept.
        let may_be_there = |index: &&usize| {
            let status = core.book.snapshots[**index].status;
            matches!(status, Status::Committed | Status::Doubtful)
        };
        let safe: Vec<usize> = all
            .iter()
            .filter(may_be_there)
            .take(safe)
            .copied()
            .collect();
        AtRisk::take(
            sim,
            &mut core,
            all.into_iter().filter(|index| !safe.contains(index)),
        )
    };
    let options = PruneOptions::new(KeepOptions {
        keep_last: Some(u64::from(keep)),
        ..KeepOptions::default()
    });
    let task = SilentTask::with_cancel(server.cancel.clone());
    let call = Call::begin(sim, "remove");
    let result = server.store.prune_group(&task, &ns, &name, &options).await;
    drop(call);
    let report = result?;
    let mut core = sim.core();
    let listed = |time| report.items.iter().any(|item| item.backup_time == time);
    for index in at_risk.snapshots.clone() {
        // What it has not seen was elsewhere.
        if !listed(core.book.snapshots[index].path.dir.time) {
            at_risk.kept(index);
        }
    }
    for item in &report.items {
        let dir = api_types::names::BackupDir::new(name.clone(), item.backup_time);
        let path = SnapshotPath::new(ns.clone(), dir);
        let Some(index) = core.book.find(&path.ns.path_of(&path.dir.path())) else {
            continue;
        };
        if item.keep || item.protected {
            at_risk.kept(index);
        } else if report.failed == 0 {
            gone(&mut core, index);
        }
    }
    Ok(())
}

/// Protects a snapshot, or lifts that.
pub async fn protect(server: &Server, pick: u8, on: bool) -> Result<()> {
    let sim = &server.sim;
    let (index, path) = {
        let core = sim.core();
        let index = core.book.pick(pick);
        // An unfinished one that is protected stays for ever, with its chunks.
        let committed = |index: &usize| core.book.snapshots[*index].status == Status::Committed;
        let Some(index) = index.filter(committed) else {
            return Ok(());
        };
        (index, core.book.snapshots[index].path.clone())
    };
    let change = Change::begin(sim, server.proc, on, move |book| {
        &mut book.snapshots[index].protected
    });
    let client = server.store.client(TaskKind::Other, &server.cancel);
    server
        .store
        .set_protection(client.as_ref(), &path.ns, &path.dir, on)
        .await?;
    change.done();
    Ok(())
}

/// Writes a snapshot's notes.
pub async fn notes(server: &Server, pick: u8) -> Result<()> {
    let (index, path) = {
        let core = server.sim.core();
        let Some(index) = core.book.pick(pick) else {
            return Ok(());
        };
        (index, core.book.snapshots[index].path.clone())
    };
    let change = Change::begin(&server.sim, server.proc, "seen".to_owned(), move |book| {
        &mut book.snapshots[index].notes
    });
    let client = server.store.client(TaskKind::Other, &server.cancel);
    server
        .store
        .set_snapshot_notes(client.as_ref(), &path.ns, &path.dir, "seen", &server.cancel)
        .await?;
    change.done();
    Ok(())
}

/// After a removal of many, each is looked up; those in other directories than were `removed` are
/// none of its business.
fn settle(server: &Server, at_risk: &mut AtRisk, complete: bool, removed: impl Fn(&str) -> bool) {
    let mut core = server.sim.core();
    for index in at_risk.snapshots.clone() {
        let snapshot = &core.book.snapshots[index];
        let is_protected = snapshot.protected.certain() == Some(&true);
        match snapshot.standing(&server.store) {
            None if complete => gone(&mut core, index),
            Some(place) if is_protected || !removed(&places::directory(&place)) => {
                at_risk.kept(index);
            }
            _ => {}
        }
    }
}

/// Removes a group.
pub async fn destroy_group(server: &Server, group: u8) -> Result<()> {
    let sim = &server.sim;
    let (ns, name) = place(group)?;
    let mut at_risk = {
        let mut core = sim.core();
        let all = of_group(&core, group)?;
        AtRisk::take(sim, &mut core, all)
    };
    let client = server.store.client(TaskKind::Prune, &server.cancel);
    let call = Call::begin(sim, "remove");
    let result = server
        .store
        .destroy_group(client.as_ref(), &ns, &name, &server.cancel)
        .await;
    drop(call);
    let directory = ns.path_of(&name.path());
    let removed = |relative: &str| relative.starts_with(&directory);
    settle(server, &mut at_risk, result.is_ok(), removed);
    result?;
    Ok(())
}

/// A namespace that is being removed, until the call ends in whatever way.
struct Doomed {
    sim: Arc<Sim>,
    directory: &'static str,
}

impl Doomed {
    fn begin(sim: &Arc<Sim>, directory: &'static str) -> Self {
        sim.core().book.doom(directory);
        let sim = Arc::clone(sim);
        Self { sim, directory }
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        self.sim.core().book.spare(self.directory);
    }
}

/// Removes a namespace with everything in it, and makes it again.
pub async fn destroy_namespace(server: &Server, inner: bool) -> Result<()> {
    let sim = &server.sim;
    let ns = if inner { "a/b" } else { "a" }.parse()?;
    let directory = if inner { "ns/a/ns/b/" } else { "ns/a/" };
    let _doomed = Doomed::begin(sim, directory);
    let mut at_risk = {
        let mut core = sim.core();
        let there = |index: &usize| core.book.snapshots[*index].may_be_below(directory);
        let all: Vec<usize> = (0..core.book.snapshots.len()).filter(there).collect();
        AtRisk::take(sim, &mut core, all)
    };
    let client = server.store.client(TaskKind::Prune, &server.cancel);
    let call = Call::begin(sim, "remove");
    let result = server
        .store
        .destroy_namespace(client.as_ref(), &ns, true, &server.cancel)
        .await;
    drop(call);
    let removed = |relative: &str| relative.starts_with(directory);
    settle(server, &mut at_risk, result.is_ok(), removed);
    let removal = result?;
    if removal.is_complete() {
        make_namespaces(server).await?;
    } else if removal.groups_left {
        bail!("groups are left although groups were to be removed");
    }
    Ok(())
}

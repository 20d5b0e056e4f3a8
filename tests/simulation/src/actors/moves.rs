//! Moves of groups and namespaces: there, back, into others, stopped half-way.
//!
//! A snapshot may be at either place while a move is under way, and after one that was not told to be
//! complete; it is committed all the time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use api_types::names::{BackupDir, BackupNamespace};
use datastore::manage::relocate::NamespaceMove;
use datastore::task::{Progress, TaskContext};
use s3_client::TaskKind;
use tokio_util::sync::CancellationToken;

use crate::book::{Book, Journey, Snapshot};
use crate::coverage::Kind;
use crate::machine::Server;
use crate::plan::{MoveGroup, MoveNamespace};
use crate::sim::Sim;

use super::{Call, place};

/// Where groups may be moved to.
const NAMESPACES: [&str; 5] = ["", "a", "a/b", "m", "m/b"];

fn namespace(number: u8) -> Result<BackupNamespace> {
    Ok(NAMESPACES[usize::from(number) % NAMESPACES.len()].parse()?)
}

/// A journey that is under way until this is dropped. Not to be dropped while the core is locked.
struct UnderWay {
    sim: Arc<Sim>,
    journey: Journey,
}

impl UnderWay {
    fn begin(sim: &Arc<Sim>, journey: Journey) -> Self {
        let mut core = sim.core();
        core.book.set_out(&journey);
        unlabel(&mut core.book, &journey);
        drop(core);
        let sim = Arc::clone(sim);
        Self { sim, journey }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut core = self.sim.core();
        core.book.arrive(&self.journey);
        unlabel(&mut core.book, &self.journey);
    }
}

/// What is written on a group may come along.
fn unlabel(book: &mut Book, journey: &Journey) {
    let places = book.snapshots.iter().flat_map(Snapshot::places);
    let targets = places.filter_map(|path| journey.target(path));
    let groups = targets.map(|to| to.ns.path_of(&to.dir.group.path()));
    for group in groups.collect::<BTreeSet<_>>() {
        book.unlabel(&group);
    }
}

/// A task that reads in its log what has moved.
struct Task {
    sim: Arc<Sim>,
    cancel: CancellationToken,
    journey: Journey,
}

impl Task {
    fn new(server: &Server, journey: &Journey, abort: Option<u64>) -> Self {
        let cancel = server.cancel.child_token();
        if let Some(abort) = abort {
            let (cancel, env) = (cancel.clone(), server.sim.env.clone());
            tokio::spawn(async move {
                env.sleep(Duration::from_millis(abort)).await;
                cancel.cancel();
            });
        }
        Self {
            sim: Arc::clone(&server.sim),
            cancel,
            journey: journey.clone(),
        }
    }
}

impl TaskContext for Task {
    fn log(&self, message: &str) {
        let Some(Ok(dir)) = message.strip_prefix("moved ").map(str::parse::<BackupDir>) else {
            return;
        };
        let mut core = self.sim.core();
        core.coverage.add(Kind::Moved);
        core.book.moved(&self.journey, &dir);
    }

    fn warn(&self, _message: &str) {}

    fn warnings(&self) -> u64 {
        0
    }

    fn progress(&self, _progress: Progress) {}

    fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    fn upid(&self) -> Option<String> {
        None
    }
}

/// Moves a group.
pub async fn group(server: &Server, plan: &MoveGroup) -> Result<()> {
    let (_, group) = place(plan.group)?;
    let mut having = Vec::new();
    for name in NAMESPACES {
        let ns: BackupNamespace = name.parse()?;
        if server.store.snapshots().group_exists(&ns, &group)? {
            having.push(ns);
        }
    }
    if having.is_empty() {
        return Ok(());
    }
    let from = having[usize::from(plan.from) % having.len()].clone();
    let mut to = namespace(plan.to)?;
    if to == from {
        to = namespace(plan.to.wrapping_add(1))?;
    }
    make(server, &to).await?;
    let journey = Journey {
        group: Some(group.clone()),
        from: from.clone(),
        to: to.clone(),
    };
    let task = Task::new(server, &journey, plan.abort);
    let _under_way = UnderWay::begin(&server.sim, journey.clone());
    let call = Call::begin(&server.sim, "move");
    let result = server
        .store
        .move_group(&task, &from, &group, &to, plan.merge)
        .await;
    drop(call);
    let moved = result?;
    server.sim.count(Kind::GroupMoved);
    if moved.merged {
        server.sim.count(Kind::Merged);
    }
    settle(server, &journey);
    Ok(())
}

/// After a move that is complete, whatever was on its way is where the local tree has it.
fn settle(server: &Server, journey: &Journey) {
    let mut core = server.sim.core();
    for index in 0..core.book.snapshots.len() {
        let snapshot = &core.book.snapshots[index];
        let targets = || snapshot.places().filter_map(|path| journey.target(path));
        let has_come = targets().any(|to| to == snapshot.path);
        if !has_come || snapshot.places().count() != 2 {
            continue;
        }
        if let Some(place) = snapshot.standing(&server.store) {
            core.book.settle(index, &place);
        }
    }
}

/// Moves a namespace.
pub async fn namespaces(server: &Server, plan: &MoveNamespace) -> Result<()> {
    let (from, to) = (namespace(plan.from)?, namespace(plan.to)?);
    let options = NamespaceMove {
        from: from.clone(),
        to: to.clone(),
        max_depth: None,
        delete_source: plan.delete_source,
        merge_groups: plan.merge,
    };
    options.check()?;
    if let Some(parent) = to.parent() {
        make(server, &parent).await?;
    }
    let journey = Journey {
        group: None,
        from,
        to,
    };
    let task = Task::new(server, &journey, plan.abort);
    let _under_way = UnderWay::begin(&server.sim, journey.clone());
    let call = Call::begin(&server.sim, "move");
    let result = server.store.move_namespace(&task, &options).await;
    drop(call);
    let moved = result?;
    server.sim.count(Kind::NamespaceMoved);
    if moved.failed == 0 {
        settle(server, &journey);
    }
    Ok(())
}

/// Makes a namespace with those above it.
async fn make(server: &Server, ns: &BackupNamespace) -> Result<()> {
    let client = server.store.client(TaskKind::Other, &server.cancel);
    let mut above = BackupNamespace::root();
    for component in ns.components() {
        above = above.join(component.clone())?;
        if !server.store.snapshots().namespace_exists(&above)? {
            let made = server
                .store
                .create_namespace(client.as_ref(), &above, &server.cancel);
            made.await.with_context(|| format!("namespace '{above}'"))?;
        }
    }
    Ok(())
}

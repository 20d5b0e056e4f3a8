//! Moves of groups and namespaces: there, back, into others, stopped half-way.
//!
//! A snapshot may be at either place while a move is under way, and after one that was not told to be
//! complete; it is committed all the time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use api_types::names::{BackupDir, BackupNamespace};
use datastore::manage::relocate::NamespaceMove;
use datastore::task::{Progress, TaskContext};
use s3_client::TaskKind;
use tokio_util::sync::CancellationToken;

use crate::book::{Book, Journey};
use crate::coverage::Kind;
use crate::machine::Server;
use crate::plan::{GROUPS, MoveGroup, MoveNamespace};
use crate::sim::Sim;

use super::{Call, place};

/// Where groups may be moved to.
const NAMESPACES: [&str; 5] = ["", "a", "a/b", "m", "m/b"];

fn namespace(number: u8) -> Result<BackupNamespace> {
    Ok(NAMESPACES[usize::from(number) % NAMESPACES.len()].parse()?)
}

/// Journeys that are under way until this is dropped. Not to be dropped while the core is locked.
struct UnderWay {
    sim: Arc<Sim>,
    journeys: Vec<Journey>,
}

impl UnderWay {
    fn begin(sim: &Arc<Sim>, journeys: Vec<Journey>) -> Self {
        let mut core = sim.core();
        for journey in &journeys {
            core.book.set_out(journey);
            unlabel(&mut core.book, journey);
        }
        drop(core);
        let sim = Arc::clone(sim);
        Self { sim, journeys }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut core = self.sim.core();
        for journey in &self.journeys {
            core.book.arrive(journey);
            unlabel(&mut core.book, journey);
        }
    }
}

/// What is written on a group may come along.
fn unlabel(book: &mut Book, journey: &Journey) {
    for number in 0..GROUPS {
        let group = scenarios::group(&format!("g{number}"));
        book.unlabel(&journey.to.path_of(&group.path()));
    }
}

/// A task that reads in its log what has moved.
struct Task {
    sim: Arc<Sim>,
    cancel: CancellationToken,
    journeys: Vec<Journey>,
}

impl Task {
    fn new(server: &Server, journeys: &[Journey], abort: Option<u64>) -> Self {
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
            journeys: journeys.to_vec(),
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
        let of = |journey: &&Journey| {
            let path = journey.from.path_of(&dir.path());
            core.book.find(&path).is_some()
        };
        // A group is in one of the namespaces only, since all its snapshots have times of their own.
        let journey = self.journeys.iter().find(of).cloned();
        if let Some(journey) = journey {
            core.book.moved(&journey, &dir);
        }
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
    let journeys = vec![journey.clone()];
    let task = Task::new(server, &journeys, plan.abort);
    let _under_way = UnderWay::begin(&server.sim, journeys);
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
        let group = &snapshot.path.dir.group;
        let concerned = snapshot.path.ns == journey.to
            && snapshot.places().count() == 2
            && snapshot.places().any(|path| path.ns == journey.from)
            && journey.group.as_ref().is_none_or(|it| it == group);
        if !concerned {
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
    let journeys = levels(&from, &to)?;
    let task = Task::new(server, &journeys, plan.abort);
    let _under_way = UnderWay::begin(&server.sim, journeys.clone());
    let call = Call::begin(&server.sim, "move");
    let result = server.store.move_namespace(&task, &options).await;
    drop(call);
    let moved = result?;
    server.sim.count(Kind::NamespaceMoved);
    if moved.failed == 0 {
        for journey in &journeys {
            settle(server, journey);
        }
    }
    Ok(())
}

/// The moves that the move of a namespace consists of.
fn levels(from: &BackupNamespace, to: &BackupNamespace) -> Result<Vec<Journey>> {
    let mut journeys = Vec::new();
    for name in NAMESPACES {
        let ns: BackupNamespace = name.parse()?;
        if !from.contains(&ns) && ns != *from {
            continue;
        }
        let mut target = to.clone();
        for component in ns.components().iter().skip(from.depth()) {
            target = target.join(component.clone())?;
        }
        journeys.push(Journey {
            group: None,
            from: ns,
            to: target,
        });
    }
    Ok(journeys)
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

//! Those who do something with the store, or to the world.

mod backup;
mod beside;
mod collect;
mod copy;
mod labels;
mod manage;
mod meddle;
mod moves;
mod read;
pub mod resync;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use api_types::names::{BackupGroup, BackupNamespace};
use datastore::Error;

use crate::coverage::Kind;
use crate::machine::Server;
use crate::plan::{Act, GROUPS, Step};
use crate::sim::Sim;

/// Goes through a lane: one step after the other.
pub async fn lane(sim: Arc<Sim>, steps: Vec<Step>) {
    for step in steps {
        sim.env.sleep(Duration::from_millis(step.pause)).await;
        if sim.has_failed() {
            return;
        }
        act(&sim, step.act).await;
    }
}

/// Does something, as a task of the process that takes new work on if it is work of a process.
pub async fn act(sim: &Arc<Sim>, act: Act) {
    match act {
        Act::Corrupt { .. }
        | Act::Vanish { .. }
        | Act::Unmark { .. }
        | Act::Retain { .. }
        | Act::KeyTrouble { .. }
        | Act::WallClock(_)
        | Act::ServerClock(_)
        | Act::Crash { .. }
        | Act::Reload
        | Act::Takeover => meddle::with_the_world(sim, act).await,
        Act::Beside { what, kill } => {
            if let Err(error) = beside::errand(sim, *what, kill).await {
                sim.note(format_args!("beside: in vain: {error:#}"));
            }
        }
        act => {
            let Some(server) = sim.server() else { return };
            let proc = server.proc;
            // None: its process ended first.
            let _ = sim.run(proc, serve(server, act)).await;
        }
    }
}

/// Does something as a process.
pub async fn serve(server: Server, act: Act) {
    let name = name(&act);
    let sim = Arc::clone(&server.sim);
    let proc = server.proc;
    sim.note(format_args!("p{proc} begins: {name}"));
    let result = match act {
        Act::Backup(plan) => backup::backup(&server, &plan).await,
        Act::Collect(plan) => collect::collect(&server, &plan).await,
        Act::Tend => collect::tend(&server).await,
        Act::Prune { group, keep } => manage::prune(&server, group, keep).await,
        Act::Forget { pick } => manage::forget(&server, pick).await,
        Act::Protect { pick, on } => manage::protect(&server, pick, on).await,
        Act::Notes { pick } => manage::notes(&server, pick).await,
        Act::DestroyGroup { group } => manage::destroy_group(&server, group).await,
        Act::DestroyNamespace { inner } => manage::destroy_namespace(&server, inner).await,
        Act::Verify { quick, abort } => read::verify(&server, quick, abort).await,
        Act::Refresh => read::refresh(&server).await,
        Act::Read { pick, fill } => read::read(&server, pick, fill).await,
        Act::MoveGroup(plan) => moves::group(&server, &plan).await,
        Act::MoveNamespace(plan) => moves::namespaces(&server, &plan).await,
        Act::Resync(plan) => resync::resync(&server, &plan).await,
        Act::Copy(plan) => copy::copy(&server, &plan).await,
        Act::Owner { group, owner } => labels::owner(&server, group, owner).await,
        Act::GroupNotes { group, text } => labels::group_notes(&server, group, text).await,
        Act::ClientLog { pick } => labels::client_log(&server, pick).await,
        _ => Ok(()),
    };
    match result {
        Ok(()) => sim.note(format_args!("p{proc} ends: {name}")),
        Err(error) => {
            note_refusal(&sim, &error);
            // Without the name of this run's temporary directory.
            let root = sim.root().display().to_string();
            let error = without_chance(&format!("{error:#}").replace(&root, ""));
            sim.note(format_args!("p{proc} fails: {name}: {error}"));
        }
    }
}

fn note_refusal(sim: &Sim, error: &anyhow::Error) {
    match error.downcast_ref::<Error>() {
        Some(Error::Fenced { .. }) => sim.count(Kind::Fenced),
        Some(Error::NeedsRefresh { .. }) => sim.count(Kind::NeedsRefresh),
        _ => {}
    }
}

fn name(act: &Act) -> String {
    match act {
        Act::Backup(plan) => format!("backup of group {}", plan.group),
        Act::Collect(_) => "collection".to_owned(),
        act => format!("{act:?}"),
    }
}

/// Counts a call while it is under way.
pub struct Call {
    sim: Arc<Sim>,
    name: &'static str,
}

impl Call {
    /// A call begins.
    #[must_use]
    pub fn begin(sim: &Arc<Sim>, name: &'static str) -> Self {
        *sim.core().watch.calls.entry(name).or_default() += 1;
        let sim = Arc::clone(sim);
        Self { sim, name }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(count) = self.sim.core().watch.calls.get_mut(self.name) {
            *count = count.saturating_sub(1);
        }
    }
}

/// The place of a group.
pub fn place(group: u8) -> Result<(BackupNamespace, BackupGroup)> {
    let ns = match group % GROUPS {
        0 | 1 => BackupNamespace::root(),
        2 | 3 => "a".parse()?,
        _ => "a/b".parse()?,
    };
    Ok((ns, scenarios::group(&format!("g{}", group % GROUPS))))
}

/// Makes the namespaces, as far as they are missing.
pub async fn make_namespaces(server: &Server) -> Result<()> {
    let client = server
        .store
        .client(s3_client::TaskKind::Other, &server.cancel);
    for name in ["a", "a/b"] {
        let ns: BackupNamespace = name.parse()?;
        if !server.store.snapshots().namespace_exists(&ns)? {
            server
                .store
                .create_namespace(client.as_ref(), &ns, &server.cancel)
                .await?;
        }
    }
    Ok(())
}

/// A text without the characters that make names of temporary files differ from run to run.
fn without_chance(text: &str) -> String {
    let mut parts = text.split(".tmp_");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let name = part.find(|c: char| !c.is_ascii_alphanumeric());
        let rest = &part[name.unwrap_or(part.len())..];
        format!("{text}.tmp_*{rest}")
    })
}

//! A short-lived process beside the living one, on the same directory and bucket, as the
//! administrator's tool beside the daemon. It ends when it has done its errand, or is killed before.
//!
//! A killed process sends nothing and changes nothing on the disk any more, while its neighbour goes
//! on there: so an operation of the disk is told by the task that does it, not by its place.

use std::sync::Arc;

use anyhow::{Context, Result};
use datastore::store::DataStore;

use crate::bucket::ProcId;
use crate::coverage::Kind;
use crate::machine::{Server, index, kill};
use crate::sim::{Core, Sim};

tokio::task_local! {
    /// The process that a task belongs to.
    pub static DOER: ProcId;
}

/// Whether the process of the running task has ended.
#[must_use]
pub fn has_ended(core: &Core) -> bool {
    let ended = |proc: &ProcId| {
        let proc = core.procs.get(index(*proc));
        proc.is_some_and(|proc| !proc.is_alive())
    };
    DOER.try_with(ended).unwrap_or(false)
}

/// Kills those whose step has come.
pub fn strike(core: &mut Core) {
    let steps = core.trace.steps;
    if core.director.hurry || !core.ending.iter().any(|(_, at)| *at <= steps) {
        return;
    }
    let (due, later): (Vec<_>, Vec<_>) = core.ending.drain(..).partition(|(_, at)| *at <= steps);
    core.ending = later;
    for (proc, _) in due {
        if core.procs[index(proc)].is_alive() {
            kill(core, index(proc));
            core.coverage.add(Kind::Killed);
        }
    }
}

impl Sim {
    /// Opens the datastore as a second process on the disk of the one that takes new work on.
    pub fn open_beside(self: &Arc<Self>) -> Result<Server> {
        let (_, disk) = self.current().context("no process is running")?;
        let (proc, options) = self.new_proc(disk)?;
        // It takes nothing on but its errand.
        self.core().procs[proc].draining = true;
        let opened = DataStore::open(options);
        let mut core = self.core();
        let store = match opened {
            Ok(store) => store,
            Err(error) => {
                kill(&mut core, proc);
                return Err(error.into());
            }
        };
        core.procs[proc].store = Some(Arc::clone(&store));
        core.coverage.add(Kind::Beside);
        let (proc, cancel) = (core.procs[proc].id, core.procs[proc].cancel.clone());
        drop(core);
        self.note(format_args!("p{proc} opened beside, on d{disk}"));
        Ok(Server {
            sim: Arc::clone(self),
            proc,
            store,
            cancel,
        })
    }

    /// A process ends.
    pub async fn end(&self, proc: ProcId) -> Result<()> {
        {
            let mut core = self.core();
            core.ending.retain(|(of, _)| *of != proc);
            kill(&mut core, index(proc));
        }
        self.bury().await;
        self.note(format_args!("p{proc} is gone"));
        self.note_cut()
    }
}

//! Errands of a process beside the one that serves.

use std::sync::Arc;

use anyhow::Result;

use crate::plan::Act;
use crate::sim::Sim;

/// Does one thing as a process of its own, which is killed after so many steps if it is not done.
pub async fn errand(sim: &Arc<Sim>, what: Act, kill: Option<u64>) -> Result<()> {
    let server = sim.open_beside()?;
    let proc = server.proc;
    if let Some(after) = kill {
        let mut core = sim.core();
        let at = core.trace.steps + after;
        core.ending.push((proc, at));
    }
    // None: it was killed, or the power failed.
    let _ = sim.run(proc, super::serve(server, what)).await;
    sim.end(proc).await
}

//! A plan, carried out.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use datastore::gc::GcOptions;
use datastore::refresh::RefreshOptions;
use datastore::store::state_dir::StateDir;
use datastore::task::SilentTask;
use scenarios::BUCKET;
use tokio::task::JoinSet;

use crate::actors;
use crate::coverage::{Coverage, Kind};
use crate::invariants::{Violation, dry, keys, labels, reports};
use crate::machine::Server;
use crate::plan::{Episode, Plan};
use crate::sim::Sim;

/// What became of a world.
#[derive(Debug)]
pub struct Outcome {
    /// Steps taken.
    pub steps: u64,
    /// Hash of the trace.
    pub hash: u64,
    /// What has happened how often.
    pub coverage: Coverage,
    /// The first violation, if any.
    pub violation: Option<Violation>,
    /// The trace, if it was kept.
    pub trace: Vec<String>,
}

/// Something done to a running world by a test of the checker, at a step.
pub type Sabotage = Arc<dyn Fn(&Arc<Sim>) + Send + Sync>;

/// How a plan is to be carried out.
#[derive(Clone, Default)]
pub struct Conduct {
    /// Keep the trace.
    pub keep_trace: bool,
    /// What the end of a process cuts off between the bucket and the disk is a violation as well.
    pub strict: bool,
    /// Done after the lanes of the first episode have begun, every virtual second.
    pub sabotage: Option<Sabotage>,
}

/// Carries a plan out, in a runtime of its own.
///
/// # Errors
/// If the world itself fails; what the store does wrong is in the outcome.
pub fn run(plan: &Plan, conduct: &Conduct) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()?;
    runtime.block_on(live(plan.clone(), conduct))
}

async fn live(plan: Plan, conduct: &Conduct) -> Result<Outcome> {
    let sim = Sim::new(plan, conduct.keep_trace).await?;
    sim.core().strict = conduct.strict;
    let observation = datastore::disk::observe(sim.disk_observer());
    let result = go(&sim, conduct).await;
    sim.close().await;
    drop(observation);
    let core = sim.core();
    if core.violation.is_none() {
        result?;
    }
    Ok(Outcome {
        steps: core.trace.steps,
        hash: core.trace.hash(),
        coverage: core.coverage.clone(),
        violation: core.violation.clone(),
        trace: core.trace.lines().to_vec(),
    })
}

async fn go(sim: &Arc<Sim>, conduct: &Conduct) -> Result<()> {
    // Ahead of the real clock, for what is done in the middle of a mark.
    sim.env.sleep(Duration::from_secs(7200)).await;
    sim.create().await?;
    for key in keys::foreign(&sim.universe) {
        sim.mock.put(BUCKET, &key, "not ours");
    }
    let server = sim.server().context("a server")?;
    actors::make_namespaces(&server).await?;
    drop(server);
    let mut sabotage = conduct.sabotage.clone();
    for episode in &sim.plan.episodes {
        work(sim, episode, sabotage.take()).await;
        if sim.has_failed() {
            return Ok(());
        }
        if let Err(error) = run_dry(sim).await {
            let violation = Violation::new("G8", format!("the world does not run dry: {error:#}"));
            sim.core().fail(violation);
        }
        if sim.has_failed() {
            return Ok(());
        }
    }
    Ok(())
}

/// An episode: all lanes side by side.
async fn work(sim: &Arc<Sim>, episode: &Episode, sabotage: Option<Sabotage>) {
    sim.core().director.begin(episode);
    sim.note(format_args!("episode {} begins", episode.number));
    let mut lanes = JoinSet::new();
    for steps in &episode.lanes {
        lanes.spawn(actors::lane(Arc::clone(sim), steps.clone()));
    }
    if let Some(sabotage) = sabotage {
        let sim = Arc::clone(sim);
        lanes.spawn(async move {
            while !sim.has_failed() {
                sim.env.sleep(Duration::from_secs(1)).await;
                sabotage(&sim);
                sim.note(format_args!("sabotage"));
                if sim.server().is_none() || sim.core().trace.steps > 20_000 {
                    break;
                }
            }
        });
    }
    while lanes.join_next().await.is_some() {
        if sim.has_failed() {
            return;
        }
    }
}

/// Ends all trouble, waits until everything is over that was begun, collects, and compares.
async fn run_dry(sim: &Arc<Sim>) -> Result<()> {
    sim.note(format_args!("the sky clears"));
    sim.core().director.calm();
    sim.mock.configure(|behaviour| {
        behaviour.locked.clear();
        behaviour.delete_key_errors.clear();
    });
    sim.mock.set_clock_offset_millis(0);
    let behind = sim.mock.now_millis() - sim.env.unix_millis();
    sim.env.jump_wall_clock(behind);
    while sim.end_drained().await > 0 {
        sim.env.sleep(Duration::from_secs(10)).await;
    }
    // Late requests and looks at the owner are over.
    sim.env.sleep(Duration::from_secs(120)).await;
    settle_ownership(sim).await?;
    let server = sim.server().context("no process is running")?;
    actors::resync::repair_all(&server)?;
    for _ in 0..45 {
        sim.env.sleep(Duration::from_secs(60)).await;
        actors::serve(server.clone(), crate::plan::Act::Tend).await;
    }
    // Whatever was touched while a clock was ahead is as young as if it came from the future.
    sim.env.sleep(AHEAD).await;
    // What a collection was told of an earlier one is not true.
    let _ = std::fs::remove_file(StateDir::of(server.store.base()).gc_history());
    for round in 0..ROUNDS {
        let grace = Duration::from_secs(sim.plan.setting.grace + 60);
        sim.env.sleep(grace).await;
        collect(sim, &server, round).await?;
        if sim.has_failed() {
            return Ok(());
        }
    }
    let result = dry::compare(sim, &server)?;
    let mut core = sim.core();
    core.check(result);
    core.coverage.add(Kind::Dry);
    Ok(())
}

/// As far as the clocks of a world can ever have been ahead.
const AHEAD: Duration = Duration::from_secs(12 * 24 * 3600);

/// Collections until everything must be gone: the first may have to remove unfinished snapshots and
/// to look at an object without a date for the first time.
const ROUNDS: u32 = 3;

async fn collect(sim: &Arc<Sim>, server: &Server, round: u32) -> Result<()> {
    let id = sim.core().watch.begin_absences();
    let options = GcOptions {
        force: true,
        ..GcOptions::default()
    };
    let task = Arc::new(SilentTask::new());
    let result = server.store.garbage_collection(task, options).await;
    let mut core = sim.core();
    let core = &mut *core;
    let absent = core.watch.end_absences(id);
    let report = result.with_context(|| format!("collection {round}"))?;
    let result = reports::collected(core, &sim.universe, &report, absent);
    core.check(result);
    let missing = sim.universe.set(&report.missing_confirmed);
    labels::note_failed(core, &server.store, missing);
    let deleted = report.deleted.count;
    sim.step(
        core,
        &format_args!("collection {round}: {deleted} deleted"),
        true,
    );
    Ok(())
}

/// Lets the owner of the prefix serve, whoever that is by now.
async fn settle_ownership(sim: &Arc<Sim>) -> Result<()> {
    for _ in 0..3 {
        let (disk, open) = sim.owners_disk().context("nobody owns the prefix")?;
        if !open {
            // Opened as it is, or, if its creation was interrupted, created once more.
            if sim.open(disk).is_err() {
                sim.complete_takeover(disk).await?;
            }
        }
        sim.end_others(disk).await;
        let server = sim.server().context("no process is running")?;
        let lease = server.store.writer_lease(&server.cancel).await;
        match lease {
            Ok(_) => return Ok(()),
            Err(datastore::Error::NeedsRefresh { reason }) => {
                sim.note(format_args!("refresh: {reason}"));
                let task = SilentTask::new();
                server
                    .store
                    .s3_refresh(&task, RefreshOptions::default())
                    .await?;
                sim.core().accept_residual_risk();
                sim.count(Kind::Refreshed);
            }
            Err(error) => return Err(error.into()),
        }
    }
    bail!("the owner of the prefix cannot serve")
}

//! Collections, and what is done between them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use datastore::Error;
use datastore::gc::candidate::PendingReason;
use datastore::gc::history::RunFacts;
use datastore::gc::mark::{MarkObserver, MarkStep};
use datastore::gc::{GcOptions, GcReport};
use datastore::store::state_dir::StateDir;
use datastore::task::{Progress, TaskContext};
use scenarios::meanwhile::meanwhile_watched;
use tokio_util::sync::CancellationToken;

use crate::coverage::Kind;
use crate::invariants::{Violation, labels, reports};
use crate::machine::Server;
use crate::plan::{Act, Collect};
use crate::watch::Meanwhile;

use super::Call;

/// A collection's task: its log is read for what has happened.
struct Task {
    server: Server,
    cancel: CancellationToken,
    began: Mutex<bool>,
}

impl Task {
    fn new(server: &Server) -> Self {
        Self {
            server: server.clone(),
            cancel: server.cancel.child_token(),
            began: Mutex::new(false),
        }
    }
}

impl TaskContext for Task {
    fn log(&self, message: &str) {
        if message.starts_with("starting garbage collection") {
            *self.began.lock().unwrap_or_else(PoisonError::into_inner) = true;
        }
    }

    fn warn(&self, message: &str) {
        if message.contains("uploaded again that a late delete took") {
            self.server.sim.count(Kind::QuarantinePut);
        } else if message.contains("are in the bucket but not, or differently") {
            self.server.sim.count(Kind::MarkedFromBucket);
        }
    }

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

/// Collects garbage.
pub async fn collect(server: &Server, plan: &Collect) -> Result<()> {
    let sim = &server.sim;
    let stocked = {
        let core = sim.core();
        let disk = core.procs[usize::try_from(server.proc)?].disk;
        core.disks[disk].files != 0
    };
    if sim.plan.setting.sharded && stocked {
        let facts = RunFacts {
            chunks_left: 30_000,
            ..RunFacts::default()
        };
        facts.write(&StateDir::of(server.store.base()).gc_history())?;
    }
    let task = Arc::new(Task::new(server));
    if let Some(abort) = plan.abort {
        let (cancel, env) = (task.cancel.clone(), sim.env.clone());
        tokio::spawn(async move {
            env.sleep(Duration::from_millis(abort)).await;
            cancel.cancel();
        });
    }
    let options = GcOptions {
        force: plan.force || sim.plan.setting.sharded,
        full: plan.full,
        dry_run: plan.dry_run,
        observer: Some(Arc::new(Interference::new(server, plan))),
        ..GcOptions::default()
    };
    let (result, meanwhile) = run(server, task, options).await;
    match result {
        Ok(report) => {
            note(server, plan, &report, meanwhile);
            Ok(())
        }
        Err(error) => {
            sim.count(match &error {
                Error::Locked { .. } => Kind::CollectRefused,
                Error::Refused(text) if text.contains("--force") => Kind::Tripped,
                _ => Kind::CollectFailed,
            });
            Err(error.into())
        }
    }
}

/// Collects, and knows which chunks were absent at some time meanwhile.
async fn run(
    server: &Server,
    task: Arc<Task>,
    options: GcOptions,
) -> (Result<GcReport, Error>, Meanwhile) {
    let sim = &server.sim;
    let call = Call::begin(sim, "collect");
    let id = sim.core().watch.begin_absences();
    let result = server.store.garbage_collection(task.clone(), options).await;
    drop(call);
    let absent = sim.core().watch.end_absences(id);
    (result, absent)
}

fn note(server: &Server, plan: &Collect, report: &GcReport, meanwhile: Meanwhile) {
    let sim = &server.sim;
    let mut core = sim.core();
    let core = &mut *core;
    core.coverage.add(Kind::Collected);
    core.coverage.add_many(Kind::Healed, report.healed);
    core.coverage.add_many(Kind::Missing, report.missing);
    core.coverage
        .add_many(Kind::Retained, report.retained.count);
    core.coverage
        .add_many(Kind::PresenceCreated, report.presence_created);
    let cleared = report
        .incomplete_snapshots
        .iter()
        .filter(|s| s.to_be_removed);
    let cleared = u64::try_from(cleared.count()).unwrap_or(0);
    if !plan.dry_run {
        core.coverage.add_many(Kind::LeftoverCleared, cleared);
    }
    let result = reports::collected(core, &sim.universe, report, meanwhile);
    core.check(result);
    let missing = sim.universe.set(&report.missing_confirmed);
    labels::note_failed(core, &server.store, missing);
    if plan.dry_run && report.suspect.count > 0 {
        core.fail(Violation::new("G12", "a dry run has left a delete open"));
    }
    let busy = report
        .pending
        .get(&PendingReason::Busy)
        .map_or(0, |tally| tally.count);
    sim.step(
        core,
        &format_args!(
            "collection: {} listed, {} deleted, {busy} busy, {} suspect, {} missing",
            report.listing.listed, report.deleted.count, report.suspect.count, report.missing
        ),
        true,
    );
}

/// Sees to what is left to do between collections.
pub async fn tend(server: &Server) -> Result<()> {
    if let Some(tended) = server.store.tend(&server.cancel).await? {
        let restored = tended.quarantines.restored;
        let restored = u64::try_from(restored).unwrap_or(0);
        server
            .sim
            .core()
            .coverage
            .add_many(Kind::QuarantinePut, restored);
    }
    Ok(())
}

/// What others do in the middle of a mark, while the mark stands still.
struct Interference {
    server: Server,
    left: Mutex<(u8, Vec<(u8, Act)>)>,
}

impl Interference {
    fn new(server: &Server, plan: &Collect) -> Self {
        let mut acts = plan.meanwhile.clone();
        acts.reverse();
        Self {
            server: server.clone(),
            left: Mutex::new((0, acts)),
        }
    }
}

impl MarkObserver for Interference {
    fn at(&self, step: MarkStep<'_>) {
        if matches!(step, MarkStep::PassStarted(pass) if pass == 2) {
            self.server.sim.count(Kind::SecondPass);
        }
        let due = {
            let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            let (number, acts) = &mut *left;
            *number = number.saturating_add(1);
            match acts.last() {
                Some((at, _)) if at < number => acts.pop(),
                _ => None,
            }
        };
        let Some((_, act)) = due else { return };
        let sim = &self.server.sim;
        sim.count(Kind::Meanwhile);
        sim.core().director.hurry = true;
        let server = self.server.clone();
        let work = async move {
            // A lock that it would wait for may be held by who stands still.
            let limit = Duration::from_secs(1);
            let _ = tokio::time::timeout(limit, super::serve(server, act)).await;
            Ok(())
        };
        let watch = || datastore::disk::observe(sim.disk_observer());
        let result = meanwhile_watched(&sim.env, watch, work);
        sim.core().director.hurry = false;
        if let Err(error) = result {
            let violation = Violation::new("harness", format!("meanwhile: {error:#}"));
            sim.core().fail(violation);
        }
    }
}

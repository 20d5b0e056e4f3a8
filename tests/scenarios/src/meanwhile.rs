//! Other people's work in the middle of a mark.
//!
//! With a seeded environment a pass of the mark is one synchronous step: nothing else gets a turn
//! in it. What a scenario wants to happen at a [`MarkStep`] is therefore run to its end on a
//! runtime of its own, at the same virtual time, while the mark stands still in its observer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use datastore::gc::mark::{MarkObserver, MarkStep};
use datastore::gc::{GcOptions, GcReport};
use s3_client::env::Env;
use s3_mock::{Gate, Op};

use crate::running::{Collection, any_chunk};
use crate::{Chunk, STORE, Server, Snapshot, World, no_grace};

/// Runs `work` to its end while the caller's runtime stands still.
///
/// The caller's virtual clock must be ahead of real time: pass some time first.
pub fn meanwhile<T: Send>(env: &Env, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
    meanwhile_watched(env, || (), work)
}

/// The same; `watch` is called on the other thread first, and what it returns lives until the end.
pub fn meanwhile_watched<T: Send, G>(
    env: &Env,
    watch: impl FnOnce() -> G + Send,
    work: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    let now = env.now();
    let elsewhere = move || -> Result<T> {
        let _watching = watch();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()?;
        runtime.block_on(async {
            let behind = now.checked_duration_since(env.now());
            let behind = behind.context("real time has overtaken the virtual clock")?;
            tokio::time::advance(behind).await;
            work.await
        })
    };
    std::thread::scope(|scope| match scope.spawn(elsewhere).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Calls a function at every step of a mark.
pub struct AtStep<F>(pub F);

impl<F: Fn(MarkStep<'_>) + Send + Sync> MarkObserver for AtStep<F> {
    fn at(&self, step: MarkStep<'_>) {
        (self.0)(step);
    }
}

/// What others do while a collection runs: changes to the store, made in their order.
pub trait Story: Send + 'static {
    /// Number of changes.
    const CHANGES: usize;

    /// The world that it happens in.
    fn world(&self) -> &World;

    /// The server that collects.
    fn server(&self) -> &Server;

    /// Makes a change; `false` = not possible right now, to be tried again at the next step.
    fn change(&mut self, which: usize) -> impl Future<Output = Result<bool>> + Send;
}

/// A story, and when each of its changes is to be made.
struct Script<S> {
    story: S,
    plan: Vec<usize>,
    step: usize,
    next: usize,
    error: Option<anyhow::Error>,
}

impl<S: Story> Script<S> {
    /// The collection is at its next step: makes the changes that are due.
    fn step(&mut self) {
        self.play(|script| script.plan[script.next] <= script.step);
        self.step += 1;
    }

    /// Makes all changes that are left.
    fn rest(&mut self) -> Result<()> {
        self.play(|_| true);
        ensure!(
            self.error.is_some() || self.next == S::CHANGES,
            "change {} is still impossible after the collection",
            self.next
        );
        self.error.take().map_or(Ok(()), Err)
    }

    fn play(&mut self, is_due: impl Fn(&Self) -> bool) {
        while self.error.is_none() && self.next < S::CHANGES && is_due(self) {
            let env = self.story.world().env.clone();
            match meanwhile(&env, self.story.change(self.next)) {
                Ok(true) => self.next += 1,
                Ok(false) => break,
                Err(error) => self.error = Some(error.context(format!("change {}", self.next))),
            }
        }
    }
}

/// Tells each story with its changes made at every combination of steps of a collection without
/// grace, and checks the outcome; returns how many that were.
///
/// The steps are: before the collection, at every [`MarkStep`], before the listing of the
/// metadata, before the listing of the chunks, after the collection.
pub async fn at_every_interleaving<S: Story>(
    new: impl AsyncFn() -> Result<S>,
    check: impl AsyncFn(S, Result<GcReport>) -> Result<()>,
) -> Result<usize> {
    let mut plan = vec![0; S::CHANGES];
    let mut told = 0;
    loop {
        let (story, outcome, steps) = tell(new().await?, &plan)
            .await
            .with_context(|| format!("changes at {plan:?}"))?;
        check(story, outcome)
            .await
            .with_context(|| format!("changes at {plan:?} of {steps} steps"))?;
        told += 1;
        if !advance(&mut plan, steps) {
            return Ok(told);
        }
    }
}

async fn tell<S: Story>(story: S, plan: &[usize]) -> Result<(S, Result<GcReport>, usize)> {
    let server = story.server().clone();
    let env = story.world().env.clone();
    let gates = match server.store.backend().s3() {
        Some(_) => vec![
            gate_metadata_listing(story.world()),
            story.world().gate_listing(),
        ],
        None => Vec::new(),
    };
    let script = Arc::new(Mutex::new(Script {
        story,
        plan: plan.to_vec(),
        step: 0,
        next: 0,
        error: None,
    }));
    let step = {
        let script = Arc::clone(&script);
        move || script.lock().unwrap_or_else(PoisonError::into_inner).step()
    };
    step();
    let at_step = step.clone();
    let gc = server.start_gc(GcOptions {
        observer: Some(Arc::new(AtStep(move |_: MarkStep<'_>| at_step()))),
        ..no_grace()
    });
    for gate in gates {
        if reaches(&env, &gc, &gate).await {
            step();
        }
        gate.release();
    }
    let outcome = gc.end().await;
    drop(step);
    let script = Arc::into_inner(script).context("the collection is still observed")?;
    let mut script = script.into_inner().unwrap_or_else(PoisonError::into_inner);
    script.rest()?;
    Ok((script.story, outcome, script.step))
}

/// The next non-decreasing sequence of numbers up to `limit`.
fn advance(plan: &mut [usize], limit: usize) -> bool {
    for position in (0..plan.len()).rev() {
        if plan[position] < limit {
            let value = plan[position] + 1;
            plan[position..].fill(value);
            return true;
        }
    }
    false
}

/// Waits until the collection stands at the gate; `false` if it ends without coming there.
async fn reaches(env: &Env, gc: &Collection, gate: &Gate) -> bool {
    while gate.arrivals() == 0 {
        if gc.is_over() {
            return false;
        }
        tokio::select! {
            () = gate.arrived() => {}
            () = env.sleep(Duration::from_secs(1)) => {}
        }
    }
    true
}

impl World {
    /// Starts a collection and waits until it stands at the gate.
    pub async fn collect_until(
        &self,
        server: &Server,
        options: GcOptions,
        gate: &Gate,
    ) -> Result<Collection> {
        let gc = server.start_gc(options);
        if !reaches(&self.env, &gc, gate).await {
            gc.end().await?;
            bail!("the collection did not come to the gate");
        }
        Ok(gc)
    }
}

/// Stops the listing of the metadata: the mark has read the local indexes.
#[must_use]
pub fn gate_metadata_listing(world: &World) -> Gate {
    world.mock.gate(Op::ListObjects, format!("{STORE}/.cnt/"))
}

/// Gives everybody else turns, without letting time pass, until `is_so`.
///
/// Time must not pass while a gate holds a request: its client would give it up.
pub async fn until(what: &str, is_so: impl Fn() -> bool) -> Result<()> {
    for _ in 0..10_000 {
        if is_so() {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    bail!("in vain waited for: {what}")
}

/// Gives everybody else so many turns that whoever can go on has gone on; time does not pass.
pub async fn let_others_work() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

/// Stops the next listing of chunks after the bucket has answered it: the answer is older than
/// whatever happens until the gate is opened.
#[must_use]
pub fn gate_old_listing(world: &World) -> Gate {
    gate_answer(world, &any_chunk())
}

/// The same for the listing of the metadata.
#[must_use]
pub fn gate_old_metadata_listing(world: &World) -> Gate {
    gate_answer(world, &format!("{STORE}/.cnt/"))
}

fn gate_answer(world: &World, prefix: &str) -> Gate {
    let gate = Gate::new();
    let pause = s3_mock::Action::ApplyThenPause(gate.clone());
    let fault = s3_mock::Fault::on(Op::ListObjects, pause);
    world.mock.script(fault.keys(prefix));
    gate
}

/// The chunks that must be there are, nothing exceptional is left, and one more collection leaves
/// exactly them.
pub async fn check_rest(world: &World, server: &Server, live: &[&Snapshot]) -> Result<()> {
    for _ in 0..2 {
        for snapshot in live {
            let whole = server.can_restore(snapshot).await?;
            ensure!(whole, "{} has lost a chunk", snapshot.dir);
        }
        if server.store.backend().s3().is_some() {
            server.check_presence(world)?;
            server.check_settled()?;
        }
        world.pass(Duration::from_secs(3600)).await;
        server.gc_now().await?;
    }
    let mut expected: Vec<_> = live.iter().flat_map(|snapshot| &snapshot.chunks).collect();
    expected.sort_by_key(|chunk| chunk.digest);
    expected.dedup_by_key(|chunk| chunk.digest);
    if server.store.backend().s3().is_some() {
        let expected: Vec<Chunk> = expected.into_iter().cloned().collect();
        return world.check_objects(&expected);
    }
    let expected: Vec<_> = expected.iter().map(|chunk| chunk.digest).collect();
    ensure!(server.local_digests()? == expected, "garbage is left");
    Ok(())
}

/// Nothing of it counted wrongly; what is deleted in a directory is in upstream's fields only.
pub fn check_outcome(server: &Server, outcome: Result<GcReport>) -> Result<GcReport> {
    let report = outcome.context("the collection failed")?;
    ensure!(
        server.store.backend().s3().is_none() || report.adds_up(),
        "the report does not add up: {report:?}"
    );
    ensure!(report.missing == 0, "chunks are missing");
    Ok(report)
}

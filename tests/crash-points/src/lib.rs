//! The end of a process at every step of its work.
//!
//! A [`Case`] prepares a datastore and does something with it. [`cover`] lets it run once and
//! writes down its steps: each operation on the disk, each request that arrives, each answer. Then
//! it runs again for each of them, and ends exactly there:
//!
//! - as the process dies: the disk keeps what was done, a write perhaps by half;
//! - as the power fails: of what was not synced the disk keeps any beginning (with the content of
//!   files or without), or any part.
//!
//! What two of these leave behind, on the disk and in the bucket, is often the same; it is looked
//! at once. After each, [`check`] asks a new process: it opens the datastore, every committed
//! snapshot is whole, nobody is told "duplicate" of what is gone, and two collections later there
//! is neither garbage nor anything unresolved.

pub mod check;
mod leftovers;
mod plan;
pub mod stage;
pub mod story;

use anyhow::{Context, Result, ensure};
use datastore::disk;
use scenarios::power::{Disk, Plug, PullAt};

/// Crashes that end badly and are told of one by one.
const SHOWN: usize = 6;

pub use plan::{Cut, Kind};
pub use stage::{Place, Stage};
pub use story::Story;

/// Something that a process does with a datastore.
#[allow(async_fn_in_trait, reason = "all on one thread")]
pub trait Case {
    /// Where the datastore keeps its chunks.
    fn place(&self) -> Place;

    /// What was done before: nothing of it can be lost.
    async fn prepare(&self, stage: &Stage) -> Result<Story>;

    /// What a new process does then. It ends somewhere in here.
    async fn act(&self, stage: &Stage, story: &Story) -> Result<()>;

    /// What must hold afterwards.
    async fn check(&self, stage: &Stage, story: &Story, cut: &Cut) -> Result<()> {
        let server = stage.open()?;
        check::all(stage, &server, story, cut).await
    }
}

/// How much of a case was covered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Covered {
    /// Steps at which the process ended.
    pub steps: u64,
    /// Crashes considered: the ends of the process, and what a power failure may leave then.
    pub crashes: u64,
    /// Different states that they left, each of which was checked.
    pub states: usize,
}

/// Ends the case at each of its steps, in every way; prints how many that were.
///
/// # Errors
/// If a crash ends badly; which, and how, is printed.
pub async fn cover<C: Case>(name: &str, case: &C) -> Result<Covered> {
    let (plan, covered) = plan::make(case).await.context("without a crash")?;
    let only: Option<usize> = std::env::var("CRASH")
        .ok()
        .and_then(|text| text.parse().ok());
    let mut failures = 0;
    for (number, cut) in plan.iter().enumerate() {
        if only.is_some_and(|only| only != number) {
            continue;
        }
        if let Err(error) = run(case, cut).await {
            failures += 1;
            if failures <= SHOWN {
                println!("{name}, crash {number} (CRASH={number}): {cut}\n    {error:#}\n");
            }
        }
    }
    println!(
        "{name}: {} steps, {} crashes, {} states",
        covered.steps, covered.crashes, covered.states
    );
    ensure!(failures == 0, "{name}: {failures} crashes end badly");
    Ok(covered)
}

async fn run<C: Case>(case: &C, cut: &Cut) -> Result<()> {
    let mut stage = Stage::new(case.place()).await?;
    let story = case.prepare(&stage).await.context("preparation")?;
    let disk = Disk::watch(stage.world.dir())?;
    let pull_at = PullAt {
        step: cut.step,
        torn: cut.kind == Kind::Torn,
    };
    let plug = Plug::new(disk.clone(), Some(pull_at));
    stage.world.plug = Some(plug.clone());
    story.until(&plug);
    {
        let _observation = disk::observe(plug.clone());
        tokio::select! {
            biased;
            result = case.act(&stage, &story) => match result {
                Ok(()) => plug.pull(),
                Err(error) if !plug.is_pulled() => return Err(error.context("before the crash")),
                Err(_) => {}
            },
            () = plug.pulled() => {}
        }
    }
    let reached = plug.pulled_before();
    ensure!(
        reached == cut.before,
        "another step than the first time: {reached:?}"
    );
    if let Kind::Power(loss) = cut.kind {
        disk.cut_power(loss)?;
    }
    stage.world.plug = None;
    stage.settle_times()?;
    case.check(&stage, &story, cut).await
}

#![allow(clippy::disallowed_methods, reason = "how long it takes is real time")]
//! `make simulate`: many seeds, many steps each, on several threads.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use simulation::coverage::Coverage;
use simulation::invariants::Violation;
use simulation::plan::Plan;
use simulation::plan::guests::{Guest, plan_with};
use simulation::run::{Conduct, run};
use simulation::shrink::shrink;

/// Simulates backup servers, seed by seed, and checks the invariants after each step.
#[derive(Parser)]
struct Options {
    /// Number of seeds.
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// Steps per seed, at least.
    #[arg(long, default_value_t = 10_000)]
    steps: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Only this world of each seed.
    #[arg(long)]
    world: Option<u64>,
    /// A plan in a file, in place of seeds; its trace is printed.
    #[arg(long)]
    plan: Option<PathBuf>,
    /// Threads; by default one for each processor.
    #[arg(long)]
    threads: Option<usize>,
    /// Seconds to spend on shortening a plan that fails.
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// Where shortened plans go.
    #[arg(long, default_value = "target/simulation")]
    out: PathBuf,
    /// Stop at the first failure.
    #[arg(long)]
    first_failure: bool,
    /// Actors that come in addition: `beside`, `moves`, `copies`, `labels`, `late`, by
    /// commas; `all`, `none`.
    #[arg(long, default_value = "all", value_parser = guests)]
    guests: Guests,
    /// What the end of a process cuts off between the bucket and the disk is a violation as well.
    #[arg(long)]
    strict: bool,
    /// Only so many lines of the trace of a failure.
    #[arg(long, default_value_t = 80)]
    lines: usize,
}

/// Some actors.
#[derive(Clone)]
struct Guests(Vec<Guest>);

fn guests(text: &str) -> Result<Guests, String> {
    let by_name = |name: &str| {
        let guest = Guest::ALL.into_iter().find(|guest| guest.name() == name);
        guest.ok_or_else(|| format!("there is no actor '{name}'"))
    };
    Ok(Guests(match text {
        "all" => Guest::ALL.to_vec(),
        "none" => Vec::new(),
        names => names.split(',').map(by_name).collect::<Result<_, _>>()?,
    }))
}

struct Failure {
    seed: u64,
    world: u64,
    violation: Violation,
}

struct State<'a> {
    options: &'a Options,
    began: Instant,
    next_seed: AtomicU64,
    steps: AtomicU64,
    worlds: AtomicU64,
    done: AtomicU64,
    stop: AtomicBool,
    coverage: Mutex<Coverage>,
    failures: Mutex<Vec<Failure>>,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    if let Some(path) = &options.plan {
        return replay(path, options.strict);
    }
    let threads = options
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let state = State {
        options: &options,
        began: Instant::now(),
        next_seed: AtomicU64::new(options.first_seed),
        steps: AtomicU64::new(0),
        worlds: AtomicU64::new(0),
        done: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        coverage: Mutex::default(),
        failures: Mutex::default(),
    };
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(&state))).collect();
        for worker in workers {
            match worker.join() {
                Ok(result) => result?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(())
    })?;
    Ok(summary(&state))
}

fn work(state: &State<'_>) -> Result<()> {
    let end = state.options.first_seed + state.options.seeds;
    loop {
        let seed = state.next_seed.fetch_add(1, Ordering::SeqCst);
        if seed >= end || state.stop.load(Ordering::SeqCst) {
            return Ok(());
        }
        simulate(state, seed)?;
        let done = state.done.fetch_add(1, Ordering::SeqCst) + 1;
        progress(state, done);
    }
}

/// One seed: world after world until it has taken its steps.
fn simulate(state: &State<'_>, seed: u64) -> Result<()> {
    let mut steps = 0;
    let mut world = state.options.world.unwrap_or(0);
    while steps < state.options.steps && !state.stop.load(Ordering::SeqCst) {
        let plan = plan_with(seed, world, &state.options.guests.0);
        let outcome = run(&plan, &conduct(state.options))
            .with_context(|| format!("seed {seed}, world {world}"))?;
        steps += outcome.steps;
        state.steps.fetch_add(outcome.steps, Ordering::SeqCst);
        state.worlds.fetch_add(1, Ordering::SeqCst);
        lock(&state.coverage).merge(&outcome.coverage);
        if let Some(violation) = outcome.violation {
            report(state, &plan, violation)?;
            return Ok(());
        }
        if state.options.world.is_some() {
            return Ok(());
        }
        world += 1;
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn progress(state: &State<'_>, done: u64) {
    let seconds = state.began.elapsed().as_secs_f64();
    let steps = state.steps.load(Ordering::SeqCst);
    println!(
        "{done} of {} seeds, {steps} steps, {seconds:.0} s, {:.0} steps/s, {} failed",
        state.options.seeds,
        per_second(steps, seconds),
        lock(&state.failures).len()
    );
}

#[allow(clippy::cast_precision_loss, reason = "for people to read")]
fn per_second(steps: u64, seconds: f64) -> f64 {
    steps as f64 / seconds.max(0.001)
}

/// Shortens a plan that failed, and says how to see it again.
fn report(state: &State<'_>, plan: &Plan, violation: Violation) -> Result<()> {
    let (seed, world) = (plan.seed, plan.world);
    if state.options.first_failure {
        state.stop.store(true, Ordering::SeqCst);
    }
    let patience = Duration::from_secs(state.options.patience);
    let (shortest, outcome) = shrink(plan, violation.invariant, &conduct(state.options), patience);
    std::fs::create_dir_all(&state.options.out)?;
    let path = state.options.out.join(format!("seed-{seed}-{world}.json"));
    std::fs::write(&path, serde_json::to_string_pretty(&shortest)?)?;
    let mut failures = lock(&state.failures);
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nVIOLATED by seed {seed}, world {world}: {violation}")?;
    writeln!(
        out,
        "shortened from {} to {} elements:",
        plan.len(),
        shortest.len()
    )?;
    if let Some(outcome) = outcome {
        let skip = outcome.trace.len().saturating_sub(state.options.lines);
        for line in &outcome.trace[skip..] {
            writeln!(out, "{line}")?;
        }
        if let Some(violation) = &outcome.violation {
            writeln!(out, "=> {violation}")?;
        }
    }
    writeln!(out, "the same again: make simulate PLAN={}", path.display())?;
    writeln!(
        out,
        "all of it: make simulate SEEDS=1 FIRST_SEED={seed} WORLD={world}{}\n",
        suffix(&state.options.guests.0)
    )?;
    failures.push(Failure {
        seed,
        world,
        violation,
    });
    Ok(())
}

fn conduct(options: &Options) -> Conduct {
    Conduct {
        strict: options.strict,
        ..Conduct::default()
    }
}

/// How to have the same actors again.
fn suffix(guests: &[Guest]) -> String {
    if guests == Guest::ALL {
        return String::new();
    }
    let names: Vec<_> = guests.iter().map(|guest| guest.name()).collect();
    let names = if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(",")
    };
    format!(" GUESTS={names}")
}

fn replay(path: &PathBuf, strict: bool) -> Result<ExitCode> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("unable to read the plan {}", path.display()))?;
    let plan: Plan = serde_json::from_str(&text)?;
    let conduct = Conduct {
        keep_trace: true,
        strict,
        ..Conduct::default()
    };
    let outcome = run(&plan, &conduct)?;
    for line in &outcome.trace {
        println!("{line}");
    }
    println!("{} steps, trace {:016x}", outcome.steps, outcome.hash);
    match outcome.violation {
        Some(violation) => {
            println!("VIOLATED: {violation}");
            Ok(ExitCode::FAILURE)
        }
        None => Ok(ExitCode::SUCCESS),
    }
}

fn summary(state: &State<'_>) -> ExitCode {
    let seconds = state.began.elapsed().as_secs_f64();
    let steps = state.steps.load(Ordering::SeqCst);
    println!("\nhow often what happened:\n{}", lock(&state.coverage));
    println!(
        "{} seeds, {} worlds, {steps} steps in {seconds:.1} s, {:.0} steps/s",
        state.done.load(Ordering::SeqCst),
        state.worlds.load(Ordering::SeqCst),
        per_second(steps, seconds)
    );
    let failures = lock(&state.failures);
    for failure in failures.iter() {
        println!(
            "FAILED: seed {}, world {}: {}",
            failure.seed, failure.world, failure.violation
        );
    }
    match failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

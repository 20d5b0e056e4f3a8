//! The fast part of the simulation: some seeds, those that once failed, and that a seed is a seed.

use anyhow::{Result, ensure};
use simulation::coverage::Coverage;
use simulation::plan::generate;
use simulation::run::{Conduct, run};

/// Seeds that once failed, one world each: `seed world  # why`.
const KEPT: &str = include_str!("../seeds.txt");

/// Worlds of the short run: one of each of these seeds.
const SHORT: std::ops::Range<u64> = 1000..1050;

fn whole(seed: u64, world: u64) -> Result<Coverage> {
    let outcome = run(&generate::plan(seed, world), &Conduct::default())?;
    if let Some(violation) = outcome.violation {
        anyhow::bail!(
            "seed {seed}, world {world}: {violation}\n\
             make simulate SEEDS=1 FIRST_SEED={seed} WORLD={world}"
        );
    }
    Ok(outcome.coverage)
}

#[test]
fn seeds_that_once_failed_hold() -> Result<()> {
    for line in KEPT.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (Some(seed), Some(world)) = (numbers.next(), numbers.next()) else {
            anyhow::bail!("seeds.txt: {line}");
        };
        whole(seed?, world?)?;
    }
    Ok(())
}

#[test]
fn some_worlds_hold_and_nothing_of_interest_is_left_out() -> Result<()> {
    let mut coverage = Coverage::default();
    for seed in SHORT {
        coverage.merge(&whole(seed, 0)?);
    }
    let never: Vec<_> = coverage.never(&[]);
    ensure!(never.is_empty(), "never happened: {never:?}\n{coverage}");
    Ok(())
}

#[test]
fn two_runs_of_a_seed_take_the_same_steps() -> Result<()> {
    for seed in [3, 4] {
        let plan = generate::plan(seed, 0);
        let conduct = Conduct {
            keep_trace: true,
            ..Conduct::default()
        };
        let (first, second) = (run(&plan, &conduct)?, run(&plan, &conduct)?);
        let differs = first.trace.iter().zip(&second.trace).find(|(a, b)| a != b);
        ensure!(differs.is_none(), "seed {seed}: {differs:?}");
        ensure!(first.hash == second.hash, "seed {seed}: another trace");
        let other = run(&generate::plan(seed + 100, 0), &Conduct::default())?;
        ensure!(first.hash != other.hash, "every seed has the same trace");
    }
    Ok(())
}

//! The fast part of the simulation: some seeds, those that once failed, and that a seed is a seed.

use anyhow::{Result, ensure};
use simulation::coverage::{Coverage, Kind};
use simulation::plan::guests::{Guest, plan_with};
use simulation::run::{Conduct, run};

/// Seeds that once failed, one world each: `seed world [all]  # why`; `all` guests.
const KEPT: &str = include_str!("../seeds.txt");

/// Worlds of the short run: one of each of these seeds.
const SHORT: std::ops::Range<u64> = 1000..1050;

/// Worlds of the short run with guests.
const WITH_GUESTS: std::ops::Range<u64> = 2002..2031;

/// All but late requests for metadata.
const GUESTS: [Guest; 4] = [Guest::Beside, Guest::Moves, Guest::Copies, Guest::Labels];

fn whole(seed: u64, world: u64, guests: &[Guest]) -> Result<Coverage> {
    let outcome = run(&plan_with(seed, world, guests), &Conduct::default())?;
    if let Some(violation) = outcome.violation {
        let names: Vec<_> = guests.iter().map(|guest| guest.name()).collect();
        anyhow::bail!(
            "seed {seed}, world {world}, guests {names:?}: {violation}\n\
             make simulate SEEDS=1 FIRST_SEED={seed} WORLD={world} GUESTS=…"
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
        let words: Vec<&str> = line.split_whitespace().collect();
        let (seed, world, guests): (_, _, &[Guest]) = match words[..] {
            [seed, world] => (seed, world, &[]),
            [seed, world, "all"] => (seed, world, &Guest::ALL),
            _ => anyhow::bail!("seeds.txt: {line}"),
        };
        whole(seed.parse()?, world.parse()?, guests)?;
    }
    Ok(())
}

#[test]
fn some_worlds_hold_and_nothing_of_interest_is_left_out() -> Result<()> {
    let mut coverage = Coverage::default();
    for seed in SHORT {
        coverage.merge(&whole(seed, 0, &[])?);
    }
    let never: Vec<_> = coverage.never(&[]);
    ensure!(never.is_empty(), "never happened: {never:?}\n{coverage}");
    Ok(())
}

#[test]
fn worlds_with_guests_hold_and_all_of_them_come() -> Result<()> {
    let mut coverage = Coverage::default();
    for seed in WITH_GUESTS {
        coverage.merge(&whole(seed, 0, &GUESTS)?);
    }
    let of_guests = |kind: &Kind| kind.guest().is_some();
    let never: Vec<_> = coverage
        .never(&GUESTS)
        .into_iter()
        .filter(of_guests)
        .collect();
    ensure!(never.is_empty(), "never happened: {never:?}\n{coverage}");
    Ok(())
}

#[test]
fn two_runs_of_a_seed_take_the_same_steps() -> Result<()> {
    for seed in [3, 4] {
        let plan = plan_with(seed, 0, &Guest::ALL);
        let conduct = Conduct {
            keep_trace: true,
            ..Conduct::default()
        };
        let (first, second) = (run(&plan, &conduct)?, run(&plan, &conduct)?);
        let differs = first.trace.iter().zip(&second.trace).find(|(a, b)| a != b);
        ensure!(differs.is_none(), "seed {seed}: {differs:?}");
        ensure!(first.hash == second.hash, "seed {seed}: another trace");
        let other = run(&plan_with(seed + 100, 0, &Guest::ALL), &Conduct::default())?;
        ensure!(first.hash != other.hash, "every seed has the same trace");
    }
    Ok(())
}

//! Rounds of faults over one and the same store, each followed by the full check.
//!
//! `FAULT_ROUNDS` sets their number (the short form of `make test` without it), `FAULT_SEED` the
//! first seed. A round prints its seed and what was done; played again with that seed, it does the
//! same at the same request, as far as real processes allow.

mod world;

use anyhow::Result;
use datastore::env::Env;
use faults::content::Choices;
use faults::proxy::{Fault, Moment, Op, Plan};
use std::time::Duration;

use world::{World, setting};

/// Of a killed process, nothing is under way a moment later.
const QUARANTINE_AFTER_KILL: Duration = Duration::from_secs(2);
/// Longer than a stall, and than MinIO is ever stopped.
const QUARANTINE_WITH_DELAYS: Duration = Duration::from_secs(6);

/// The seeds of the rounds: `short` many without `FAULT_ROUNDS`, else that number in the proportion
/// of `share` hundredths.
fn seeds(short: u64, share: u64) -> std::ops::Range<u64> {
    let rounds = setting("FAULT_ROUNDS").map_or(short, |rounds| (rounds * share / 100).max(1));
    let first = setting("FAULT_SEED").unwrap_or(1);
    first..first + rounds
}

fn moment(choices: &Choices, latest: u64) -> Moment {
    let request = 1 + choices.below(latest);
    if choices.once_in(2) {
        Moment::Before(request)
    } else {
        Moment::After(request)
    }
}

fn stop_at(moment: Moment) -> Plan {
    Plan {
        moment: Some(moment),
        ..Plan::default()
    }
}

/// kill -9 in the middle of uploads, removals and collections; sometimes once more in the middle of
/// what follows.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_is_killed() -> Result<()> {
    let mut world = World::start(QUARANTINE_AFTER_KILL).await?;
    for seed in seeds(2, 100) {
        let choices = Choices::new(seed);
        let first = moment(&choices, 600);
        world.kill_worker_at(seed, stop_at(first)).await?;
        let mut story = format!("killed {first}");
        if choices.once_in(4) {
            let second = moment(&choices, 150);
            let killed = world.kill_check_at(stop_at(second)).await?;
            story += &format!(
                ", the check {}killed {second}",
                if killed { "" } else { "over before " }
            );
        }
        world.check(seed, &story).await?;
    }
    Ok(())
}

/// MinIO is killed and started again, or stands still for a while, while the process goes on.
#[tokio::test(flavor = "multi_thread")]
async fn minio_is_stopped() -> Result<()> {
    let mut world = World::start(QUARANTINE_WITH_DELAYS).await?;
    let env = Env::system();
    for seed in seeds(2, 40) {
        let choices = Choices::new(seed);
        let at = moment(&choices, 500);
        let pause = Duration::from_millis(100 + choices.below(2400));
        let kill = seed % 2 == 0;
        let mut worker = world.worker(seed)?;
        world.wait_for(stop_at(at), &mut worker).await?;
        if kill {
            world.minio().kill()?;
            env.sleep(pause).await;
            world.minio().start_again().await?;
        } else {
            world.freeze_minio(true)?;
            env.sleep(pause).await;
            world.freeze_minio(false)?;
        }
        world
            .wait_for_more(200 + choices.below(200), &mut worker)
            .await?;
        world.kill(worker).await?;
        let what = if kill { "killed" } else { "frozen" };
        world
            .check(seed, &format!("MinIO {what} {at} for {pause:?}"))
            .await?;
    }
    Ok(())
}

/// The network cuts, resets, loses and stalls what goes through it.
#[tokio::test(flavor = "multi_thread")]
async fn the_network_is_bad() -> Result<()> {
    let mut world = World::start(QUARANTINE_WITH_DELAYS).await?;
    let kinds: Vec<(Op, Fault)> = Fault::ALL
        .iter()
        .flat_map(|fault| Op::ALL.map(|op| (op, *fault)))
        .collect();
    for seed in seeds(1, 50) {
        // A stride that meets every kind once in so many rounds, and different ones early.
        let at = usize::try_from(seed)? * 7 % kinds.len();
        let (op, fault) = kinds[at];
        let plan = Plan {
            fault: Some((op, fault, 4)),
            choices: Some(Choices::new(seed)),
            ..Plan::default()
        };
        let mut worker = world.worker(seed)?;
        let struck = world.strike(plan, (op, fault), 3, &mut worker).await?;
        world.kill(worker).await?;
        world
            .check(seed, &format!("{fault:?} of {op:?}, {struck} times"))
            .await?;
    }
    for ((op, fault), count) in world.fault_counts() {
        eprintln!("{fault:?} of {op:?}: {count} times");
    }
    Ok(())
}

/// The check itself: objects that are gone, and a snapshot that is, are found.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_is_found() -> Result<()> {
    let mut world = World::start(QUARANTINE_AFTER_KILL).await?;
    world
        .kill_worker_at(1, stop_at(Moment::Before(300)))
        .await?;
    world.check(1, "nothing is lost").await?;
    world.lose_a_snapshot()?;
    let error = world.try_check().await.unwrap_err().to_string();
    assert!(error.contains("committed snapshots are gone"), "{error}");

    let world = World::start(QUARANTINE_AFTER_KILL).await?;
    world
        .kill_worker_at(2, stop_at(Moment::Before(300)))
        .await?;
    world.lose_all_chunks().await?;
    let error = world.try_check().await.unwrap_err().to_string();
    assert!(error.contains("missing"), "{error}");
    Ok(())
}

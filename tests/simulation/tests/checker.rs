//! The checker itself is checked: what is done to the world behind the store's back is found, as a
//! violation of the right invariant.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use datastore::file_time::FileTime;
use scenarios::BUCKET;
use simulation::bucket::Owner;
use simulation::invariants::keys;
use simulation::plan::{Episode, Plan, generate};
use simulation::run::{Conduct, Sabotage, run};
use simulation::sim::Sim;
use simulation::universe::{Set, members, one};

/// A quiet world with enough going on in it.
fn quiet() -> Plan {
    let mut plan = generate::plan(7, 7);
    plan.setting.grace = 0;
    plan.setting.sharded = false;
    plan.episodes.truncate(2);
    for Episode { lanes, weather, .. } in &mut plan.episodes {
        weather.clear();
        lanes.retain(|lane| {
            let text = serde_json::to_string(lane).unwrap_or_default();
            [
                "Crash",
                "Takeover",
                "Reload",
                "Corrupt",
                "Vanish",
                "WallClock",
                "ServerClock",
            ]
            .iter()
            .all(|meddling| !text.contains(meddling))
        });
    }
    plan
}

/// Violates the world once, as soon as `attack` finds an opportunity; gives what was found.
fn found(attack: impl Fn(&Arc<Sim>) -> bool + Send + Sync + 'static) -> Result<&'static str> {
    let done = AtomicBool::new(false);
    let sabotage: Sabotage = Arc::new(move |sim| {
        if !done.load(Ordering::SeqCst) && attack(sim) {
            done.store(true, Ordering::SeqCst);
        }
    });
    let conduct = Conduct {
        sabotage: Some(sabotage),
        ..Conduct::default()
    };
    let outcome = run(&quiet(), &conduct)?;
    let violation = outcome.violation.context("nothing was found")?;
    Ok(violation.invariant)
}

/// The first chunk of a set.
fn first(set: Set) -> Option<u8> {
    members(set).next()
}

#[test]
fn the_quiet_world_is_sound() -> Result<()> {
    let outcome = run(&quiet(), &Conduct::default())?;
    ensure!(outcome.violation.is_none(), "{:?}", outcome.violation);
    Ok(())
}

#[test]
fn a_live_object_that_vanishes() -> Result<()> {
    let invariant = found(|sim| {
        let mut core = sim.core();
        let present = core.bucket.present;
        let Some(chunk) = first(core.book.live() & present) else {
            return false;
        };
        core.bucket.present &= !one(chunk);
        drop(core);
        sim.mock.delete(BUCKET, &sim.universe.key(chunk))
    })?;
    ensure!(invariant == "G1", "{invariant}");
    Ok(())
}

#[test]
fn presence_without_an_object() -> Result<()> {
    let invariant = found(|sim| {
        let Some(server) = sim.server() else {
            return false;
        };
        let absent = !sim.core().bucket.present;
        let Some(chunk) = first(absent) else {
            return false;
        };
        let digest = sim.universe.digest(chunk);
        let made = server
            .store
            .chunks()
            .create_marker(digest, FileTime::now(&sim.env));
        made.is_ok()
    })?;
    ensure!(invariant == "G2", "{invariant}");
    Ok(())
}

#[test]
fn stamps_that_are_dropped() -> Result<()> {
    // Every second: whichever session runs when a collection sweeps loses its chunks.
    let sabotage: Sabotage = Arc::new(|sim| {
        if let Some(server) = sim.server() {
            server.store.digests().drop_stamps_below(u64::MAX);
        }
    });
    let conduct = Conduct {
        sabotage: Some(sabotage),
        ..Conduct::default()
    };
    for world in 0..40 {
        let mut plan = generate::plan(11, world);
        plan.setting.grace = 0;
        let outcome = run(&plan, &conduct)?;
        if let Some(violation) = outcome.violation {
            ensure!(
                ["G1", "G3", "G4"].contains(&violation.invariant),
                "{violation}"
            );
            return Ok(());
        }
    }
    anyhow::bail!("nothing was found")
}

#[test]
fn a_digest_that_stays_exceptional() -> Result<()> {
    let invariant = found(|sim| {
        let Some(server) = sim.server() else {
            return false;
        };
        let far = sim.env.now() + Duration::from_secs(400 * 24 * 3600);
        let digest = sim.universe.digest(0);
        server
            .store
            .digests()
            .with(digest, |slot| slot.suspect(far));
        true
    })?;
    ensure!(invariant == "G11", "{invariant}");
    Ok(())
}

#[test]
fn manifests_that_vanish() -> Result<()> {
    let invariant = found(|sim| {
        let core = sim.core();
        let snapshots = core.book.snapshots.iter();
        let committed = snapshots.filter(|snapshot| snapshot.acknowledged);
        let keys: Vec<String> = committed
            .map(|snapshot| format!("store1/.cnt/{}/index.json.blob", snapshot.relative))
            .collect();
        drop(core);
        for key in keys {
            sim.mock.delete(BUCKET, &key);
        }
        false
    })?;
    ensure!(invariant == "mirror", "{invariant}");
    Ok(())
}

#[test]
fn an_owner_that_is_another_in_the_bucket() -> Result<()> {
    let invariant = found(|sim| {
        for group in 0..2 {
            let key = format!("store1/.cnt/host/g{group}/owner");
            if sim.mock.get(BUCKET, &key).is_some() {
                sim.mock.put(BUCKET, &key, "somebody@pam\n");
            }
        }
        false
    })?;
    ensure!(invariant == "mirror", "{invariant}");
    Ok(())
}

#[test]
fn a_foreign_key_that_is_deleted() -> Result<()> {
    let invariant = found(|sim| {
        let keys = keys::foreign(&sim.universe);
        keys.first().is_some_and(|key| sim.mock.delete(BUCKET, key))
    })?;
    ensure!(invariant == "G14", "{invariant}");
    Ok(())
}

#[test]
fn a_live_object_that_is_damaged() -> Result<()> {
    let invariant = found(|sim| {
        let mut core = sim.core();
        let present = core.bucket.present;
        let Some(chunk) = first(core.book.live() & present) else {
            return false;
        };
        drop(core);
        sim.mock
            .put(BUCKET, &sim.universe.key(chunk), "something else");
        true
    })?;
    ensure!(["restore", "G1"].contains(&invariant), "{invariant}");
    Ok(())
}

#[test]
fn a_delete_by_somebody_who_lost_the_prefix() -> Result<()> {
    let invariant = found(|sim| {
        let mut core = sim.core();
        core.bucket.owner = Some(Owner {
            instance: "somebody else".into(),
            since: sim
                .env
                .now()
                .checked_sub(Duration::from_secs(600))
                .unwrap_or(sim.env.now()),
        });
        true
    })?;
    ensure!(invariant == "G16", "{invariant}");
    Ok(())
}

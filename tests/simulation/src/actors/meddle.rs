//! What is done to the world from outside: damage, clocks, crashes, other processes and servers.

use std::sync::Arc;
use std::time::Duration;

use s3_mock::Pattern;
use s3_mock::behaviour::KeyError;
use scenarios::BUCKET;

use crate::machine::Armed;
use crate::plan::Act;
use crate::sim::Sim;
use crate::universe::one;

/// Does it.
pub async fn with_the_world(sim: &Arc<Sim>, act: Act) {
    sim.note(format_args!("world: {act:?}"));
    let result = match act {
        Act::Corrupt { digest, same_size } => {
            corrupt(sim, digest, same_size);
            Ok(())
        }
        Act::Vanish { digest } => {
            vanish(sim, digest);
            Ok(())
        }
        Act::Retain { digests } => {
            let locked: Vec<Pattern> = digests
                .iter()
                .map(|&d| sim.universe.key(d).into())
                .collect();
            sim.mock.configure(|behaviour| behaviour.locked = locked);
            Ok(())
        }
        Act::KeyTrouble {
            digest,
            applied,
            times,
        } => {
            let key = sim.universe.key(digest);
            let mut trouble = KeyError::first(key, "InternalError", u32::from(times));
            trouble.applied = applied;
            sim.mock
                .configure(|behaviour| behaviour.delete_key_errors.push(trouble));
            Ok(())
        }
        Act::WallClock(seconds) => {
            sim.env.jump_wall_clock(seconds * 1000);
            Ok(())
        }
        Act::ServerClock(seconds) => {
            sim.mock.set_clock_offset_millis(seconds * 1000);
            Ok(())
        }
        Act::Crash {
            after,
            down,
            power,
            on_delete,
            lose_journal,
        } => {
            let armed = Armed {
                at: sim.core().trace.steps + after,
                power,
                after_delete: on_delete.then_some(after / 4),
                lose_journal,
                struck: false,
            };
            sim.crash(armed, Duration::from_millis(down)).await
        }
        Act::Unmark { digest } => {
            unmark(sim, digest);
            Ok(())
        }
        Act::Reload => {
            let result = sim.reload();
            sim.end_drained().await;
            result
        }
        Act::Takeover => sim.take_over().await,
        _ => Ok(()),
    };
    if let Err(error) = result {
        sim.note(format_args!("world: in vain: {error:#}"));
    }
}

fn corrupt(sim: &Sim, chunk: u8, same_size: bool) {
    let key = sim.universe.key(chunk);
    // Only what is there, and of which no late delete is on its way: that would be two accidents.
    let there = {
        let core = sim.core();
        core.bucket.present & !core.bucket.unresolved() & one(chunk) != 0
    };
    let Some(object) = sim.mock.object(BUCKET, &key).filter(|_| there) else {
        return;
    };
    let mut body = object.body.to_vec();
    match same_size {
        true => {
            if let Some(last) = body.last_mut() {
                *last ^= 1;
            }
        }
        false => body.truncate(body.len() / 2),
    }
    sim.mock
        .put_at(BUCKET, &key, body, object.last_modified_millis);
    let mut core = sim.core();
    core.bucket.damaged |= one(chunk);
    core.bucket.tainted |= one(chunk);
}

fn vanish(sim: &Sim, chunk: u8) {
    let there = {
        let core = sim.core();
        core.bucket.present & !core.bucket.unresolved() & one(chunk) != 0
    };
    if !there {
        return;
    }
    sim.mock.delete(BUCKET, &sim.universe.key(chunk));
    let mut core = sim.core();
    core.bucket.present &= !one(chunk);
    core.bucket.damaged &= !one(chunk);
    core.bucket.tainted |= one(chunk);
}

/// Removes a local file that nothing depends on: its chunk is in the bucket and stays there.
fn unmark(sim: &Sim, chunk: u8) {
    let Some((proc, disk)) = sim.current() else {
        return;
    };
    let path = {
        let core = sim.core();
        let seen = core.watch.seen(proc, chunk);
        let there = core.bucket.sound() & !core.bucket.unresolved() & one(chunk) != 0;
        if !there || seen.suspect || seen.state.is_some() {
            return;
        }
        core.disks[disk].chunk_path(chunk, &sim.universe)
    };
    // It may be gone already.
    let _ = datastore::disk::remove_file(&path);
}

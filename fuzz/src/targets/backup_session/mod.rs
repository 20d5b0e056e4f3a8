//! Whole backup sessions: any sequence of requests, good and bad, out of order, of one client or of
//! several after each other, to a datastore on a filesystem.
//!
//! | module | what |
//! |---|---|
//! | `program` | an input as a sequence of steps; valid ones to begin with |
//! | `pieces` | what chunks and blobs are made of |
//! | `request` | a step as a request, bent in many ways |
//! | `model` | what the specification says of it |
//! | `world` | the datastore, and what must hold of it in the end |
//!
//! Each request is accepted or refused as the model says. After its end, a session has left a
//! complete snapshot that verifies, or nothing; and no chunk is stored whose digest is not that of
//! its content.

mod model;
mod pieces;
mod program;
mod request;
mod world;

use crate::{Target, scratch};

use program::{Program, Step};
use world::World;

pub const TARGET: Target = Target {
    name: "backup_session",
    max_len: 256,
    check,
    seeds: program::seeds,
    words: &[],
    // A few chunks of the largest size that an image has, encoded and decoded.
    memory: 64 << 20,
};

/// Sessions of one input.
const MAX_SESSIONS: usize = 4;

/// Whether one of the sessions was finished.
fn check(data: &[u8]) -> bool {
    pieces::prepare();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(run(Program::new(data)))
}

async fn run(mut program: Program<'_>) -> bool {
    let mut world = World::create(&scratch::empty(), program.is_benchmark()).await;
    let (mut finished, mut sessions) = (false, 1);
    while let Some(step) = program.next() {
        match step {
            Step::Request(step) => world.request(step).await,
            Step::Reconnect { same_time } if sessions < MAX_SESSIONS => {
                finished |= world.end().await;
                world.begin(same_time).await;
                sessions += 1;
            }
            Step::Reconnect { .. } => break,
        }
    }
    finished | world.end().await
}

//! What rows do in a process of its own, so that its memory and its processor time are only theirs.
//!
//! | module | what |
//! |---|---|
//! | [`client`] | `coffer-client` |
//! | [`collection`] | a garbage collection |
//! | [`daemon`] | `coffer-server` |
//! | [`sink`] | a server that does with chunks only what cannot be avoided |

pub mod client;
pub mod collection;
pub mod daemon;
pub mod sink;

use std::io::Read as _;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// A row's words to the process.
#[derive(Debug, Deserialize, Serialize)]
pub enum Task {
    /// The client.
    Client(client::Task),
    /// A garbage collection.
    Collection(collection::Task),
    /// The daemon.
    Daemon(daemon::Task),
    /// The least that a server does.
    Sink(sink::Task),
}

/// Does the task that the row put into words.
pub fn run(task: &str) -> Result<()> {
    let task = serde_json::from_str(task).context("cannot read the task")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        match task {
            // It has a runtime of its own.
            Task::Client(task) => tokio::task::spawn_blocking(|| client::run(task)).await?,
            Task::Collection(task) => collection::run(&task).await,
            Task::Daemon(task) => daemon::run(&task).await,
            Task::Sink(task) => sink::run(&task).await,
        }
    })
}

/// Ends this process, as a terminal would, when whoever started it closes its input or is gone.
fn end_with_parent() {
    std::thread::spawn(|| {
        let mut nothing = Vec::new();
        // An error ends it as well.
        let _ = std::io::stdin().read_to_end(&mut nothing);
        let _ = kill(Pid::this(), Signal::SIGTERM);
    });
}

//! Collections and other work that the test interferes with while they run.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use datastore::Error;
use datastore::gc::{GcOptions, GcReport};
use datastore::task::RecordingTask;
use s3_mock::{Action, Fault, Gate, Op};
use tokio::task::JoinHandle;

use crate::{STORE, Server, World};

/// How long [`World::until`] waits.
const PATIENCE_MILLIS: u32 = 50_000;

/// A collection under way.
#[derive(Debug)]
pub struct Collection {
    /// Its task, with the log.
    pub task: Arc<RecordingTask>,
    handle: JoinHandle<Result<GcReport>>,
}

impl Server {
    /// Starts a collection beside the test.
    #[must_use]
    pub fn start_gc(&self, options: GcOptions) -> Collection {
        let task = Arc::new(RecordingTask::new());
        let (store, context) = (Arc::clone(&self.store), task.clone());
        let handle = tokio::spawn(async move {
            let result = store.garbage_collection(context, options).await;
            result.map_err(Into::into)
        });
        Collection { task, handle }
    }
}

impl Collection {
    /// Waits for its end.
    pub async fn end(self) -> Result<GcReport> {
        self.handle.await?
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.handle.is_finished()
    }

    /// Stops it where it is, as the end of its process would: nothing is written any more. The
    /// caller drops its [`Server`] as well.
    pub async fn crash(self) {
        crash(self.handle).await;
    }
}

/// Stops a task where it is.
pub async fn crash<T>(handle: JoinHandle<T>) {
    handle.abort();
    let _ = handle.await;
}

/// The datastore's own error behind a failed call.
#[must_use]
pub fn reason(error: &anyhow::Error) -> Option<&Error> {
    error.downcast_ref::<Error>()
}

/// Pattern of the chunk objects' keys, and of the chunk listings' prefixes.
#[must_use]
pub fn any_chunk() -> String {
    format!("{STORE}/.chunks/*")
}

impl World {
    /// Lets the rest of the world go on, a millisecond at a time, until the condition holds.
    pub async fn until(&self, what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
        for _ in 0..PATIENCE_MILLIS {
            if condition() {
                return Ok(());
            }
            self.pass(Duration::from_millis(1)).await;
        }
        bail!("waited in vain: {what}")
    }

    /// Stops the next listing of chunks before it is answered.
    #[must_use]
    pub fn gate_listing(&self) -> Gate {
        self.mock.gate(Op::ListObjects, any_chunk())
    }

    /// Stops the next delete request before it is applied.
    #[must_use]
    pub fn gate_delete(&self) -> Gate {
        self.mock.gate(Op::DeleteObjects, any_chunk())
    }

    /// Stops the next delete request after it was applied.
    #[must_use]
    pub fn gate_deleted(&self) -> Gate {
        let gate = Gate::new();
        let pause = Action::ApplyThenPause(gate.clone());
        self.mock
            .script(Fault::on(Op::DeleteObjects, pause).keys(any_chunk()));
        gate
    }

    /// The next delete request gets this fault.
    pub fn spoil_delete(&self, action: Action) {
        self.mock
            .script(Fault::on(Op::DeleteObjects, action).keys(any_chunk()));
    }
}

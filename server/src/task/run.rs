//! Running an operation as a worker task.

use std::future::Future;
use std::process::exit;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use api_types::status::TaskStatus;
use api_types::upid::Upid;
use datastore::task::TaskContext;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::end::failure;
use super::worker::{Echo, WorkerTask};
use super::{TaskSpec, Tasks};

/// Exit code after a second Ctrl-C, as shells have it.
const EXIT_INTERRUPTED: i32 = 130;
const ABORTED: &str = "abort requested - aborting task";

/// How a task ended, and what it gave.
#[derive(Debug)]
pub struct TaskOutcome<T> {
    /// The task.
    pub upid: Upid,
    /// What log and index say.
    pub status: TaskStatus,
    /// The operation's result.
    pub value: Result<T>,
}

/// What else stops a task besides a request from another process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signals {
    /// Nothing: whoever runs the task looks after signals.
    Ignore,
    /// SIGINT and SIGTERM: the task is the process's only work.
    Abort,
}

impl Tasks {
    /// Runs `work` as a task, to its end.
    ///
    /// An abort request only cancels the task's token; `work` ends itself, so that it can leave
    /// everything in order. A panic of `work` becomes the task's error.
    pub async fn run<T, F, Fut>(
        &self,
        spec: TaskSpec,
        echo: Echo,
        signals: Signals,
        work: F,
    ) -> Result<TaskOutcome<T>>
    where
        T: Send + 'static,
        F: FnOnce(Arc<WorkerTask>) -> Fut,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        let terminations = match signals {
            Signals::Ignore => None,
            Signals::Abort => Some(Terminations::listen()?),
        };
        let task = Arc::new(self.start(spec, echo)?);
        let interrupted = terminations.map(|t| tokio::spawn(t.abort(Arc::clone(&task))));
        let work = work(Arc::clone(&task));
        let outcome = self.clone().finish(task, work).await;
        if let Some(watcher) = interrupted {
            watcher.abort();
        }
        Ok(outcome)
    }

    /// Starts `work` as a task in the background, and says which, and how to wait for its end.
    /// Besides an abort request, `stop` cancels it.
    pub fn spawn<T, F, Fut>(
        &self,
        spec: TaskSpec,
        stop: CancellationToken,
        work: F,
    ) -> Result<(Upid, JoinHandle<TaskOutcome<T>>)>
    where
        T: Send + 'static,
        F: FnOnce(Arc<WorkerTask>) -> Fut,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        let task = Arc::new(self.start(spec, Echo::None)?);
        let upid = task.id().clone();
        let work = work(Arc::clone(&task));
        let stopper = tokio::spawn({
            let task = Arc::clone(&task);
            async move {
                stop.cancelled().await;
                task.request_abort();
            }
        });
        let tasks = self.clone();
        let running = tokio::spawn(async move {
            let outcome = tasks.finish(task, work).await;
            stopper.abort();
            outcome
        });
        Ok((upid, running))
    }

    /// Drives the work of a task to its end and records that.
    async fn finish<T, Fut>(self, task: Arc<WorkerTask>, work: Fut) -> TaskOutcome<T>
    where
        T: Send + 'static,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        let watcher = tokio::spawn(watch_requests(self, Arc::clone(&task)));
        let joined = tokio::spawn(work).await;
        watcher.abort();
        let value = joined.unwrap_or_else(|error| Err(anyhow!("worker panicked: {error}")));
        let status = final_status(&value, task.warnings(), task.cancel());
        task.end(status.clone());
        TaskOutcome {
            upid: task.id().clone(),
            status,
            value,
        }
    }
}

async fn watch_requests(tasks: Tasks, task: Arc<WorkerTask>) {
    // A token of its own, so that the task can tell its first abort request from the next.
    let requested = CancellationToken::new();
    tasks
        .abort_requests()
        .watch(task.id(), tasks.env(), &requested)
        .await;
    task.request_abort();
}

/// How a task ends whose operation gave this.
pub(crate) fn final_status<T>(
    value: &Result<T>,
    warnings: u64,
    cancel: &CancellationToken,
) -> TaskStatus {
    match value {
        Ok(_) if warnings == 0 => TaskStatus::Ok,
        Ok(_) => TaskStatus::Warnings(warnings),
        Err(error) => {
            let message = format!("{error:#}");
            if cancel.is_cancelled() && !message.contains("abort") {
                failure(&format!("{ABORTED}: {message}"))
            } else {
                failure(&message)
            }
        }
    }
}

struct Terminations {
    interrupt: Signal,
    terminate: Signal,
}

impl Terminations {
    fn listen() -> Result<Self> {
        let open = |kind| signal(kind).context("failed to listen for signals");
        Ok(Self {
            interrupt: open(SignalKind::interrupt())?,
            terminate: open(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    async fn abort(mut self, task: Arc<WorkerTask>) {
        self.next().await;
        task.request_abort();
        self.next().await;
        // Safe at any point, as a power loss is; only the next run has more to clean up.
        task.end(failure("interrupted twice - ended at once"));
        exit(EXIT_INTERRUPTED);
    }
}

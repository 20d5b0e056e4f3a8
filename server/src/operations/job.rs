//! An operation as the run of a job: its beginning and end are noted.

use std::future::Future;

use anyhow::Result;
use datastore::task::TaskContext;

use crate::jobs::state::JobLock;
use crate::task::{WorkerTask, final_status};

/// Does `work` as the run that `lock` was taken for.
pub async fn run<T>(
    lock: JobLock,
    task: &WorkerTask,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    lock.started(task.id())?;
    let result = work.await;
    let status = final_status(&result, task.warnings(), task.cancel());
    if let Err(error) = lock.finished(task.id(), status) {
        // The task's log has it, too, and is asked as long as the job counts as begun.
        tracing::warn!("{error:#}");
    }
    result
}

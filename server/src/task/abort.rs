//! Stopping a task of another process: a request file in the run directory that the task looks for.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use api_types::upid::Upid;
use s3_client::env::Env;
use tokio_util::sync::CancellationToken;

use crate::paths::create_dir;

/// How often a task looks for a request; aborts are to be honoured within two seconds.
const POLL: Duration = Duration::from_millis(400);

/// The requests, by task.
#[derive(Clone, Debug)]
pub struct AbortRequests {
    dir: PathBuf,
}

impl AbortRequests {
    /// Requests below the run directory `run`.
    #[must_use]
    pub fn new(run: &Path) -> Self {
        Self {
            dir: run.join("task-abort"),
        }
    }

    /// Process and counter name a task among those that run; the whole UPID is too long for a
    /// file name with anything added.
    fn path(&self, upid: &Upid) -> PathBuf {
        let (pid, pstart, task_id) = (upid.pid(), upid.pstart(), upid.task_id());
        self.dir
            .join(format!("{pid:08X}-{pstart:08X}-{task_id:08X}"))
    }

    /// Asks the task to stop.
    pub fn send(&self, upid: &Upid) -> Result<()> {
        create_dir(&self.dir, 0o750)?;
        let path = self.path(upid);
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(&path)
            .with_context(|| format!("failed to request an abort by {}", path.display()))?;
        Ok(())
    }

    /// Cancels `cancel` when a request for the task appears; does not return before.
    pub async fn watch(&self, upid: &Upid, env: &Env, cancel: &CancellationToken) {
        let path = self.path(upid);
        while !path.exists() {
            env.sleep(POLL).await;
        }
        cancel.cancel();
    }

    /// Removes the request for a task that has ended, if there is one.
    pub fn clear(&self, upid: &Upid) -> io::Result<()> {
        match std::fs::remove_file(self.path(upid)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

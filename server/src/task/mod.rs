//! Worker tasks: every long operation has an id (UPID), a log file, an entry in the task index, a
//! result, and can be stopped, also from another process.
//!
//! [`Tasks`] is the handle: [`Tasks::run`] runs an operation as a task, the rest looks at tasks of
//! any process. File formats and places are upstream's (`rest-api.md` section 9), so that either
//! server reads the other's logs.

mod abort;
mod backwards;
mod end;
pub mod index;
pub mod list;
pub mod log_file;
mod own;
mod process;
mod run;
mod worker;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use api_types::auth::Authid;
use api_types::status::TaskStatus;
use api_types::upid::{Upid, UpidParts};
use s3_client::env::Env;

use abort::AbortRequests;
use index::{Rotation, TaskIndex};
use list::{TaskFilter, TaskList};
use log_file::{LogPage, LogWriter, read_end, read_page};
pub use own::OwnTasks;

use crate::config::node::NodeFile;
use crate::paths::Paths;

pub use end::TaskEnd;
pub use process::Process;
pub(crate) use run::final_status;
pub use run::{Signals, TaskOutcome};
pub use worker::{Echo, WorkerTask};

/// Counts the tasks of this process.
static NEXT_TASK_ID: AtomicU64 = AtomicU64::new(0);

/// What a task is, before it has an id.
#[derive(Clone, Debug)]
pub struct TaskSpec {
    /// Type, for example `garbage_collection`.
    pub worker_type: String,
    /// What it works on, for example the datastore.
    pub worker_id: Option<String>,
    /// Who asked for it.
    pub auth_id: Authid,
}

impl TaskSpec {
    /// A task of type `worker_type` on `worker_id`, started by `auth_id`.
    #[must_use]
    pub fn new(worker_type: &str, worker_id: Option<String>, auth_id: Authid) -> Self {
        Self {
            worker_type: worker_type.to_owned(),
            worker_id,
            auth_id,
        }
    }
}

/// The tasks of an installation.
#[derive(Clone, Debug)]
pub struct Tasks {
    index: TaskIndex,
    own: OwnTasks,
    requests: AbortRequests,
    env: Env,
}

impl Tasks {
    /// Tasks whose logs and runtime files are below `paths`.
    #[must_use]
    pub fn new(paths: &Paths, env: Env) -> Self {
        let own = OwnTasks::new();
        let index = TaskIndex::new(paths.log.join("tasks"), Rotation::default(), own.clone());
        Self {
            index: index.with_age_limit(NodeFile::new(&paths.config, env.clone()), env.clone()),
            own,
            requests: AbortRequests::new(&paths.run),
            env,
        }
    }

    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    fn abort_requests(&self) -> &AbortRequests {
        &self.requests
    }

    fn start(&self, spec: TaskSpec, echo: Echo) -> Result<WorkerTask> {
        let process = Process::current().context("failed to read the own process's start time")?;
        let parts = UpidParts {
            node: node_name(),
            pid: process.pid,
            pstart: process.pstart,
            task_id: NEXT_TASK_ID.fetch_add(1, Ordering::SeqCst),
            starttime: u32::try_from(self.env.unix_secs()).unwrap_or_default(),
            worker_type: spec.worker_type,
            worker_id: spec.worker_id.filter(|id| !id.is_empty()),
            auth_id: spec.auth_id,
        };
        let upid = shortened(parts)?;
        self.index.create_log_dir(&upid)?;
        let path = self.index.log_path(&upid);
        let log = LogWriter::create(&path, self.env.clone())
            .with_context(|| format!("failed to create the task log {}", path.display()))?;
        self.own.begin(&upid);
        if let Err(error) = self.index.register(&upid) {
            self.own.end(&upid);
            return Err(error);
        }
        Ok(WorkerTask::new(upid, self.clone(), echo, log))
    }

    /// Notes how a task of this process ended; `logged` says whether its log has the final line.
    fn ended(&self, upid: &Upid, end: TaskEnd, logged: bool) {
        let recorded = self.record_end(upid, &end);
        if let Err(error) = &recorded {
            tracing::warn!("task {upid}: {error:#}");
        }
        if !logged || recorded.is_err() {
            self.own.keep_end(upid, end);
        }
        self.own.end(upid);
    }

    /// Tries once more to record how tasks ended for which that failed: the disk was full.
    pub fn record_missed_ends(&self) {
        for (upid, end) in self.own.kept_ends() {
            match self.record_missed_end(&upid, &end) {
                Ok(()) => self.own.forget_end(&upid),
                Err(error) => tracing::warn!("task {upid}: {error:#}"),
            }
        }
    }

    fn record_missed_end(&self, upid: &Upid, end: &TaskEnd) -> Result<()> {
        let path = self.index.log_path(upid);
        if read_end(&path, upid.starttime()).status == TaskStatus::Unknown {
            LogWriter::resume(&path, self.env.clone())
                .and_then(|mut log| log.write(&end.status.final_line()))
                .with_context(|| format!("failed to end the task log {}", path.display()))?;
        }
        self.record_end(upid, end)
    }

    fn record_end(&self, upid: &Upid, end: &TaskEnd) -> Result<()> {
        self.index.finish(upid, end)?;
        self.requests
            .clear(upid)
            .context("failed to remove the abort request")
    }

    /// The tasks that `filter` lets through. Reads files: not for threads that must not wait.
    pub fn list(&self, filter: &TaskFilter) -> Result<TaskList> {
        self.list_visible(filter, |_| true)
    }

    /// The tasks that `filter` lets through, of those that `visible` says may be seen. Reads files,
    /// too.
    pub fn list_visible(
        &self,
        filter: &TaskFilter,
        visible: impl FnMut(&Upid) -> bool,
    ) -> Result<TaskList> {
        Ok(filter.apply(self.index.entries()?, visible))
    }

    /// The log of a task, to be read as it is.
    pub fn open_log(&self, upid: &Upid) -> Result<File> {
        let path = self.index.log_path(upid);
        File::open(&path).with_context(|| format!("failed to open the log of task {upid}"))
    }

    /// Whether the task is running: its process exists and its log has no end yet.
    #[must_use]
    pub fn is_running(&self, upid: &Upid) -> bool {
        self.own.may_run(upid) && self.end(upid).status == TaskStatus::Unknown
    }

    /// How a task that is not running ended.
    #[must_use]
    pub fn end(&self, upid: &Upid) -> TaskEnd {
        let kept = self.own.kept_end(upid);
        kept.unwrap_or_else(|| read_end(&self.index.log_path(upid), upid.starttime()))
    }

    /// At most `limit` lines (0 = all) of a task's log from line `start` on.
    pub fn log(&self, upid: &Upid, start: u64, limit: u64) -> Result<LogPage> {
        read_page(&self.index.log_path(upid), start, limit)
            .with_context(|| format!("failed to read the log of task {upid}"))
    }

    /// Asks a task to stop, whatever process runs it; nothing happens if it has ended already.
    pub fn request_abort(&self, upid: &Upid) -> Result<()> {
        if !self.log_exists(upid) {
            bail!("no such task '{upid}'");
        }
        if self.is_running(upid) {
            self.requests.send(upid)?;
        }
        Ok(())
    }

    fn log_exists(&self, upid: &Upid) -> bool {
        Path::is_file(&self.index.log_path(upid))
    }
}

/// The node's name in task ids and ownership markers: the host name up to the first dot.
#[must_use]
pub fn node_name() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    let name = name.to_string_lossy();
    let short: String = name
        .split('.')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        .collect();
    let short = short.trim_start_matches(['-', '_']);
    if short.is_empty() {
        "localhost".to_owned()
    } else {
        short.to_owned()
    }
}

/// A UPID is also a file name and its id is escaped, so a deep namespace may make it too long: then
/// the id loses its end.
fn shortened(mut parts: UpidParts) -> Result<Upid> {
    loop {
        match Upid::new(parts.clone()) {
            Ok(upid) => return Ok(upid),
            Err(error) => {
                let id = parts.worker_id.as_mut().filter(|id| id.len() > 32);
                let Some(id) = id else {
                    return Err(error).context("failed to make a task id");
                };
                id.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! `task list | log | stop`.

use std::time::Duration;

use anyhow::{Result, bail};
use api_types::status::{TaskListItem, TaskStatus};
use api_types::upid::Upid;
use clap::Subcommand;

use super::Session;
use super::table::Column;
use crate::console;
use crate::task::index::IndexEntry;
use crate::task::list::{StatusKind, TaskFilter};

/// How often the log of a running task is looked at.
const FOLLOW_POLL: Duration = Duration::from_millis(500);
/// Lines that are read at a time.
const LOG_PAGE: u64 = 500;

/// Look at worker tasks and stop them.
#[derive(Debug, Subcommand)]
pub enum TaskCommand {
    /// List running tasks.
    List(ListOptions),
    /// Print the log of a task; follows it while the task runs.
    Log {
        /// The task.
        upid: Upid,
        /// First line to print.
        #[arg(long, default_value_t = 1)]
        start: u64,
        /// Print what is there and do not wait for more.
        #[arg(long)]
        no_follow: bool,
    },
    /// Ask a running task to stop.
    Stop {
        /// The task.
        upid: Upid,
    },
}

/// Which tasks to list.
#[derive(Debug, clap::Args)]
pub struct ListOptions {
    /// Also list tasks that have ended.
    #[arg(long)]
    all: bool,
    /// Skip that many tasks.
    #[arg(long, default_value_t = 0)]
    start: usize,
    /// List at most that many tasks (0 = all).
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Only tasks that work on this datastore.
    #[arg(long)]
    store: Option<String>,
    /// Leave out tasks that ended well.
    #[arg(long)]
    errors: bool,
    /// Only tasks of users with this part in their name.
    #[arg(long)]
    userfilter: Option<String>,
    /// Only tasks with this part in their type.
    #[arg(long)]
    typefilter: Option<String>,
    /// Only tasks that ended like this.
    #[arg(long)]
    statusfilter: Vec<StatusKind>,
    /// Only tasks started at this time or later (seconds since the epoch).
    #[arg(long)]
    since: Option<i64>,
    /// Only tasks started at this time or earlier (seconds since the epoch).
    #[arg(long)]
    until: Option<i64>,
}

impl TaskCommand {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<()> {
        match self {
            Self::List(options) => list(session, options),
            Self::Log {
                upid,
                start,
                no_follow,
            } => log(session, &upid, start, !no_follow).await,
            Self::Stop { upid } => session.tasks.request_abort(&upid),
        }
    }
}

fn list(session: &Session, options: ListOptions) -> Result<()> {
    let filter = TaskFilter {
        start: options.start,
        limit: options.limit,
        store: options.store,
        // Both of these ask about tasks that have ended.
        running: !options.all && !options.errors && options.statusfilter.is_empty(),
        errors: options.errors,
        user: options.userfilter,
        since: options.since,
        until: options.until,
        worker_type: options.typefilter,
        statuses: options.statusfilter,
    };
    let items: Vec<TaskListItem> = session
        .tasks
        .list(&filter)?
        .entries
        .into_iter()
        .map(IndexEntry::into_item)
        .collect();
    let columns = [
        Column::time("starttime"),
        Column::time("endtime"),
        Column::plain("user"),
        Column::plain("upid"),
        Column::plain("status"),
    ];
    session.format.print_list(&items, &columns)
}

/// Prints the log; the result of the task is the result of the command.
async fn log(session: &Session, upid: &Upid, start: u64, follow: bool) -> Result<()> {
    let mut next = start.max(1);
    let mut lines = Vec::new();
    loop {
        // Asked before reading: what a task writes as its last line is then read for sure.
        let running = session.tasks.is_running(upid);
        let page = session.tasks.log(upid, next, LOG_PAGE)?;
        let complete = u64::try_from(page.lines.len()).is_ok_and(|count| count < LOG_PAGE);
        next = page.lines.last().map_or(next, |line| line.n + 1);
        if session.format.is_json() {
            lines.extend(page.lines);
        } else {
            page.lines.iter().for_each(|line| console::line(&line.t));
        }
        if !complete {
            continue;
        }
        if !running || !follow {
            break;
        }
        session.env.sleep(FOLLOW_POLL).await;
    }
    if session.format.is_json() {
        session.format.print(&lines, String::new)?;
    }
    if session.tasks.is_running(upid) {
        return Ok(());
    }
    match session.tasks.end(upid).status {
        TaskStatus::Error(message) => bail!("task failed: {message}"),
        TaskStatus::Unknown => bail!("task ended in an unknown way: its process died"),
        TaskStatus::Ok | TaskStatus::Warnings(_) => Ok(()),
    }
}

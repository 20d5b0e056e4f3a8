//! A worker task: what a long operation gets to log, report and be stopped by.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api_types::status::TaskStatus;
use api_types::upid::Upid;
use datastore::task::{Progress, TaskContext};
use s3_client::env::Env;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Tasks;
use super::end::{TaskEnd, failure};
use super::log_file::LogWriter;

/// Progress of one phase is logged at most this often (its end always).
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Where the messages of a task go besides its log file.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Echo {
    /// Nowhere.
    #[default]
    None,
    /// To standard output.
    Stdout,
    /// To standard error, because standard output carries the result.
    Stderr,
}

/// A running task. Dropping it without an end writes an error as its end.
pub struct WorkerTask {
    upid: Upid,
    tasks: Tasks,
    env: Env,
    echo: Echo,
    cancel: CancellationToken,
    warnings: AtomicU64,
    ended: AtomicBool,
    log: Mutex<LogWriter>,
    reported: Mutex<Option<Reported>>,
}

/// The progress line that was logged last.
struct Reported {
    phase: String,
    at: Instant,
    complete: bool,
}

impl WorkerTask {
    pub(super) fn new(upid: Upid, tasks: Tasks, echo: Echo, log: LogWriter) -> Self {
        Self {
            upid,
            env: tasks.env().clone(),
            tasks,
            echo,
            cancel: CancellationToken::new(),
            warnings: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            log: Mutex::new(log),
            reported: Mutex::new(None),
        }
    }

    /// The id of the task.
    #[must_use]
    pub fn id(&self) -> &Upid {
        &self.upid
    }

    /// Asks the task to stop, and says so in its log once.
    pub fn request_abort(&self) {
        if !self.cancel.is_cancelled() {
            self.log("received abort request ...");
        }
        self.cancel.cancel();
    }

    /// Writes the end of the task to log and index; what comes second is not written.
    pub(super) fn end(&self, status: TaskStatus) {
        if self.ended.swap(true, Ordering::SeqCst) {
            return;
        }
        let end = TaskEnd {
            endtime: self.env.unix_secs(),
            status,
        };
        // The work is done either way.
        let logged = self.write(&end.status.final_line());
        self.tasks.ended(&self.upid, end, logged);
    }

    /// Says whether the log has it.
    fn write(&self, message: &str) -> bool {
        let written = locked(&self.log).write(message);
        if let Err(error) = &written {
            // The operation is more important than its log.
            tracing::warn!("failed to write the log of task {}: {error}", self.upid);
        }
        let line = message.trim_end();
        match self.echo {
            Echo::None => {}
            Echo::Stdout => crate::console::line(line),
            Echo::Stderr => crate::console::error_line(line),
        }
        written.is_ok()
    }

    /// Whether this report is worth a line of the log.
    fn is_due(&self, progress: &Progress) -> bool {
        let now = self.env.now();
        let complete = progress.total.is_some_and(|total| progress.done >= total);
        let mut reported = locked(&self.reported);
        let due = match &*reported {
            Some(last) if last.phase == progress.phase => {
                (complete && !last.complete) || now.duration_since(last.at) >= PROGRESS_INTERVAL
            }
            _ => true,
        };
        if due {
            *reported = Some(Reported {
                phase: progress.phase.clone(),
                at: now,
                complete,
            });
        }
        due
    }
}

impl TaskContext for WorkerTask {
    fn log(&self, message: &str) {
        self.write(message);
    }

    fn warn(&self, message: &str) {
        self.warnings.fetch_add(1, Ordering::SeqCst);
        self.write(message);
    }

    fn warnings(&self) -> u64 {
        self.warnings.load(Ordering::SeqCst)
    }

    fn progress(&self, progress: Progress) {
        if self.is_due(&progress) {
            self.write(&progress_line(&progress));
        }
    }

    fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    fn upid(&self) -> Option<String> {
        Some(self.upid.to_string())
    }
}

impl Drop for WorkerTask {
    fn drop(&mut self) {
        self.end(failure("task ended without a result"));
    }
}

impl fmt::Debug for WorkerTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerTask")
            .field("upid", &self.upid)
            .finish_non_exhaustive()
    }
}

fn progress_line(progress: &Progress) -> String {
    let Progress {
        phase,
        done,
        total,
        unit,
        eta_secs,
    } = progress;
    let amount = match total {
        Some(total) => {
            let percent = done
                .saturating_mul(100)
                .checked_div(*total)
                .unwrap_or(100)
                .min(100);
            format!("{percent}% ({done} of {total} {unit})")
        }
        None => format!("{done} {unit}"),
    };
    let left = eta_secs
        .map(|secs| format!(", about {} left", duration(secs)))
        .unwrap_or_default();
    format!("{phase}: {amount}{left}")
}

fn duration(secs: u64) -> String {
    let (hours, minutes, seconds) = (secs / 3600, secs / 60 % 60, secs % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m {seconds}s"),
        _ => format!("{hours}h {minutes}m"),
    }
}

/// A poisoned mutex still guards a usable value: both hold no status that spans several steps.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_lines_say_how_far_and_how_long() {
        let progress = Progress::new("sweep", 5, Some(20), "chunks").with_eta(Some(3725));
        assert_eq!(
            progress_line(&progress),
            "sweep: 25% (5 of 20 chunks), about 1h 2m left"
        );
        let progress = Progress::new("listing", 7, None, "keys").with_eta(Some(75));
        assert_eq!(
            progress_line(&progress),
            "listing: 7 keys, about 1m 15s left"
        );
        assert_eq!(
            progress_line(&Progress::new("x", 0, Some(0), "y")),
            "x: 100% (0 of 0 y)"
        );
    }
}

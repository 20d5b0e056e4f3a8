//! What a long-running operation sees of the task that runs it: log, progress, cancellation.
//!
//! The server's worker tasks implement [`TaskContext`]; [`SilentTask`] serves callers without a
//! log, [`RecordingTask`] tests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// The task was asked to stop before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("abort requested - aborting task")]
pub struct Aborted;

/// How far a phase of a task is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is going on, e.g. `marking`.
    pub phase: String,
    /// Units done.
    pub done: u64,
    /// Units in all, if known.
    pub total: Option<u64>,
    /// What is counted, e.g. `chunks`.
    pub unit: &'static str,
    /// Estimate of the seconds left in this phase.
    pub eta_secs: Option<u64>,
}

impl Progress {
    /// A progress without an estimate.
    pub fn new(
        phase: impl Into<String>,
        done: u64,
        total: Option<u64>,
        unit: &'static str,
    ) -> Self {
        Self {
            phase: phase.into(),
            done,
            total,
            unit,
            eta_secs: None,
        }
    }

    /// The same with the seconds left.
    #[must_use]
    pub fn with_eta(mut self, eta_secs: Option<u64>) -> Self {
        self.eta_secs = eta_secs;
        self
    }
}

/// The task an operation runs in.
pub trait TaskContext: Send + Sync {
    /// Adds a line to the task log.
    fn log(&self, message: &str);

    /// Adds a warning to the task log and counts it.
    fn warn(&self, message: &str);

    /// Warnings so far.
    fn warnings(&self) -> u64;

    /// Reports how far the task is; cheap, may be called often.
    fn progress(&self, progress: Progress);

    /// Fires when the task is to stop.
    fn cancel(&self) -> &CancellationToken;

    /// The task's identifier in the worker task list, if it is one.
    fn upid(&self) -> Option<String>;
}

/// Fails if the task was asked to stop.
pub fn check_abort(task: &dyn TaskContext) -> Result<(), Aborted> {
    if task.cancel().is_cancelled() {
        Err(Aborted)
    } else {
        Ok(())
    }
}

/// A task without a log: warnings are counted, everything else is dropped.
#[derive(Debug, Default)]
pub struct SilentTask {
    warnings: AtomicU64,
    cancel: CancellationToken,
}

impl SilentTask {
    /// A task that nobody cancels.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A task that stops when `cancel` fires.
    #[must_use]
    pub fn with_cancel(cancel: CancellationToken) -> Self {
        Self {
            warnings: AtomicU64::new(0),
            cancel,
        }
    }
}

impl TaskContext for SilentTask {
    fn log(&self, _message: &str) {}

    fn warn(&self, _message: &str) {
        self.warnings.fetch_add(1, Ordering::Relaxed);
    }

    fn warnings(&self) -> u64 {
        self.warnings.load(Ordering::Relaxed)
    }

    fn progress(&self, _progress: Progress) {}

    fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    fn upid(&self) -> Option<String> {
        None
    }
}

/// One thing a [`RecordingTask`] was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskLine {
    /// A line of the log.
    Log(String),
    /// A warning.
    Warning(String),
}

impl TaskLine {
    /// The text, whichever kind it is.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Log(text) | Self::Warning(text) => text,
        }
    }
}

/// A task that keeps what it is told, for tests.
#[derive(Debug, Default)]
pub struct RecordingTask {
    lines: Mutex<Vec<TaskLine>>,
    progress: Mutex<Vec<Progress>>,
    cancel: CancellationToken,
    upid: Option<String>,
}

impl RecordingTask {
    /// A task without an identifier.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A task with an identifier.
    #[must_use]
    pub fn with_upid(upid: impl Into<String>) -> Self {
        Self {
            upid: Some(upid.into()),
            ..Self::default()
        }
    }

    /// Everything logged so far, in order.
    #[must_use]
    pub fn lines(&self) -> Vec<TaskLine> {
        locked(&self.lines).clone()
    }

    /// The texts of the warnings so far.
    #[must_use]
    pub fn warning_texts(&self) -> Vec<String> {
        let is_warning = |line: &&TaskLine| matches!(line, TaskLine::Warning(_));
        locked(&self.lines)
            .iter()
            .filter(is_warning)
            .map(|line| line.text().to_owned())
            .collect()
    }

    /// Whether any line or warning contains `part`.
    #[must_use]
    pub fn contains(&self, part: &str) -> bool {
        locked(&self.lines)
            .iter()
            .any(|line| line.text().contains(part))
    }

    /// Every progress report so far.
    #[must_use]
    pub fn progress_reports(&self) -> Vec<Progress> {
        locked(&self.progress).clone()
    }
}

impl TaskContext for RecordingTask {
    fn log(&self, message: &str) {
        locked(&self.lines).push(TaskLine::Log(message.to_owned()));
    }

    fn warn(&self, message: &str) {
        locked(&self.lines).push(TaskLine::Warning(message.to_owned()));
    }

    fn warnings(&self) -> u64 {
        let is_warning = |line: &&TaskLine| matches!(line, TaskLine::Warning(_));
        u64::try_from(locked(&self.lines).iter().filter(is_warning).count()).unwrap_or(u64::MAX)
    }

    fn progress(&self, progress: Progress) {
        locked(&self.progress).push(progress);
    }

    fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    fn upid(&self) -> Option<String> {
        self.upid.clone()
    }
}

/// A poisoned mutex still holds whole lines: every change is one push.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recording_task_keeps_order_and_counts_warnings() {
        let task = RecordingTask::with_upid("UPID:x");
        task.log("one");
        task.warn("two");
        task.progress(Progress::new("marking", 1, Some(2), "chunks").with_eta(Some(3)));
        assert_eq!(
            task.lines(),
            [TaskLine::Log("one".into()), TaskLine::Warning("two".into())]
        );
        assert_eq!(
            (task.warnings(), task.warning_texts()),
            (1, vec!["two".to_owned()])
        );
        assert!(task.contains("tw") && !task.contains("three"));
        assert_eq!(task.progress_reports()[0].eta_secs, Some(3));
        assert_eq!(task.upid().as_deref(), Some("UPID:x"));
    }

    #[test]
    fn check_abort_follows_the_token() {
        let task = SilentTask::new();
        assert_eq!(check_abort(&task), Ok(()));
        task.warn("x");
        assert_eq!(task.warnings(), 1);
        task.cancel().cancel();
        assert_eq!(check_abort(&task), Err(Aborted));
    }
}

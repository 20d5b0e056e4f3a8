//! The tasks of this process: it knows which of them run, and how they ended, whatever could be
//! written of that. On a full disk a task would else seem to run as long as the process does.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api_types::upid::Upid;

use super::end::TaskEnd;
use super::index::process_of;
use super::process::Process;

/// The tasks of this process.
#[derive(Clone, Debug)]
pub struct OwnTasks {
    process: Option<Process>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    running: BTreeSet<u64>,
    /// Those whose end is missing in log or index.
    unrecorded: Vec<(Upid, TaskEnd)>,
}

impl Default for OwnTasks {
    fn default() -> Self {
        Self::new()
    }
}

impl OwnTasks {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            process: Process::current().ok(),
            state: Arc::default(),
        }
    }

    /// A task begins.
    pub fn begin(&self, upid: &Upid) {
        self.state().running.insert(upid.task_id());
    }

    /// A task has ended.
    pub fn end(&self, upid: &Upid) {
        self.state().running.remove(&upid.task_id());
    }

    /// Whether the task may run: it does, or its process, if that is another one.
    #[must_use]
    pub fn may_run(&self, upid: &Upid) -> bool {
        let process = process_of(upid);
        if self.process == Some(process) {
            self.state().running.contains(&upid.task_id())
        } else {
            process.is_running()
        }
    }

    /// Remembers an end that could not be recorded.
    pub fn keep_end(&self, upid: &Upid, end: TaskEnd) {
        self.state().unrecorded.push((upid.clone(), end));
    }

    /// The end of a task, if it could not be recorded.
    #[must_use]
    pub fn kept_end(&self, upid: &Upid) -> Option<TaskEnd> {
        let state = self.state();
        let mut kept = state.unrecorded.iter();
        kept.find(|(other, _)| other == upid)
            .map(|(_, end)| end.clone())
    }

    /// The ends that are to be recorded.
    #[must_use]
    pub fn kept_ends(&self) -> Vec<(Upid, TaskEnd)> {
        self.state().unrecorded.clone()
    }

    /// Forgets an end that has been recorded.
    pub fn forget_end(&self, upid: &Upid) {
        self.state().unrecorded.retain(|(other, _)| other != upid);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

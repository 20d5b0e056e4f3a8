//! The end of a process at a chosen step.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datastore::disk::{Observer, Operation};
use futures_util::future::BoxFuture;
use s3_client::transport::{Attempt, Response, Transport, TransportError};
use tokio_util::sync::CancellationToken;

use super::disk::Disk;

/// A step of a process that others can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An operation on the disk, about to be done.
    Disk {
        /// What is done to what; without the numbers that temporary names end in.
        what: String,
        /// Whether it writes bytes, so that a part of them may arrive.
        writes: bool,
    },
    /// A request, about to arrive.
    Request(String),
    /// The answer to a request that has been carried out.
    Answer(String),
}

/// When the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullAt {
    /// Before this step; they count from 0.
    pub step: u64,
    /// If it is a write, half of it is done.
    pub torn: bool,
}

type OnStep = Box<dyn Fn(u64, &Step, u64) + Send + Sync>;

#[derive(Debug, Default)]
struct State {
    steps: u64,
    pull_at: Option<PullAt>,
    pulled_before: Option<Step>,
    changes_of_bucket: u64,
}

/// Counts the steps of a process, and ends it at one of them: what it does after that has no
/// effect, its requests are never answered.
///
/// It is the [`Observer`] of the process' disk and stands before the [`Transport`] of its
/// clients ([`Plug::transport`]). Whoever runs the process drops it when it is
/// [pulled](Self::pulled).
pub struct Plug {
    disk: Arc<Disk>,
    state: Mutex<State>,
    on_step: Option<OnStep>,
    pulled: CancellationToken,
}

impl fmt::Debug for Plug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plug")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Plug {
    /// A plug that ends the process at that step, or never.
    #[must_use]
    pub fn new(disk: Arc<Disk>, pull_at: Option<PullAt>) -> Arc<Self> {
        Self::build(disk, pull_at, None)
    }

    /// A plug that is never pulled and calls this before each step, with the number of
    /// [changes](Self::changes_of_bucket) of the bucket so far.
    #[must_use]
    pub fn counting(
        disk: Arc<Disk>,
        on_step: impl Fn(u64, &Step, u64) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::build(disk, None, Some(Box::new(on_step)))
    }

    fn build(disk: Arc<Disk>, pull_at: Option<PullAt>, on_step: Option<OnStep>) -> Arc<Self> {
        let state = State {
            pull_at,
            ..State::default()
        };
        Arc::new(Self {
            disk,
            state: Mutex::new(state),
            on_step,
            pulled: CancellationToken::new(),
        })
    }

    /// Waits until the process has ended.
    pub async fn pulled(&self) {
        self.pulled.cancelled().await;
    }

    /// Whether the process has ended.
    #[must_use]
    pub fn is_pulled(&self) -> bool {
        self.pulled.is_cancelled()
    }

    /// Ends the process now.
    pub fn pull(&self) {
        self.pulled.cancel();
    }

    /// The step that was not taken any more.
    #[must_use]
    pub fn pulled_before(&self) -> Option<Step> {
        self.state().pulled_before.clone()
    }

    /// Number of steps so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// Number of requests carried out that may have changed the bucket.
    #[must_use]
    pub fn changes_of_bucket(&self) -> u64 {
        self.state().changes_of_bucket
    }

    /// A transport whose process ends with the plug.
    #[must_use]
    pub fn transport(self: &Arc<Self>, inner: Arc<dyn Transport>) -> Arc<dyn Transport> {
        let plug = Arc::clone(self);
        Arc::new(Plugged { plug, inner })
    }

    /// Whether the process comes as far as taking this step; `Some(torn)` = it does not.
    fn step(&self, step: &Step) -> Option<bool> {
        if self.is_pulled() {
            return Some(false);
        }
        let (number, bucket) = {
            let mut state = self.state();
            let number = state.steps;
            state.steps += 1;
            if let Some(pull_at) = state.pull_at
                && pull_at.step == number
            {
                state.pulled_before = Some(step.clone());
                self.pulled.cancel();
                return Some(pull_at.torn);
            }
            (number, state.changes_of_bucket)
        };
        if let Some(on_step) = &self.on_step {
            on_step(number, step, bucket);
        }
        None
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Plug {
    fn before(&self, operation: &Operation<'_>) -> io::Result<()> {
        let step = Step::Disk {
            what: describe(operation, self.disk.root()),
            writes: matches!(operation, Operation::Write { .. }),
        };
        let Some(torn) = self.step(&step) else {
            return Ok(());
        };
        if torn
            && let Operation::Write {
                file,
                offset,
                bytes,
            } = operation
        {
            use std::os::unix::fs::FileExt;
            let half = &bytes[..bytes.len() / 2];
            match offset {
                Some(offset) => file.file.write_all_at(half, *offset)?,
                None => (&mut &*file.file).write_all(half)?,
            }
        }
        Err(io::Error::other("the power is cut"))
    }

    fn after(&self, operation: &Operation<'_>, result: Result<(), &io::Error>) {
        self.disk.after(operation, result);
    }
}

/// The operation with names made the same in every run.
fn describe(operation: &Operation<'_>, root: &Path) -> String {
    let root = format!("{}/", root.display());
    let text = operation.to_string().replace(&root, "");
    let words: Vec<String> = text.split(' ').map(without_random).collect();
    words.join(" ")
}

fn without_random(word: &str) -> String {
    if let Some((start, name)) = word.split_once("/.trash/") {
        let inside = name.split_once('/').map_or("", |(_, inside)| inside);
        return format!("{start}/.trash/*/{inside}");
    }
    match word.split_once(".tmp_") {
        // That of an index is always the same.
        Some((start, suffix)) if !suffix.ends_with("idx") => format!("{start}.tmp_*"),
        _ => word.to_owned(),
    }
}

struct Plugged {
    plug: Arc<Plug>,
    inner: Arc<dyn Transport>,
}

impl Plugged {
    async fn exchange(&self, attempt: Attempt) -> Result<Response, TransportError> {
        let request = &attempt.request;
        let what = format!("{} {}", request.method, request.target());
        let writes = !matches!(request.method.as_str(), "GET" | "HEAD");
        if self.plug.step(&Step::Request(what.clone())).is_some() {
            return std::future::pending().await;
        }
        let answer = self.inner.send(attempt).await;
        if self.plug.is_pulled() {
            return std::future::pending().await;
        }
        self.plug.state().changes_of_bucket += u64::from(writes);
        if self.plug.step(&Step::Answer(what)).is_some() {
            return std::future::pending().await;
        }
        answer
    }
}

impl Transport for Plugged {
    fn send(&self, attempt: Attempt) -> BoxFuture<'_, Result<Response, TransportError>> {
        Box::pin(self.exchange(attempt))
    }
}

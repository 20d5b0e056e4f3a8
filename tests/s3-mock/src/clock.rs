//! The server's clock: a wall clock that follows tokio's clock, so that paused time works.
#![allow(clippy::disallowed_methods)] // the mock's one clock module

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A settable wall clock.
#[derive(Debug)]
pub(crate) struct Clock {
    origin: Instant,
    start_millis: i64,
    offset_millis: AtomicI64,
}

impl Clock {
    /// Starts at `start` (seconds since the epoch), or at the machine's time.
    pub(crate) fn new(start: Option<i64>) -> Self {
        let start_millis = start.map_or_else(system_millis, |secs| secs.saturating_mul(1000));
        Self {
            origin: Instant::now(),
            start_millis,
            offset_millis: AtomicI64::new(0),
        }
    }

    /// Milliseconds since the epoch.
    pub(crate) fn millis(&self) -> i64 {
        let elapsed = Instant::now().saturating_duration_since(self.origin);
        let elapsed = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        self.start_millis
            .saturating_add(elapsed)
            .saturating_add(self.offset_millis.load(Ordering::SeqCst))
    }

    /// Sets the difference to undisturbed time.
    pub(crate) fn set_offset_millis(&self, millis: i64) {
        self.offset_millis.store(millis, Ordering::SeqCst);
    }

    /// Tokio's clock, for rate windows.
    pub(crate) fn monotonic(&self) -> Duration {
        Instant::now().saturating_duration_since(self.origin)
    }
}

/// Waits on tokio's clock.
pub(crate) async fn sleep(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}

fn system_millis() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

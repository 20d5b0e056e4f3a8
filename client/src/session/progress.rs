//! What a user sees while a session works.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use datastore::env::Env;

/// How often progress is reported.
const INTERVAL: Duration = Duration::from_secs(1);

/// Where lines and progress go.
pub trait Report: Send + Sync {
    /// What happens.
    fn info(&self, line: &str);
    /// What the user should look at.
    fn warn(&self, line: &str);
    /// How far an archive is: about once a second, and never after it is done.
    fn progress(&self, status: &Status);
    /// The archive of the last progress is done, or given up.
    fn finished(&self);
}

/// Counts what is done of an archive.
#[derive(Debug)]
pub struct Progress {
    archive: String,
    /// Bytes that there are, if that is known.
    total: AtomicU64,
    processed: AtomicU64,
    reused: AtomicU64,
    transferred: AtomicU64,
}

/// How far an archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its name.
    pub archive: String,
    /// Bytes of it that are done.
    pub processed: u64,
    /// Bytes of it, if that is known.
    pub total: Option<u64>,
    /// Bytes of the processed ones that need not be sent.
    pub reused: u64,
    /// Bytes that went over the network, compressed.
    pub transferred: u64,
    /// Since when.
    pub elapsed: Duration,
}

impl Status {
    /// Bytes processed in a second.
    #[must_use]
    pub fn rate(&self) -> u64 {
        per_second(self.processed, self.elapsed)
    }

    /// How long the rest will take, if it goes on like this.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let left = self.total?.saturating_sub(self.processed);
        (self.rate() > 0).then(|| Duration::from_secs(left.div_ceil(self.rate())))
    }
}

/// How much that is in a second.
#[must_use]
pub fn per_second(bytes: u64, time: Duration) -> u64 {
    let micros = time.as_micros().max(1);
    u64::try_from(u128::from(bytes) * 1_000_000 / micros).unwrap_or(u64::MAX)
}

impl Progress {
    /// Nothing yet.
    #[must_use]
    pub fn new(archive: impl Into<String>, total: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            archive: archive.into(),
            total: AtomicU64::new(total.unwrap_or(0)),
            processed: AtomicU64::new(0),
            reused: AtomicU64::new(0),
            transferred: AtomicU64::new(0),
        })
    }

    /// So much more is done.
    pub fn add(&self, processed: u64, reused: u64, transferred: u64) {
        self.processed.fetch_add(processed, Ordering::Relaxed);
        self.reused.fetch_add(reused, Ordering::Relaxed);
        self.transferred.fetch_add(transferred, Ordering::Relaxed);
    }

    /// Since the moment given.
    #[must_use]
    pub fn status(&self, elapsed: Duration) -> Status {
        let total = self.total.load(Ordering::Relaxed);
        Status {
            archive: self.archive.clone(),
            processed: self.processed.load(Ordering::Relaxed),
            total: (total > 0).then_some(total),
            reused: self.reused.load(Ordering::Relaxed),
            transferred: self.transferred.load(Ordering::Relaxed),
            elapsed,
        }
    }

    /// Reports while `work` goes on.
    pub async fn during<T>(
        &self,
        env: &Env,
        report: &dyn Report,
        work: impl Future<Output = T>,
    ) -> T {
        let done = tokio::select! {
            done = work => done,
            never = self.tick(env, report) => match never {},
        };
        report.finished();
        done
    }

    async fn tick(&self, env: &Env, report: &dyn Report) -> Infallible {
        let start = env.now();
        loop {
            env.sleep(INTERVAL).await;
            report.progress(&self.status(env.now() - start));
        }
    }
}

//! Time, randomness, sleeping and blocking work: the one place where they enter.
//!
//! Everything in the workspace that needs a clock, a random number, a pause or a thread for
//! blocking work asks an [`Env`]. In production that is the machine; in a simulation it is a
//! seed: the wall clock follows tokio's (paused) clock, random numbers come from the seed and
//! blocking work runs inline, so that two runs of one seed take the same steps.
#![allow(clippy::disallowed_methods)] // the one clock module

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Of threads for background work: with a core that is wanted by others too they get a few per cent
/// of it.
const BACKGROUND_NICENESS: i32 = 15;

/// Source of time, randomness, pauses and blocking threads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Env {
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    System,
    Seeded(Arc<Seeded>),
}

#[derive(Debug)]
struct Seeded {
    /// Wall clock in milliseconds at the moment `origin`.
    start_millis: i64,
    /// Set at the first look at the clock, since tokio's clock needs a runtime.
    origin: Mutex<Option<Instant>>,
    /// Added to the wall clock: simulated clock jumps.
    offset_millis: AtomicI64,
    random: AtomicU64,
}

impl Env {
    /// The machine's clock, the system's random numbers, real threads.
    #[must_use]
    pub fn system() -> Self {
        Self {
            source: Source::System,
        }
    }

    /// A reproducible environment: the wall clock starts at `start` (seconds since the epoch) and
    /// advances with tokio's clock, all randomness comes from `seed`.
    #[must_use]
    pub fn seeded(seed: u64, start: i64) -> Self {
        Self {
            source: Source::Seeded(Arc::new(Seeded {
                start_millis: start.saturating_mul(1000),
                origin: Mutex::new(None),
                offset_millis: AtomicI64::new(0),
                random: AtomicU64::new(seed),
            })),
        }
    }

    /// Whether this environment is reproducible ([`Env::seeded`]).
    #[must_use]
    pub fn is_seeded(&self) -> bool {
        matches!(self.source, Source::Seeded(_))
    }

    /// Lets the wall clock of a seeded environment jump by `millis`; no effect on the system clock.
    pub fn jump_wall_clock(&self, millis: i64) {
        if let Source::Seeded(seeded) = &self.source {
            seeded.offset_millis.fetch_add(millis, Ordering::SeqCst);
        }
    }

    /// Wall clock, milliseconds since the Unix epoch.
    #[must_use]
    pub fn unix_millis(&self) -> i64 {
        match &self.source {
            Source::System => {
                let since = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            }
            Source::Seeded(seeded) => {
                let now = Instant::now();
                let mut origin = seeded.origin.lock().unwrap_or_else(PoisonError::into_inner);
                let elapsed = now.saturating_duration_since(*origin.get_or_insert(now));
                let elapsed = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
                seeded.start_millis + elapsed + seeded.offset_millis.load(Ordering::SeqCst)
            }
        }
    }

    /// Wall clock, whole seconds since the Unix epoch.
    #[must_use]
    pub fn unix_secs(&self) -> i64 {
        self.unix_millis().div_euclid(1000)
    }

    /// Monotonic clock (tokio's, so that a paused runtime makes it virtual).
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Waits for `duration` on the monotonic clock.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// 64 random bits.
    #[must_use]
    pub fn random_u64(&self) -> u64 {
        match &self.source {
            Source::System => {
                let mut bytes = [0; 8];
                self.fill_random(&mut bytes);
                u64::from_le_bytes(bytes)
            }
            Source::Seeded(seeded) => {
                // SplitMix64: the counter is the whole state, so that clones share one sequence.
                let step = 0x9e37_79b9_7f4a_7c15_u64;
                let mut z = seeded
                    .random
                    .fetch_add(step, Ordering::SeqCst)
                    .wrapping_add(step);
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^ (z >> 31)
            }
        }
    }

    /// Fills `buffer` with random bytes; cryptographic quality unless seeded.
    pub fn fill_random(&self, buffer: &mut [u8]) {
        if !self.is_seeded() && openssl::rand::rand_bytes(buffer).is_ok() {
            return;
        }
        for piece in buffer.chunks_mut(8) {
            let bytes = self.fallback_random().to_le_bytes();
            piece.copy_from_slice(&bytes[..piece.len()]);
        }
    }

    fn fallback_random(&self) -> u64 {
        match &self.source {
            // openssl failing to give random bytes means a broken system; the hasher's keys come
            // from the kernel and keep identifiers unique even then.
            Source::System => {
                use std::hash::{BuildHasher, RandomState};
                RandomState::new().hash_one(self.unix_millis())
            }
            Source::Seeded(_) => self.random_u64(),
        }
    }

    /// A random duration in `0..=limit` ("full jitter").
    #[must_use]
    pub fn jitter(&self, limit: Duration) -> Duration {
        let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.random_u64() % nanos.saturating_add(1).max(1))
    }

    /// Runs blocking work: on tokio's blocking pool, or inline in a seeded environment.
    ///
    /// A panic of `work` is passed on to the caller.
    pub async fn blocking<T, F>(&self, work: F) -> T
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        if self.is_seeded() {
            return work();
        }
        joined(tokio::task::spawn_blocking(work)).await
    }

    /// As [`Env::blocking`], for long computations that must not slow down what somebody waits for:
    /// on threads that the scheduler prefers all others to, as it does those that `work` starts. Such
    /// work must not hold a lock that others need for more than a moment.
    pub async fn background<T, F>(&self, work: F) -> T
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        if self.is_seeded() {
            return work();
        }
        match background_threads() {
            Some(threads) => joined(threads.spawn_blocking(work)).await,
            None => self.blocking(work).await,
        }
    }
}

/// What `work` on a thread of a pool has come to.
async fn joined<T>(work: JoinHandle<T>) -> T {
    match work.await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down: this future will never be polled again.
            Err(_) => std::future::pending().await,
        },
    }
}

/// The pool of the threads for background work: those of a runtime that does nothing else. A thread
/// that has been nice once cannot become otherwise without privileges, so these are no others' too.
/// That they are kept also keeps the allocator from giving each piece of work memory of its own.
fn background_threads() -> Option<&'static Runtime> {
    static THREADS: OnceLock<Option<Runtime>> = OnceLock::new();
    THREADS
        .get_or_init(|| {
            // Where being nice is refused, the work is done all the same.
            let be_nice = || {
                let _ = rustix::process::setpriority_process(None, BACKGROUND_NICENESS);
            };
            let mut threads = tokio::runtime::Builder::new_current_thread();
            threads.thread_name("background").on_thread_start(be_nice);
            threads.build().ok()
        })
        .as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn niceness() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[tokio::test]
    async fn background_work_is_nice_and_its_neighbours_are_not() {
        let env = Env::system();
        let before = niceness();
        let (own, helper) = env
            .background(|| (niceness(), std::thread::scope(|s| s.spawn(niceness).join())))
            .await;
        assert_eq!(own, before.max(BACKGROUND_NICENESS));
        assert_eq!(helper.unwrap(), own, "inherited");
        assert_eq!(env.blocking(niceness).await, before);
        assert_eq!(niceness(), before);
    }

    #[tokio::test]
    async fn a_panic_of_background_work_arrives() {
        let work = async { Env::system().background(|| panic!("on purpose")).await };
        let error = tokio::spawn(work).await.unwrap_err();
        assert!(error.is_panic());
    }
}

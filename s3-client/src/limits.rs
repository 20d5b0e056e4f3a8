//! Token buckets: requests per second, bytes per second, and the retry budget.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::env::Env;

/// A token bucket that hands out debts: [`TokenBucket::take`] says how long to wait, so that
/// waiters are served in order and any amount can be taken.
#[derive(Debug)]
pub struct TokenBucket {
    env: Env,
    origin: OnceLock<Instant>,
    state: Mutex<BucketState>,
}

#[derive(Debug)]
struct BucketState {
    /// Tokens per second; 0 = unlimited.
    rate: u64,
    burst: u64,
    /// When the bucket will be full again, nanoseconds after `origin`.
    full_at: u128,
}

const NANOS: u128 = 1_000_000_000;

impl TokenBucket {
    /// A full bucket; rate 0 means unlimited.
    #[must_use]
    pub fn new(env: Env, rate: u64, burst: u64) -> Self {
        let state = BucketState {
            rate,
            burst,
            full_at: 0,
        };
        Self {
            env,
            origin: OnceLock::new(),
            state: Mutex::new(state),
        }
    }

    /// Changes rate and burst, for everyone who shares the bucket.
    pub fn set(&self, rate: u64, burst: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.rate = rate;
        state.burst = burst;
    }

    /// Whether it limits anything.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .rate
            > 0
    }

    /// Takes `count` tokens and says how long to wait until they are due.
    #[must_use]
    pub fn take(&self, count: u64) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.rate == 0 {
            return Duration::ZERO;
        }
        let now = self.env.now();
        let now = now
            .saturating_duration_since(*self.origin.get_or_init(|| now))
            .as_nanos();
        let rate = u128::from(state.rate);
        let full_at = state.full_at.max(now) + u128::from(count) * NANOS / rate;
        state.full_at = full_at;
        let credit = u128::from(state.burst) * NANOS / rate;
        let wait = full_at.saturating_sub(now).saturating_sub(credit);
        Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))
    }

    /// Takes `count` tokens and waits until they are due.
    pub async fn acquire(&self, count: u64) {
        let wait = self.take(count);
        if !wait.is_zero() {
            self.env.sleep(wait).await;
        }
    }
}

/// Limits shared by all clients of one endpoint.
#[derive(Debug)]
pub struct EndpointLimits {
    /// PUT requests per second, copies and retries included.
    pub puts: TokenBucket,
    /// Payload bytes received per second.
    pub bytes_in: TokenBucket,
    /// Payload bytes sent per second.
    pub bytes_out: TokenBucket,
}

/// Rates for [`EndpointLimits`]; 0 means unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// PUT requests per second.
    pub puts: u64,
    /// Bytes per second and burst, received.
    pub bytes_in: (u64, u64),
    /// Bytes per second and burst, sent.
    pub bytes_out: (u64, u64),
}

impl EndpointLimits {
    /// Limits with these rates.
    #[must_use]
    pub fn new(env: &Env, rates: Rates) -> Arc<Self> {
        let bucket = |(rate, burst)| TokenBucket::new(env.clone(), rate, burst);
        Arc::new(Self {
            puts: bucket((rates.puts, rates.puts)),
            bytes_in: bucket(rates.bytes_in),
            bytes_out: bucket(rates.bytes_out),
        })
    }

    /// Applies changed rates to everyone who shares the limits.
    pub fn set(&self, rates: Rates) {
        self.puts.set(rates.puts, rates.puts);
        self.bytes_in.set(rates.bytes_in.0, rates.bytes_in.1);
        self.bytes_out.set(rates.bytes_out.0, rates.bytes_out.1);
    }
}

/// Keeps retries a fraction of the requests, so that an outage does not multiply the load.
///
/// Each request earns a fifth of a retry, up to ten saved ones. With nothing saved, retries are
/// not refused but spaced one second apart over the whole client: a long outage then slows tasks
/// down instead of failing them.
#[derive(Debug)]
pub struct RetryBudget {
    env: Env,
    state: Mutex<BudgetState>,
}

#[derive(Debug)]
struct BudgetState {
    /// Thousandths of a retry; one more each millisecond while below zero.
    saved: i64,
    updated: Option<Instant>,
}

const ONE_RETRY: i64 = 1000;
const PER_REQUEST: i64 = 200;
const MAX_SAVED: i64 = 10_000;

impl RetryBudget {
    /// A full budget.
    #[must_use]
    pub fn new(env: Env) -> Self {
        Self {
            env,
            state: Mutex::new(BudgetState {
                saved: MAX_SAVED,
                updated: None,
            }),
        }
    }

    /// A request was made.
    pub fn earn(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.saved = (state.saved + PER_REQUEST).min(MAX_SAVED);
    }

    /// Takes a retry and says how long to wait for it.
    #[must_use]
    pub fn take(&self) -> Duration {
        let now = self.env.now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now
            .saturating_duration_since(*state.updated.get_or_insert(now))
            .as_millis();
        state.updated = Some(now);
        if state.saved < 0 {
            let passed = i64::try_from(passed).unwrap_or(i64::MAX);
            state.saved = state.saved.saturating_add(passed).min(0);
        }
        state.saved -= ONE_RETRY;
        Duration::from_millis(u64::try_from(-state.saved).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_lets_the_burst_through_and_then_the_rate() {
        let env = Env::seeded(1, 0);
        let bucket = TokenBucket::new(env.clone(), 10, 10);
        let waits: Vec<u128> = (0..13).map(|_| bucket.take(1).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100, 200, 300]);
        env.sleep(Duration::from_millis(1300)).await;
        assert_eq!(bucket.take(10).as_millis(), 0);
        assert_eq!(bucket.take(1).as_millis(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unlimited_bucket_never_waits_and_limits_can_change() {
        let env = Env::seeded(1, 0);
        let bucket = TokenBucket::new(env, 0, 0);
        assert!(!bucket.is_limited());
        assert_eq!(bucket.take(u64::MAX), Duration::ZERO);
        bucket.set(100, 0);
        assert!(bucket.is_limited());
        assert_eq!(bucket.take(50), Duration::from_millis(500));
    }

    #[tokio::test(start_paused = true)]
    async fn retries_are_a_fraction_of_requests_and_then_spaced() {
        let env = Env::seeded(1, 0);
        let budget = RetryBudget::new(env.clone());
        for _ in 0..10 {
            assert_eq!(budget.take(), Duration::ZERO);
        }
        assert_eq!(budget.take(), Duration::from_secs(1));
        assert_eq!(budget.take(), Duration::from_secs(2));
        for _ in 0..15 {
            budget.earn();
        }
        assert_eq!(budget.take(), Duration::ZERO);
        assert_eq!(budget.take(), Duration::from_secs(1));
        env.sleep(Duration::from_secs(60)).await;
        assert_eq!(budget.take(), Duration::from_secs(1));
    }
}

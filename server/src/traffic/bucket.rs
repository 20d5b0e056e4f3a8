//! A token bucket: so many bytes per second, and so many at once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use s3_client::env::Env;
use tokio::time::Instant;

const PIECES_PER_SECOND: f64 = 10.0;
/// With less, a slow connection would be looked at more often than it is worth.
const SMALLEST_PIECE: f64 = 1024.0;

/// What may be transferred. More than there is can be taken: it is owed, and waited for before the
/// next time.
#[derive(Debug)]
pub struct Bucket {
    rate: f64,
    burst: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// A full one, of bytes.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn new(env: &Env, rate: u64, burst: u64) -> Self {
        let (rate, burst) = (rate.max(1) as f64, burst.max(1) as f64);
        Self {
            rate,
            burst,
            state: Mutex::new(State {
                tokens: burst,
                at: env.now(),
            }),
        }
    }

    /// How long it takes until nothing is owed any more; nothing if that is so.
    #[must_use]
    pub fn wait(&self, env: &Env) -> Option<Duration> {
        let tokens = self.with(env, |state| state.tokens);
        (tokens < 0.0).then(|| Duration::from_secs_f64((-tokens / self.rate).min(3600.0)))
    }

    /// Most bytes to transfer between two looks: no more than the burst, and no more than a tenth of
    /// a second's worth, so that what is owed is soon paid and others of the same rule have their turn.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn piece(&self) -> usize {
        // Both are positive, and what is too large for the type becomes its largest.
        (self.rate / PIECES_PER_SECOND)
            .max(SMALLEST_PIECE)
            .min(self.burst) as usize
    }

    /// Takes what was transferred.
    #[allow(clippy::cast_precision_loss)]
    pub fn take(&self, env: &Env, bytes: u64) {
        self.with(env, |state| state.tokens -= bytes as f64);
    }

    fn with<T>(&self, env: &Env, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = env.now();
        let passed = now.saturating_duration_since(state.at).as_secs_f64();
        state.tokens = (state.tokens + passed * self.rate).min(self.burst);
        state.at = now;
        work(&mut state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_piece_is_a_tenth_of_a_second_but_no_more_than_the_burst() {
        let env = Env::seeded(1, 1000);
        let piece = |rate, burst| Bucket::new(&env, rate, burst).piece();
        assert_eq!(piece(1 << 20, 1 << 20), (1 << 20) / 10);
        assert_eq!(piece(1 << 20, 1 << 12), 1 << 12);
        assert_eq!(piece(2000, 2000), 1024);
        assert_eq!(piece(0, 0), 1);
        assert!(piece(u64::MAX, u64::MAX) > 1 << 40);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_owed_is_waited_for() {
        let env = Env::seeded(1, 1000);
        let bucket = Bucket::new(&env, 100, 200);
        bucket.take(&env, 200);
        assert_eq!(bucket.wait(&env), None, "at once");
        bucket.take(&env, 50);
        assert_eq!(bucket.wait(&env), Some(Duration::from_millis(500)));
        env.sleep(Duration::from_millis(500)).await;
        assert_eq!(bucket.wait(&env), None);
        env.sleep(Duration::from_secs(100)).await;
        bucket.take(&env, 300);
        assert_eq!(
            bucket.wait(&env),
            Some(Duration::from_secs(1)),
            "no more than the burst"
        );
    }
}

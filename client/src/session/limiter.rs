//! A limit to what is transferred in a second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use datastore::env::Env;
use tokio::time::Instant;

/// Lets `rate` bytes a second pass, and `burst` bytes at once after a pause.
#[derive(Debug)]
pub struct Limiter {
    env: Env,
    rate: u64,
    burst: u64,
    /// Who may begin a transfer whose length is not known before it ends.
    turn: tokio::sync::Mutex<()>,
    /// When all that was let through would have passed at the given rate.
    even: Mutex<Instant>,
}

impl Limiter {
    /// A limit; without a burst, what passes in a second may pass at once.
    #[must_use]
    pub fn new(env: &Env, rate: u64, burst: Option<u64>) -> Self {
        let rate = rate.max(1);
        Self {
            turn: tokio::sync::Mutex::default(),
            even: Mutex::new(env.now()),
            env: env.clone(),
            rate,
            burst: burst.unwrap_or(rate),
        }
    }

    /// Waits until these bytes may pass.
    pub async fn pass(&self, bytes: u64) {
        let wait = self.take(bytes);
        if !wait.is_zero() {
            self.env.sleep(wait).await;
        }
    }

    /// Makes a transfer, one at a time, and waits as long as it should have taken.
    pub async fn during<T, E>(
        &self,
        transfer: impl Future<Output = Result<T, E>>,
        bytes: impl FnOnce(&T) -> u64,
    ) -> Result<T, E> {
        let _turn = self.turn.lock().await;
        let transferred = transfer.await?;
        self.pass(bytes(&transferred)).await;
        Ok(transferred)
    }

    fn take(&self, bytes: u64) -> Duration {
        let now = self.env.now();
        let mut even = self.even.lock().unwrap_or_else(PoisonError::into_inner);
        let before = (*even).max(now);
        *even = before + self.time(bytes);
        // What comes beyond the burst waits for it; the bytes themselves may be more than a burst.
        (before - now).saturating_sub(self.time(self.burst))
    }

    fn time(&self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_kept_after_the_burst() {
        let env = Env::seeded(1, 0);
        let limiter = Limiter::new(&env, 1000, Some(500));
        let start = env.now();
        for _ in 0..20 {
            limiter.pass(250).await;
        }
        let taken = start.elapsed();
        // 5000 bytes, of which the burst and the last piece come free.
        assert_eq!(taken, Duration::from_millis(4250), "{taken:?}");
    }
}

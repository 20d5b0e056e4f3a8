//! The server's clock as seen from here.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::env::Env;

const UNKNOWN: i64 = i64::MIN;
/// The least tolerance of servers for the time of a request.
const FAR_OFF_MILLIS: i64 = 5 * 60 * 1000;

/// Estimates the offset between the server's clock and ours.
#[derive(Debug)]
pub(crate) struct Clock {
    env: Env,
    offset_millis: AtomicI64,
    /// The server refused our time: sign with its own from now on.
    skewed: AtomicBool,
}

impl Clock {
    pub(crate) fn new(env: Env) -> Self {
        Self {
            env,
            offset_millis: AtomicI64::new(UNKNOWN),
            skewed: AtomicBool::new(false),
        }
    }

    /// A response carried this date (seconds since the epoch) when our clock was at `local_millis`.
    pub(crate) fn observe(&self, server_secs: i64, local_millis: Option<i64>) {
        // The header has whole seconds: on average half of one has passed.
        let server = server_secs.saturating_mul(1000).saturating_add(500);
        let offset = server.saturating_sub(local_millis.unwrap_or_else(|| self.env.unix_millis()));
        self.offset_millis
            .store(offset.max(UNKNOWN + 1), Ordering::Relaxed);
    }

    /// The server refused a request for its time.
    pub(crate) fn refused(&self) {
        if !self.skewed.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                offset_millis = self.offset(),
                "the s3 server refuses our time; requests are signed with its time until the \
                 clock of this machine is set"
            );
        }
    }

    /// Whether a request signed just now with `signed` (seconds since the epoch) was so far from
    /// the server's clock that it may have been refused for it.
    pub(crate) fn was_far_off(&self, signed: i64) -> bool {
        let Some(offset) = self.offset() else {
            return false;
        };
        let server = self.env.unix_millis().saturating_add(offset);
        let off = server.saturating_sub(signed.saturating_mul(1000));
        off.saturating_abs() > FAR_OFF_MILLIS
    }

    /// Server time minus our time, milliseconds.
    pub(crate) fn offset(&self) -> Option<i64> {
        Some(self.offset_millis.load(Ordering::Relaxed)).filter(|&offset| offset != UNKNOWN)
    }

    pub(crate) fn is_skewed(&self) -> bool {
        self.skewed.load(Ordering::Relaxed)
    }

    /// The time to sign with, seconds since the epoch.
    pub(crate) fn signing_time(&self) -> i64 {
        let correction = if self.is_skewed() {
            self.offset().unwrap_or(0)
        } else {
            0
        };
        self.env
            .unix_millis()
            .saturating_add(correction)
            .div_euclid(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn far_off_is_told_by_the_servers_clock() {
        let clock = Clock::new(Env::seeded(1, 1_000_000));
        assert!(!clock.was_far_off(0), "nothing is known");
        clock.observe(1_000_299, None);
        assert!(!clock.was_far_off(1_000_000));
        clock.observe(1_000_302, None);
        assert!(clock.was_far_off(1_000_000));
        assert!(!clock.was_far_off(1_000_302));
    }

    #[tokio::test(start_paused = true)]
    async fn the_correction_is_applied_only_after_a_refusal() {
        let clock = Clock::new(Env::seeded(1, 1_000_000));
        assert_eq!((clock.offset(), clock.signing_time()), (None, 1_000_000));
        clock.observe(1_003_600, None);
        assert_eq!(clock.offset(), Some(3_600_500));
        assert_eq!(clock.signing_time(), 1_000_000);
        clock.refused();
        assert_eq!(clock.signing_time(), 1_003_600);
        // Once our clock is right again, the correction vanishes by itself.
        clock.observe(1_000_000, Some(1_000_000_000));
        assert_eq!(clock.signing_time(), 1_000_000);
    }
}

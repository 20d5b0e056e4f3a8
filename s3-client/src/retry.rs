//! When to try again: the policy and the pure decision.

use std::time::Duration;

use crate::classify::{Failure, RetryClass};

/// How often and how long to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all.
    pub max_attempts: u32,
    /// The first pause is random up to this, each further one up to twice the one before.
    pub base: Duration,
    /// The longest pause of our own choosing.
    pub cap: Duration,
    /// Over all attempts; uploads get more by their size.
    pub deadline: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 6,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(30),
            deadline: Duration::from_secs(30 * 60),
        }
    }
}

impl RetryPolicy {
    /// One attempt, whatever happens.
    #[must_use]
    pub fn single_attempt() -> Self {
        Self {
            max_attempts: 1,
            ..Self::default()
        }
    }

    /// The deadline of a request that sends, or an answer that announces, a body of this size.
    #[must_use]
    pub fn deadline_for(&self, body: usize) -> Duration {
        let seconds = u64::try_from(body / 1024).unwrap_or(u64::MAX);
        self.deadline.max(Duration::from_secs(seconds))
    }

    fn limit_of_pause(&self, retries: u32) -> Duration {
        self.base
            .saturating_mul(1_u32.checked_shl(retries).unwrap_or(u32::MAX))
            .min(self.cap)
    }
}

/// What has happened to a request so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct RetryState {
    /// Attempts made.
    pub attempts: u32,
    /// A retry for a stale connection was made.
    pub stale_used: bool,
    /// A retry with the server's time was made.
    pub skew_used: bool,
    /// The signing time is fixed, so that another clock would not help.
    pub pinned_time: bool,
}

/// The way on after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Return the error.
    GiveUp,
    /// Try again at once: the connection was stale.
    RetryStale,
    /// Try again at once with the server's time.
    RetrySkewed,
    /// Try again after exactly this (the server said so).
    RetryAfter(Duration),
    /// Try again after a random pause up to this.
    RetryWithin(Duration),
}

/// Decides what follows a failed attempt.
#[must_use]
pub fn decide(policy: &RetryPolicy, state: &RetryState, failure: &Failure) -> Decision {
    if state.attempts >= policy.max_attempts {
        return Decision::GiveUp;
    }
    match failure.retry {
        RetryClass::Never => Decision::GiveUp,
        RetryClass::ClockSkew if state.skew_used || state.pinned_time => Decision::GiveUp,
        RetryClass::ClockSkew => Decision::RetrySkewed,
        RetryClass::Transient if failure.stale_connection && !state.stale_used => {
            Decision::RetryStale
        }
        RetryClass::Transient | RetryClass::Throttle => match failure.retry_after {
            Some(wait) => Decision::RetryAfter(wait),
            None => Decision::RetryWithin(policy.limit_of_pause(state.attempts.saturating_sub(1))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::TransportError;

    fn failure(retry: RetryClass) -> Failure {
        Failure {
            retry,
            ..Failure::from(TransportError::broken("x"))
        }
    }

    fn after(attempts: u32) -> RetryState {
        RetryState {
            attempts,
            ..RetryState::default()
        }
    }

    #[test]
    fn pauses_double_up_to_the_cap() {
        let policy = RetryPolicy {
            max_attempts: 100,
            ..RetryPolicy::default()
        };
        let pauses: Vec<_> = (1..10)
            .map(
                |n| match decide(&policy, &after(n), &failure(RetryClass::Transient)) {
                    Decision::RetryWithin(limit) => limit.as_millis(),
                    other => panic!("{other:?}"),
                },
            )
            .collect();
        assert_eq!(
            pauses,
            [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]
        );
        let late = decide(&policy, &after(99), &failure(RetryClass::Transient));
        assert_eq!(late, Decision::RetryWithin(policy.cap));
    }

    #[test]
    fn attempts_are_limited_and_never_means_never() {
        let policy = RetryPolicy::default();
        let transient = failure(RetryClass::Transient);
        assert_ne!(decide(&policy, &after(5), &transient), Decision::GiveUp);
        assert_eq!(decide(&policy, &after(6), &transient), Decision::GiveUp);
        assert_eq!(
            decide(&policy, &after(1), &failure(RetryClass::Never)),
            Decision::GiveUp
        );
        let single = RetryPolicy::single_attempt();
        let stale = Failure {
            stale_connection: true,
            ..transient
        };
        assert_eq!(decide(&single, &after(1), &stale), Decision::GiveUp);
    }

    #[test]
    fn a_stale_connection_and_a_wrong_clock_are_excused_once() {
        let policy = RetryPolicy::default();
        let stale = Failure {
            stale_connection: true,
            ..failure(RetryClass::Transient)
        };
        assert_eq!(decide(&policy, &after(1), &stale), Decision::RetryStale);
        let used = RetryState {
            stale_used: true,
            ..after(2)
        };
        assert!(matches!(
            decide(&policy, &used, &stale),
            Decision::RetryWithin(_)
        ));

        let skew = failure(RetryClass::ClockSkew);
        assert_eq!(decide(&policy, &after(1), &skew), Decision::RetrySkewed);
        let used = RetryState {
            skew_used: true,
            ..after(2)
        };
        assert_eq!(decide(&policy, &used, &skew), Decision::GiveUp);
        let pinned = RetryState {
            pinned_time: true,
            ..after(1)
        };
        assert_eq!(decide(&policy, &pinned, &skew), Decision::GiveUp);
    }

    #[test]
    fn the_servers_pause_wins() {
        let wait = Duration::from_secs(77);
        let asked = Failure {
            retry_after: Some(wait),
            ..failure(RetryClass::Throttle)
        };
        assert_eq!(
            decide(&RetryPolicy::default(), &after(1), &asked),
            Decision::RetryAfter(wait)
        );
    }

    #[test]
    fn big_uploads_have_a_later_deadline() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.deadline_for(1), Duration::from_secs(1800));
        assert_eq!(policy.deadline_for(8 << 20), Duration::from_secs(8192));
    }
}

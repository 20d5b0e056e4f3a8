//! Repeats attempts until one succeeds or no further one makes sense.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::classify::{Failure, RetryClass};
use crate::clock::Clock;
use crate::counters::Counters;
use crate::env::Env;
use crate::error::{Phase, S3ErrorKind};
use crate::limits::RetryBudget;
use crate::operation::{Operation, TaskKind};
use crate::ops::Answered;
use crate::retry::{Decision, RetryPolicy, RetryState, decide};
use crate::transport::{Attempt, CallContext, Request, Response, Transport};

/// The retry layer, over the layers of one attempt.
pub(crate) struct Retrying {
    pub(crate) inner: Arc<dyn Transport>,
    pub(crate) env: Env,
    pub(crate) budget: RetryBudget,
    pub(crate) clock: Arc<Clock>,
    pub(crate) counters: Arc<Counters>,
}

/// One request to carry out.
pub(crate) struct Call {
    pub(crate) request: Arc<Request>,
    pub(crate) context: Arc<CallContext>,
    pub(crate) policy: RetryPolicy,
}

/// A request that did not succeed.
#[derive(Debug)]
pub(crate) struct Unsuccessful {
    pub(crate) failure: Failure,
    pub(crate) attempts: u32,
    /// Attempts of a changing request whose effect is unknown.
    pub(crate) unresolved: u32,
}

/// A denial without a word, as HEAD gets it: the reason may be our clock.
fn is_silent_denial(failure: &Failure) -> bool {
    matches!(&failure.kind, S3ErrorKind::Denied { code, .. } if code.is_empty())
}

impl Retrying {
    /// Carries the call out. `interpret` is the pure reading of an answer; its failures are
    /// retried like those of the transport.
    pub(crate) async fn run<T>(
        &self,
        call: &Call,
        interpret: impl Fn(&Response) -> Result<T, Failure>,
    ) -> Result<Answered<T>, Unsuccessful> {
        let started = self.env.now();
        let mut deadline = started + call.policy.deadline_for(call.request.body.len());
        let pinned_time = call.context.signed_at.is_some();
        let mut state = RetryState {
            pinned_time,
            ..RetryState::default()
        };
        let mut unresolved = 0;
        self.budget.earn();
        loop {
            state.attempts += 1;
            let signed = self.clock.signing_time();
            let attempt = self.attempt(call, state.attempts, started, &mut deadline);
            let (result, answered) = match attempt.await {
                Ok(response) => (interpret(&response), true),
                Err(failure) => (Err(failure), false),
            };
            let mut failure = match result {
                Ok(outcome) => {
                    self.count(call, Counters::completed);
                    return Ok(Answered {
                        outcome,
                        unresolved,
                    });
                }
                Err(failure) => failure,
            };
            if is_silent_denial(&failure) && self.clock.was_far_off(signed) {
                failure.retry = RetryClass::ClockSkew;
            }
            if failure.unresolved && call.request.operation.is_mutating() {
                unresolved += 1;
            }
            if failure.retry == RetryClass::ClockSkew && !pinned_time {
                self.clock.refused();
            }
            let attempts = state.attempts;
            let give_up = |failure| {
                if answered {
                    self.count(call, Counters::completed);
                }
                Unsuccessful {
                    failure,
                    attempts,
                    unresolved,
                }
            };
            let pause = match decide(&call.policy, &state, &failure) {
                Decision::GiveUp => return Err(give_up(failure)),
                Decision::RetryStale => {
                    state.stale_used = true;
                    Duration::ZERO
                }
                Decision::RetrySkewed => {
                    state.skew_used = true;
                    Duration::ZERO
                }
                Decision::RetryAfter(pause) => pause.max(self.budget.take()),
                Decision::RetryWithin(limit) => self.env.jitter(limit).max(self.budget.take()),
            };
            // By subtraction: the pause may be one that the server made up, of any length.
            if pause >= deadline.saturating_duration_since(self.env.now()) {
                return Err(give_up(failure));
            }
            tracing::debug!(
                operation = %call.request.operation,
                attempt = state.attempts,
                error = %failure.kind,
                pause_millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                "s3 request failed, trying again"
            );
            let cancelled = tokio::select! {
                biased;
                () = call.context.cancel.cancelled() => true,
                () = self.env.sleep(pause) => false,
            };
            if cancelled {
                let failure = abandoned(S3ErrorKind::Aborted, false);
                return Err(Unsuccessful {
                    failure,
                    attempts,
                    unresolved,
                });
            }
            self.count(call, Counters::retry);
        }
    }

    fn count(&self, call: &Call, what: fn(&Counters, TaskKind, Operation)) {
        let (task, operation) = (call.context.task, call.request.operation);
        what(&self.counters, task, operation);
        if let Some(counters) = &call.context.counters {
            what(counters, task, operation);
        }
    }

    /// One attempt, until the deadline, which moves when a large answer is announced.
    async fn attempt(
        &self,
        call: &Call,
        number: u32,
        started: Instant,
        deadline: &mut Instant,
    ) -> Result<Response, Failure> {
        let attempt = Attempt {
            request: call.request.clone(),
            context: call.context.clone(),
            number,
            signature: Vec::new(),
            announced: Arc::default(),
            sent: Arc::default(),
        };
        let (sent, announced) = (attempt.sent.clone(), attempt.announced.clone());
        let abandoned = |kind| Err(abandoned(kind, sent.load(Ordering::Relaxed)));
        let mut answer = self.inner.send(attempt);
        loop {
            let left = deadline.saturating_duration_since(self.env.now());
            tokio::select! {
                biased;
                () = call.context.cancel.cancelled() => return abandoned(S3ErrorKind::Aborted),
                result = &mut answer => return result.map_err(Failure::from),
                () = self.env.sleep(left) => {
                    let size = usize::try_from(announced.load(Ordering::Relaxed));
                    let later = started + call.policy.deadline_for(size.unwrap_or(usize::MAX));
                    if later <= *deadline {
                        let phase = Phase::Deadline;
                        return abandoned(S3ErrorKind::Timeout { phase });
                    }
                    *deadline = later;
                }
            }
        }
    }
}

/// The failure of an attempt that we gave up ourselves.
fn abandoned(kind: S3ErrorKind, sent: bool) -> Failure {
    Failure {
        kind,
        retry: RetryClass::Never,
        unresolved: sent,
        retry_after: None,
        request_id: None,
        body_excerpt: None,
        stale_connection: false,
    }
}

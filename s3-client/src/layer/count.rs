//! Counts what reached the server, also when the answer never came or nobody waited for it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::classify::asks_to_slow_down;
use crate::counters::{AttemptRecord, Counters};
use crate::env::Env;
use crate::transport::{Attempt, Response, Transport, TransportError};

pub(crate) struct Counting<T> {
    inner: T,
    counters: Arc<Counters>,
    env: Env,
}

impl<T> Counting<T> {
    pub(crate) fn new(inner: T, counters: Arc<Counters>, env: Env) -> Self {
        Self {
            inner,
            counters,
            env,
        }
    }
}

/// Counts the attempt when dropped: an aborted one may have reached the server too.
struct Tally<'a> {
    counters: &'a Counters,
    env: &'a Env,
    attempt: Attempt,
    started: Instant,
    reached: bool,
    answer: Option<(u16, bool, usize)>,
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        if !self.reached {
            return;
        }
        let bytes = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        let record = AttemptRecord {
            status: self.answer.map(|(status, ..)| status),
            throttled: self.answer.is_some_and(|(_, throttled, _)| throttled),
            bytes_out: bytes(self.attempt.request.body.len()),
            bytes_in: bytes(self.answer.map_or(0, |(.., length)| length)),
            latency: self.env.now().saturating_duration_since(self.started),
        };
        let (context, operation) = (&self.attempt.context, self.attempt.request.operation);
        self.counters.attempt(context.task, operation, &record);
        if let Some(counters) = &context.counters {
            counters.attempt(context.task, operation, &record);
        }
    }
}

impl<T: Transport> Transport for Counting<T> {
    fn send(&self, attempt: Attempt) -> BoxFuture<'_, Result<Response, TransportError>> {
        Box::pin(async move {
            let mut tally = Tally {
                counters: &self.counters,
                env: &self.env,
                attempt: attempt.clone(),
                started: self.env.now(),
                reached: true,
                answer: None,
            };
            let result = self.inner.send(attempt).await;
            match &result {
                Ok(response) => {
                    let throttled = asks_to_slow_down(response);
                    tally.answer = Some((response.status, throttled, response.body.len()));
                }
                Err(error) => tally.reached = error.may_have_arrived,
            }
            result
        })
    }
}

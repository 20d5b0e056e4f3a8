//! Adaptive concurrency with priorities: how many requests of a class may run at once.
//!
//! Throttling halves the limit, success raises it by one per limit's worth of requests (AIMD).
//! Waiters are served by priority; every eighth grant goes to the lowest, so that nothing starves.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::operation::Priority;

/// Thousandths, so that the limit can grow by fractions.
const UNIT: u64 = 1000;
const FAIRNESS: u64 = 8;

/// A limit on concurrent requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gate {
    shared: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    max: u64,
    limit: u64,
    running: u64,
    waiting: [VecDeque<oneshot::Sender<Permit>>; Priority::COUNT],
    grants: u64,
    /// Counts the halvings; a permit from before one does not halve again.
    halvings: u64,
}

/// A slot; dropping it frees the slot.
#[derive(Debug)]
pub struct Permit {
    shared: Option<Arc<Mutex<State>>>,
    halvings: u64,
}

impl Gate {
    /// A gate for at most `max` requests at once (at least one).
    #[must_use]
    pub fn new(max: usize) -> Self {
        let max = u64::try_from(max)
            .unwrap_or(u64::MAX / UNIT)
            .clamp(1, u64::MAX / UNIT)
            * UNIT;
        Self {
            shared: Arc::new(Mutex::new(State {
                max,
                limit: max,
                running: 0,
                waiting: Default::default(),
                grants: 0,
                halvings: 0,
            })),
        }
    }

    /// Waits for a slot. Dropping the future gives up the place in the queue.
    pub async fn acquire(&self, priority: Priority) -> Permit {
        let waiter = {
            let mut state = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            let queued = state.waiting.iter().any(|queue| !queue.is_empty());
            if state.has_room() && !queued {
                state.running += 1;
                return Permit {
                    shared: Some(self.shared.clone()),
                    halvings: state.halvings,
                };
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting[priority.index()].push_back(sender);
            receiver
        };
        // A waiter that left the queue without a grant would be a dropped gate; the future holds it.
        match waiter.await {
            Ok(permit) => permit,
            Err(_) => std::future::pending().await,
        }
    }

    #[cfg(test)]
    fn limit(&self) -> u64 {
        self.shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .limit
            / UNIT
    }

    #[cfg(test)]
    fn running(&self) -> u64 {
        self.shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .running
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.running < (self.limit / UNIT).max(1)
    }

    fn next_waiter(&mut self) -> Option<oneshot::Sender<Permit>> {
        self.grants += 1;
        if self.grants.is_multiple_of(FAIRNESS) {
            self.waiting.iter_mut().rev().find_map(VecDeque::pop_front)
        } else {
            self.waiting.iter_mut().find_map(VecDeque::pop_front)
        }
    }
}

/// Hands free slots to waiters. The lock is not held while sending: a permit that cannot be
/// delivered is dropped, which takes the lock.
fn dispatch(shared: &Arc<Mutex<State>>) {
    loop {
        let (sender, permit) = {
            let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
            if !state.has_room() {
                return;
            }
            let Some(sender) = state.next_waiter() else {
                return;
            };
            state.running += 1;
            (
                sender,
                Permit {
                    shared: Some(shared.clone()),
                    halvings: state.halvings,
                },
            )
        };
        if let Err(mut undelivered) = sender.send(permit) {
            undelivered.shared = None;
            shared
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .running -= 1;
        }
    }
}

impl Permit {
    /// The server asked to slow down: halve the limit, once for all requests under way.
    pub fn throttled(&self) {
        if let Some(shared) = &self.shared {
            let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
            if state.halvings == self.halvings {
                state.halvings += 1;
                state.limit = (state.limit / 2).max(UNIT);
            }
        }
    }

    /// The request went through: recover a little.
    pub fn succeeded(&self) {
        if let Some(shared) = &self.shared {
            let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let step = UNIT * UNIT / state.limit.max(1);
            state.limit = (state.limit + step).min(state.max);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            {
                let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                state.running = state.running.saturating_sub(1);
            }
            dispatch(&shared);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn no_more_than_the_limit_and_the_slot_returns() {
        let gate = Gate::new(2);
        let first = gate.acquire(Priority::Backup).await;
        let _second = gate.acquire(Priority::Backup).await;
        let mut third = Box::pin(gate.acquire(Priority::Backup));
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        assert!(third.now_or_never().is_some());
    }

    #[tokio::test]
    async fn restore_overtakes_background_but_does_not_starve_it() {
        let gate = Gate::new(1);
        let mut held = gate.acquire(Priority::Backup).await;
        let mut background = Box::pin(gate.acquire(Priority::Background));
        assert!(background.as_mut().now_or_never().is_none());
        let mut overtaken = 0;
        loop {
            let mut restore = Box::pin(gate.acquire(Priority::Restore));
            assert!(restore.as_mut().now_or_never().is_none());
            drop(held);
            match restore.as_mut().now_or_never() {
                Some(permit) => held = permit,
                None => break,
            }
            overtaken += 1;
        }
        assert!(background.now_or_never().is_some());
        assert!((1..8).contains(&overtaken), "{overtaken}");
    }

    #[tokio::test]
    async fn a_waiter_that_gives_up_loses_no_slot() {
        let gate = Gate::new(1);
        let held = gate.acquire(Priority::Backup).await;
        for _ in 0..1000 {
            let mut waiter = Box::pin(gate.acquire(Priority::Backup));
            assert!(waiter.as_mut().now_or_never().is_none());
        }
        let mut granted = Box::pin(gate.acquire(Priority::Backup));
        assert!(granted.as_mut().now_or_never().is_none());
        drop(held);
        // Granted but never looked at.
        drop(granted);
        assert_eq!(gate.running(), 0);
        assert!(gate.acquire(Priority::Background).now_or_never().is_some());
    }

    #[tokio::test]
    async fn throttling_halves_once_per_round_and_success_recovers() {
        let gate = Gate::new(16);
        let permits: Vec<Permit> = {
            let mut permits = Vec::new();
            for _ in 0..16 {
                permits.push(gate.acquire(Priority::Backup).await);
            }
            permits
        };
        permits.iter().for_each(Permit::throttled);
        assert_eq!(gate.limit(), 8);
        drop(permits);
        for _ in 0..10 {
            let permit = gate.acquire(Priority::Backup).await;
            permit.throttled();
        }
        assert_eq!(gate.limit(), 1);
        for _ in 0..1000 {
            gate.acquire(Priority::Backup).await.succeeded();
        }
        assert_eq!(gate.limit(), 16);
    }
}

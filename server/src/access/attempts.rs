//! How many requests of one address may be unproven at a time.
//!
//! A request is unproven while a password or secret is hashed for it, and while the answer to bad
//! credentials is held back. Each failure is answered after seconds, but without a limit a guesser
//! would simply ask on a thousand connections at once, and keep the processors busy with hashing.
//! Beyond the limit requests wait for their turn, and beyond a number of those they are refused.
//! What is known without a hash (tickets, secrets that were verified before) needs no turn, so that
//! a guesser does not lock out whoever shares the address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use s3_client::env::Env;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::quota::source;

/// Unproven requests of an address.
const LIMIT: usize = 16;
/// Those that wait for their turn.
const MAX_WAITING: usize = 128;

/// Turns by address; there are no more addresses than requests.
type Places = HashMap<IpAddr, Place>;

#[derive(Debug)]
struct Place {
    turns: Arc<Semaphore>,
    requests: usize,
}

/// The unproven requests.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    places: Arc<Mutex<Places>>,
}

/// Too many wait already.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("too many requests of this address wait to be authenticated; try again later")]
pub struct Busy;

/// An unproven request; over when dropped.
#[derive(Debug)]
pub struct Attempt {
    // Dropped in this order.
    _turn: Option<OwnedSemaphorePermit>,
    _request: Request,
}

/// A request that has a turn or waits for one.
#[derive(Debug)]
struct Request {
    attempts: Attempts,
    address: IpAddr,
}

impl Attempts {
    /// Waits until a request from there may be looked at, unless too many do already.
    pub async fn begin(&self, address: IpAddr) -> Result<Attempt, Busy> {
        let address = source(address);
        let turns = {
            let mut places = self.places();
            let place = places.entry(address).or_insert_with(|| Place {
                turns: Arc::new(Semaphore::new(LIMIT)),
                requests: 0,
            });
            if place.requests == LIMIT + MAX_WAITING {
                return Err(Busy);
            }
            place.requests += 1;
            Arc::clone(&place.turns)
        };
        let request = Request {
            attempts: self.clone(),
            address,
        };
        Ok(Attempt {
            // Nobody closes it.
            _turn: turns.acquire_owned().await.ok(),
            _request: request,
        })
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        // Each change is complete before anything can panic.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut places = self.attempts.places();
        if let Some(place) = places.get_mut(&self.address) {
            place.requests -= 1;
            if place.requests == 0 {
                places.remove(&self.address);
            }
        }
    }
}

/// The turn of one request: taken before something is hashed for it, kept until it is answered.
#[derive(Debug)]
pub struct Turn {
    attempts: Attempts,
    /// None for requests from nowhere, which need no turn.
    address: Option<IpAddr>,
    env: Env,
    taken: tokio::sync::Mutex<Option<(Instant, Attempt)>>,
}

impl Turn {
    /// Of a request from there; not taken yet.
    #[must_use]
    pub fn new(attempts: &Attempts, address: Option<IpAddr>, env: Env) -> Self {
        Self {
            attempts: attempts.clone(),
            address,
            env,
            taken: tokio::sync::Mutex::default(),
        }
    }

    /// Of one that needs none.
    #[must_use]
    pub fn of_nobody(env: Env) -> Self {
        Self::new(&Attempts::default(), None, env)
    }

    /// Waits until it comes; nothing happens if it is taken already.
    pub async fn take(&self) -> Result<(), Busy> {
        let Some(address) = self.address else {
            return Ok(());
        };
        let mut taken = self.taken.lock().await;
        if taken.is_none() {
            let attempt = self.attempts.begin(address).await?;
            *taken = Some((self.env.now(), attempt));
        }
        Ok(())
    }

    /// Since when it is taken.
    pub async fn taken_at(&self) -> Option<Instant> {
        self.taken.lock().await.as_ref().map(|(at, _)| *at)
    }

    /// Gives it back: the request has proven whom it is from.
    pub async fn give_back(&self) {
        self.taken.lock().await.take();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn an_address_has_a_limit_and_others_their_own() {
        let attempts = Attempts::default();
        let begin = |address: &str| attempts.begin(address.parse().unwrap());
        let mut running = Vec::new();
        for _ in 0..LIMIT {
            running.push(begin("192.0.2.1").await.unwrap());
        }
        assert!(begin("::ffff:192.0.2.1").now_or_never().is_none());
        assert!(begin("192.0.2.2").now_or_never().is_some());
        let waiting = begin("192.0.2.1");
        running.pop();
        let late = waiting.await.unwrap();
        assert!(begin("192.0.2.1").now_or_never().is_none());
        drop((running, late));
        assert!(attempts.places().is_empty());

        let mut customer = Vec::new();
        for n in 0..LIMIT {
            customer.push(begin(&format!("2001:db8::{n:x}")).await.unwrap());
        }
        assert!(begin("2001:db8::ffff:1").now_or_never().is_none());
        assert!(begin("2001:db8:0:1::1").now_or_never().is_some());
    }

    #[tokio::test]
    async fn not_more_than_so_many_wait() {
        let attempts = Attempts::default();
        let address = "192.0.2.1".parse().unwrap();
        let mut all: Vec<_> = (0..LIMIT + MAX_WAITING)
            .map(|_| Box::pin(attempts.begin(address)))
            .collect();
        let turns: Vec<_> = all.iter_mut().map(|one| one.now_or_never()).collect();
        assert_eq!(turns.iter().flatten().count(), LIMIT);
        assert!(attempts.begin(address).await.is_err());
        all.pop();
        assert!(attempts.begin(address).now_or_never().is_none());
    }
}

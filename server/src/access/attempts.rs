//! How many requests of one address may be unproven at a time.
//!
//! A request is unproven while its credentials are looked at, and while the answer to bad ones is
//! held back. Each failure is answered after seconds, but without a limit a guesser would simply ask
//! on a thousand connections at once, and keep the processors busy with hashing. Beyond the limit
//! requests wait for their turn: those of others at the same address are late then, not refused.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Unproven requests of an address.
const LIMIT: usize = 16;
/// Bits of an IPv6 address that one customer gets.
const CUSTOMER_BITS: u32 = 64;

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
    /// Waits until a request from there may be looked at.
    pub async fn begin(&self, address: IpAddr) -> Attempt {
        let address = source(address);
        let turns = {
            let mut places = self.places();
            let place = places.entry(address).or_insert_with(|| Place {
                turns: Arc::new(Semaphore::new(LIMIT)),
                requests: 0,
            });
            place.requests += 1;
            Arc::clone(&place.turns)
        };
        let request = Request {
            attempts: self.clone(),
            address,
        };
        Attempt {
            // Nobody closes it.
            _turn: turns.acquire_owned().await.ok(),
            _request: request,
        }
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

/// What counts as one place.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mask = u128::MAX << (128 - CUSTOMER_BITS);
            Ipv6Addr::from(u128::from(address) & mask).into()
        }
        address => address,
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
            running.push(begin("192.0.2.1").await);
        }
        assert!(begin("::ffff:192.0.2.1").now_or_never().is_none());
        assert!(begin("192.0.2.2").now_or_never().is_some());
        let waiting = begin("192.0.2.1");
        running.pop();
        let late = waiting.await;
        assert!(begin("192.0.2.1").now_or_never().is_none());
        drop((running, late));
        assert!(attempts.places().is_empty());

        let mut customer = Vec::new();
        for n in 0..LIMIT {
            customer.push(begin(&format!("2001:db8::{n:x}")).await);
        }
        assert!(begin("2001:db8::ffff:1").now_or_never().is_none());
        assert!(begin("2001:db8:0:1::1").now_or_never().is_some());
    }
}

//! Gates: a request stops at one until the test lets it through.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

/// Stops requests. Cheap to clone; all clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    arrived: watch::Sender<u64>,
    permits: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        let shared = Shared {
            arrived: watch::Sender::new(0),
            permits: Semaphore::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// How many requests have come to the gate so far, those let through included.
    #[must_use]
    pub fn arrivals(&self) -> u64 {
        *self.shared.arrived.borrow()
    }

    /// Waits until the first request stands at the gate (or has passed it).
    pub async fn arrived(&self) {
        self.arrived_count(1).await;
    }

    /// Waits until `count` requests have come.
    pub async fn arrived_count(&self, count: u64) {
        let mut arrived = self.shared.arrived.subscribe();
        // The sender lives as long as `self`.
        let _ = arrived.wait_for(|&seen| seen >= count).await;
    }

    /// Lets one request through, now or when it comes.
    pub fn release_one(&self) {
        self.shared.permits.add_permits(1);
    }

    /// Opens the gate for good.
    pub fn release(&self) {
        self.shared.permits.close();
    }

    /// The server's side: reports the arrival and waits.
    pub(crate) async fn pass(&self) {
        self.shared.arrived.send_modify(|seen| *seen += 1);
        // A closed semaphore is an open gate.
        if let Ok(permit) = self.shared.permits.acquire().await {
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Gate;

    #[tokio::test]
    async fn lets_one_through_then_all() {
        let gate = Gate::new();
        let passer = |gate: Gate| tokio::spawn(async move { gate.pass().await });
        let (first, second) = (passer(gate.clone()), passer(gate.clone()));
        gate.arrived_count(2).await;
        assert!(!first.is_finished() && !second.is_finished());
        gate.release_one();
        first.await.unwrap();
        assert!(!second.is_finished());
        gate.release();
        second.await.unwrap();
        gate.pass().await;
        assert_eq!(gate.arrivals(), 3);
    }
}

//! What a session may use of the machine: every core, and a bounded amount of memory.

use std::num::NonZero;
use std::sync::{Arc, LazyLock};

use anyhow::{Context as _, Result};
use datastore::env::Env;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Data under way in all archives of all sessions of the process: plain, encoded, or both.
const MEMORY: u32 = 128 << 20;
/// Memory is counted in pieces of this size, so that any chunk can be counted by a `u32`.
const PIECE: u32 = 1 << 10;

/// The memory of the process, which its sessions share.
static SHARED: LazyLock<Arc<Semaphore>> = LazyLock::new(memory);

/// Runs what costs CPU time, and keeps count of memory. Clones share both.
#[derive(Clone, Debug)]
pub struct Workers {
    env: Env,
    cores: Arc<Semaphore>,
    memory: Arc<Semaphore>,
}

/// Memory that is in use; given back when dropped.
#[derive(Debug)]
pub struct Memory(OwnedSemaphorePermit);

impl Workers {
    /// For all cores.
    #[must_use]
    pub fn new(env: &Env) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            env: env.clone(),
            cores: Arc::new(Semaphore::new(cores)),
            memory: Arc::clone(&SHARED),
        }
    }

    /// Waits for memory for this many bytes.
    pub async fn memory(&self, bytes: u64) -> Result<Memory> {
        let permit = Arc::clone(&self.memory).acquire_many_owned(pieces(bytes));
        Ok(Memory(permit.await.context("the session has ended")?))
    }

    /// Runs `work` on a thread when a core is free.
    pub async fn run<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let core = self.cores.acquire().await;
        let _core = core.context("the session has ended")?;
        Ok(self.env.blocking(work).await)
    }
}

impl Memory {
    /// Gives back all but this many bytes.
    pub fn keep(&mut self, bytes: u64) {
        let held = self.0.num_permits();
        let keep = usize::try_from(pieces(bytes)).unwrap_or(held);
        drop(self.0.split(held.saturating_sub(keep)));
    }
}

fn memory() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(pieces(u64::from(MEMORY)) as usize))
}

/// At least one, at most all there are.
fn pieces(bytes: u64) -> u32 {
    let count = bytes.clamp(1, u64::from(MEMORY)).div_ceil(u64::from(PIECE));
    u32::try_from(count).unwrap_or(MEMORY / PIECE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_is_given_back() {
        let workers = Workers {
            memory: memory(),
            ..Workers::new(&Env::seeded(1, 0))
        };
        let mut all = workers.memory(u64::MAX).await.unwrap();
        assert_eq!(workers.memory.available_permits(), 0);
        all.keep(1 << 20);
        let free = u64::from(MEMORY) - (1 << 20);
        let more = workers.memory(free).await.unwrap();
        drop((all, more));
        assert_eq!(
            workers.memory.available_permits() as u64,
            u64::from(MEMORY / PIECE)
        );
    }

    #[tokio::test]
    async fn two_sessions_have_no_more_than_one() {
        let [one, two] = [1, 2].map(|seed| Workers::new(&Env::seeded(seed, 0)));
        let all = one.memory(u64::MAX).await.unwrap();
        let mut more = Box::pin(two.memory(1));
        let waiting = std::future::poll_fn(|context| {
            std::task::Poll::Ready(more.as_mut().poll(context).is_pending())
        });
        assert!(waiting.await);
        drop(all);
        more.await.unwrap();
    }
}

//! Checks of chunks: work for the processor alone.
//!
//! As many at once as there are cores: more would be no faster, and each may have a decompressed
//! chunk in memory.

use std::thread::available_parallelism;

use tokio::sync::Semaphore;

use crate::env::Env;

/// Turns at checking.
#[derive(Debug)]
pub(crate) struct Checks(Semaphore);

impl Default for Checks {
    fn default() -> Self {
        Self(Semaphore::new(
            available_parallelism().map_or(1, usize::from),
        ))
    }
}

impl Checks {
    /// Runs a check when it is its turn.
    pub async fn run<T, F>(&self, env: &Env, check: F) -> T
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // Never closed.
        let _turn = self.0.acquire().await;
        env.blocking(check).await
    }
}

//! Passwords and secrets are hashed slowly on purpose: off the threads that serve everybody, and
//! only a few at a time, so that a flood of logins cannot take processor and memory from backups.

use anyhow::{Context, Result};
use tokio::sync::Semaphore;

use super::control::AuthError;
use super::password;

/// How many hashes are computed at the same time (some 20 ms and 16 MiB each).
const AT_ONCE: usize = 2;

/// The computation of hashes.
#[derive(Debug)]
pub struct Hashing {
    places: Semaphore,
}

impl Default for Hashing {
    fn default() -> Self {
        Self {
            places: Semaphore::new(AT_ONCE),
        }
    }
}

impl Hashing {
    /// Whether `password` has this hash.
    pub async fn verify(&self, password: &str, hash: &str) -> Result<bool, AuthError> {
        let (password, hash) = (password.to_owned(), hash.to_owned());
        self.run(move || password::verify(&password, &hash))
            .await
            .map_err(AuthError::Failed)
    }

    /// A new hash of `password`.
    pub async fn hash(&self, password: &str) -> Result<String> {
        let password = password.to_owned();
        self.run(move || password::hash(&password)).await?
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let _place = self
            .places
            .acquire()
            .await
            .context("no hashes are computed any more")?;
        tokio::task::spawn_blocking(work)
            .await
            .context("the computation of a hash panicked")
    }
}

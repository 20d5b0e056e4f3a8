//! Lock files `.<name>.lck` beside the configuration files: exclusive flock, with a time limit.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use s3_client::env::Env;

use super::ConfigError;

/// How long a configuration lock is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(25);

/// A held configuration lock; dropping it releases it.
#[derive(Debug)]
pub struct ConfigLock {
    path: PathBuf,
    _lock: Flock<File>,
}

impl ConfigLock {
    /// Takes the lock file `path`, waiting up to ten seconds for its present holder.
    pub async fn acquire(path: PathBuf, env: &Env) -> Result<Self, ConfigError> {
        Self::acquire_within(path, env, LOCK_TIMEOUT).await
    }

    async fn acquire_within(
        path: PathBuf,
        env: &Env,
        timeout: Duration,
    ) -> Result<Self, ConfigError> {
        let io_error = |source| ConfigError::io("lock", &path, source);
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(io_error)?;
        let deadline = env.now() + timeout;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(Self { path, _lock: lock }),
                Err((_, Errno::EWOULDBLOCK)) if env.now() >= deadline => {
                    return Err(ConfigError::LockTimeout { path });
                }
                Err((again, Errno::EWOULDBLOCK | Errno::EINTR)) => file = again,
                Err((_, errno)) => return Err(io_error(errno.into())),
            }
            env.sleep(LOCK_POLL).await;
        }
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_held_lock_is_waited_for_and_then_given_up_on() {
        let dir = support::scratch().unwrap();
        let path = dir.path().join(".x.lck");
        let env = Env::system();
        let held = ConfigLock::acquire(path.clone(), &env).await.unwrap();
        let short = Duration::from_millis(60);
        let error = ConfigLock::acquire_within(path.clone(), &env, short)
            .await
            .unwrap_err();
        assert!(matches!(error, ConfigError::LockTimeout { .. }), "{error}");

        let waiter = tokio::spawn({
            let (path, env) = (path.clone(), env.clone());
            async move { ConfigLock::acquire(path, &env).await }
        });
        env.sleep(Duration::from_millis(60)).await;
        drop(held);
        assert_eq!(waiter.await.unwrap().unwrap().path(), path);
    }
}

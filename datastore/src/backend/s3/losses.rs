//! Whether there may be snapshots that need a chunk which is known to be missing, and do not say so
//! themselves yet (G13).
//!
//! That a chunk is lost is in memory; that a snapshot has failed is in its manifest. Whoever dies
//! between the two forgets the first before the second is written, and the snapshot would be the
//! base of the next backup, whose client never uploads a chunk that it knows from its base. A
//! verification writes the second only for the snapshots that it reads. So before the first chunk
//! counts as lost a file says, durably, that there may be such snapshots. While it is there no
//! snapshot is a base: clients upload everything, and are told "duplicate" for what is there. The
//! next complete collection marks all snapshots concerned and removes the file.

use std::path::PathBuf;

use tokio::sync::Mutex;

use crate::atomic_file::{self, ReplaceOptions};
use crate::disk;
use crate::env::Env;
use crate::error::{Error, Result};

/// The file, and how often a chunk was lost since the store was opened.
#[derive(Debug)]
pub struct Losses {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    open: bool,
    count: u64,
}

impl Losses {
    /// Looks whether an earlier process left the file at `path`.
    ///
    /// # Errors
    /// If that cannot be seen.
    pub fn load(path: PathBuf) -> Result<Self> {
        let open = path
            .try_exists()
            .map_err(Error::io("unable to look for", &path))?;
        Ok(Self {
            path,
            state: Mutex::new(State { open, count: 0 }),
        })
    }

    /// Looks whether another process left the file, or removed it. Nobody in this one may be about
    /// to [note](Self::note) a loss.
    ///
    /// # Errors
    /// If that cannot be seen.
    pub async fn reload(&self, env: &Env) -> Result<()> {
        let mut state = self.state.lock().await;
        let path = self.path.clone();
        state.open = env
            .blocking(move || {
                path.try_exists()
                    .map_err(Error::io("unable to look for", &path))
            })
            .await?;
        Ok(())
    }

    /// Says that a chunk is about to count as lost.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub async fn note(&self, env: &Env) -> Result<()> {
        let mut state = self.state.lock().await;
        state.count += 1;
        if !state.open {
            let path = self.path.clone();
            let options = ReplaceOptions::durable();
            env.blocking(move || atomic_file::replace(&path, &[], &options))
                .await?;
            state.open = true;
        }
        Ok(())
    }

    /// How many chunks were lost so far, in this process.
    pub async fn count(&self) -> u64 {
        self.state.lock().await.count
    }

    /// Whether there may be snapshots that should have failed.
    pub async fn are_open(&self) -> bool {
        self.state.lock().await.open
    }

    /// Says that all snapshots concerned are marked as failed, unless more chunks than `count` were
    /// lost meanwhile.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub async fn settle(&self, env: &Env, count: u64) -> Result<()> {
        let mut state = self.state.lock().await;
        if !state.open || state.count != count {
            return Ok(());
        }
        let path = self.path.clone();
        env.blocking(move || match disk::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("unable to remove", &path)(error))
            }
            _ => Ok(()),
        })
        .await?;
        state.open = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_file_stays_until_all_losses_are_settled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("losses");
        let env = Env::system();
        let losses = Losses::load(path.clone()).unwrap();
        assert!(!losses.are_open().await);
        losses.note(&env).await.unwrap();
        let before = losses.count().await;
        losses.note(&env).await.unwrap();
        losses.settle(&env, before).await.unwrap();
        assert!(losses.are_open().await, "one more meanwhile");
        assert!(Losses::load(path.clone()).unwrap().are_open().await);
        losses.settle(&env, losses.count().await).await.unwrap();
        assert!(!losses.are_open().await);
        assert!(!Losses::load(path).unwrap().are_open().await);
    }
}

//! Digests whose chunk object is damaged and still stands under its good key.
//!
//! Verify puts a digest here when it cannot move the object away (no permission to delete, another
//! process is writing): the digest is then answered "absent", and the next upload replaces the
//! object without asking whether it exists. Persistent: a text file with a digest per line.
//!
//! The file is the list, of all processes that share the process lock (ADR 23): each change begins
//! with what is in it, under a lock, and each process looks whether it is another one before it
//! answers "duplicate", at most once a second, which is a call of `stat`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use api_types::digest::Digest;
use tokio::time::Instant;

use crate::atomic_file;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::file_identity::FileIdentity;
use crate::locks::Turn;

/// How old a look at the file may be when "duplicate" is answered.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The persistent set of damaged digests.
#[derive(Clone, Debug)]
pub struct BadList {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// Held over a look at the file and over a change of it, so that what is in memory is what was
    /// in the file last.
    file: Mutex<Looked>,
    /// Never held over a use of the disk: it is asked under shard locks and from asynchronous code.
    digests: Mutex<Digests>,
}

#[derive(Debug, Default)]
struct Looked {
    /// The file; none if there was none.
    seen: Option<FileIdentity>,
    at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Digests {
    /// Those in the file.
    listed: BTreeSet<Digest>,
    /// Those that could not be written to it.
    unsaved: BTreeSet<Digest>,
}

impl BadList {
    /// Reads the list at `path`; a missing file is an empty list.
    ///
    /// # Errors
    /// If the file cannot be read or a line of it is no digest.
    pub fn load(path: PathBuf) -> Result<Self> {
        let list = Self {
            inner: Arc::new(Inner {
                path,
                file: Mutex::default(),
                digests: Mutex::default(),
            }),
        };
        list.look()?;
        Ok(list)
    }

    /// Looks what other processes have made of the list; blocking.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn look(&self) -> Result<()> {
        self.inner.look(&mut self.inner.file())
    }

    /// The same, unless that was done a moment ago, or somebody is at it; blocking.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn look_again(&self, env: &Env) -> Result<()> {
        let mut file = match self.inner.file.try_lock() {
            Ok(file) => file,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        let now = env.now();
        if file.at.is_some_and(|at| now < at + LOOK_AGAIN) {
            return Ok(());
        }
        self.inner.look(&mut file)?;
        file.at = Some(now);
        Ok(())
    }

    /// Whether `digest` is on the list.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        let digests = self.inner.digests();
        digests.listed.contains(digest) || digests.unsaved.contains(digest)
    }

    /// Number of digests on the list.
    #[must_use]
    pub fn len(&self) -> usize {
        let digests = self.inner.digests();
        digests.listed.union(&digests.unsaved).count()
    }

    /// Whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts `digest` on the list, durably.
    ///
    /// # Errors
    /// If the file cannot be written; the digest is on the list in memory all the same.
    pub async fn add(&self, env: &Env, digest: Digest) -> Result<()> {
        self.inner.digests().unsaved.insert(digest);
        let inner = Arc::clone(&self.inner);
        env.blocking(move || inner.change(|_| {})).await
    }

    /// Takes `digest` off the list, durably.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub async fn remove(&self, env: &Env, digest: Digest) -> Result<()> {
        self.inner.digests().unsaved.remove(&digest);
        let inner = Arc::clone(&self.inner);
        let remove = move |digests: &mut BTreeSet<Digest>| {
            digests.remove(&digest);
        };
        env.blocking(move || inner.change(remove)).await
    }
}

impl Inner {
    fn look(&self, file: &mut Looked) -> Result<()> {
        let seen = self.identity()?;
        if file.seen != seen {
            let listed = read(&self.path)?;
            self.digests().listed = listed;
            file.seen = seen;
        }
        Ok(())
    }

    /// Changes what is in the file, whoever wrote it, and adds what is not there yet.
    fn change(&self, change: impl FnOnce(&mut BTreeSet<Digest>)) -> Result<()> {
        let mut file = self.file();
        let _turn = Turn::wait(&self.path.with_extension("lock"))?;
        let before = read(&self.path)?;
        let mut listed = before.clone();
        change(&mut listed);
        let unsaved = self.digests().unsaved.clone();
        listed.extend(&unsaved);
        if listed != before {
            let text: String = listed.iter().map(|digest| format!("{digest}\n")).collect();
            atomic_file::replace_durable(&self.path, text.as_bytes(), 0o600)?;
        }
        {
            let mut digests = self.digests();
            digests.listed = listed;
            digests.unsaved.retain(|digest| !unsaved.contains(digest));
        }
        file.seen = self.identity()?;
        Ok(())
    }

    fn identity(&self) -> Result<Option<FileIdentity>> {
        match std::fs::metadata(&self.path) {
            Ok(metadata) => Ok(Some(FileIdentity::of(&metadata))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(
                "unable to look at the list of bad chunks",
                &self.path,
            )(error)),
        }
    }

    fn file(&self) -> MutexGuard<'_, Looked> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn digests(&self) -> MutexGuard<'_, Digests> {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> Result<BTreeSet<Digest>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(Error::io("unable to read the list of bad chunks", path)(
                error,
            ));
        }
    };
    let digest = |line| {
        Digest::from_hex(line).map_err(|error| {
            Error::Refused(format!(
                "damaged list of bad chunks {}: {error}; remove the file and verify the datastore",
                path.display()
            ))
        })
    };
    text.lines().map(digest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::from_bytes([byte; 32])
    }

    fn in_file(path: &Path) -> Vec<Digest> {
        read(path).unwrap().into_iter().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn two_processes_have_one_list() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad-chunks");
        let env = Env::seeded(1, 1000);
        let [one, two] = [(); 2].map(|()| BadList::load(path.clone()).unwrap());
        one.look_again(&env).unwrap();
        two.add(&env, digest(1)).await.unwrap();
        one.look_again(&env).unwrap();
        assert!(!one.contains(&digest(1)), "it has looked just now");
        env.sleep(LOOK_AGAIN).await;
        one.look_again(&env).unwrap();
        assert!(one.contains(&digest(1)));

        // A change is made to what the other one has written.
        two.add(&env, digest(2)).await.unwrap();
        one.add(&env, digest(3)).await.unwrap();
        assert_eq!(in_file(&path), [1, 2, 3].map(digest));
        assert!(one.contains(&digest(2)));
        one.remove(&env, digest(1)).await.unwrap();
        two.look().unwrap();
        assert_eq!((two.len(), two.contains(&digest(1))), (2, false));
        two.remove(&env, digest(2)).await.unwrap();
        assert_eq!(in_file(&path), [digest(3)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_written_is_on_the_list_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad-chunks");
        let env = Env::seeded(1, 1000);
        let list = BadList::load(path.clone()).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(list.add(&env, digest(1)).await.is_err());
        std::fs::remove_dir(&path).unwrap();
        list.look().unwrap();
        assert!(list.contains(&digest(1)));
        list.add(&env, digest(2)).await.unwrap();
        assert_eq!(in_file(&path), [1, 2].map(digest));
        list.remove(&env, digest(1)).await.unwrap();
        list.remove(&env, digest(2)).await.unwrap();
        assert!(list.is_empty() && in_file(&path).is_empty());
    }
}

//! Digests whose chunk object is damaged and still stands under its good key.
//!
//! Verify puts a digest here when it cannot move the object away (no permission to delete, another
//! process is writing): the digest is then answered "absent", and the next upload replaces the
//! object without asking whether it exists. Persistent: a text file with a digest per line.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api_types::digest::Digest;

use crate::atomic_file;
use crate::env::Env;
use crate::error::{Error, Result};

/// The persistent set of damaged digests.
#[derive(Clone, Debug)]
pub struct BadList {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// Held over a change and the writing of it, so that changes reach the file in their order.
    writing: Mutex<()>,
    /// Never held over a write: it is asked under shard locks and from asynchronous code.
    digests: Mutex<BTreeSet<Digest>>,
}

impl BadList {
    /// Reads the list at `path`; a missing file is an empty list.
    ///
    /// # Errors
    /// If the file cannot be read or a line of it is no digest.
    pub fn load(path: PathBuf) -> Result<Self> {
        let digests = Mutex::new(read(&path)?);
        Ok(Self {
            inner: Arc::new(Inner {
                path,
                writing: Mutex::default(),
                digests,
            }),
        })
    }

    /// Adds what another process has put on the list.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn reload(&self) -> Result<()> {
        let others = read(&self.inner.path)?;
        self.digests().extend(others);
        Ok(())
    }

    /// Whether `digest` is on the list.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        self.digests().contains(digest)
    }

    /// Number of digests on the list.
    #[must_use]
    pub fn len(&self) -> usize {
        self.digests().len()
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
        self.change(env, move |digests| digests.insert(digest))
            .await
    }

    /// Takes `digest` off the list, durably.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub async fn remove(&self, env: &Env, digest: Digest) -> Result<()> {
        self.change(env, move |digests| digests.remove(&digest))
            .await
    }

    async fn change(
        &self,
        env: &Env,
        change: impl FnOnce(&mut BTreeSet<Digest>) -> bool + Send + 'static,
    ) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        env.blocking(move || {
            let _writing = inner.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let text: String = {
                let mut digests = inner.digests.lock().unwrap_or_else(PoisonError::into_inner);
                if !change(&mut digests) {
                    return Ok(());
                }
                digests.iter().map(|digest| format!("{digest}\n")).collect()
            };
            Ok(atomic_file::replace_durable(
                &inner.path,
                text.as_bytes(),
                0o600,
            )?)
        })
        .await
    }

    fn digests(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.inner
            .digests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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

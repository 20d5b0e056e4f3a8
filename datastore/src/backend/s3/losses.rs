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
//!
//! What is in memory is seen by one process, and several may share the process lock (ADR 23). So a
//! digest goes into the file once it is lost, a line each, and every other process reads what has
//! been added before a session takes a base and before it looks for lost chunks at its end. The
//! collection that removes the file is alone.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api_types::digest::Digest;

use crate::atomic_file;
use crate::disk::{self, DiskFile};
use crate::env::Env;
use crate::error::{Error, Result};

/// The file, and how often a chunk was lost since the store was opened.
#[derive(Clone, Debug)]
pub struct Losses {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// Held over each use of the file.
    read: Mutex<Place>,
    open: AtomicBool,
    count: AtomicU64,
}

/// How far the file has been read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Place {
    inode: u64,
    offset: u64,
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
            inner: Arc::new(Inner {
                path,
                read: Mutex::default(),
                open: AtomicBool::new(open),
                count: AtomicU64::new(0),
            }),
        })
    }

    /// Says that a chunk is about to count as lost.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub async fn note(&self, env: &Env) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        env.blocking(move || inner.note()).await
    }

    /// Tells other processes that this chunk is lost; blocking. Its local file is gone already ◆: who
    /// reads this and finds one knows that the chunk was uploaded since.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn record(&self, digest: &Digest) -> Result<()> {
        let path = &self.inner.path;
        // One write, so that lines of two processes do not mix. It need not outlast the machine: the
        // file does, and that is all that a later process asks for.
        DiskFile::append_or_create(path, 0o644)
            .and_then(|mut file| file.write_all(format!("{digest}\n").as_bytes()))
            .map_err(Error::io("unable to record a lost chunk in", path))
    }

    /// Looks what other processes have done to the file, and calls `lost` for each chunk that was
    /// recorded since the last look; blocking.
    ///
    /// # Errors
    /// If the file cannot be read, or as `lost` returns it; all of them come again then.
    pub fn look(&self, lost: impl FnMut(&Digest) -> Result<()>) -> Result<()> {
        self.inner.look(lost)
    }

    /// How many chunks were lost so far, in this process.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.inner.count.load(Ordering::SeqCst)
    }

    /// Whether there may be snapshots that should have failed, as of the last look.
    #[must_use]
    pub fn are_open(&self) -> bool {
        self.inner.open.load(Ordering::SeqCst)
    }

    /// Says that all snapshots concerned are marked as failed, unless more chunks than `count` were
    /// lost meanwhile.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub async fn settle(&self, env: &Env, count: u64) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        env.blocking(move || inner.settle(count)).await
    }
}

impl Inner {
    fn note(&self) -> Result<()> {
        let _use = self.place();
        self.count.fetch_add(1, Ordering::SeqCst);
        if !self.open.load(Ordering::SeqCst) {
            let path = &self.path;
            // Another process may have begun it, and may have written to it.
            DiskFile::append_or_create(path, 0o644)
                .and_then(|file| file.sync_all())
                .map_err(Error::io("unable to create", path))?;
            if let Some(parent) = path.parent() {
                atomic_file::sync_dir(parent)?;
            }
            self.open.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    fn look(&self, mut lost: impl FnMut(&Digest) -> Result<()>) -> Result<()> {
        let mut place = self.place();
        match read_from(&self.path, *place) {
            Ok((next, text)) => {
                self.open.store(true, Ordering::SeqCst);
                // Of what a crash cut off nobody is left who would have to know.
                let digests = text.lines().filter_map(|line| Digest::from_hex(line).ok());
                for digest in digests {
                    lost(&digest)?;
                }
                *place = next;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.open.store(false, Ordering::SeqCst);
                *place = Place::default();
                Ok(())
            }
            Err(error) => Err(Error::io("unable to read", &self.path)(error)),
        }
    }

    fn settle(&self, count: u64) -> Result<()> {
        let mut place = self.place();
        if !self.open.load(Ordering::SeqCst) || self.count.load(Ordering::SeqCst) != count {
            return Ok(());
        }
        match disk::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io("unable to remove", &self.path)(error));
            }
            _ => {}
        }
        *place = Place::default();
        self.open.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the file has beyond that place, in whole lines; a `stat` if it has nothing.
fn read_from(path: &Path, place: Place) -> std::io::Result<(Place, String)> {
    let metadata = std::fs::metadata(path)?;
    let offset = match metadata.ino() == place.inode {
        true => place.offset,
        false => 0,
    };
    let mut next = Place {
        inode: metadata.ino(),
        offset,
    };
    if metadata.len() <= offset {
        return Ok((next, String::new()));
    }
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n');
    bytes.truncate(whole.map_or(0, |last| last + 1));
    next.offset += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    Ok((next, String::from_utf8_lossy(&bytes).into_owned()))
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
        assert!(!losses.are_open());
        losses.note(&env).await.unwrap();
        let before = losses.count();
        losses.note(&env).await.unwrap();
        losses.settle(&env, before).await.unwrap();
        assert!(losses.are_open(), "one more meanwhile");
        assert!(Losses::load(path.clone()).unwrap().are_open());
        losses.settle(&env, losses.count()).await.unwrap();
        assert!(!losses.are_open());
        assert!(!Losses::load(path).unwrap().are_open());
    }

    fn looked(losses: &Losses) -> Vec<u8> {
        let mut found = Vec::new();
        let look = losses.look(|digest| {
            found.push(digest.as_bytes()[0]);
            Ok(())
        });
        look.unwrap();
        found
    }

    #[tokio::test]
    async fn other_processes_are_told_of_each_chunk_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("losses");
        let env = Env::system();
        let digest = |byte| Digest::from_bytes([byte; 32]);
        let [one, two] = [(); 2].map(|()| Losses::load(path.clone()).unwrap());
        assert!(looked(&two).is_empty() && !two.are_open());
        one.note(&env).await.unwrap();
        assert!(looked(&two).is_empty() && two.are_open());
        one.record(&digest(1)).unwrap();
        two.note(&env).await.unwrap();
        two.record(&digest(2)).unwrap();
        assert_eq!(looked(&one), [1, 2]);
        one.record(&digest(3)).unwrap();
        // What cannot be taken note of comes again.
        let refused = two.look(|_| Err(Error::Aborted));
        assert!(refused.is_err());
        assert_eq!(looked(&two), [1, 2, 3]);
        assert_eq!(looked(&one), [3]);
        assert!(looked(&one).is_empty());

        // A collection removes it; the next one is another file, whatever its inode.
        one.settle(&env, one.count()).await.unwrap();
        assert!(looked(&two).is_empty() && !two.are_open());
        two.note(&env).await.unwrap();
        two.record(&digest(4)).unwrap();
        assert_eq!((looked(&one), one.are_open()), (vec![4], true));
    }
}

//! The process lock on `<base>/.lock` (datastore-layout.md §7.1).
//!
//! Writers share it, garbage collection and whatever else deletes chunks holds it exclusively. It
//! works between processes; within one [`ProcessLocker`] shared holders and the exclusive one
//! coexist and are counted, because the locker knows when its writers started.
//!
//! The lock is taken as an *open file description* lock: it conflicts with the record locks that
//! other servers take on the same file, and unlike those it survives somebody in this process
//! closing another descriptor of the file. Two lockers of one process behave like two processes.

use std::collections::BTreeMap;
use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::env::Env;
use crate::local_error::{AtPath, LocalError, LocalResult};

/// Name of the lock file below the datastore's base directory.
pub const LOCK_FILE_NAME: &str = ".lock";

/// The process lock of one datastore.
#[derive(Debug)]
pub struct ProcessLocker {
    file: File,
    path: PathBuf,
    env: Env,
    holders: Mutex<Holders>,
}

#[derive(Debug, Default)]
struct Holders {
    next_id: u64,
    /// Acquisition time (seconds) of each shared holder.
    shared: BTreeMap<u64, i64>,
    exclusive: bool,
    /// Counts how often this process took the lock after not having held it at all.
    hold: u64,
}

#[derive(Clone, Copy)]
enum Kind {
    Read,
    Write,
    Unlock,
}

impl ProcessLocker {
    /// Opens `<base>/.lock`, creating it if missing.
    pub fn open(base: &Path, env: Env) -> LocalResult<Arc<Self>> {
        let path = base.join(LOCK_FILE_NAME);
        #[expect(clippy::disallowed_methods, reason = "it never has content")]
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .at("open process lock", &path)?;
        Ok(Arc::new(Self {
            file,
            path,
            env,
            holders: Mutex::default(),
        }))
    }

    /// Takes the lock as one of many writers; fails at once if another process holds it
    /// exclusively.
    pub fn try_shared(self: &Arc<Self>) -> LocalResult<SharedGuard> {
        let mut holders = self.holders();
        if holders.shared.is_empty() && !holders.exclusive {
            self.set(Kind::Read)?;
            holders.hold += 1;
        }
        let since = self.env.unix_secs();
        let id = holders.next_id;
        holders.next_id += 1;
        holders.shared.insert(id, since);
        Ok(SharedGuard {
            locker: Arc::clone(self),
            id,
            since,
            hold: holders.hold,
        })
    }

    /// Another share of a lock that this process holds anyway; `None` if it does not.
    ///
    /// For work that may outlive the task whose share it runs under.
    #[must_use]
    pub fn share_if_held(self: &Arc<Self>) -> Option<SharedGuard> {
        let mut holders = self.holders();
        if holders.shared.is_empty() && !holders.exclusive {
            return None;
        }
        let since = self.env.unix_secs();
        let id = holders.next_id;
        holders.next_id += 1;
        holders.shared.insert(id, since);
        Some(SharedGuard {
            locker: Arc::clone(self),
            id,
            since,
            hold: holders.hold,
        })
    }

    /// Takes the lock as the only one that deletes; fails at once if this locker already gave it
    /// out exclusively or another process holds it in any way.
    pub fn try_exclusive(self: &Arc<Self>) -> LocalResult<ExclusiveGuard> {
        let mut holders = self.holders();
        if holders.exclusive {
            return Err(self.busy());
        }
        self.set(Kind::Write)?;
        holders.exclusive = true;
        if holders.shared.is_empty() {
            holders.hold += 1;
        }
        Ok(ExclusiveGuard {
            locker: Arc::clone(self),
            hold: holders.hold,
        })
    }

    /// When the longest-running writer of this process took the lock (seconds since the epoch).
    #[must_use]
    pub fn oldest_shared(&self) -> Option<i64> {
        self.holders().shared.values().min().copied()
    }

    /// Whether this process holds the lock in any way.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let holders = self.holders();
        holders.exclusive || !holders.shared.is_empty()
    }

    /// Shared holders of this process.
    #[must_use]
    pub fn shared_holders(&self) -> usize {
        self.holders().shared.len()
    }

    /// Whether no other process holds the lock, so that an exclusive one could be had.
    pub fn is_alone(&self) -> LocalResult<bool> {
        let mut lock = whole_file(Kind::Write);
        fcntl(&self.file, FcntlArg::F_OFD_GETLK(&mut lock)).at("query process lock", &self.path)?;
        Ok(i32::from(lock.l_type) == libc::F_UNLCK)
    }

    /// Whether the lock file is still the one that was opened: a directory that was removed and
    /// made again has another one, which others lock.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let opened = self.file.metadata().map(identity).ok();
        opened.is_some() && opened == self.path.symlink_metadata().map(identity).ok()
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn release_shared(&self, id: u64) {
        let mut holders = self.holders();
        holders.shared.remove(&id);
        if holders.shared.is_empty() && !holders.exclusive {
            self.relax(Kind::Unlock);
        }
    }

    fn release_exclusive(&self) {
        let mut holders = self.holders();
        holders.exclusive = false;
        self.relax(if holders.shared.is_empty() {
            Kind::Unlock
        } else {
            Kind::Read
        });
    }

    /// Giving up a lock cannot conflict; should the kernel refuse nevertheless, the lock stays
    /// stronger than needed, which is safe.
    fn relax(&self, kind: Kind) {
        if let Err(error) = self.set(kind) {
            tracing::warn!(%error, "unable to release the process lock");
        }
    }

    fn set(&self, kind: Kind) -> LocalResult<()> {
        match fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole_file(kind))) {
            Ok(_) => Ok(()),
            Err(Errno::EAGAIN | Errno::EACCES) => Err(self.busy()),
            Err(errno) => Err(errno).at("lock", &self.path),
        }
    }

    fn busy(&self) -> LocalError {
        LocalError::Busy {
            what: "process",
            path: self.path.clone(),
        }
    }

    fn holders(&self) -> MutexGuard<'_, Holders> {
        // Every change is a single statement: a panic elsewhere cannot leave it half done.
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn whole_file(kind: Kind) -> libc::flock {
    let l_type = match kind {
        Kind::Read => libc::F_RDLCK,
        Kind::Write => libc::F_WRLCK,
        Kind::Unlock => libc::F_UNLCK,
    };
    libc::flock {
        l_type: i16::try_from(l_type).unwrap_or_default(),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// A writer's share of the process lock; released when dropped.
#[derive(Debug)]
pub struct SharedGuard {
    locker: Arc<ProcessLocker>,
    id: u64,
    since: i64,
    hold: u64,
}

impl SharedGuard {
    /// When it was taken, seconds since the epoch.
    #[must_use]
    pub fn since(&self) -> i64 {
        self.since
    }

    /// Which uninterrupted hold of this process it is part of: another process may have had the
    /// lock between two different ones, and not within one.
    #[must_use]
    pub fn hold(&self) -> u64 {
        self.hold
    }
}

impl Drop for SharedGuard {
    fn drop(&mut self) {
        self.locker.release_shared(self.id);
    }
}

/// The exclusive process lock; released when dropped.
#[derive(Debug)]
pub struct ExclusiveGuard {
    locker: Arc<ProcessLocker>,
    hold: u64,
}

impl ExclusiveGuard {
    /// As for [`SharedGuard::hold`].
    #[must_use]
    pub fn hold(&self) -> u64 {
        self.hold
    }
}

impl Drop for ExclusiveGuard {
    fn drop(&mut self) {
        self.locker.release_exclusive();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_processes() -> (
        tempfile::TempDir,
        Env,
        Arc<ProcessLocker>,
        Arc<ProcessLocker>,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::seeded(1, 1000);
        let one = ProcessLocker::open(dir.path(), env.clone()).unwrap();
        let two = ProcessLocker::open(dir.path(), env.clone()).unwrap();
        (dir, env, one, two)
    }

    #[tokio::test]
    async fn writers_share_and_gc_excludes_other_processes() {
        let (_dir, _env, one, two) = two_processes();
        let first = one.try_shared().unwrap();
        let other = two.try_shared().unwrap();
        assert!(!one.is_alone().unwrap());
        assert!(
            one.try_exclusive().unwrap_err().is_busy(),
            "another process writes"
        );
        drop(other);
        assert!(one.is_alone().unwrap());
        let gc = one.try_exclusive().unwrap();
        assert!(one.try_exclusive().unwrap_err().is_busy(), "one at a time");
        let second = one.try_shared().unwrap();
        assert!(two.try_shared().unwrap_err().is_busy());
        drop(gc);
        drop(first);
        // Back to a shared lock: others may write, not collect.
        let other = two.try_shared().unwrap();
        assert!(two.try_exclusive().unwrap_err().is_busy());
        drop((second, other));
        assert!(two.try_exclusive().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn oldest_shared_is_the_minimum_of_current_holders() {
        let (_dir, env, one, _two) = two_processes();
        assert_eq!(one.oldest_shared(), None);
        let first = one.try_shared().unwrap();
        env.jump_wall_clock(5000);
        let second = one.try_shared().unwrap();
        assert_eq!((first.since(), second.since()), (1000, 1005));
        assert_eq!((one.oldest_shared(), one.shared_holders()), (Some(1000), 2));
        drop(first);
        assert_eq!(one.oldest_shared(), Some(1005));
        drop(second);
        assert_eq!(one.oldest_shared(), None);
    }

    #[tokio::test]
    async fn a_hold_ends_when_nobody_here_has_the_lock() {
        let (_dir, _env, one, _two) = two_processes();
        let first = one.try_shared().unwrap();
        let gc = one.try_exclusive().unwrap();
        drop(first);
        let second = one.try_shared().unwrap();
        assert_eq!((gc.hold(), second.hold()), (1, 1));
        drop(gc);
        assert_eq!(one.try_shared().unwrap().hold(), 1);
        drop(second);
        assert_eq!(one.try_exclusive().unwrap().hold(), 2);
        assert_eq!(one.try_shared().unwrap().hold(), 3);
    }

    #[tokio::test]
    async fn shared_while_exclusive_survives_the_end_of_the_exclusive_lock() {
        let (_dir, _env, one, two) = two_processes();
        let gc = one.try_exclusive().unwrap();
        let writer = one.try_shared().unwrap();
        drop(gc);
        assert!(two.try_exclusive().unwrap_err().is_busy());
        drop(writer);
        assert!(two.try_exclusive().is_ok());
    }

    #[tokio::test]
    async fn conflicts_with_record_locks_of_other_servers() {
        let (_dir, env, one, _two) = two_processes();
        // A record lock belongs to the process as a whole and conflicts with OFD locks even here.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(one.path())
            .unwrap();
        fcntl(&file, FcntlArg::F_SETLK(&whole_file(Kind::Read))).unwrap();
        assert!(!one.is_alone().unwrap());
        assert!(one.try_exclusive().unwrap_err().is_busy());
        let writer = one.try_shared().unwrap();
        assert!(fcntl(&file, FcntlArg::F_SETLK(&whole_file(Kind::Write))).is_err());
        drop(writer);
        fcntl(&file, FcntlArg::F_SETLK(&whole_file(Kind::Unlock))).unwrap();
        assert!(one.is_alone().unwrap());
        // A closed descriptor of the same file does not cost us the lock.
        let writer = one.try_shared().unwrap();
        drop(file);
        let other = ProcessLocker::open(one.path().parent().unwrap(), env).unwrap();
        assert!(other.try_exclusive().unwrap_err().is_busy());
        drop(writer);
    }
}

//! Who is using a datastore, across processes (`datastore-layout.md` §7.4).
//!
//! One JSON file per datastore, `<run>/active-operations/<store>`, with the counts of each process.
//! Entries of processes that are gone count for nothing, so that a crash leaves no store in use. So
//! does whatever a power loss leaves of the file: none of its processes is there any more, and a file
//! that was cut short counts as empty. It is replaced atomically, for those who read it meanwhile, but
//! nobody waits for the disk, neither a request that begins nor one that ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use api_types::datastore::Operation;
use api_types::names::DatastoreName;
use nix::fcntl::{Flock, FlockArg};
use s3_client::env::Env;
use serde::{Deserialize, Serialize};

use crate::config::{ConfigLock, replace_volatile};
use crate::paths::create_dir;
use crate::task::Process;

const FILE_MODE: u32 = 0o660;
/// Thousands of processes come nowhere near it.
const MAX_FILE_SIZE: u64 = 1024 * 1024;

/// Operations under way.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// Restores, listings.
    pub read: i64,
    /// Backups and whatever else changes something.
    pub write: i64,
}

impl Counts {
    /// Whether nobody uses the datastore.
    #[must_use]
    pub fn is_idle(self) -> bool {
        self.read <= 0 && self.write <= 0
    }

    fn of(&mut self, operation: Operation) -> Option<&mut i64> {
        match operation {
            Operation::Lookup => None,
            Operation::Read => Some(&mut self.read),
            Operation::Write => Some(&mut self.write),
        }
    }
}

#[derive(Debug, Deserialize, Serialize)]
struct Entry {
    pid: u32,
    starttime: u64,
    active_operations: Counts,
}

impl Entry {
    fn process(&self) -> Process {
        Process {
            pid: self.pid,
            pstart: self.starttime,
        }
    }
}

/// The operations on the datastores of an installation.
#[derive(Clone, Debug)]
pub struct ActiveOperations {
    dir: PathBuf,
    env: Env,
}

/// An operation under way; dropping it ends it.
#[derive(Debug)]
pub struct ActiveOperation {
    file: CountFile,
    operation: Operation,
}

impl ActiveOperations {
    /// The counts below the runtime directory `run`.
    #[must_use]
    pub fn new(run: &Path, env: Env) -> Self {
        Self {
            dir: run.join("active-operations"),
            env,
        }
    }

    /// Counts an operation of this process; a lookup is not counted.
    pub async fn enter(
        &self,
        store: &DatastoreName,
        operation: Operation,
    ) -> Result<Option<ActiveOperation>> {
        if operation == Operation::Lookup {
            return Ok(None);
        }
        create_dir(&self.dir, 0o750)?;
        let file = self.file(store);
        let _lock = ConfigLock::acquire(file.lock_path(), &self.env).await?;
        file.change(operation, 1)
            .with_context(|| format!("failed to count an operation in {}", file.path.display()))?;
        Ok(Some(ActiveOperation { file, operation }))
    }

    /// The operations of all living processes on a datastore.
    pub fn counts(&self, store: &DatastoreName) -> Result<Counts> {
        let file = self.file(store);
        let entries = file
            .read()
            .with_context(|| format!("failed to read {}", file.path.display()))?;
        let mut sum = Counts::default();
        for counts in entries.iter().map(|entry| entry.active_operations) {
            sum.read = sum.read.saturating_add(counts.read);
            sum.write = sum.write.saturating_add(counts.write);
        }
        Ok(sum)
    }

    fn file(&self, store: &DatastoreName) -> CountFile {
        CountFile {
            path: self.dir.join(store.as_str()),
        }
    }
}

impl Drop for ActiveOperation {
    fn drop(&mut self) {
        // Others hold the lock for the time of one small write. If this fails, the operation counts
        // until the process ends, which errs on the safe side.
        if let Err(error) = self.file.change_blocking(self.operation, -1) {
            tracing::warn!(file = %self.file.path.display(), %error, "operation still counted");
        }
    }
}

#[derive(Debug)]
struct CountFile {
    path: PathBuf,
}

impl CountFile {
    fn lock_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".lock");
        path.into()
    }

    /// The entries of processes that still run. A damaged file counts as empty, like upstream's.
    fn read(&self) -> io::Result<Vec<Entry>> {
        let mut text = Vec::new();
        match File::open(&self.path) {
            Ok(file) => file.take(MAX_FILE_SIZE).read_to_end(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut entries: Vec<Entry> = serde_json::from_slice(&text).unwrap_or_default();
        entries.retain(|entry| entry.process().is_running());
        Ok(entries)
    }

    /// Changes the count of this process; the caller holds the lock.
    fn change(&self, operation: Operation, by: i64) -> io::Result<()> {
        let this = Process::current()?;
        let mut entries = self.read()?;
        let known = entries.iter().position(|entry| entry.process() == this);
        let index = known.unwrap_or_else(|| {
            entries.push(Entry {
                pid: this.pid,
                starttime: this.pstart,
                active_operations: Counts::default(),
            });
            entries.len() - 1
        });
        if let Some(count) = entries
            .get_mut(index)
            .and_then(|entry| entry.active_operations.of(operation))
        {
            *count = count.saturating_add(by).max(0);
        }
        entries.retain(|entry| !entry.active_operations.is_idle());
        replace_volatile(&self.path, &serde_json::to_vec(&entries)?, FILE_MODE)
    }

    fn change_blocking(&self, operation: Operation, by: i64) -> io::Result<()> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.lock_path())?;
        let _lock = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| io::Error::from(errno))?;
        self.change(operation, by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> DatastoreName {
        "store1".parse().unwrap()
    }

    #[tokio::test]
    async fn operations_count_until_they_are_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let active = ActiveOperations::new(dir.path(), Env::system());
        assert!(active.counts(&store()).unwrap().is_idle());
        let read = active.enter(&store(), Operation::Read).await.unwrap();
        let write = active.enter(&store(), Operation::Write).await.unwrap();
        let second = active.enter(&store(), Operation::Write).await.unwrap();
        assert!(
            active
                .enter(&store(), Operation::Lookup)
                .await
                .unwrap()
                .is_none()
        );
        let counts = active.counts(&store()).unwrap();
        assert_eq!((counts.read, counts.write), (1, 2));
        drop((read, write));
        assert_eq!(active.counts(&store()).unwrap().write, 1);
        drop(second);
        assert!(active.counts(&store()).unwrap().is_idle());
    }

    #[tokio::test]
    async fn dead_processes_and_damaged_files_count_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let active = ActiveOperations::new(dir.path(), Env::system());
        let _read = active.enter(&store(), Operation::Read).await.unwrap();
        let path = dir.path().join("active-operations/store1");
        let this = Process::current().unwrap();
        let text = format!(
            r#"[{{"pid":{},"starttime":{},"active_operations":{{"read":1,"write":3}}}},
                {{"pid":{},"starttime":{},"active_operations":{{"read":2,"write":0}}}}]"#,
            this.pid,
            this.pstart + 1,
            this.pid,
            this.pstart
        );
        std::fs::write(&path, text).unwrap();
        let counts = active.counts(&store()).unwrap();
        assert_eq!((counts.read, counts.write), (2, 0));
        std::fs::write(&path, "[{").unwrap();
        assert!(active.counts(&store()).unwrap().is_idle());
    }
}

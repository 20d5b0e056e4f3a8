//! What the collector remembers from run to run for its tripwires (gc.md §6.5): facts of the last
//! complete run, and a record of every deliberate removal since.
//!
//! A removal records the size of its index files. Each entry takes at least 32 bytes, so that size
//! bounds the number of chunks that the removal can have turned into garbage: more garbage than
//! that has another reason.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::error::{GcError, GcResult, OnPath};
use crate::atomic_file::{self, ReplaceOptions};
use crate::disk::DiskFile;

/// Bytes of an index file per chunk at least.
const MIN_ENTRY_LEN: u64 = 32;
/// Far more than the facts of a run take.
const MAX_LEN: u64 = 64 * 1024;

/// Facts of the last complete run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunFacts {
    /// Its generation.
    pub generation: u64,
    /// When it ended, seconds since the epoch.
    pub finished: i64,
    /// Index files it marked.
    pub index_files: u64,
    /// Chunk objects that it left in the bucket.
    pub chunks_left: u64,
    /// Bytes of them.
    pub bytes_left: u64,
    /// Garbage among them: found then and not deleted, for whatever reason.
    pub candidates_left: u64,
    /// Server clock minus local clock, in milliseconds.
    pub clock_offset: Option<i64>,
}

/// What is known of the last run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum History {
    /// There was none.
    None,
    /// These are its facts.
    Known(RunFacts),
    /// There was one, but its record cannot be read.
    Damaged(String),
}

impl History {
    /// Reads the file; absent means that there was no run.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let mut text = Vec::new();
        let read =
            std::fs::File::open(path).and_then(|file| file.take(MAX_LEN).read_to_end(&mut text));
        match read {
            Ok(_) => match serde_json::from_slice(&text) {
                Ok(facts) => Self::Known(facts),
                Err(error) => Self::Damaged(format!("'{}': {error}", path.display())),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::None,
            Err(error) => Self::Damaged(format!("'{}': {error}", path.display())),
        }
    }

    /// The facts, if they are known.
    #[must_use]
    pub fn facts(&self) -> Option<&RunFacts> {
        match self {
            Self::Known(facts) => Some(facts),
            Self::None | Self::Damaged(_) => None,
        }
    }
}

impl RunFacts {
    /// Replaces the record, durably: it is the last act of a complete run.
    pub fn write(&self, path: &Path) -> GcResult<()> {
        let json = serde_json::to_vec(self).map_err(|error| bad_state(path, &error))?;
        Ok(atomic_file::replace(
            path,
            &json,
            &ReplaceOptions::durable(),
        )?)
    }
}

/// What removed snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemovalKind {
    /// A prune, by a job or by hand.
    Prune,
    /// One snapshot, by hand.
    Forget,
    /// A group or a namespace.
    Destroy,
    /// Vanished at the source of a sync.
    Sync,
    /// An unfinished or failed backup.
    Cleanup,
}

/// A deliberate removal of snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RemovalRecord {
    /// What removed them.
    pub kind: RemovalKind,
    /// The collector's generation at that time.
    pub generation: u64,
    /// Snapshots removed.
    pub snapshots: u64,
    /// Index files in them.
    pub indexes: u64,
    /// Bytes of those files.
    pub index_bytes: u64,
}

/// Removals added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemovalTotals {
    /// Snapshots removed.
    pub snapshots: u64,
    /// Index files in them.
    pub indexes: u64,
    /// Bytes of those files.
    pub index_bytes: u64,
}

impl RemovalTotals {
    /// The most chunks that these removals can have turned into garbage.
    #[must_use]
    pub fn max_chunks(&self) -> u64 {
        self.index_bytes / MIN_ENTRY_LEN
    }
}

/// The file of removal records: one JSON object per line. One handle per process.
#[derive(Debug)]
pub struct RemovalLog {
    path: PathBuf,
    lock: Mutex<()>,
}

impl RemovalLog {
    /// The log at `path`, which is made with the first record.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            lock: Mutex::new(()),
        }
    }

    /// Adds a record. A lost one can only make the tripwires stricter.
    pub fn append(&self, record: &RemovalRecord) -> GcResult<()> {
        let mut line = serde_json::to_vec(record).map_err(|error| bad_state(&self.path, &error))?;
        line.push(b'\n');
        let _guard = self.locked();
        let mut file =
            DiskFile::append_or_create(&self.path, 0o644).on("open removal log", &self.path)?;
        if !ends_with_newline(&file).on("read removal log", &self.path)? {
            line.insert(0, b'\n');
        }
        file.write_all(&line)
            .on("append to removal log", &self.path)
    }

    /// Removals since the run of that generation began. Records made while it ran count again:
    /// it may or may not have seen their effect.
    pub fn totals_since(&self, generation: u64) -> GcResult<RemovalTotals> {
        let mut totals = RemovalTotals::default();
        let _guard = self.locked();
        self.for_each(|record, _| {
            if record.generation >= generation {
                totals.snapshots = totals.snapshots.saturating_add(record.snapshots);
                totals.indexes = totals.indexes.saturating_add(record.indexes);
                totals.index_bytes = totals.index_bytes.saturating_add(record.index_bytes);
            }
        })?;
        Ok(totals)
    }

    /// Drops the records from before the run of that generation, which is complete now.
    pub fn forget_before(&self, generation: u64) -> GcResult<()> {
        let _guard = self.locked();
        let mut kept = Vec::new();
        let mut dropped = false;
        self.for_each(|record, line| {
            if record.generation >= generation {
                kept.extend_from_slice(line);
                kept.push(b'\n');
            } else {
                dropped = true;
            }
        })?;
        if dropped {
            atomic_file::replace(&self.path, &kept, &ReplaceOptions::default())?;
        }
        Ok(())
    }

    /// Visits every record; lines that are none (a write that was cut off) are left out.
    fn for_each(&self, mut visit: impl FnMut(&RemovalRecord, &[u8])) -> GcResult<()> {
        let file = match std::fs::File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).on("open removal log", &self.path),
        };
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut reader)
                .take(MAX_LEN)
                .read_until(b'\n', &mut line)
                .on("read removal log", &self.path)?;
            if read == 0 {
                return Ok(());
            }
            let text = line.trim_ascii_end();
            if let Ok(record) = serde_json::from_slice::<RemovalRecord>(text) {
                visit(&record, text);
            }
        }
    }

    /// The guarded state is in the file, which is whole after every line.
    fn locked(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ends_with_newline(mut file: &DiskFile) -> std::io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn bad_state(path: &Path, error: &serde_json::Error) -> GcError {
    GcError::BadState {
        path: path.to_path_buf(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(generation: u64, indexes: u64) -> RemovalRecord {
        RemovalRecord {
            kind: RemovalKind::Prune,
            generation,
            snapshots: 1,
            indexes,
            index_bytes: indexes * 64,
        }
    }

    #[test]
    fn facts_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        assert_eq!(History::read(&path), History::None);
        let facts = RunFacts {
            generation: 3,
            clock_offset: Some(-5),
            ..Default::default()
        };
        facts.write(&path).unwrap();
        assert_eq!(History::read(&path), History::Known(facts.clone()));
        assert_eq!(History::read(&path).facts(), Some(&facts));
        for damage in ["", "{}", "{\"generation\":"] {
            std::fs::write(&path, damage).unwrap();
            assert!(
                matches!(History::read(&path), History::Damaged(_)),
                "{damage}"
            );
        }
    }

    #[test]
    fn removals_add_up_from_a_generation_on() {
        let dir = tempfile::tempdir().unwrap();
        let log = RemovalLog::new(&dir.path().join("removals"));
        assert_eq!(log.totals_since(0).unwrap(), RemovalTotals::default());
        log.forget_before(9).unwrap();
        for (generation, indexes) in [(1, 1), (2, 10), (3, 100)] {
            log.append(&record(generation, indexes)).unwrap();
        }
        assert_eq!(log.totals_since(0).unwrap().indexes, 111);
        let since = log.totals_since(2).unwrap();
        assert_eq!(
            (since.snapshots, since.indexes, since.max_chunks()),
            (2, 110, 220)
        );
        log.forget_before(3).unwrap();
        assert_eq!(log.totals_since(0).unwrap().indexes, 100);
        log.append(&record(3, 1000)).unwrap();
        assert_eq!(log.totals_since(3).unwrap().indexes, 1100);
    }

    #[test]
    fn a_line_cut_off_costs_itself_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("removals");
        let log = RemovalLog::new(&path);
        log.append(&record(1, 1)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        log.append(&record(1, 10)).unwrap();
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"\xff\0\n")
            .unwrap();
        log.append(&record(1, 100)).unwrap();
        assert_eq!(log.totals_since(0).unwrap().indexes, 110);
    }
}

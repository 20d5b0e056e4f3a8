//! The journal of snapshots moved while a garbage collection marks (datastore-layout.md §9.5).
//!
//! A mover appends the new path of each index before it renames; the mark reads them after its
//! walk, so that an index that moved from a place not yet visited to one already visited is not
//! missed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use tokio_util::sync::CancellationToken;

use super::named::{flock, open_or_create, wait_for};
use crate::disk::DiskFile;
use crate::env::Env;
use crate::local_error::{AtPath, LocalError, LocalResult, found};

/// How long to wait for somebody else's use of the journal.
pub const MOVE_JOURNAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Name of the journal in the directory of the named locks.
pub const MOVE_JOURNAL_NAME: &str = "move-journal";

/// Longest line that can be a path.
const MAX_LINE: u64 = 64 * 1024;

/// The move journal of one datastore.
#[derive(Clone, Debug)]
pub struct MoveJournal {
    path: PathBuf,
    env: Env,
}

impl MoveJournal {
    /// The journal in the directory of the named locks.
    #[must_use]
    pub fn new(lock_dir: &Path, env: Env) -> Self {
        Self {
            path: lock_dir.join(MOVE_JOURNAL_NAME),
            env,
        }
    }

    /// Waits for the exclusive use of the journal, up to [`MOVE_JOURNAL_TIMEOUT`].
    pub async fn lock(&self, cancel: &CancellationToken) -> LocalResult<LockedMoveJournal> {
        wait_for(&self.env, MOVE_JOURNAL_TIMEOUT, cancel, || self.try_lock()).await
    }

    /// Takes the journal; fails at once if it is in use.
    pub fn try_lock(&self) -> LocalResult<LockedMoveJournal> {
        let lock = flock(
            "move journal",
            open_or_create(&self.path)?,
            &self.path,
            FlockArg::LockExclusiveNonblock,
        )?;
        let file = DiskFile::append(&self.path).at("open move journal", &self.path)?;
        Ok(LockedMoveJournal {
            file,
            _lock: lock,
            path: self.path.clone(),
        })
    }
}

/// The journal, held exclusively until dropped.
#[derive(Debug)]
pub struct LockedMoveJournal {
    file: DiskFile,
    /// Held until this is closed.
    _lock: Flock<File>,
    path: PathBuf,
}

impl LockedMoveJournal {
    /// Records where index files are about to be moved to. Either all paths are recorded or none.
    pub fn append(&mut self, new_paths: &[PathBuf]) -> LocalResult<()> {
        let mut lines = String::new();
        for path in new_paths {
            let usable = path
                .to_str()
                .filter(|text| path.is_absolute() && !text.contains('\n'));
            let Some(text) = usable else {
                let reason = "a path must be absolute, UTF-8 and without line feed";
                return Err(LocalError::refused("record the move to", path, reason));
            };
            lines.push_str(text);
            lines.push('\n');
        }
        let old_len = self
            .file
            .metadata()
            .at("stat move journal", &self.path)?
            .len();
        if old_len > 0 && !self.ends_with_newline(old_len)? {
            // The writer before us died in the middle of a line.
            lines.insert(0, '\n');
        }
        if let Err(error) = self.file.write_all(lines.as_bytes()) {
            // A part of a line would spoil the next one; if this fails, too, it is mended above.
            let _ = self.file.set_len(old_len);
            return Err(error).at("append to move journal", &self.path);
        }
        Ok(())
    }

    /// Calls `process` for every recorded path that exists, then empties the journal. On an error
    /// the journal stays as it is.
    pub fn drain<E, F>(&mut self, mut process: F) -> Result<(), E>
    where
        E: From<LocalError>,
        F: FnMut(&Path) -> Result<(), E>,
    {
        // A position of its own; writing is at the end, wherever that is.
        let file = File::open(&self.path).at("open move journal", &self.path)?;
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let count = (&mut reader)
                .take(MAX_LINE)
                .read_until(b'\n', &mut line)
                .at("read move journal", &self.path)?;
            if count == 0 {
                break;
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            } else if u64::try_from(count).unwrap_or(u64::MAX) == MAX_LINE {
                let reason = "a line is longer than any path";
                return Err(LocalError::invalid(&self.path, reason).into());
            }
            let path = Path::new(OsStr::from_bytes(&line));
            if path.is_absolute() && exists(path)? {
                process(path)?;
            }
        }
        self.file.set_len(0).at("empty move journal", &self.path)?;
        Ok(())
    }

    fn ends_with_newline(&self, len: u64) -> LocalResult<bool> {
        let mut last = [0];
        let read = self.file.read_exact_at(&mut last, len.saturating_sub(1));
        read.at("read move journal", &self.path)?;
        Ok(last == *b"\n")
    }
}

/// Whether there is such a file. What cannot be the name of any was left by a crash: nobody moved an
/// index there, and an error would stop every collection until somebody removes the journal.
fn exists(path: &Path) -> LocalResult<bool> {
    use std::io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory};
    match path.symlink_metadata() {
        Err(error) if matches!(error.kind(), InvalidInput | InvalidFilename | NotADirectory) => {
            Ok(false)
        }
        metadata => Ok(found(metadata).at("stat moved index", path)?.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> (tempfile::TempDir, MoveJournal) {
        let dir = tempfile::tempdir().unwrap();
        let journal = MoveJournal::new(dir.path(), Env::seeded(1, 1000));
        (dir, journal)
    }

    fn drained(journal: &MoveJournal) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        let collect = |path: &Path| -> LocalResult<()> {
            paths.push(path.to_path_buf());
            Ok(())
        };
        journal.try_lock().unwrap().drain(collect).unwrap();
        paths
    }

    #[test]
    fn existing_paths_come_back_once_and_in_order() {
        let (dir, journal) = journal();
        let existing = ["b.fidx", "a.didx"].map(|name| dir.path().join(name));
        for path in &existing {
            std::fs::write(path, "").unwrap();
        }
        let mut locked = journal.try_lock().unwrap();
        locked
            .append(&[existing[0].clone(), dir.path().join("gone.fidx")])
            .unwrap();
        locked.append(&existing[1..]).unwrap();
        assert!(journal.try_lock().unwrap_err().is_busy());
        drop(locked);
        assert_eq!(drained(&journal), existing);
        assert!(drained(&journal).is_empty());
    }

    #[test]
    fn unusable_paths_are_refused_as_a_whole() {
        let (dir, journal) = journal();
        let good = dir.path().join("x.fidx");
        std::fs::write(&good, "").unwrap();
        for bad in ["relative.fidx".into(), dir.path().join("a\nb"), {
            dir.path().join(OsStr::from_bytes(b"\xff.fidx"))
        }] {
            let refused = journal.try_lock().unwrap().append(&[good.clone(), bad]);
            assert!(matches!(refused, Err(LocalError::Refused { .. })));
        }
        assert!(drained(&journal).is_empty());
    }

    #[test]
    fn what_cannot_be_a_path_is_passed_over() {
        let (dir, journal) = journal();
        let path = dir.path().join("x.fidx");
        std::fs::write(&path, "").unwrap();
        let garbage = [b"/a\0b\n/dev/null/x\n/".as_slice(), &[b'x'; 5000], b"/y\n"].concat();
        std::fs::write(dir.path().join(MOVE_JOURNAL_NAME), garbage).unwrap();
        let mut locked = journal.try_lock().unwrap();
        locked.append(std::slice::from_ref(&path)).unwrap();
        drop(locked);
        assert_eq!(drained(&journal), [path]);
    }

    #[test]
    fn a_failed_drain_keeps_everything_and_torn_lines_do_not_spoil_the_next() {
        let (dir, journal) = journal();
        let path = dir.path().join("x.fidx");
        std::fs::write(&path, "").unwrap();
        std::fs::write(dir.path().join(MOVE_JOURNAL_NAME), "/tor").unwrap();
        journal
            .try_lock()
            .unwrap()
            .append(std::slice::from_ref(&path))
            .unwrap();
        let fail = |path: &Path| Err(LocalError::invalid(path, "unreadable"));
        assert!(journal.try_lock().unwrap().drain(fail).is_err());
        assert_eq!(drained(&journal), [path]);
    }

    #[test]
    fn absurd_lines_are_an_error_with_bounded_memory() {
        let (dir, journal) = journal();
        std::fs::write(dir.path().join(MOVE_JOURNAL_NAME), vec![b'/'; 200_000]).unwrap();
        let ok = |_: &Path| -> LocalResult<()> { Ok(()) };
        assert!(journal.try_lock().unwrap().drain(ok).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_after_ten_seconds_or_on_cancellation() {
        let (_dir, journal) = journal();
        let held = journal.try_lock().unwrap();
        let env = journal.env.clone();
        let start = env.now();
        let cancel = CancellationToken::new();
        assert!(journal.lock(&cancel).await.unwrap_err().is_busy());
        assert!(env.now() - start >= MOVE_JOURNAL_TIMEOUT);
        cancel.cancel();
        assert!(matches!(
            journal.lock(&cancel).await,
            Err(LocalError::Aborted(_))
        ));
        drop(held);
        assert!(journal.lock(&CancellationToken::new()).await.is_ok());
    }
}

//! The files of the cleanup journal: one for each process that uses the datastore.
//!
//! A process writes its own file and no other, so that nothing is lost when two of them write, and
//! holds a lock beside it for as long as it lives. What a living process has written down is its own
//! business ◆: it may be in the middle of a removal or a move. Whoever gets the lock knows that the
//! process has ended, and takes over what it has left.
//!
//! A lock file is made before the file that it is for, and is removed after it.

use std::path::{Path, PathBuf};

use crate::atomic_file;
use crate::disk;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::local_error::{LocalError, found};
use crate::locks::LockFile;

const LOCK: &str = "lock";
/// In the names of files that are being written.
const TEMPORARY: &str = ".tmp_";
/// Attempts to find a name that nobody uses.
const ATTEMPTS: usize = 100;

/// The directory of the files.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    env: Env,
}

/// A file whose lock is held.
#[derive(Debug)]
pub(super) struct LockedFile {
    path: PathBuf,
    // Absent once the file has been removed.
    lock: Option<LockFile>,
}

impl Files {
    pub(super) fn new(dir: PathBuf, env: Env) -> Self {
        Self { dir, env }
    }

    /// A new file for this process. Nothing is there until something is written into it.
    pub(super) fn create(&self) -> Result<LockedFile> {
        disk::create_dir_all(&self.dir, 0o750).map_err(Error::io("unable to create", &self.dir))?;
        for _ in 0..ATTEMPTS {
            let path = self.dir.join(format!("{:016x}", self.env.random_u64()));
            // Taken for one of a dead process, it may be somebody else's by now.
            if let Some(lock) = try_lock(&path)? {
                return Ok(LockedFile {
                    path,
                    lock: Some(lock),
                });
            }
        }
        Err(Error::Refused(format!(
            "unable to create a cleanup journal in {}: every tried name is in use",
            self.dir.display()
        )))
    }

    /// Those of processes that have ended, locked.
    pub(super) fn left(&self, own: Option<&LockedFile>) -> Result<Vec<LockedFile>> {
        let mut left = Vec::new();
        for path in self.others(own)? {
            if let Some(lock) = try_lock(&path)? {
                left.push(LockedFile {
                    path,
                    lock: Some(lock),
                });
            }
        }
        Ok(left)
    }

    /// The paths that other processes have written down, living ones and dead ones.
    pub(super) fn paths_of_others(&self, own: Option<&LockedFile>) -> Result<Vec<String>> {
        let mut paths = Vec::new();
        for path in self.others(own)? {
            paths.extend(read(&path)?);
        }
        Ok(paths)
    }

    /// Files of others, also those of which only the lock is left, or what was being written.
    fn others(&self, own: Option<&LockedFile>) -> Result<Vec<PathBuf>> {
        let unreadable = || Error::io("unable to list", &self.dir);
        let Some(entries) = found(std::fs::read_dir(&self.dir)).map_err(unreadable())? else {
            return Ok(Vec::new());
        };
        let mut others = Vec::new();
        for entry in entries {
            let path = entry.map_err(unreadable())?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Not a lock file that is just being made.
            if !name.starts_with('.') {
                others.push(path.with_extension(""));
            }
        }
        others.sort_unstable();
        others.dedup();
        others.retain(|path| own.is_none_or(|own| own.path != *path));
        Ok(others)
    }
}

impl LockedFile {
    pub(super) fn read(&self) -> Result<Vec<String>> {
        read(&self.path)
    }

    pub(super) fn write(&self, text: &str) -> Result<()> {
        Ok(atomic_file::replace_durable(
            &self.path,
            text.as_bytes(),
            0o600,
        )?)
    }

    /// Removes it, and what its process was writing when it ended: somebody else has taken over what
    /// is in it.
    pub(super) fn remove(mut self) -> Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        let unreadable = || Error::io("unable to list", dir);
        let own = self.path.file_name().unwrap_or_default().to_string_lossy();
        for entry in std::fs::read_dir(dir).map_err(unreadable())? {
            let entry = entry.map_err(unreadable())?;
            let name = entry.file_name();
            let rest = name.to_str().and_then(|name| name.strip_prefix(&*own));
            if rest.is_some_and(|rest| rest.starts_with(TEMPORARY)) {
                let path = entry.path();
                found(disk::remove_file(&path)).map_err(Error::io("unable to remove", &path))?;
            }
        }
        self.remove_both()
    }

    fn remove_both(&mut self) -> Result<()> {
        found(disk::remove_file(&self.path)).map_err(Error::io("unable to remove", &self.path))?;
        self.lock.take().map_or(Ok(()), |lock| Ok(lock.remove()?))
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // With anything in it, it is for the next process.
        if self.lock.is_some() && self.read().is_ok_and(|paths| paths.is_empty()) {
            // A file that stays is empty, and is removed by the next process.
            let _ = self.remove_both();
        }
    }
}

/// The lock of a file, unless somebody holds it.
fn try_lock(path: &Path) -> Result<Option<LockFile>> {
    match LockFile::try_exclusive("cleanup journal", path.with_extension(LOCK)) {
        Ok(lock) => Ok(Some(lock)),
        Err(LocalError::Changed { .. }) => Ok(None),
        Err(error) if error.is_busy() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read(path: &Path) -> Result<Vec<String>> {
    let text = found(std::fs::read_to_string(path))
        .map_err(Error::io("unable to read the cleanup journal", path))?
        .unwrap_or_default();
    let paths = text.lines().filter(|line| is_safe(line));
    Ok(paths.map(str::to_owned).collect())
}

/// A relative path without empty, `.` or `..` components: the file may have been edited by hand.
pub(super) fn is_safe(path: &str) -> bool {
    !path.is_empty()
        // A carriage return at the end of a line would not be read back.
        && !path.contains(['\0', '\n', '\r'])
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relative_paths_are_kept() {
        assert!(is_safe("vm/100/2025-07-14T14:20:02Z/index.json.blob"));
        for bad in ["", "/etc/passwd", "a/../b", "a//b", "./a", "a/.", "a\r"] {
            assert!(!is_safe(bad), "{bad}");
        }
    }

    #[test]
    fn a_file_is_left_by_its_process_only_with_something_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path().join("cleanup"), Env::system());
        assert!(files.left(None).unwrap().is_empty(), "no directory yet");

        let ours = files.create().unwrap();
        let theirs = files.create().unwrap();
        theirs.write("a/b\n").unwrap();
        assert!(files.left(Some(&ours)).unwrap().is_empty(), "it lives");
        assert_eq!(files.paths_of_others(Some(&ours)).unwrap(), ["a/b"]);

        drop(theirs);
        let left = files.left(Some(&ours)).unwrap();
        assert_eq!(left.len(), 1);
        assert!(files.left(Some(&ours)).unwrap().is_empty(), "it is taken");
        for file in left {
            assert_eq!(file.read().unwrap(), ["a/b"]);
            file.remove().unwrap();
        }
        assert!(files.paths_of_others(Some(&ours)).unwrap().is_empty());

        ours.write("").unwrap();
        drop(ours);
        let mut rest = std::fs::read_dir(dir.path().join("cleanup")).unwrap();
        assert!(rest.next().is_none());
    }

    /// A crash may leave the lock without its file, or one that was being written without a lock.
    #[test]
    fn parts_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path().to_owned(), Env::system());
        std::fs::write(dir.path().join("abcdef.lock"), "").unwrap();
        std::fs::write(dir.path().join("abcdef.tmp_123456"), "a/").unwrap();
        std::fs::write(dir.path().join("fedcba.tmp_123456"), "a/").unwrap();
        let left = files.left(None).unwrap();
        assert_eq!(left.len(), 2);
        for file in left {
            assert!(file.read().unwrap().is_empty());
            file.remove().unwrap();
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

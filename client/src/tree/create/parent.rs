//! The directory that a file was found in: it may have another name by the time the file is read.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{FileType, OFlags, Stat, fstat};
use rustix::io::Errno;

use super::found::last_name;
use crate::tree::observer::Problem;
use crate::tree::report::refusal;
use crate::tree::sys::open::{open_for_reading, open_parent};

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    pub file: OwnedFd,
    /// Device and inode.
    identity: (u64, u64),
}

impl Directory {
    /// An open directory, with what was said of it.
    pub fn new(file: OwnedFd, stat: &Stat) -> Self {
        let identity = identity(stat);
        Self { file, identity }
    }
}

/// The directory that a file was found in.
#[derive(Clone, Debug)]
pub struct Parent {
    /// Itself, if it is still open.
    open: Option<Arc<Directory>>,
    /// Device and inode.
    identity: (u64, u64),
}

impl Parent {
    /// It stays open.
    pub fn open(directory: Arc<Directory>) -> Self {
        Self {
            identity: directory.identity,
            open: Some(directory),
        }
    }

    /// It does not, and is found by its path.
    pub fn closed(directory: &Directory) -> Self {
        Self {
            open: None,
            identity: directory.identity,
        }
    }

    /// Opens a file that was found in it, whose path begins at `root`.
    pub fn read(&self, root: &OwnedFd, path: &[u8]) -> Result<(OwnedFd, Stat), Problem> {
        let opened = match &self.open {
            Some(directory) => {
                let opened = open_file(&directory.file, last_name(path));
                opened.map_err(failed)?
            }
            None => self.read_by_path(root, path)?,
        };
        match FileType::from_raw_mode(opened.1.st_mode) {
            FileType::RegularFile => Ok(opened),
            _ => Err(Problem::Replaced),
        }
    }

    /// The same by its path. A file is only said to have vanished if it is its own directory that
    /// has it no more; of a directory that is elsewhere nothing is known.
    fn read_by_path(&self, root: &OwnedFd, path: &[u8]) -> Result<(OwnedFd, Stat), Problem> {
        let (directory, name) = match open_parent(root, path) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(Problem::Moved),
            parent => parent.map_err(|error| refusal("open", error))?,
        };
        match open_file(&directory, name) {
            Err(Errno::NOENT) if !self.is(&directory) => Err(Problem::Moved),
            opened => opened.map_err(failed),
        }
    }

    fn is(&self, directory: &OwnedFd) -> bool {
        fstat(directory).is_ok_and(|stat| identity(&stat) == self.identity)
    }
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn open_file(directory: &OwnedFd, name: &[u8]) -> rustix::io::Result<(OwnedFd, Stat)> {
    let file = open_for_reading(directory, name, OFlags::empty())?;
    let stat = fstat(&file)?;
    Ok((file, stat))
}

fn failed(error: Errno) -> Problem {
    match error {
        Errno::LOOP | Errno::NXIO => Problem::Replaced,
        error => refusal("open", error),
    }
}

/// How many directories may stay open of files that follow each other.
#[derive(Clone, Debug, Default)]
pub struct OpenDirectories {
    left: usize,
    /// The one that was kept last.
    last: Option<Arc<Directory>>,
}

impl OpenDirectories {
    /// So many.
    pub const fn new(most: usize) -> Self {
        Self {
            left: most,
            last: None,
        }
    }

    /// The directory of a file, open unless it would be one too many.
    pub fn keep(&mut self, directory: Arc<Directory>) -> Parent {
        let same = |last: &Arc<Directory>| Arc::ptr_eq(last, &directory);
        if !self.last.as_ref().is_some_and(same) {
            let Some(left) = self.left.checked_sub(1) else {
                return Parent::closed(&directory);
            };
            self.left = left;
            self.last = Some(Arc::clone(&directory));
        }
        Parent::open(directory)
    }

    /// Closes the directory of a file if it would be one too many.
    pub fn limit(&mut self, parent: &mut Parent) {
        if let Some(directory) = parent.open.take() {
            *parent = self.keep(directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn open(path: &Path) -> OwnedFd {
        fs::File::open(path).unwrap().into()
    }

    #[test]
    fn a_file_has_vanished_only_if_its_directory_is_there_without_it() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir(path("d")).unwrap();
        fs::write(path("d/f"), "content").unwrap();
        let directory = open(&path("d"));
        let stat = fstat(&directory).unwrap();
        let directory = Arc::new(Directory::new(directory, &stat));
        let closed = Parent::closed(&directory);
        let kept = Parent::open(directory);
        let top = open(root.path());
        let read = |parent: &Parent| parent.read(&top, b"d/f").map(|it| it.1.st_size);
        assert_eq!(read(&closed).unwrap(), 7);

        fs::rename(path("d"), path("moved")).unwrap();
        assert_eq!(read(&kept).unwrap(), 7);
        assert!(matches!(read(&closed), Err(Problem::Moved)));
        // Another directory has its name.
        fs::create_dir(path("d")).unwrap();
        assert!(matches!(read(&closed), Err(Problem::Moved)));
        fs::write(path("d/f"), "other").unwrap();
        assert_eq!(read(&closed).unwrap(), 5);
        fs::remove_dir_all(path("d")).unwrap();
        fs::write(path("d"), "").unwrap();
        assert!(matches!(read(&closed), Err(Problem::Moved)));

        fs::remove_file(path("d")).unwrap();
        fs::rename(path("moved"), path("d")).unwrap();
        fs::remove_file(path("d/f")).unwrap();
        for parent in [&kept, &closed] {
            assert!(matches!(read(parent), Err(Problem::Vanished)));
        }
        fs::create_dir(path("d/f")).unwrap();
        assert!(matches!(read(&kept), Err(Problem::Replaced)));
    }

    #[test]
    fn so_many_directories_stay_open() {
        let directory = || {
            let file = open(Path::new("/"));
            let stat = fstat(&file).unwrap();
            Arc::new(Directory::new(file, &stat))
        };
        let all = [directory(), directory(), directory()];
        let mut kept = OpenDirectories::new(2);
        for (place, is_open) in [(0, true), (0, true), (1, true), (1, true), (2, false)] {
            let parent = kept.keep(Arc::clone(&all[place]));
            assert_eq!(parent.open.is_some(), is_open, "{place}");
        }
        let mut parent = Parent::open(Arc::clone(&all[2]));
        kept.limit(&mut parent);
        assert!(parent.open.is_none());
    }
}

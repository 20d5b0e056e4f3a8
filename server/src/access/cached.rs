//! Files that are asked at each request and change seldom: read again when they are others.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::ConfigError;

/// By what a file is known to be the same: all changes replace it, so that the inode differs.
type Stamp = (u64, u64, i64, i64);

/// What was made of a file.
#[derive(Debug)]
pub struct Cached<T> {
    path: PathBuf,
    made: Mutex<Option<(Option<Stamp>, Arc<T>)>>,
}

impl<T> Cached<T> {
    /// Nothing yet of the file `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            made: Mutex::new(None),
        }
    }

    /// What `make` makes of the file as it is now, or made of it the last time.
    pub fn get(
        &self,
        make: impl FnOnce() -> Result<T, ConfigError>,
    ) -> Result<Arc<T>, ConfigError> {
        // Before it is read: if it changes in between, it is read once more the next time.
        let stamp = self.stamp()?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, made)) = &*made
            && *of == stamp
        {
            return Ok(Arc::clone(made));
        }
        let fresh = Arc::new(make()?);
        *made = Some((stamp, Arc::clone(&fresh)));
        Ok(fresh)
    }

    fn stamp(&self) -> Result<Option<Stamp>, ConfigError> {
        match std::fs::metadata(&self.path) {
            Ok(data) => Ok(Some((
                data.ino(),
                data.size(),
                data.mtime(),
                data.mtime_nsec(),
            ))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ConfigError::io("look at", &self.path, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::replace_file;

    #[test]
    fn a_file_is_read_when_it_has_changed() {
        let dir = support::scratch().unwrap();
        let path = dir.path().join("a");
        let cached = Cached::new(path.clone());
        let read = || Ok(std::fs::read_to_string(&path).unwrap_or_default());
        let same = || -> Result<String, ConfigError> { panic!("read again") };
        assert_eq!(*cached.get(read).unwrap(), "");
        assert_eq!(*cached.get(same).unwrap(), "");
        replace_file(&path, b"one", 0o600).unwrap();
        assert_eq!(*cached.get(read).unwrap(), "one");
        assert_eq!(*cached.get(same).unwrap(), "one");
        replace_file(&path, b"two", 0o600).unwrap();
        assert_eq!(*cached.get(read).unwrap(), "two");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(*cached.get(read).unwrap(), "");
    }
}

//! The error of everything that works on the local disk.

use std::io;
use std::path::{Path, PathBuf};

use crate::task::Aborted;

/// What went wrong on the local disk, with the operation and the path.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The operating system refused or failed an operation.
    #[error("{operation} '{}' failed: {source}", path.display())]
    Io {
        /// What was attempted, e.g. `open chunk`.
        operation: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// What is on disk is not what it must be; nothing was changed.
    #[error("'{}' is not usable: {reason}", path.display())]
    Invalid {
        /// The offending file or directory.
        path: PathBuf,
        /// What is wrong with it and, where known, what to do.
        reason: String,
    },
    /// A rule forbids the change; nothing was changed.
    #[error("cannot {operation} '{}': {reason}", path.display())]
    Refused {
        /// What was attempted.
        operation: &'static str,
        /// On which path.
        path: PathBuf,
        /// Which rule refuses it.
        reason: String,
    },
    /// Somebody else holds the lock.
    #[error("unable to acquire {what} lock '{}': held by another task", path.display())]
    Busy {
        /// Which lock.
        what: &'static str,
        /// The lock file.
        path: PathBuf,
    },
    /// The lock file was removed or replaced while the lock was taken: its subject is gone.
    #[error("unable to acquire {what} lock '{}': changed by other task", path.display())]
    Changed {
        /// Which lock.
        what: &'static str,
        /// The lock file.
        path: PathBuf,
    },
    /// The task was asked to stop.
    #[error(transparent)]
    Aborted(#[from] Aborted),
}

impl LocalError {
    /// An [`LocalError::Invalid`].
    pub fn invalid(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Invalid {
            path: path.into(),
            reason: reason.into(),
        }
    }

    /// An [`LocalError::Refused`].
    pub fn refused(
        operation: &'static str,
        path: impl Into<PathBuf>,
        reason: impl Into<String>,
    ) -> Self {
        Self::Refused {
            operation,
            path: path.into(),
            reason: reason.into(),
        }
    }

    /// The kind of the system's error, if it is one.
    #[must_use]
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }

    /// Whether a file or directory did not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.io_kind() == Some(io::ErrorKind::NotFound)
    }

    /// Whether a file or directory existed that must not.
    #[must_use]
    pub fn is_already_exists(&self) -> bool {
        self.io_kind() == Some(io::ErrorKind::AlreadyExists)
    }

    /// Whether a lock is held by somebody else, so that a later attempt may succeed.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }
}

/// Result of an operation on the local disk.
pub type LocalResult<T> = Result<T, LocalError>;

/// Adds operation and path to a system error.
pub(crate) trait AtPath<T> {
    /// Names what was attempted on which path.
    fn at(self, operation: &'static str, path: &Path) -> LocalResult<T>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, operation: &'static str, path: &Path) -> LocalResult<T> {
        self.map_err(|source| LocalError::Io {
            operation,
            path: path.to_path_buf(),
            source,
        })
    }
}

impl<T> AtPath<T> for nix::Result<T> {
    fn at(self, operation: &'static str, path: &Path) -> LocalResult<T> {
        self.map_err(io::Error::from).at(operation, path)
    }
}

/// Turns "not found" into `None`.
pub(crate) fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

//! What can go wrong with configuration files.

use std::io;
use std::path::{Path, PathBuf};

use super::section::SyntaxError;

/// An error of the configuration files; the texts of lookups are upstream's.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file system said no.
    #[error("failed to {action} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file larger than any sensible configuration.
    #[error("refusing to read {}: larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The grammar is violated.
    #[error("failed to parse {}: {source}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line and reason.
        source: SyntaxError,
    },
    /// What is in the file is not what belongs there.
    #[error("failed to parse {}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A section has a good form but a bad content.
    #[error(
        "failed to parse {}: line {line}: section '{section_type}: {id}': {reason}",
        path.display()
    )]
    Section {
        /// The file.
        path: PathBuf,
        /// Line of the section's header.
        line: usize,
        /// Type of the section.
        section_type: String,
        /// Name of the section.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A value that the grammar cannot express.
    #[error("cannot write {place}: {reason}")]
    Unwritable {
        /// Which section.
        place: String,
        /// Why not.
        reason: String,
    },
    /// Another process holds the lock.
    #[error("failed to lock {}: still held by another process after 10 s", path.display())]
    LockTimeout {
        /// The lock file.
        path: PathBuf,
    },
    /// The file changed since the caller looked at it.
    #[error("detected modified configuration - file changed by other user? Try again.")]
    Modified,
    /// Lookup of a section that is not there.
    #[error("{0}")]
    NoSuch(String),
    /// Creation of a section that is already there.
    #[error("{section_type} '{id}' already exists.")]
    Exists {
        /// Type of the section.
        section_type: &'static str,
        /// Name of the section.
        id: String,
    },
    /// Removal of a section that is not there; the text says which.
    #[error("{0}")]
    NothingToRemove(String),
    /// An endpoint that a datastore refers to cannot be removed.
    #[error("in-use by datastore {datastore}")]
    InUse {
        /// The datastore.
        datastore: String,
    },
    /// A remote that a job refers to cannot be removed.
    #[error("remote '{remote}' is used by sync job '{job}'")]
    RemoteInUse {
        /// The remote.
        remote: String,
        /// The job.
        job: String,
    },
    /// A datastore inside of another one.
    #[error("nested datastores not allowed: '{other}' already in {}", other_path.display())]
    Nested {
        /// The other datastore.
        other: String,
        /// Its directory.
        other_path: PathBuf,
    },
}

impl ConfigError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

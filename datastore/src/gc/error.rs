//! The error of the collector's own parts: mark, merge and the files they keep.

use std::io;
use std::path::{Path, PathBuf};

use api_types::digest::Digest;

use crate::local_error::LocalError;
use crate::task::Aborted;

/// Why a part of the garbage collection could not go on. Nothing was deleted because of it.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// The operating system refused or failed an operation.
    #[error("{operation} '{}' failed: {source}", path.display())]
    Io {
        /// What was attempted, e.g. `list directory`.
        operation: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A directory of the store may not be read, so chunks that it references would be taken for
    /// garbage.
    #[error(
        "cannot read '{}': {source}; the snapshots below it would lose their chunks, so nothing \
         is collected: give the backup user access",
        path.display()
    )]
    Denied {
        /// The unreadable file or directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// An index file is not whole. Collecting without it would delete its chunks.
    #[error(
        "index file '{}' cannot be used: {reason}; nothing is collected until it is repaired \
         (sync or verify it again) or its snapshot is removed",
        path.display()
    )]
    BadIndex {
        /// The offending file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A directory below `ns/` is not a namespace.
    #[error(
        "'{}' is not a valid namespace name; remove or rename it, nothing is collected until then",
        path.display()
    )]
    BadNamespace {
        /// The offending directory.
        path: PathBuf,
    },
    /// Passes over the store kept finding entries gone, even while all changes were locked out.
    #[error(
        "snapshots kept vanishing while they were listed ({passes} passes); is somebody removing \
         them by hand? run the garbage collection again"
    )]
    Restless {
        /// How many passes were made.
        passes: u32,
    },
    /// The spilled part of the mark set did not read back as it was written.
    #[error("temporary file of marked chunks is damaged at digest {at}: check the disk below '{}'",
        dir.display())]
    DamagedSpill {
        /// Where the spill files are.
        dir: PathBuf,
        /// Number of the digest at which the damaged block begins.
        at: u64,
    },
    /// The bucket answered a listing with a key that was not asked for.
    #[error("listing of chunks with prefix '{prefix}' contains the key '{key}'")]
    KeyOutsideShard {
        /// What was asked for, below `.chunks/`.
        prefix: String,
        /// What came.
        key: String,
    },
    /// The local chunk directory was not read in order: a bug, better found than obeyed.
    #[error("local chunks are not in order: {next} after {previous}")]
    LocalDisorder {
        /// The one before.
        previous: Digest,
        /// The offending one.
        next: Digest,
    },
    /// A file of ours holds something else than what is written there.
    #[error("'{}' is not usable: {reason}", path.display())]
    BadState {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// What the store supplies to the mark (pins, the exclusive epoch, the move journal) failed.
    #[error("{0}")]
    Host(String),
    /// Something on the local disk.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The task was asked to stop.
    #[error(transparent)]
    Aborted(#[from] Aborted),
}

/// Result of a part of the collection.
pub type GcResult<T> = Result<T, GcError>;

/// Adds operation and path to a system error.
pub(crate) trait OnPath<T> {
    /// Names what was attempted on which path.
    fn on(self, operation: &'static str, path: &Path) -> GcResult<T>;
}

impl<T> OnPath<T> for io::Result<T> {
    fn on(self, operation: &'static str, path: &Path) -> GcResult<T> {
        self.map_err(|source| GcError::Io {
            operation,
            path: path.to_path_buf(),
            source,
        })
    }
}

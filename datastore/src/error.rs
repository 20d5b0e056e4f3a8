//! What can go wrong with a datastore, by meaning.

use std::path::{Path, PathBuf};

use s3_client::{ListError, S3Error};

use crate::format::FormatError;
use crate::gc::GcError;
use crate::local_error::LocalError;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An operation on a datastore failed.
///
/// The variants tell callers what to do, the texts tell users what was attempted on what.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("{action} {}: {source}", .path.display())]
    Io {
        /// What was attempted, as "unable to …" fits before it.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Something on the local disk is not as it must be.
    #[error(transparent)]
    Local(LocalError),
    /// The object store refused or did not answer.
    #[error(transparent)]
    S3(#[from] Box<S3Error>),
    /// Data that was read is not what it should be.
    #[error("{what}: {source}")]
    Format {
        /// File, object or request part.
        what: String,
        /// The reason.
        source: FormatError,
    },
    /// A chunk is proven damaged where it is stored; transport trouble is never this.
    #[error("chunk {digest} is corrupt: {reason}")]
    CorruptChunk {
        /// The chunk.
        digest: api_types::digest::Digest,
        /// What is wrong with it.
        reason: String,
    },
    /// A chunk is proven absent.
    #[error("chunk {digest} is missing from the datastore")]
    MissingChunk {
        /// The chunk.
        digest: api_types::digest::Digest,
    },
    /// A garbage collection cannot go on.
    #[error(transparent)]
    Gc(Box<GcError>),
    /// Somebody else holds a lock.
    #[error("unable to lock {what}: {reason}")]
    Locked {
        /// What was to be locked.
        what: String,
        /// Who or what is in the way.
        reason: String,
    },
    /// The object of an operation does not exist.
    #[error("{what} does not exist")]
    NotFound {
        /// The missing thing.
        what: String,
    },
    /// The operation would overwrite something.
    #[error("{what} already exists")]
    Exists {
        /// The existing thing.
        what: String,
    },
    /// The request contradicts the state or a rule; the text says which and what to do.
    #[error("{0}")]
    Refused(String),
    /// Another instance owns the bucket prefix: nothing may be deleted or committed.
    #[error(
        "the bucket prefix is in use by {owner}: refusing to {action}; if that server is gone for good, take the prefix over with 's3-refresh --overwrite-in-use'"
    )]
    Fenced {
        /// The other instance as named by its marker.
        owner: String,
        /// What was about to be done.
        action: &'static str,
    },
    /// The bucket does not answer who asks whether the datastore may be used.
    #[error(
        "the bucket of datastore '{store}' does not answer: {reason}; check the S3 endpoint and the network, then try again - what is in the local cache can be read meanwhile"
    )]
    Unreachable {
        /// The datastore.
        store: api_types::names::DatastoreName,
        /// What was waited for, or what came instead of an answer.
        reason: String,
    },
    /// The local state cannot be trusted until it is rebuilt from the bucket.
    #[error(
        "the local state does not match the bucket ({reason}); run 's3-refresh' on the datastore first"
    )]
    NeedsRefresh {
        /// What gave it away.
        reason: String,
    },
    /// What is to be deleted cannot be recorded first, so nothing is deleted.
    #[error(
        "the delete journal cannot be written, so nothing more is deleted: {reason}; free space on or repair the disk of the datastore's directory"
    )]
    DeleteJournal {
        /// Why.
        reason: String,
    },
    /// The task was aborted on request.
    #[error("abort requested - aborting task")]
    Aborted,
}

impl Error {
    /// A failed file operation; to be used with `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// Unreadable data; to be used with `map_err`.
    pub(crate) fn format(what: impl Into<String>) -> impl FnOnce(FormatError) -> Self {
        move |source| Self::Format {
            what: what.into(),
            source,
        }
    }

    /// Whether the operation may succeed unchanged a little later (network, throttling, locks).
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::S3(error) => error.is_transient(),
            Self::Locked { .. } | Self::Unreachable { .. } => true,
            _ => false,
        }
    }

    /// Whether the file or object named was not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            Self::Local(error) => error.is_not_found(),
            Self::NotFound { .. } | Self::MissingChunk { .. } => true,
            _ => false,
        }
    }
}

impl From<LocalError> for Error {
    fn from(error: LocalError) -> Self {
        match error {
            LocalError::Aborted(_) => Self::Aborted,
            LocalError::Busy { what, .. } | LocalError::Changed { what, .. } => Self::Locked {
                what: format!("{what} lock"),
                reason: error.to_string(),
            },
            error => Self::Local(error),
        }
    }
}

impl From<crate::task::Aborted> for Error {
    fn from(_: crate::task::Aborted) -> Self {
        Self::Aborted
    }
}

impl From<GcError> for Error {
    fn from(error: GcError) -> Self {
        match error {
            GcError::Aborted(_) => Self::Aborted,
            error => Self::Gc(Box::new(error)),
        }
    }
}

impl From<ListError> for Error {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Request(error) => error.into(),
            incomplete @ ListError::Incomplete { .. } => Self::Refused(incomplete.to_string()),
        }
    }
}

impl From<s3_client::KeyError> for Error {
    fn from(error: s3_client::KeyError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<S3Error> for Error {
    fn from(error: S3Error) -> Self {
        if error.is_aborted() {
            Self::Aborted
        } else {
            Self::S3(Box::new(error))
        }
    }
}

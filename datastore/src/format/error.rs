//! The one error of the formats: named by meaning, with the object, the reason and what to do.

use std::io;

use openssl::error::ErrorStack;

/// Why something could not be read or written in one of the formats.
///
/// Only [`FormatError::Corrupt`] proves that stored bytes are damaged: a caller may mark an object
/// as corrupt on that one alone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The bytes do not follow the format, or contradict their own checksum or digest.
    #[error("{object} is corrupt: {why}; use another copy of it, or make a new backup")]
    Corrupt {
        /// What was read.
        object: String,
        /// In which way it is wrong.
        why: String,
    },
    /// The file or stream could not be read or written; says nothing about its content.
    #[error("cannot {action} {object}: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        object: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Encrypted data met without a key.
    #[error(
        "cannot decrypt {object}: no key was given; give the key that the backup was made with"
    )]
    KeyMissing {
        /// What should have been decrypted.
        object: String,
    },
    /// A key does not belong to the data, or the passphrase does not belong to the key.
    #[error(
        "cannot use the key for {object}: {why}; check that it is the right key and passphrase"
    )]
    WrongKey {
        /// What the key was used for.
        object: String,
        /// What showed that it is the wrong one.
        why: String,
    },
    /// A passphrase that is not acceptable, or could not be had.
    #[error("cannot use the passphrase for {object}: {why}")]
    Passphrase {
        /// What it protects.
        object: String,
        /// What is wrong with it.
        why: String,
    },
    /// More data than a limit allows. Not a proof of damage.
    #[error("{object} is larger than the limit of {limit} bytes; it is not read any further")]
    TooLarge {
        /// What is too large.
        object: String,
        /// The limit.
        limit: u64,
    },
    /// A request that breaks a rule of the format, such as a chunk beyond the end of an index.
    #[error("cannot write {object}: {why}")]
    Refused {
        /// What was to be written.
        object: String,
        /// The rule.
        why: String,
    },
    /// The cryptographic library failed.
    #[error("cannot {action}: {source}")]
    Crypto {
        /// What was attempted.
        action: &'static str,
        /// The library's reason.
        #[source]
        source: ErrorStack,
    },
}

impl FormatError {
    pub(crate) fn corrupt(object: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Corrupt {
            object: object.into(),
            why: why.into(),
        }
    }

    pub(crate) fn refused(object: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Refused {
            object: object.into(),
            why: why.into(),
        }
    }

    pub(crate) fn wrong_key(object: impl Into<String>, why: impl Into<String>) -> Self {
        Self::WrongKey {
            object: object.into(),
            why: why.into(),
        }
    }

    pub(crate) fn io(
        action: &'static str,
        object: impl Into<String>,
    ) -> impl FnOnce(io::Error) -> Self {
        let object = object.into();
        move |source| Self::Io {
            action,
            object,
            source,
        }
    }

    pub(crate) fn crypto(action: &'static str) -> impl FnOnce(ErrorStack) -> Self {
        move |source| Self::Crypto { action, source }
    }

    /// The same error about `name`: for callers that know which file or chunk the bytes are of.
    #[must_use]
    pub fn with_object(mut self, name: impl Into<String>) -> Self {
        match &mut self {
            Self::Corrupt { object, .. }
            | Self::Io { object, .. }
            | Self::KeyMissing { object }
            | Self::WrongKey { object, .. }
            | Self::Passphrase { object, .. }
            | Self::TooLarge { object, .. }
            | Self::Refused { object, .. } => *object = name.into(),
            Self::Crypto { .. } => {}
        }
        self
    }

    /// Whether the stored bytes are proven to be damaged.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::Corrupt { .. })
    }

    /// Whether the file was not there at all.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

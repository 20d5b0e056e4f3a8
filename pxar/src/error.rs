//! Why an archive cannot be read or written.

use std::io;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes do not follow the format.
    #[error("the archive is corrupt at byte {at}: {why}; use another copy, or make a new backup")]
    Corrupt {
        /// Where, in the stream with the metadata.
        at: u64,
        /// In which way.
        why: String,
    },
    /// It could not be read or written; says nothing about its content.
    #[error("cannot {action} the archive: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// More than [`limits`](crate::limits) allow. No proof of damage.
    #[error("{object} at byte {at} of the archive is larger than the limit of {limit}")]
    TooLarge {
        /// What is too large.
        object: &'static str,
        /// Where.
        at: u64,
        /// The limit.
        limit: u64,
    },
    /// What an archive cannot hold.
    #[error("cannot write the archive: {why}")]
    Refused {
        /// The rule.
        why: String,
    },
    /// The content of a file that was to be added cannot be read; the archive is as it was, and can
    /// go on without the file.
    #[error("cannot read what goes into the archive: {source}")]
    Content {
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Contents that are in the other stream, which was not given.
    #[error("the contents of the files are in the payload archive; open it together with this one")]
    NoPayload,
}

impl Error {
    pub(crate) fn corrupt(at: u64, why: impl Into<String>) -> Self {
        Self::Corrupt {
            at,
            why: why.into(),
        }
    }

    pub(crate) fn refused(why: impl Into<String>) -> Self {
        Self::Refused { why: why.into() }
    }

    pub(crate) fn content(source: io::Error) -> Self {
        Self::Content { source }
    }

    pub(crate) fn write(source: io::Error) -> Self {
        Self::Io {
            action: "write",
            source,
        }
    }

    /// A failed read at `at`; beyond the end the archive is cut.
    pub(crate) fn read(at: u64) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::UnexpectedEof => Self::corrupt(at, "it ends here"),
            _ => Self::Io {
                action: "read",
                source,
            },
        }
    }
}

//! What is told while work on a tree goes on.

use std::io;
use std::path::Path;

/// Who hears of single files. Called from the thread that does the work.
pub trait Observer {
    /// This file is stored or restored next; its path begins below the root.
    fn entry(&self, path: &Path) {
        let _ = path;
    }

    /// Something was not possible for one file; the work goes on.
    fn problem(&self, path: &Path, problem: &Problem);
}

/// What can be wrong with a single file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The system refused something.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The system refused something, and will refuse of other files for the same reason.
    #[error("cannot {action}: {source}; further files of which this is true are only counted")]
    Denied {
        /// What was attempted.
        action: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Something that only root can do.
    #[error("cannot {action}: only root can; of further files this is not told")]
    NotRoot {
        /// What was attempted.
        action: &'static str,
    },
    /// It was there when its directory was read, and is no more.
    #[error("it vanished while it was backed up")]
    Vanished,
    /// Its directory is not where it was any more, so that it cannot be found.
    #[error(
        "it is not in the backup: its directory was moved or removed before it was read; if it is \
         elsewhere now, make another backup"
    )]
    Moved,
    /// It became shorter while it was read.
    #[error("it shrank while it was read; its last {missing} bytes are stored as zeros")]
    Shrank {
        /// Bytes that were zero-filled.
        missing: u64,
    },
    /// It became longer while it was read.
    #[error("it grew while it was read; it is stored up to its first length of {size} bytes")]
    Grew {
        /// How much of it is stored.
        size: u64,
    },
    /// It could not be read to its end.
    #[error("cannot read all of it, its last {missing} bytes are stored as zeros: {source}")]
    Unread {
        /// Bytes that were zero-filled.
        missing: u64,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It was written to while it was read.
    #[error("it changed while it was read; what is stored may be partly old and partly new")]
    Changed,
    /// Something of another type has its name now.
    #[error("it was replaced while it was backed up, by what is no regular file")]
    Replaced,
    /// The system does not give out its extended attributes.
    #[error(
        "it is stored without extended attributes that are larger than the system gives out (64 KiB)"
    )]
    LargeAttributes,
    /// It has more extended attributes than are read again.
    #[error(
        "it is stored without {missing} of its extended attributes: no file gets more than 16 MiB of \
         them"
    )]
    ManyAttributes {
        /// How many are missing.
        missing: u64,
    },
    /// The format of archives has no place for it.
    #[error("it cannot be stored: {why}")]
    Unfit {
        /// The rule.
        why: String,
    },
    /// A line of a file with patterns makes no sense.
    #[error("pattern '{pattern}': {why}")]
    Pattern {
        /// The line.
        pattern: String,
        /// What is wrong with it.
        why: super::pattern::Invalid,
    },
    /// The previous backup cannot be used to recognise unchanged files.
    #[error("the previous backup cannot be used, all files are read: {source}")]
    Previous {
        /// The cause.
        #[source]
        source: pxar::Error,
    },
    /// Something is in its place that may not be replaced.
    #[error("{what} exists; allow it to be replaced by {option}")]
    Exists {
        /// What is there.
        what: &'static str,
        /// The option that would allow it.
        option: &'static str,
    },
    /// The archive has something that cannot be restored.
    #[error("{why}")]
    Refused {
        /// Why not.
        why: String,
    },
}

//! What ends the work on a whole tree.

use std::io;
use std::path::PathBuf;

/// Why an archive could not be made or restored. What concerns a single file is no error but a
/// [`Problem`](super::observer::Problem).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused something that all else depends on.
    #[error("cannot {action} '{}': {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The archive cannot be read or written.
    #[error(transparent)]
    Archive(#[from] pxar::Error),
    /// The catalog cannot be written.
    #[error(transparent)]
    Catalog(#[from] datastore::format::FormatError),
    /// More files than allowed.
    #[error("more than {limit} files to back up; exclude some, or allow more by --entries-max")]
    TooManyEntries {
        /// How many are allowed.
        limit: u64,
    },
    /// A path that is not in the archive.
    #[error("'{}' is not in the archive; see what is with 'catalog dump'", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// A path that leads to something of another type than wanted.
    #[error("'{}' is not {wanted}", path.display())]
    NotA {
        /// The path.
        path: PathBuf,
        /// What was wanted, with its article.
        wanted: &'static str,
    },
    /// A problem with a single file, where none is tolerated or all others will have it too.
    #[error("'{}': {problem}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: super::observer::Problem,
    },
}

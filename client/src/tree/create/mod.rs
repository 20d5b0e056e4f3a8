//! A directory to an archive (`pxar.md` §9).

mod ahead;
mod archive;
mod content;
mod file_system;
mod found;
mod look;
mod metadata;
mod names;
mod options;
mod parent;
mod reuse;
mod siblings;
mod sink;
mod small;
mod walk;

use std::io::{BufWriter, Sink, Write};
use std::path::Path;
use std::sync::Arc;

use datastore::format::catalog::CatalogWriter;
use pxar::{Accessor, Encoder};

use super::Error;
use super::observer::{Observer, Problem};
use super::report::{Reporter, Tell as _};
use super::sys::open::raise_limit;
use archive::{Archiver, pattern_lines};
use reuse::Reuser;
use sink::{Gathered, Unified};
use walk::Walker;

pub use options::{CreateOptions, DEFAULT_ENTRIES_MAX, Devices};
pub use sink::{PIECE, PayloadSink, Previous, PreviousChunk, ReusedChunk};

/// Bytes of metadata that are written at once.
const BUFFER: usize = 64 << 10;

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
    /// Files with a [`Problem`].
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
    raise_limit();
    let reporter = Reporter::new(observer);
    let walker = Walker::open(root, options, None)?;
    let archive = BufWriter::with_capacity(BUFFER, archive);
    let encoder = Encoder::unified(Unified(archive), walker.root())?;
    let mut archiver = Archiver::new(encoder, catalog, root, &reporter)?;
    ahead::walk(root, walker, &reporter, |found| archiver.store(found, None))?;
    archiver.note_patterns(options)?;
    let summary = archiver.finish()?;
    Ok(Summary {
        reuse: Reuse::default(),
        ..summary
    })
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
    raise_limit();
    let reporter = Reporter::new(observer);
    let accessor = match &previous {
        None => None,
        Some(previous) => match Accessor::open(Arc::clone(&previous.metadata), None) {
            Ok(accessor) => Some(accessor),
            Err(source) => {
                reporter.problem(b"", Problem::Previous { source });
                None
            }
        },
    };
    let mut reuser = match (previous, &accessor) {
        (Some(previous), Some(_)) => Reuser::new(previous),
        _ => None,
    };
    let walker = Walker::open(root, options, accessor.as_ref())?;
    let prelude = prelude(options);
    let metadata = BufWriter::with_capacity(BUFFER, metadata);
    let payload = Gathered::new(payload);
    let encoder = Encoder::split(metadata, payload, prelude.as_deref(), walker.root())?;
    let catalog = None::<&mut CatalogWriter<Sink>>;
    let mut archiver = Archiver::new(encoder, catalog, root, &reporter)?;
    ahead::walk(root, walker, &reporter, |found| match &mut reuser {
        None => archiver.store(found, None),
        Some(reuser) => reuser.take(found, &mut archiver),
    })?;
    if let Some(reuser) = &mut reuser {
        reuser.end_run(&mut archiver)?;
    }
    let summary = archiver.finish()?;
    Ok(match reuser {
        Some(_) => summary,
        None => Summary {
            reuse: Reuse::default(),
            ..summary
        },
    })
}

/// What an archive in two parts has of the patterns of the command line (`pxar.md` §3.3).
fn prelude(options: &CreateOptions) -> Option<Vec<u8>> {
    let lines = pattern_lines(options)?;
    // It is text; other names cannot be in it.
    let lines = String::from_utf8_lossy(&lines);
    let prelude = serde_json::json!({ "exclude-patterns": lines });
    Some(prelude.to_string().into_bytes())
}

//! An archive to a directory, a file of it to anywhere.

mod options;

use std::io::Write;
use std::path::Path;

use pxar::{Accessor, Decoder, Input, ReadAt};

use super::Error;
use super::observer::Observer;

pub use options::{ExtractOptions, Ignore, Overwrite};

/// What was restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files of any type.
    pub entries: u64,
    /// Bytes of the regular files.
    pub bytes: u64,
    /// Problems with single files.
    pub problems: u64,
}

/// Restores a whole archive as it streams by; the root becomes `target`, which is made if it is
/// not there.
///
/// # Errors
/// If the archive is damaged, `target` cannot be written at all, or options ask for strictness.
/// Single files are only reported.
pub fn extract<I: Input>(
    archive: Decoder<I>,
    target: &Path,
    options: &ExtractOptions,
    observer: &dyn Observer,
) -> Result<Summary, Error> {
    let _ = (archive, target, options, observer);
    Ok(Summary::default())
}

/// Restores what is at `path` of an archive: a directory becomes `target`, anything else is put
/// into it under its last name. Reads nothing else of the archive.
///
/// # Errors
/// As [`extract`], and if nothing is at `path`.
pub fn extract_path<A: ReadAt>(
    archive: &Accessor<A>,
    path: &Path,
    target: &Path,
    options: &ExtractOptions,
    observer: &dyn Observer,
) -> Result<Summary, Error> {
    let _ = (archive, path, target, options, observer);
    Ok(Summary::default())
}

/// Writes the content of the regular file at `path` to `out`; how many bytes.
///
/// # Errors
/// If nothing is at `path`, or no file, or it cannot be read or written.
pub fn write_file<A: ReadAt>(
    archive: &Accessor<A>,
    path: &Path,
    out: &mut (impl Write + ?Sized),
) -> Result<u64, Error> {
    let _ = (archive, path, out);
    Ok(0)
}

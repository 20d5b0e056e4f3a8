//! Archives of files, into a directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use pxar::ReadAt as _;

use super::options::Options;
use crate::session::{PxarArchive, Report};
use crate::tree::extract::{Summary, extract, extract_path};
use crate::tree::observer::{Observer, Problem};

/// Tells the user of single files.
struct Problems(Arc<dyn Report>);

impl Observer for Problems {
    fn problem(&self, path: &Path, problem: &Problem) {
        let path = path.as_os_str().as_encoded_bytes().escape_ascii();
        self.0.warn(&format!("'{path}': {problem}"));
    }
}

/// Bytes of both parts.
pub(super) fn size(archive: &PxarArchive) -> u64 {
    let payload = archive.payload.as_ref();
    archive.archive.size() + payload.map_or(0, |payload| payload.size())
}

/// Restores all of an archive, what matches the patterns, or what is at some paths. Blocks.
pub(super) fn restore(
    archive: &PxarArchive,
    options: &Options,
    target: &Path,
    report: Arc<dyn Report>,
) -> Result<Summary> {
    let observer = Problems(report);
    let extraction = &options.extract;
    if options.paths.is_empty() && extraction.patterns.is_empty() {
        let decoder = archive.decoder()?;
        return Ok(extract(decoder, target, extraction, &observer)?);
    }
    // What patterns leave out is not fetched, unless it is the first name of a file that they do
    // not leave out by another one.
    let root = [PathBuf::from("/")];
    let paths = match options.paths.is_empty() {
        true => &root[..],
        false => &options.paths,
    };
    let accessor = archive.accessor()?;
    let mut total = Summary::default();
    for path in paths {
        let done = extract_path(&accessor, path, target, extraction, &observer);
        let done = done.with_context(|| format!("failed to restore '{}'", path.display()))?;
        total.entries += done.entries;
        total.bytes += done.bytes;
        total.problems += done.problems;
    }
    Ok(total)
}

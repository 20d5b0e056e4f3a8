//! Images, blobs, catalogs, single streams of archives: bytes in a row.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use pxar::ReadAt as _;

use super::options::Target;
use super::output::Output;
use crate::session::Archive;

/// Writes an archive of chunks in order, while those that follow are fetched. Blocks.
pub(super) fn write_archive(archive: &Archive, target: &Target, overwrite: bool) -> Result<u64> {
    let size = archive.size();
    let mut output = Output::open(target, overwrite, size)?;
    let mut position = 0;
    while position < size {
        let bytes = archive.rest_of_chunk(position)?;
        output
            .write_all(&bytes)
            .with_context(|| format!("failed to write to {target} at byte {position}"))?;
        position += bytes.len() as u64;
    }
    output.finish()?;
    Ok(size)
}

/// Writes a file that is in memory. Blocks.
pub(super) fn write_bytes(content: &[u8], target: &Target, overwrite: bool) -> Result<()> {
    let mut output = Output::open(target, overwrite, content.len() as u64)?;
    output
        .write_all(content)
        .with_context(|| format!("failed to write to {target}"))?;
    output.finish()
}

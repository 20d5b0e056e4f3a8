//! Images, blobs, catalogs, single streams of archives: bytes in a row.

use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use pxar::ReadAt as _;

use super::options::Target;
use super::output::Output;
use crate::session::{Archive, PxarArchive};
use crate::tree::extract;
use crate::tree::unify::unify;

/// Bytes that are written at once, where they come in small pieces.
const GATHERED: usize = 256 << 10;

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

/// Writes the content of one file of an archive; its length. Blocks.
pub(super) fn write_file(archive: &PxarArchive, path: &Path, target: &Target) -> Result<u64> {
    let mut output = Output::open(target, false, 0)?;
    let size = extract::write_file(&archive.accessor()?, path, &mut output)?;
    output.finish()?;
    Ok(size)
}

/// Writes an archive of files in two parts as one stream. Blocks.
pub(super) fn write_unified(archive: &PxarArchive, target: &Target) -> Result<()> {
    let output = Output::open(target, false, 0)?;
    let mut output = BufWriter::with_capacity(GATHERED, output);
    unify(archive.decoder()?, &mut output)?;
    let output = output
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error);
    output
        .with_context(|| format!("failed to write to {target}"))?
        .finish()
}

//! What sessions download beside chunks, and how it is checked.

use anyhow::{Context as _, Result, ensure};
use datastore::env::Env;
use datastore::format::FileInfo;
use datastore::format::index::{AnyIndexReader, IndexFile as _};

use super::spool::Spooled;

/// Longest manifest, as stored.
pub(super) const MAX_MANIFEST: u64 = 16 << 20;
/// Longest index: of more than 25 million chunks.
pub(super) const MAX_INDEX: u64 = 1 << 30;

/// An index, if it is the one that the manifest lists.
pub(super) async fn index_of(file: &FileInfo, raw: Spooled, env: &Env) -> Result<AnyIndexReader> {
    let file = file.clone();
    // All of it is read and hashed.
    env.blocking(move || open(&file, raw)).await
}

fn open(file: &FileInfo, raw: Spooled) -> Result<AnyIndexReader> {
    let name = file.filename.as_str();
    let kind = file.filename.archive_type();
    let kind = kind.with_context(|| format!("{name} has no known type"))?;
    let index = match raw {
        Spooled::Memory(bytes) => AnyIndexReader::from_bytes(bytes, name, kind),
        Spooled::File(raw) => AnyIndexReader::from_file(raw, name, kind),
    }?;
    let (csum, size) = index.compute_csum()?;
    ensure!(
        csum == *file.csum.as_bytes() && size == file.size,
        "{name} is not the index that the manifest lists"
    );
    Ok(index)
}

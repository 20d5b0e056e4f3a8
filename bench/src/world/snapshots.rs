//! The rest of a snapshot: what says that it is finished.

use anyhow::Result;
use api_types::names::SnapshotPath;
use bytes::Bytes;
use datastore::format::manifest::Manifest;

/// The manifest object of the snapshot in this directory.
pub fn manifest(snapshot: &str) -> Result<Bytes> {
    let path: SnapshotPath = snapshot.parse()?;
    Ok(Manifest::new(&path.dir).to_blob()?.into_raw())
}

//! Each committed snapshot is whole in the bucket: during a move at one of its places at least.

use crate::book::Snapshot;
use crate::bucket::{Bucket, MANIFEST};
use crate::sim::Core;

use super::Violation;

/// Something was removed from a directory of the metadata.
pub fn after_removal(core: &Core, directory: &str) -> Result<(), Violation> {
    let Some(index) = core.book.find(directory) else {
        return Ok(());
    };
    let snapshot = &core.book.snapshots[index];
    if !snapshot.is_needed() || is_whole(&core.bucket, snapshot, |_| true) {
        return Ok(());
    }
    let text = format!(
        "the committed snapshot {} is whole nowhere in the bucket, after a delete in {directory}",
        snapshot.relative
    );
    Err(Violation::new("whole", text))
}

/// Whether all files of a snapshot are in the bucket in one of its places for which this holds.
pub fn is_whole(bucket: &Bucket, snapshot: &Snapshot, at: impl Fn(&str) -> bool) -> bool {
    let names = || {
        let archives = snapshot.archives.iter().map(|(name, _)| name.as_str());
        let blobs = snapshot.blobs.iter().map(String::as_str);
        archives.chain(blobs).chain([MANIFEST])
    };
    let mut places = snapshot.places().map(crate::book::places::directory);
    places.any(|place| at(&place) && bucket.has_files(&place, names()))
}

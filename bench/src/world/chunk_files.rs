//! Chunk files of a filesystem datastore: length and access time, no content.

use std::fs::{File, FileTimes};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use api_types::digest::Digest;

/// Makes sparse files of `len` bytes, last used at `atime`, in directories that exist.
pub fn create(chunks: &Path, digests: &[Digest], len: u64, atime: i64) -> Result<()> {
    let atime = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(atime)?);
    let times = FileTimes::new().set_accessed(atime).set_modified(atime);
    for digest in digests {
        let path = chunks.join(digest.prefix_hex()).join(digest.to_hex());
        let made = File::create(&path).and_then(|file| {
            file.set_len(len)?;
            file.set_times(times)
        });
        made.with_context(|| format!("cannot make {}", path.display()))?;
    }
    Ok(())
}

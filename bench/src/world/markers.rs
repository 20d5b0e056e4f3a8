//! Empty chunk files: what says that a chunk is in the bucket.

use std::path::Path;

use anyhow::{Context as _, Result};
use api_types::digest::Digest;

/// Makes the directories and markers of these chunks below `.chunks`, two threads at once.
pub fn create(chunks: &Path, digests: &[Digest]) -> Result<()> {
    std::fs::create_dir_all(chunks).with_context(|| format!("cannot make {}", chunks.display()))?;
    let half = digests.len() / 2;
    let (one, two) = digests.split_at(half);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| create_some(chunks, one));
        let own = create_some(chunks, two);
        match other.join() {
            Ok(result) => result.and(own),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn create_some(chunks: &Path, digests: &[Digest]) -> Result<()> {
    for digest in digests {
        let directory = chunks.join(digest.prefix_hex());
        let path = directory.join(digest.to_hex());
        let made = std::fs::File::create(&path).or_else(|_| {
            std::fs::create_dir_all(&directory)?;
            std::fs::File::create(&path)
        });
        made.with_context(|| format!("cannot make {}", path.display()))?;
    }
    Ok(())
}

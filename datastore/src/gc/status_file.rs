//! `.gc-status`: the result of the last complete run (datastore-layout.md §9.6).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use api_types::status::GarbageCollectionStatus;

use super::error::{GcError, GcResult};
use crate::atomic_file::{self, ReplaceOptions};

/// Name of the file in the datastore's directory.
pub const STATUS_FILE: &str = ".gc-status";

/// Far more than a status takes; a larger file is not ours.
const MAX_LEN: u64 = 64 * 1024;

/// The last status. A missing or unreadable file, or one of another shape, gives the defaults: it
/// only informs.
#[must_use]
pub fn read_status(base: &Path) -> GarbageCollectionStatus {
    let mut text = Vec::new();
    let read = File::open(base.join(STATUS_FILE))
        .and_then(|file| file.take(MAX_LEN).read_to_end(&mut text));
    match read {
        Ok(_) => serde_json::from_slice(&text).unwrap_or_default(),
        Err(_) => GarbageCollectionStatus::default(),
    }
}

/// Replaces the status. A failure deserves a warning, not the failure of the run.
pub fn write_status(base: &Path, status: &GarbageCollectionStatus) -> GcResult<()> {
    let path = base.join(STATUS_FILE);
    let json = serde_json::to_vec(status).map_err(|error| GcError::BadState {
        path: path.clone(),
        reason: error.to_string(),
    })?;
    Ok(atomic_file::replace(
        &path,
        &json,
        &ReplaceOptions::default(),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_status(dir.path()), GarbageCollectionStatus::default());
        let status = GarbageCollectionStatus {
            upid: Some("UPID:x".to_owned()),
            removed_chunks: 7,
            cache_stats: Some(Default::default()),
            ..Default::default()
        };
        write_status(dir.path(), &status).unwrap();
        assert_eq!(read_status(dir.path()), status);
        let text = std::fs::read_to_string(dir.path().join(STATUS_FILE)).unwrap();
        assert!(
            text.starts_with(r#"{"upid":"UPID:x","index-file-count":0,"#),
            "{text}"
        );
        assert!(
            text.ends_with(r#""cache-stats":{"hits":0,"misses":0}}"#),
            "{text}"
        );
    }

    #[test]
    fn anything_else_gives_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "{}", "null", "[1", &"x".repeat(100_000)] {
            std::fs::write(dir.path().join(STATUS_FILE), text).unwrap();
            assert_eq!(read_status(dir.path()), GarbageCollectionStatus::default());
        }
        assert!(write_status(&dir.path().join("missing"), &Default::default()).is_err());
    }
}

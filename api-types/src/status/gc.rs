//! Result of a garbage collection, also the content of `.gc-status`.

use serde::{Deserialize, Serialize};

/// What the last complete run found and removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GarbageCollectionStatus {
    /// The task; none before the first run.
    pub upid: Option<String>,
    /// Index files read.
    pub index_file_count: u64,
    /// Bytes of backups that these stand for.
    pub index_data_bytes: u64,
    /// Bytes of the chunks that stay.
    pub disk_bytes: u64,
    /// Number of the chunks that stay.
    pub disk_chunks: u64,
    /// Bytes removed.
    pub removed_bytes: u64,
    /// Chunks removed.
    pub removed_chunks: u64,
    /// Bytes that may be removed later.
    pub pending_bytes: u64,
    /// Chunks that may be removed later.
    pub pending_chunks: u64,
    /// Corrupt chunks removed.
    pub removed_bad: u64,
    /// Corrupt chunks that stay.
    pub still_bad: u64,
    /// How well the mark's cache worked. Older versions do not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_stats: Option<GarbageCollectionCacheStats>,
}

impl GarbageCollectionStatus {
    /// Bytes of backups per byte stored; 1 when nothing is stored.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn deduplication_factor(&self) -> f64 {
        if self.disk_bytes == 0 {
            return 1.0;
        }
        self.index_data_bytes as f64 / self.disk_bytes as f64
    }
}

/// Hits and misses of the cache of digests already marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GarbageCollectionCacheStats {
    /// Digests that were still known.
    pub hits: u64,
    /// Digests that had to be marked.
    pub misses: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_upstreams_names_and_order() {
        let status = GarbageCollectionStatus {
            upid: Some("UPID:x".into()),
            index_data_bytes: 6,
            disk_bytes: 3,
            cache_stats: Some(GarbageCollectionCacheStats { hits: 1, misses: 2 }),
            ..Default::default()
        };
        let json = serde_json::to_string(&status).unwrap();
        assert_eq!(
            json,
            r#"{"upid":"UPID:x","index-file-count":0,"index-data-bytes":6,"disk-bytes":3,"disk-chunks":0,"removed-bytes":0,"removed-chunks":0,"pending-bytes":0,"pending-chunks":0,"removed-bad":0,"still-bad":0,"cache-stats":{"hits":1,"misses":2}}"#
        );
        assert_eq!(
            serde_json::from_str::<GarbageCollectionStatus>(&json).unwrap(),
            status
        );
        assert!((status.deduplication_factor() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn only_the_cache_statistics_may_be_absent() {
        let old = r#"{"upid":null,"index-file-count":1,"index-data-bytes":1,"disk-bytes":0,"disk-chunks":1,"removed-bytes":1,"removed-chunks":1,"pending-bytes":1,"pending-chunks":1,"removed-bad":1,"still-bad":1}"#;
        let status: GarbageCollectionStatus = serde_json::from_str(old).unwrap();
        assert_eq!(serde_json::to_string(&status).unwrap(), old);
        assert!((status.deduplication_factor() - 1.0).abs() < 1e-9);
        let cut = old.replace(r#""still-bad":1"#, r#""x":1"#);
        assert!(serde_json::from_str::<GarbageCollectionStatus>(&cut).is_err());
    }
}

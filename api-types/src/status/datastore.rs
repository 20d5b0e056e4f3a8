//! State of a datastore.

use serde::{Deserialize, Serialize};

use super::GarbageCollectionStatus;
use crate::datastore::BackendType;

/// Room, and what is in it. For a bucket the numbers are those of the cache's file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DatastoreStatus {
    /// Bytes of the file system.
    pub total: u64,
    /// Bytes in use.
    pub used: u64,
    /// Bytes available.
    pub avail: u64,
    /// Where the chunks are.
    pub backend_type: BackendType,
    /// The last garbage collection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gc_status: Option<GarbageCollectionStatus>,
    /// Groups and snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// Requests made since the counters began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3_statistics: Option<S3Statistics>,
}

/// Groups and snapshots by type; null where there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Containers.
    pub ct: Option<TypeCounts>,
    /// Hosts.
    pub host: Option<TypeCounts>,
    /// Virtual machines.
    pub vm: Option<TypeCounts>,
    /// Never set.
    pub other: Option<TypeCounts>,
}

/// Groups and snapshots of one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeCounts {
    /// Number of groups.
    pub groups: u64,
    /// Number of snapshots.
    pub snapshots: u64,
}

/// Requests and bytes; listings count as GET.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3Statistics {
    /// Bytes received.
    pub downloaded: u64,
    /// Bytes sent.
    pub uploaded: u64,
    /// GET requests, listings included.
    pub get: u64,
    /// POST requests.
    pub post: u64,
    /// PUT requests.
    pub put: u64,
    /// HEAD requests.
    pub head: u64,
    /// DELETE requests.
    pub delete: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_the_real_system_is_read_and_written() {
        let json = r#"{"total":270553174016,"used":17681629184,"avail":79891120128,"backend-type":"filesystem","gc-status":{"upid":null,"index-file-count":0,"index-data-bytes":0,"disk-bytes":0,"disk-chunks":0,"removed-bytes":0,"removed-chunks":0,"pending-bytes":0,"pending-chunks":0,"removed-bad":0,"still-bad":0},"counts":{"ct":{"groups":1,"snapshots":1},"host":{"groups":9,"snapshots":12},"vm":null,"other":null}}"#;
        let status: DatastoreStatus = serde_json::from_str(json).unwrap();
        assert_eq!(status.backend_type, BackendType::Filesystem);
        assert_eq!(serde_json::to_string(&status).unwrap(), json);
    }
}

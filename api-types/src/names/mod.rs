//! The names by which backups are stored, each with the exact rules of the on-disk layout.
//!
//! There is no separate "safe path" type: every path component derived from outside is one of
//! these identifiers, so `/`, a leading `.` and `..` cannot occur in one.

mod archive;
mod group;
mod id;
mod namespace;
mod snapshot;
mod time;

pub use archive::{ArchiveName, ArchiveType};
pub use group::{BackupGroup, BackupType, GroupPath};
pub use id::{BackupId, DatastoreName, EndpointId, NamespaceComponent};
pub(crate) use id::{check_safe_id, check_safe_id_len};
pub use namespace::{BackupNamespace, MAX_NAMESPACE_DEPTH, MAX_NAMESPACE_LEN};
pub use snapshot::{BackupDir, SnapshotPath};
pub use time::BackupTime;

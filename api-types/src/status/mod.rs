//! What is reported: results of garbage collections, of tasks, and the items of listings. Names
//! and order of the members are upstream's.

mod datastore;
mod gc;
mod listing;
mod task;

pub use datastore::{Counts, DatastoreStatus, S3Statistics, TypeCounts};
pub use gc::{GarbageCollectionCacheStats, GarbageCollectionStatus};
pub use listing::{
    BackupContent, CryptMode, GroupListItem, NamespaceListItem, PruneListItem, SnapshotListItem,
    SnapshotVerifyState, VerifyState,
};
pub use task::{TaskListItem, TaskStatus};

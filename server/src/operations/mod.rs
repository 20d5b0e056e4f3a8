//! Long operations on datastores, as the daemon and `coffer-manager` both run them: what their
//! tasks are called, and what they do.
//!
//! | module | what |
//! |---|---|
//! | [`archive`] | contents of archives |
//! | [`background`] | operations as tasks of the daemon |
//! | [`files`] | single files of archives |
//! | [`pack`] | directories of archives as tar and zip |
//! | [`gc`] | garbage collection, and the status of its job |
//! | [`prepared`] | an operation that is ready to be started |
//! | [`prune`] | removal of snapshots that no rule keeps |
//! | [`relocate`] | moves of groups and namespaces |
//! | [`verify`] | verification |
//! | [`job`] | an operation as the run of a job |

pub mod archive;
pub mod background;
pub mod files;
pub mod gc;
pub mod job;
pub mod pack;
pub mod prepared;
pub mod prune;
pub mod relocate;
pub mod verify;

use api_types::names::{BackupGroup, BackupNamespace};
use datastore::store::DataStore;
use s3_client::S3Client;

/// Which groups whoever asks may deal with.
pub type MayTouch = dyn Fn(&BackupNamespace, &BackupGroup) -> bool + Send + Sync;

/// All groups.
#[must_use]
pub fn all_groups(_: &BackupNamespace, _: &BackupGroup) -> bool {
    true
}

/// The client whose requests are counted for a task on this datastore.
#[must_use]
pub fn counted_client(store: &DataStore) -> Option<S3Client> {
    store.backend().s3().map(|backend| backend.client().clone())
}

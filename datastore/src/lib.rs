#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests prepare directories as they need them; the crate itself is checked without cfg(test)"
    )
)]
//! Formats, chunk store, snapshots, sessions and garbage collection of a backup datastore.
//!
//! The folders, by what they are for:
//!
//! | module | job |
//! |---|---|
//! | [`mod@format`] | bytes of blobs, indexes, manifests, keys, catalogs: pure |
//! | [`chunk_store`], [`snapshot`], [`locks`] | the datastore's directory on the local disk |
//! | [`disk`] | every change of the local disk |
//! | [`digests`] | which digests are being uploaded, condemned, deleted, suspect; liveness stamps |
//! | [`backend`] | chunks and metadata in a bucket |
//! | [`store`] | an open datastore, and who may use it at the moment |
//! | [`session`] | a backup being written |
//! | [`gc`] | garbage collection: guards, mark, sweep, delete, report |
//! | [`manage`], [`prune`], [`verify`], [`refresh`] | everything else that is done to a datastore |
//! | [`task`] | what long work sees of the task that runs it |

pub use s3_client::env;

pub mod atomic_file;
pub mod backend;
mod checks;
pub mod chunk_store;
pub mod digests;
pub mod disk;
mod error;
mod file_identity;
pub mod file_time;
pub mod format;
pub mod gc;
pub mod local_error;
pub mod locks;
pub mod manage;
mod once;
pub mod prune;
pub mod refresh;
pub mod session;
pub mod snapshot;
pub mod store;
mod sync;
pub mod task;
#[cfg(test)]
pub(crate) mod test_store;
pub mod verify;

pub use error::{Error, Result};

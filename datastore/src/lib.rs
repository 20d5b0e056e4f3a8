//! Formats, chunk store, snapshots, sessions and garbage collection.

pub use s3_client::env;

pub mod atomic_file;
pub mod chunk_store;
pub mod file_time;
pub mod format;
pub mod gc;
pub mod local_error;
pub mod locks;
pub mod prune;
pub mod snapshot;
pub mod task;

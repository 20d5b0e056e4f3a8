//! Formats, chunk store, snapshots, sessions and garbage collection.

pub use s3_client::env;

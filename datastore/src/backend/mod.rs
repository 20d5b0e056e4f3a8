//! Where chunks and metadata live: the local directory alone, or a bucket with the directory as
//! its mirror and cache.

pub mod s3;

use std::sync::Arc;

use s3::S3Backend;

/// The home of a datastore's data.
#[derive(Clone, Debug)]
pub enum Backend {
    /// The datastore's directory holds everything.
    Filesystem,
    /// A bucket holds everything; the directory is a full mirror of the metadata and a bounded
    /// cache of chunk payloads.
    S3(Arc<S3Backend>),
}

impl Backend {
    /// The S3 backend, if it is one.
    #[must_use]
    pub fn s3(&self) -> Option<&Arc<S3Backend>> {
        match self {
            Self::Filesystem => None,
            Self::S3(backend) => Some(backend),
        }
    }
}

//! `/config`: datastores, S3 endpoints, jobs, remotes, traffic control.

pub mod datastore;
pub mod entries;
pub mod jobs;
pub mod remotes;
pub mod s3;
pub mod scan;
pub mod sync;
mod sync_rights;
pub mod traffic;

//! `/config`: datastores, S3 endpoints, jobs.

pub mod datastore;
pub mod entries;
pub mod jobs;
pub mod s3;

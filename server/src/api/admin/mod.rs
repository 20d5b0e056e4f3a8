//! `/admin`: contents of datastores, what is done with them, and their jobs.

pub mod catalog;
pub mod datastore;
pub mod download;
pub mod files;
pub mod groups;
pub mod jobs;
pub mod namespaces;
pub mod relocate;
pub mod s3;
pub mod snapshots;
pub mod traffic;
pub mod work;

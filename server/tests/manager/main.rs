//! `coffer-manager` as a process: exit codes, output, files.
#![allow(clippy::unwrap_used)] // helpers of tests are not tests to the lint

mod access;
mod datastore_config;
mod entries;
mod jobs;
mod life;
mod ownership;
mod refusals;
mod removal;
mod s3_access;
mod s3_endpoint;
mod support;
#[cfg(feature = "embedded-s3")]
mod sync;
mod task;
mod world;

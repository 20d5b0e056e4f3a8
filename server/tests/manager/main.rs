//! `coffer-manager` as a process: exit codes, output, files.
#![allow(clippy::unwrap_used)] // helpers of tests are not tests to the lint

mod access;
mod datastore_config;
mod entries;
mod life;
mod ownership;
mod refusals;
mod removal;
mod s3_access;
mod s3_endpoint;
mod support;
mod task;
mod world;

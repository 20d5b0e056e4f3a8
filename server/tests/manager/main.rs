//! `coffer-manager` as a process: exit codes, output, files.

mod datastore;
mod s3_endpoint;
mod support;
mod task;

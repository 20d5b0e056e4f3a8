//! Worker tasks, configuration files and the admin tool of Coffer.
//!
//! | module | what |
//! |---|---|
//! | [`paths`] | the directories of an installation, who it is ([`instance`]), whose it is ([`privileges`]) |
//! | [`access`] | who is it, and what may they do |
//! | [`config`] | configuration files: section-config text, locks, digests, atomic replacement |
//! | [`daemon`] | the daemon `coffer-server` |
//! | [`api`] | what the endpoints of the REST interface do |
//! | [`datastores`] | the datastores of an installation, opened as configured |
//! | [`s3`] | clients of the configured S3 endpoints |
//! | [`jobs`] | what the daemon does by the clock |
//! | [`metrics`] | figures over time |
//! | [`monitor`] | numbers and health for monitoring |
//! | [`network`] | ranges of addresses |
//! | [`quota`] | shares of what there is only so much of, for each address |
//! | [`operations`] | long operations on datastores, as tasks of the daemon and of the tool |
//! | [`rest`] | the REST interface |
//! | [`api`] | what its endpoints do |
//! | [`requests`] | what a task asked of S3 |
//! | [`site`] | what of an installation jobs and syncs work with |
//! | [`sync`] | snapshots from and to other datastores |
//! | [`task`] | worker tasks: id, log, index, progress, abort, result |
//! | [`traffic`] | how fast connections may be |
//! | [`cli`] | the commands of `coffer-manager` |

pub mod access;
pub mod api;
pub mod cli;
pub mod config;
pub mod console;
pub mod daemon;
pub mod datastores;
pub mod instance;
pub mod jobs;
pub mod metrics;
pub mod monitor;
pub mod network;
pub mod operations;
pub mod paths;
pub mod privileges;
pub mod protocol;
pub mod quota;
pub mod requests;
pub mod rest;
pub mod s3;
pub mod site;
pub mod sync;
pub mod task;
#[cfg(test)]
mod testing;
pub mod traffic;

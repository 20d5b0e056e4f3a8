//! Worker tasks, configuration files and the admin tool of Coffer.
//!
//! | module | what |
//! |---|---|
//! | [`paths`] | the directories of an installation, and who it is ([`instance`]) |
//! | [`config`] | configuration files: section-config text, locks, digests, atomic replacement |
//! | [`s3`] | clients of the configured S3 endpoints |
//! | [`task`] | worker tasks: id, log, index, progress, abort, result |
//! | [`cli`] | the commands of `coffer-manager` |

pub mod cli;
pub mod config;
pub mod console;
pub mod instance;
pub mod paths;
pub mod s3;
pub mod task;
#[cfg(test)]
mod testing;

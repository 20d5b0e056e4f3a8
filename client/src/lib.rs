//! `coffer-client`: backs up a machine to a Coffer or PBS server, and restores it.
//!
//! | module | what |
//! |---|---|
//! | [`tree`] | a tree of files from and to a pxar archive, and the chunking; no network |
//! | [`remote`] | the repository, TLS, login, REST calls, the upgrade to a session |
//! | [`keys`] | encryption keys, where they lie and who may read them |
//! | [`session`] | backup and reader sessions: chunks, indexes, blobs, manifest |
//! | [`backup`] | a whole backup |
//! | [`restore`] | a whole restore |
//! | `cli` | the command line |
//!
//! The feature `cli` brings the last, and whatever asks at a terminal, mounts or prints for it.

// Where nobody reads standard error, `eprintln!` panics: see `dialogue`.
#![cfg_attr(not(test), deny(clippy::print_stderr))]

pub mod backup;
#[cfg(feature = "cli")]
pub mod cli;
mod dialogue;
pub mod keys;
pub mod remote;
pub mod restore;
pub mod session;
pub mod tree;

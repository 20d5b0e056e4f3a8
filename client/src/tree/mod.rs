//! A tree of files from and to a pxar archive (`pxar.md`), and the chunking; no network.
//!
//! | module | what |
//! |---|---|
//! | [`chunker`] | where archives are cut into chunks |
//! | [`create`] | a directory to an archive |
//! | [`extract`] | an archive to a directory, a file of it to anywhere |
//! | [`unify`](mod@unify) | an archive in two parts as one stream |
//! | [`diff`] | what differs between two archives |
//! | `mount` | an archive as a file system, with the feature `cli` |
//! | [`pattern`] | which paths are meant: `--exclude`, `.pxarexclude`, `--pattern` |
//! | [`observer`] | what is told while work goes on |
//!
//! Everything here blocks.

pub mod chunker;
pub mod create;
pub mod diff;
pub mod error;
pub mod extract;
#[cfg(feature = "cli")]
pub mod mount;
pub mod observer;
pub mod pattern;
mod report;
pub(crate) mod sys;
mod threads;
pub mod unify;

pub use error::Error;

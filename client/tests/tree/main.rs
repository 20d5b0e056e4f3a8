//! Trees of files to archives and back, on the real file system.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attributes;
mod changing;
mod common;
mod damaged;
mod differences;
mod fixtures;
mod generated;
mod hostile;
mod many;
mod mounts;
mod options;
mod reuse;
mod round_trip;
mod sparse;
mod unify;

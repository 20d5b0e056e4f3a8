//! Trees of files to archives and back, on the real file system.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attributes;
mod changing;
mod common;
mod damaged;
mod differences;
mod durable;
mod fixtures;
mod full;
mod generated;
mod hostile;
mod many;
mod mounted;
mod mounts;
mod options;
mod reuse;
mod rights;
mod round_trip;
mod sparse;
mod unify;

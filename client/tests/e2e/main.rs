//! The program against the daemon: backups and restores of all kinds, on a directory and on a
//! bucket, with keys, with interruptions, and with everything that can be wrong.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests are not tests to the lint

mod client;
mod commands;
mod daemon;
mod damaged;
mod fixtures;
mod full;
mod interrupted;
mod keys;
mod kinds;
mod memory;
mod modes;
mod proxy;
mod recorder;
mod recordings;
mod refused;
mod rights;
mod tree;

//! The commands, by what they are about.

pub mod backup;
pub mod benchmark;
pub mod catalog;
pub mod datastore;
pub mod diff;
pub mod group;
pub mod identity;
pub mod key;
pub mod login;
pub mod mount;
pub mod namespace;
pub mod prune;
pub mod restore;
mod shell;
pub mod snapshot;
pub mod task;
pub mod version;

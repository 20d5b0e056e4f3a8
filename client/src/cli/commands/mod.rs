//! The commands, by what they are about.

pub mod datastore;
pub mod group;
pub mod key;
pub mod login;
pub mod namespace;
pub mod prune;
pub mod snapshot;
pub mod task;
pub mod version;

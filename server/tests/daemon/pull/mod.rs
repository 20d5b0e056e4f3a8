//! Pulls from another daemon, and from a datastore beside (`jobs-and-sync.md` §7.2).

mod choice;
mod story;
mod trouble;
pub mod world;

//! Garbage collection: guards, mark, sweep (merge), delete, report; plan first, then act.
//!
//! This folder's modules are pure decisions and local-disk parts, without any network.

pub mod candidate;
pub mod chunk_key;
pub mod error;
pub mod history;
pub mod index_cache;
pub mod mark;
pub mod mark_set;
pub mod merge;
pub mod price;
pub mod progress;
pub mod report;
pub mod shards;
pub mod status_file;
pub mod tripwire;
pub mod walk;

pub use error::{GcError, GcResult};

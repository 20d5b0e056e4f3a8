//! Garbage collection: guards, mark, sweep (merge), delete, report; plan first, then act.
//!
//! `run` is the way through a collection, with a table of its phases; `sweep` is where objects
//! are condemned and deleted. The other modules are pure decisions and local-disk parts.

pub mod candidate;
pub mod chunk_key;
pub mod error;
pub mod first_seen;
pub mod history;
pub mod index_cache;
mod leftovers;
mod local_presence;
pub mod mark;
pub mod mark_set;
pub mod merge;
pub mod mirror;
pub mod options;
mod outcome;
pub mod price;
pub mod progress;
pub mod report;
mod run;
pub mod shards;
pub mod status_file;
mod sweep;
mod sweep_local;
pub mod tripwire;
pub mod walk;

pub use error::{GcError, GcResult};
pub use options::GcOptions;
pub use report::GcReport;

//! Pruning: which snapshots of a group to keep.

pub mod keep;
pub mod run;

pub use keep::{PruneCandidate, PruneMark, select};
pub use run::{PruneOptions, PruneReport, PruneScope};

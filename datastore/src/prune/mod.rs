//! Pruning: which snapshots of a group to keep.

pub mod keep;

pub use keep::{PruneCandidate, PruneMark, select};

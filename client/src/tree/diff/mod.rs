//! What differs between two archives.

mod aspects;
mod walk;

use std::path::PathBuf;

use pxar::{Accessor, ReadAt};

pub use aspects::Aspects;

use super::Error;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where, from the root.
    pub path: PathBuf,
    /// Its type, one of [`pxar::mode`], in the newer archive if it is there.
    pub file_type: u64,
    /// In which way.
    pub change: Change,
}

/// In which way something differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Only the newer archive has it.
    Added,
    /// Only the older archive has it.
    Removed,
    /// Both have it, and these differ.
    Modified(Aspects),
}

/// Calls `found` for each difference, directory by directory; what was removed from one comes last
/// in it. With `compare_content`, files of the same size and time are read; otherwise they are
/// taken to be the same.
///
/// # Errors
/// If an archive is damaged or cannot be read, or from `found`.
pub fn diff<A: ReadAt, B: ReadAt>(
    older: &Accessor<A>,
    newer: &Accessor<B>,
    compare_content: bool,
    found: &mut dyn FnMut(Difference) -> Result<(), Error>,
) -> Result<(), Error> {
    walk::Walk::new(older, newer, compare_content, found)?.run()
}

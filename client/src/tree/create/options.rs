//! What of a tree is stored.

use std::path::PathBuf;

use crate::tree::pattern::Pattern;

/// Files of one archive, unless told otherwise.
pub const DEFAULT_ENTRIES_MAX: u64 = 1 << 20;

/// What of a tree is stored.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// Paths that are left out, `--exclude`; the archive notes these patterns. Files named
    /// `.pxarexclude` are read in any case.
    pub exclude: Vec<Pattern>,
    /// Which file systems, beside the one of the root.
    pub devices: Devices,
    /// Leaves out directories named `lost+found`, `--skip-lost-and-found`.
    pub skip_lost_and_found: bool,
    /// How many files there may be, `--entries-max`.
    pub entries_max: u64,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self {
            exclude: Vec::new(),
            devices: Devices::Listed(Vec::new()),
            skip_lost_and_found: false,
            entries_max: DEFAULT_ENTRIES_MAX,
        }
    }
}

/// Which file systems are entered beside the one of the root. Virtual ones never are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Devices {
    /// Those of these paths, `--include-dev`.
    Listed(Vec<PathBuf>),
    /// All, `--all-file-systems`.
    All,
}

//! How a garbage collection is to be run.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::mark::MarkObserver;
use super::price::PriceTable;

/// Evidence of corrupt chunks is kept this long.
const DEFAULT_BAD_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// Enough for eight million chunks.
const DEFAULT_MARK_MEMORY: usize = 256 << 20;

/// Options of one run.
#[derive(Clone)]
pub struct GcOptions {
    /// Only report what would be deleted.
    pub dry_run: bool,
    /// Go on although a tripwire says that something is odd.
    pub force: bool,
    /// Read every index anew, past the cache.
    pub full: bool,
    /// Younger garbage stays; `None` = the tuning option `gc-atime-cutoff`.
    pub grace: Option<Duration>,
    /// Bytes of marked digests kept in memory before they go to temporary files.
    pub mark_memory: usize,
    /// How long corrupt chunks are kept as evidence.
    pub bad_retention: Duration,
    /// Indexes (below the datastore) that may be skipped if they cannot be read.
    pub skip_unreadable: Vec<PathBuf>,
    /// Prices for the report.
    pub prices: Option<PriceTable>,
    /// Watches the mark; for tests of its interleavings.
    pub observer: Option<Arc<dyn MarkObserver>>,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self {
            dry_run: false,
            force: false,
            full: false,
            grace: None,
            mark_memory: DEFAULT_MARK_MEMORY,
            bad_retention: DEFAULT_BAD_RETENTION,
            skip_unreadable: Vec::new(),
            prices: None,
            observer: None,
        }
    }
}

impl std::fmt::Debug for GcOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GcOptions")
            .field("dry_run", &self.dry_run)
            .field("force", &self.force)
            .field("full", &self.full)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

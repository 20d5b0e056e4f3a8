//! Threads beside the one that works on a tree.

use std::num::NonZero;
use std::path::Path;
use std::thread::{self, Builder, Scope, ScopedJoinHandle};

use super::Error;

/// Most threads that look at files or make them; more only get into each other's way.
const MOST: usize = 8;

/// How many it takes to keep the machine busy.
pub fn count() -> usize {
    let cores = thread::available_parallelism();
    cores.map_or(1, NonZero::get).min(MOST)
}

/// Starts one for work on the tree at `path`.
pub fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    path: &Path,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, Error> {
    let builder = Builder::new().name("tree".to_owned());
    let started = builder.spawn_scoped(scope, work);
    started.map_err(|source| Error::Io {
        action: "start a thread for",
        path: path.to_path_buf(),
        source,
    })
}

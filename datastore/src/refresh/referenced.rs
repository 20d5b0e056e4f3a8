//! Which of some chunks does the metadata reference?

use std::collections::HashSet;
use std::sync::Arc;

use api_types::digest::Digest;

use crate::error::{Error, Result};
use crate::format::index::{AnyIndexReader, IndexFile};
use crate::gc::mark::NoObserver;
use crate::gc::walk::walk_store;
use crate::store::DataStore;
use crate::task::{TaskContext, check_abort};

impl DataStore {
    /// Those of `digests` that an index of the local tree names. An index that cannot be read might
    /// name any of them: it makes all of them referenced.
    pub(super) async fn referenced(
        self: &Arc<Self>,
        digests: &[Digest],
        task: &dyn TaskContext,
    ) -> Result<HashSet<Digest>> {
        let all: HashSet<Digest> = digests.iter().copied().collect();
        if all.is_empty() {
            return Ok(all);
        }
        let wanted = Arc::new(all.clone());
        let walk = walk_store(&self.base, &NoObserver, task)?;
        let mut found = HashSet::new();
        for index in walk.indexes {
            check_abort(task)?;
            if found.len() == all.len() {
                break;
            }
            let path = index.path.clone();
            let (wanted, kind) = (Arc::clone(&wanted), index.kind);
            let read = move || -> Result<Vec<Digest>> {
                let what = path.display().to_string();
                let index =
                    AnyIndexReader::open(&path, kind).map_err(Error::format(what.clone()))?;
                let mut entries = index.entries();
                let mut hits = Vec::new();
                while let Some(entry) = entries.next_entry().map_err(Error::format(what.clone()))? {
                    if wanted.contains(&entry.digest) {
                        hits.push(entry.digest);
                    }
                }
                Ok(hits)
            };
            match self.env.blocking(read).await {
                Ok(hits) => found.extend(hits),
                Err(error) => {
                    task.warn(&format!(
                        "cached chunks are kept, whatever needs them: {error}"
                    ));
                    return Ok(all);
                }
            }
        }
        Ok(found)
    }
}

//! Prune of a group or a part of a datastore.

use std::sync::Arc;

use anyhow::Result;
use api_types::names::{BackupGroup, BackupNamespace, DatastoreName};
use api_types::prune::KeepOptions;
use datastore::prune::{PruneOptions, PruneReport, PruneScope};
use datastore::store::DataStore;
use datastore::task::TaskContext;

use super::MayTouch;

/// Type of the task.
pub const WORKER_TYPE: &str = "prune";

/// What to prune, and how.
#[derive(Clone, Debug)]
pub struct Prune {
    /// The datastore.
    pub store: DatastoreName,
    /// Where to begin.
    pub ns: BackupNamespace,
    /// Only this; all groups if absent.
    pub group: Option<BackupGroup>,
    /// Levels of namespaces below; all if absent.
    pub max_depth: Option<usize>,
    /// What to keep.
    pub keep: KeepOptions,
    /// Only say what would be done.
    pub dry_run: bool,
}

impl Prune {
    /// What the task works on, as upstream writes it into task ids.
    #[must_use]
    pub fn worker_id(&self) -> String {
        let Self {
            store, ns, group, ..
        } = self;
        match group {
            Some(group) => format!("{store}:{ns}:{group}"),
            None => format!("{store}:{ns}"),
        }
    }

    /// Does it.
    pub async fn run(
        &self,
        task: &dyn TaskContext,
        store: &Arc<DataStore>,
        may_prune: &MayTouch,
    ) -> Result<PruneReport> {
        let options = PruneOptions {
            dry_run: self.dry_run,
            ..PruneOptions::new(self.keep.clone())
        };
        let report = match &self.group {
            Some(group) => store.prune_group(task, &self.ns, group, &options).await?,
            None => {
                let scope = PruneScope {
                    ns: self.ns.clone(),
                    max_depth: self.max_depth,
                    may_prune,
                };
                store.prune_datastore(task, &scope, &options).await?
            }
        };
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_ids_are_upstreams() {
        let id = |ns: &str, group: Option<&str>| {
            Prune {
                store: "s1x".parse().unwrap(),
                ns: ns.parse().unwrap(),
                group: group.map(|group| group.parse().unwrap()),
                max_depth: None,
                keep: KeepOptions::default(),
                dry_run: false,
            }
            .worker_id()
        };
        assert_eq!(id("", Some("vm/100")), "s1x::vm/100");
        assert_eq!(id("a/b", Some("vm/100")), "s1x:a/b:vm/100");
        assert_eq!(id("", None), "s1x:");
        assert_eq!(id("a", None), "s1x:a");
    }
}

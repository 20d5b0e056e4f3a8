//! Moves of groups and namespaces within a datastore.

use std::sync::Arc;

use anyhow::{Result, ensure};
use api_types::names::{BackupGroup, BackupNamespace, DatastoreName};
use datastore::manage::relocate::NamespaceMove;
use datastore::store::DataStore;
use datastore::task::TaskContext;

/// A group, and the namespace that it is to be in.
#[derive(Clone, Debug)]
pub struct MoveGroup {
    /// The datastore.
    pub store: DatastoreName,
    /// Where the group is.
    pub ns: BackupNamespace,
    /// The group.
    pub group: BackupGroup,
    /// Where it is to be.
    pub target_ns: BackupNamespace,
    /// Join a group that is there already.
    pub merge: bool,
}

impl MoveGroup {
    /// Type of the task.
    pub const WORKER_TYPE: &'static str = "move-group";

    /// What the task works on, as upstream writes it into task ids.
    #[must_use]
    pub fn worker_id(&self) -> String {
        let Self {
            store,
            ns,
            group,
            target_ns,
            ..
        } = self;
        format!("{store}:{ns}/{group}:{target_ns}")
    }

    /// Does it.
    pub async fn run(&self, task: &dyn TaskContext, store: &Arc<DataStore>) -> Result<()> {
        task.log(&format!(
            "moving group '{}' from '{}' to '{}'",
            self.group, self.ns, self.target_ns
        ));
        let moved = store
            .move_group(task, &self.ns, &self.group, &self.target_ns, self.merge)
            .await?;
        let merged = if moved.merged {
            ", which joined those that were there"
        } else {
            ""
        };
        task.log(&format!("moved {} snapshots{merged}", moved.snapshots));
        Ok(())
    }
}

/// A namespace, and what it is to be called.
#[derive(Clone, Debug)]
pub struct MoveNamespace {
    /// The datastore.
    pub store: DatastoreName,
    /// What to move, and how.
    pub options: NamespaceMove,
}

impl MoveNamespace {
    /// Type of the task.
    pub const WORKER_TYPE: &'static str = "move-namespace";

    /// What the task works on, as upstream writes it into task ids.
    #[must_use]
    pub fn worker_id(&self) -> String {
        let NamespaceMove { from, to, .. } = &self.options;
        format!("{}:{from}:{to}", self.store)
    }

    /// Does it.
    pub async fn run(&self, task: &dyn TaskContext, store: &Arc<DataStore>) -> Result<()> {
        let moved = store.move_namespace(task, &self.options).await?;
        task.log(&format!(
            "moved {} groups with {} snapshots, removed {} namespaces",
            moved.groups, moved.snapshots, moved.removed_namespaces
        ));
        ensure!(
            moved.failed == 0,
            "{} groups could not be moved - please check the log for details",
            moved.failed
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_ids_are_upstreams() {
        let group = |ns: &str, target: &str| {
            MoveGroup {
                store: "s1x".parse().unwrap(),
                ns: ns.parse().unwrap(),
                group: "vm/100".parse().unwrap(),
                target_ns: target.parse().unwrap(),
                merge: true,
            }
            .worker_id()
        };
        assert_eq!(group("", "a"), "s1x:/vm/100:a");
        assert_eq!(group("a/b", ""), "s1x:a/b/vm/100:");
        let namespace = MoveNamespace {
            store: "s1x".parse().unwrap(),
            options: NamespaceMove {
                from: "a".parse().unwrap(),
                to: "b/c".parse().unwrap(),
                max_depth: None,
                delete_source: true,
                merge_groups: true,
            },
        };
        assert_eq!(namespace.worker_id(), "s1x:a:b/c");
    }
}

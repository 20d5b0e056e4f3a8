//! Namespaces: a namespace exists if and only if its directory does.

use std::path::Path;

use api_types::names::{BackupNamespace, MAX_NAMESPACE_DEPTH, NamespaceComponent};

use super::{SnapshotStore, sub_dirs};
use crate::atomic_file::sync_parent;
use crate::local_error::{LocalError, LocalResult};

impl SnapshotStore {
    /// Whether the namespace exists; the root always does.
    pub fn namespace_exists(&self, ns: &BackupNamespace) -> LocalResult<bool> {
        Ok(ns.is_root() || self.existing_dir(&ns.path())?.is_some())
    }

    /// Creates the directory of a namespace, whose parent must exist; returns whether it is new.
    pub fn create_namespace(&self, ns: &BackupNamespace) -> LocalResult<bool> {
        let path = self.namespace_path(ns);
        let Some(parent) = ns.parent() else {
            return Err(LocalError::refused(
                "create namespace",
                path,
                "the root always exists",
            ));
        };
        if !self.namespace_exists(&parent)? {
            let reason = format!("its parent '{parent}' does not exist, create that first");
            return Err(LocalError::refused("create namespace", path, reason));
        }
        let created = self.create_dirs(&ns.path())?;
        // Its name is in `ns`, which may be new in the parent.
        for path in [Some(path.as_path()), path.parent()].into_iter().flatten() {
            sync_parent(path)?;
        }
        Ok(created)
    }

    /// The direct children of a namespace, by name.
    ///
    /// A directory below `ns/` whose name cannot be one of a namespace is an error: whoever relies
    /// on having seen every namespace (a garbage collection) must not go on without it.
    pub fn child_namespaces(&self, parent: &BackupNamespace) -> LocalResult<Vec<BackupNamespace>> {
        if parent.depth() >= MAX_NAMESPACE_DEPTH {
            return Ok(Vec::new());
        }
        let Some(directory) = self.existing_dir(&parent.path_of("ns"))? else {
            return Ok(Vec::new());
        };
        let mut names = sub_dirs(&directory)?.unwrap_or_default();
        names.sort_unstable();
        names
            .iter()
            .map(|name| child(parent, &directory, name))
            .collect()
    }

    /// `start` and all namespaces below it, parents before children, siblings by name.
    ///
    /// `max_depth` counts levels below `start`; absent: all that can exist. `start` itself is
    /// always part of the answer, whether it exists or not.
    pub fn namespaces(
        &self,
        start: &BackupNamespace,
        max_depth: Option<usize>,
    ) -> LocalResult<Vec<BackupNamespace>> {
        let deepest = start
            .depth()
            .saturating_add(max_depth.unwrap_or(MAX_NAMESPACE_DEPTH));
        let mut namespaces = Vec::new();
        let mut stack = vec![start.clone()];
        while let Some(ns) = stack.pop() {
            if ns.depth() < deepest {
                stack.extend(self.child_namespaces(&ns)?.into_iter().rev());
            }
            namespaces.push(ns);
        }
        Ok(namespaces)
    }
}

fn child(parent: &BackupNamespace, directory: &Path, name: &str) -> LocalResult<BackupNamespace> {
    name.parse::<NamespaceComponent>()
        .and_then(|component| parent.join(component))
        .map_err(|error| {
            let reason = format!("there must be nothing but namespaces here: {error}");
            LocalError::invalid(directory.join(name), reason)
        })
}

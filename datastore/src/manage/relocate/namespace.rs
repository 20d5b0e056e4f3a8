//! The move of a namespace: all its groups, level by level.

use std::sync::Arc;

use api_types::names::{BackupGroup, BackupNamespace, MAX_NAMESPACE_DEPTH};
use s3_client::{S3Client, TaskKind};

use crate::error::{Error, Result};
use crate::store::DataStore;
use crate::task::{TaskContext, check_abort};

/// How to move a namespace.
#[derive(Clone, Debug)]
pub struct NamespaceMove {
    /// What moves.
    pub from: BackupNamespace,
    /// What it is called afterwards.
    pub to: BackupNamespace,
    /// Levels below it that move as well; absent: all.
    pub max_depth: Option<usize>,
    /// Remove the namespaces that become empty.
    pub delete_source: bool,
    /// Groups that exist at the target are joined.
    pub merge_groups: bool,
}

/// What a move of a namespace did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NamespaceMoved {
    /// Groups moved.
    pub groups: u64,
    /// Snapshots moved.
    pub snapshots: u64,
    /// Source namespaces removed.
    pub removed_namespaces: u64,
    /// Groups that stayed; the log says why.
    pub failed: u64,
}

/// A group and the namespaces that it moves between.
struct Pending {
    from: BackupNamespace,
    to: BackupNamespace,
    group: BackupGroup,
}

impl NamespaceMove {
    /// Refuses what cannot be meant.
    ///
    /// # Errors
    /// Says what.
    pub fn check(&self) -> Result<()> {
        let Self { from, to, .. } = self;
        if from.is_root() {
            return Err(Error::Refused("cannot move the root namespace".into()));
        }
        if from == to {
            return Err(Error::Refused(
                "source and target namespace are the same".into(),
            ));
        }
        if from.contains(to) {
            return Err(Error::Refused(format!(
                "cannot move namespace '{from}' into itself"
            )));
        }
        Ok(())
    }

    /// Where a namespace at or below the source comes to lie.
    fn target_of(&self, ns: &BackupNamespace) -> Result<BackupNamespace> {
        let below = ns.components().iter().skip(self.from.depth());
        let too_deep = |_| {
            Error::Refused(format!(
                "namespace too deep, '{ns}' would lie more than {MAX_NAMESPACE_DEPTH} levels deep"
            ))
        };
        below.cloned().try_fold(self.to.clone(), |target, name| {
            target.join(name).map_err(too_deep)
        })
    }
}

impl DataStore {
    /// Moves a namespace with its groups, and with the namespaces below it.
    ///
    /// Groups that are in use are tried once more at the end. What cannot be moved is a warning,
    /// and stays with its namespace.
    ///
    /// # Errors
    /// If a rule forbids it, namespaces cannot be listed or created, or the task is aborted.
    pub async fn move_namespace(
        self: &Arc<Self>,
        task: &dyn TaskContext,
        options: &NamespaceMove,
    ) -> Result<NamespaceMoved> {
        options.check()?;
        let _lease = self.writer_lease(task.cancel()).await?;
        let client = self.client(TaskKind::Other, task.cancel());
        let client = client.as_ref();
        if !self.namespace_exists(&options.from).await? {
            return Err(Error::NotFound {
                what: format!("namespace '{}'", options.from),
            });
        }
        let levels = {
            let (from, depth) = (options.from.clone(), options.max_depth);
            self.local(move |snapshots| snapshots.namespaces(&from, depth))
                .await?
        };
        task.log(&format!(
            "moving namespace '{}' -> '{}': {} namespace(s)",
            options.from,
            options.to,
            levels.len()
        ));
        // All of them before the first is made: nothing is left half-way for a rule's sake.
        let targets: Vec<_> = levels
            .iter()
            .map(|ns| options.target_of(ns))
            .collect::<Result<_>>()?;
        let mut pending = Vec::new();
        for (from, to) in levels.iter().zip(&targets) {
            check_abort(task)?;
            self.create_namespace(client, to, task.cancel()).await?;
            let groups = self.groups_of(from).await?.into_iter();
            pending.extend(groups.map(|group| Pending {
                from: from.clone(),
                to: to.clone(),
                group,
            }));
        }
        let mut moved = NamespaceMoved::default();
        let busy = self
            .move_groups(task, client, options, pending, &mut moved, true)
            .await?;
        self.move_groups(task, client, options, busy, &mut moved, false)
            .await?;
        if options.delete_source {
            self.remove_moved(task, client, &levels, &mut moved).await?;
        }
        Ok(moved)
    }

    /// Moves these groups; returns those that were in use, if they are to be tried `again`.
    async fn move_groups(
        &self,
        task: &dyn TaskContext,
        client: Option<&S3Client>,
        options: &NamespaceMove,
        pending: Vec<Pending>,
        moved: &mut NamespaceMoved,
        again: bool,
    ) -> Result<Vec<Pending>> {
        let mut busy = Vec::new();
        for one in pending {
            check_abort(task)?;
            let Pending { from, to, group } = &one;
            task.log(&format!(
                "moving group {from}:\"{group}\" to {to}:\"{group}\""
            ));
            let way = (from, to);
            match self
                .move_group_leased(task, client, way, group, options.merge_groups)
                .await
            {
                Ok(done) => {
                    moved.groups += 1;
                    moved.snapshots += done.snapshots;
                }
                Err(Error::Aborted) => return Err(Error::Aborted),
                Err(error @ Error::Locked { .. }) if again => {
                    task.log(&format!("{error}; trying again later"));
                    busy.push(one);
                }
                Err(error) => {
                    moved.failed += 1;
                    task.warn(&format!("unable to move group {group}: {error}"));
                }
            }
        }
        Ok(busy)
    }

    /// Removes what has become empty, deepest first.
    async fn remove_moved(
        &self,
        task: &dyn TaskContext,
        client: Option<&S3Client>,
        levels: &[BackupNamespace],
        moved: &mut NamespaceMoved,
    ) -> Result<()> {
        for ns in levels.iter().rev() {
            match self.remove_empty_level(client, ns, task.cancel()).await {
                Ok(true) => moved.removed_namespaces += 1,
                Ok(false) => task.log(&format!("namespace '{ns}' is not empty and stays")),
                Err(Error::Aborted) => return Err(Error::Aborted),
                Err(error) => task.warn(&format!("unable to remove namespace '{ns}': {error}")),
            }
        }
        Ok(())
    }
}

//! Prunes: the keep rules applied to a group or to a part of the datastore
//! (`jobs-and-sync.md` §4, `rest-api.md` §3.6). The log is upstream's, line by line.
//!
//! First everything is decided, then everything is removed, in the order of the decisions: so the
//! deletions of all groups share their requests to the bucket (`s3-backend.md` §9, R-D9).

use std::sync::Arc;

use api_types::names::{BackupDir, BackupGroup, BackupNamespace, SnapshotPath};
use api_types::prune::KeepOptions;
use api_types::status::PruneListItem;
use jiff::tz::TimeZone;
use s3_client::TaskKind;

use crate::error::Result;
use crate::gc::history::RemovalKind;
use crate::snapshot::BackupInfo;
use crate::store::DataStore;
use crate::task::{TaskContext, check_abort};

use super::{PruneCandidate, PruneMark, select};

/// How to prune.
#[derive(Clone, Debug)]
pub struct PruneOptions {
    /// What to keep.
    pub keep: KeepOptions,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Where the days, weeks, months and years of the rules begin and end.
    pub tz: TimeZone,
}

impl PruneOptions {
    /// A real prune in the server's time zone.
    #[must_use]
    pub fn new(keep: KeepOptions) -> Self {
        Self {
            keep,
            dry_run: false,
            tz: TimeZone::system(),
        }
    }
}

/// Which part of a datastore to prune.
pub struct PruneScope<'a> {
    /// Where to begin.
    pub ns: BackupNamespace,
    /// Levels below it; absent: all.
    pub max_depth: Option<usize>,
    /// Which groups the asking user may prune.
    pub may_prune: &'a (dyn Fn(&BackupNamespace, &BackupGroup) -> bool + Send + Sync),
}

/// What a prune did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PruneReport {
    /// The decisions: group by group, each group's oldest first.
    pub items: Vec<PruneListItem>,
    /// Snapshots removed.
    pub removed: u64,
    /// Snapshots that should have gone and are still there; the log says why.
    pub failed: u64,
}

/// A snapshot with its mark.
struct Decision {
    info: BackupInfo,
    mark: PruneMark,
}

impl DataStore {
    /// Prunes one group.
    ///
    /// # Errors
    /// If the group cannot be read or the task is aborted. A snapshot that resists is a warning.
    pub async fn prune_group(
        self: &Arc<Self>,
        task: &dyn TaskContext,
        ns: &BackupNamespace,
        group: &BackupGroup,
        options: &PruneOptions,
    ) -> Result<PruneReport> {
        let decisions = self.decide(ns, group, options).await?;
        if options.keep.keeps_something() {
            task.log(&retention_line(&options.keep));
        } else {
            task.log("No prune selection - keeping all files.");
        }
        let place = self.place(ns);
        task.log(&format!("Starting prune on {place} group \"{group}\""));
        let mut plan = Plan::new(self, task, options);
        for decision in decisions {
            task.log(&format!("{} {}", decision.info.dir, decision.mark));
            plan.add(ns, decision);
        }
        plan.carry_out().await
    }

    /// Prunes the groups of a part of the datastore.
    ///
    /// # Errors
    /// If the namespaces cannot be read or the task is aborted. Groups that cannot be read and
    /// snapshots that resist are warnings.
    pub async fn prune_datastore(
        self: &Arc<Self>,
        task: &dyn TaskContext,
        scope: &PruneScope<'_>,
        options: &PruneOptions,
    ) -> Result<PruneReport> {
        let (place, depth) = (self.place(&scope.ns), depth_text(scope.max_depth));
        task.log(&format!("Starting datastore prune on {place}, {depth}"));
        if options.keep.keeps_something() {
            task.log(&retention_line(&options.keep));
        } else {
            task.warn("No prune selection - keeping all files.");
        }
        let namespaces = {
            let (start, max_depth) = (scope.ns.clone(), scope.max_depth);
            self.local(move |snapshots| snapshots.namespaces(&start, max_depth))
                .await?
        };
        let mut plan = Plan::new(self, task, options);
        for ns in namespaces {
            let groups = {
                let ns = ns.clone();
                self.local(move |snapshots| snapshots.list_groups(&ns))
                    .await?
            };
            for group in groups.iter().filter(|group| (scope.may_prune)(&ns, group)) {
                check_abort(task)?;
                task.log(&format!("Pruning group {ns}:\"{group}\""));
                match self.decide(&ns, group, options).await {
                    Ok(decisions) => plan.add_group(&ns, decisions),
                    Err(error) => task.warn(&format!("failed to prune group {group}: {error}")),
                }
            }
        }
        plan.carry_out().await
    }

    /// Marks the snapshots of a group, oldest first.
    async fn decide(
        &self,
        ns: &BackupNamespace,
        group: &BackupGroup,
        options: &PruneOptions,
    ) -> Result<Vec<Decision>> {
        let mut infos = {
            let (ns, group) = (ns.clone(), group.clone());
            self.local(move |snapshots| snapshots.list_snapshots(&ns, &group))
                .await?
        };
        infos.reverse();
        let mut candidates = Vec::with_capacity(infos.len());
        for info in &infos {
            let finished =
                info.is_finished() || self.is_committed_in_bucket(None, ns, &info.dir).await?;
            candidates.push(PruneCandidate {
                time: info.dir.time,
                finished,
                protected: info.protected,
            });
        }
        let marks = select(&candidates, &options.keep, &options.tz);
        Ok(infos
            .into_iter()
            .zip(marks)
            .map(|(info, mark)| Decision { info, mark })
            .collect())
    }

    /// The datastore and namespace as log lines name them.
    fn place(&self, ns: &BackupNamespace) -> String {
        if ns.is_root() {
            format!("datastore '{}', root namespace", self.name)
        } else {
            format!("datastore '{}', namespace '{ns}'", self.name)
        }
    }
}

/// The decisions of a prune, collected before the first of them is carried out.
struct Plan<'a> {
    store: &'a Arc<DataStore>,
    task: &'a dyn TaskContext,
    dry_run: bool,
    doomed: Vec<SnapshotPath>,
    report: PruneReport,
}

impl<'a> Plan<'a> {
    fn new(store: &'a Arc<DataStore>, task: &'a dyn TaskContext, options: &PruneOptions) -> Self {
        let (doomed, report) = (Vec::new(), PruneReport::default());
        Self {
            store,
            task,
            dry_run: options.dry_run,
            doomed,
            report,
        }
    }

    fn add_group(&mut self, ns: &BackupNamespace, decisions: Vec<Decision>) {
        for decision in decisions {
            let would = if self.dry_run { "would " } else { "" };
            let (mark, dir) = (mark_in_words(decision.mark), &decision.info.dir);
            self.task.log(&format!("{would}{mark} {dir}"));
            self.add(ns, decision);
        }
    }

    fn add(&mut self, ns: &BackupNamespace, decision: Decision) {
        let BackupDir { group, time } = decision.info.dir.clone();
        self.report.items.push(PruneListItem {
            backup_type: group.ty,
            backup_id: group.id,
            backup_time: time,
            keep: decision.mark.is_kept(),
            protected: decision.info.protected,
            ns: (self.dry_run && !ns.is_root()).then(|| ns.clone()),
        });
        if decision.mark.is_kept() || self.dry_run {
            return;
        }
        let path = self.store.snapshots.snapshot_path(ns, &decision.info.dir);
        self.task
            .log(&format!("removing backup snapshot \"{}\"", path.display()));
        self.doomed
            .push(SnapshotPath::new(ns.clone(), decision.info.dir));
    }

    async fn carry_out(mut self) -> Result<PruneReport> {
        if self.doomed.is_empty() {
            return Ok(self.report);
        }
        let cancel = self.task.cancel();
        let client = self.store.client(TaskKind::Prune, cancel);
        let forgotten = self
            .store
            .forget_snapshots(client.as_ref(), &self.doomed, RemovalKind::Prune, cancel)
            .await;
        for path in &forgotten.protected {
            self.task.warn(&format!(
                "snapshot {} is protected by now, keeping it",
                path.dir
            ));
        }
        for (path, error) in &forgotten.failed {
            self.task
                .warn(&format!("failed to remove snapshot {}: {error}", path.dir));
        }
        if forgotten.left_in_bucket > 0 {
            self.task.warn(&format!(
                "{} objects of removed snapshots could not be deleted from the bucket yet; that is \
                 tried again later",
                forgotten.left_in_bucket
            ));
        }
        if let Some(error) = forgotten.stopped {
            return Err(error);
        }
        self.report.removed = count(forgotten.removed.len());
        self.report.failed = count(forgotten.failed.len());
        Ok(self.report)
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// The marks as the log of a whole datastore has them.
fn mark_in_words(mark: PruneMark) -> &'static str {
    match mark {
        PruneMark::Keep => "keep",
        PruneMark::KeepPartial => "keep partial",
        PruneMark::Protected => "keep protected",
        PruneMark::Remove => "remove",
    }
}

fn retention_line(keep: &KeepOptions) -> String {
    let rules = keep
        .rules()
        .into_iter()
        .filter_map(|(name, count)| Some((name, count?)));
    let rules: Vec<String> = rules
        .map(|(name, count)| format!("--{name} {count}"))
        .collect();
    format!("retention options: {}", rules.join(" "))
}

fn depth_text(max_depth: Option<usize>) -> String {
    match max_depth {
        None => "down to full depth".into(),
        Some(0) => "non-recursive".into(),
        Some(depth) => format!("to depth {depth}"),
    }
}

#[cfg(test)]
mod tests;

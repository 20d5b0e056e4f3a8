//! Verification of a datastore, a group or a snapshot.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Result;
use api_types::ParseError;
use api_types::names::{BackupDir, BackupGroup, BackupNamespace, DatastoreName, SnapshotPath};
use datastore::store::DataStore;
use datastore::task::TaskContext;
use datastore::verify::{VerifyOptions, VerifyReport, VerifyScope};

use super::MayTouch;

/// A part of a namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// One group.
    Group(BackupGroup),
    /// One snapshot.
    Snapshot(BackupDir),
}

impl FromStr for Target {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.split('/').count() > 2 {
            text.parse().map(Self::Snapshot)
        } else {
            text.parse().map(Self::Group)
        }
    }
}

/// What to verify, and how.
#[derive(Clone, Debug)]
pub struct Verification {
    /// The datastore.
    pub store: DatastoreName,
    /// Where to begin.
    pub ns: BackupNamespace,
    /// Only this; all groups if absent.
    pub target: Option<Target>,
    /// Levels of namespaces below; all if absent.
    pub max_depth: Option<usize>,
    /// How.
    pub options: VerifyOptions,
}

impl Verification {
    /// Type of the task.
    #[must_use]
    pub const fn worker_type(&self) -> &'static str {
        match self.target {
            None => "verify",
            Some(Target::Group(_)) => "verify_group",
            Some(Target::Snapshot(_)) => "verify_snapshot",
        }
    }

    /// What the task works on, as upstream writes it into task ids.
    #[must_use]
    pub fn worker_id(&self) -> String {
        WorkerId(self).to_string()
    }

    /// Does it. What was found is in the report, bad or not.
    pub async fn run(
        &self,
        task: &dyn TaskContext,
        store: &Arc<DataStore>,
        may_verify: &MayTouch,
    ) -> Result<VerifyReport> {
        let (ns, options) = (&self.ns, self.options);
        let report = match &self.target {
            None => {
                let scope = VerifyScope {
                    ns: ns.clone(),
                    max_depth: self.max_depth,
                    may_verify,
                };
                store.verify_datastore(task, &scope, options).await?
            }
            Some(Target::Group(group)) => store.verify_group(task, ns, group, options).await?,
            Some(Target::Snapshot(dir)) => {
                let path = SnapshotPath::new(ns.clone(), dir.clone());
                store.verify_snapshot(task, &path, None, options).await?
            }
        };
        Ok(report)
    }
}

struct WorkerId<'a>(&'a Verification);

impl fmt::Display for WorkerId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verification {
            store, ns, target, ..
        } = self.0;
        match target {
            None if ns.is_root() => write!(f, "{store}"),
            None => write!(f, "{store}:{}", ns.path()),
            Some(Target::Group(group)) => write!(f, "{store}:{}/{group}", ns.path()),
            Some(Target::Snapshot(dir)) => {
                let time = dir.time.secs();
                write!(f, "{store}:{}/{}/{time:08X}", ns.path(), dir.group)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ns: &str, target: Option<&str>) -> String {
        let verification = Verification {
            store: "store1".parse().unwrap(),
            ns: ns.parse().unwrap(),
            target: target.map(|text| text.parse().unwrap()),
            max_depth: None,
            options: VerifyOptions::default(),
        };
        format!(
            "{} {}",
            verification.worker_type(),
            verification.worker_id()
        )
    }

    #[test]
    fn task_types_and_ids_are_upstreams() {
        let snapshot = Some("vm/100/2023-11-14T22:13:20Z");
        assert_eq!(id("", None), "verify store1");
        assert_eq!(id("a/b", None), "verify store1:ns/a/ns/b");
        assert_eq!(id("", Some("vm/100")), "verify_group store1:/vm/100");
        assert_eq!(id("a", Some("ct/1")), "verify_group store1:ns/a/ct/1");
        assert_eq!(id("", snapshot), "verify_snapshot store1:/vm/100/6553F100");
        assert_eq!(
            id("a", snapshot),
            "verify_snapshot store1:ns/a/vm/100/6553F100"
        );
    }

    #[test]
    fn what_is_neither_a_group_nor_a_snapshot_is_refused() {
        for text in ["", "vm", "vm/", "vm/100/yesterday", "tape/1", "vm/100/x/y"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}

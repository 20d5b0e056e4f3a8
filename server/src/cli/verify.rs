//! `verify`.

use std::fmt;
use std::str::FromStr;

use anyhow::Result;
use api_types::ParseError;
use api_types::datastore::Operation;
use api_types::names::{BackupDir, BackupGroup, BackupNamespace, DatastoreName, SnapshotPath};
use clap::builder::RangedI64ValueParser;
use datastore::verify::{VerifyMode, VerifyOptions, VerifyScope};

use super::Session;

/// Check that what the snapshots promise is really there.
#[derive(Debug, clap::Args)]
pub struct VerifyArguments {
    /// Name of the datastore.
    store: DatastoreName,
    /// Only this group or snapshot, for example 'vm/100' or 'vm/100/2026-01-31T12:00:00Z'.
    #[arg(value_name = "GROUP|SNAPSHOT")]
    target: Option<Target>,
    /// Namespace [default: the root].
    #[arg(long)]
    ns: Option<BackupNamespace>,
    /// How many levels of namespaces below it to verify [default: all].
    #[arg(long, value_name = "LEVELS", conflicts_with = "target")]
    max_depth: Option<usize>,
    /// Skip snapshots that have been verified before, whatever the result [default: true].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = true, hide_default_value = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    ignore_verified: bool,
    /// But not those whose verification is more than that many days old.
    #[arg(long, value_name = "DAYS", value_parser = RangedI64ValueParser::<i64>::new().range(0..))]
    outdated_after: Option<i64>,
    /// Only look whether everything is there and of a plausible size; download nothing.
    #[arg(long)]
    quick: bool,
    /// Chunks read at once [default: the datastore's tuning].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=32))]
    read_threads: Option<u32>,
    /// Chunks checked at once [default: the datastore's tuning].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=32))]
    verify_threads: Option<u32>,
}

/// A part of a namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Target {
    Group(BackupGroup),
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

/// What a task works on, as upstream writes it into task ids.
struct WorkerId<'a> {
    store: &'a DatastoreName,
    ns: &'a BackupNamespace,
    target: Option<&'a Target>,
}

impl WorkerId<'_> {
    fn worker_type(&self) -> &'static str {
        match self.target {
            None => "verify",
            Some(Target::Group(_)) => "verify_group",
            Some(Target::Snapshot(_)) => "verify_snapshot",
        }
    }
}

impl fmt::Display for WorkerId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, ns, target } = self;
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

impl VerifyArguments {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<()> {
        let ns = self.ns.unwrap_or_default();
        let options = VerifyOptions {
            mode: if self.quick {
                VerifyMode::Quick
            } else {
                VerifyMode::Full
            },
            ignore_verified: self.ignore_verified,
            outdated_after: self.outdated_after,
            read_threads: self.read_threads,
            verify_threads: self.verify_threads,
        };
        let id = WorkerId {
            store: &self.store,
            ns: &ns,
            target: self.target.as_ref(),
        };
        let (worker_type, worker_id) = (id.worker_type(), id.to_string());
        let opened = session
            .datastores
            .open(&self.store, Operation::Write)
            .await?;
        let client = opened
            .backend()
            .s3()
            .map(|backend| backend.client().clone());
        let (target, max_depth) = (self.target, self.max_depth);
        let format = session.format;
        session
            .work(worker_type, worker_id, client, |task| async move {
                let report = match target {
                    None => {
                        let scope = VerifyScope {
                            ns,
                            max_depth,
                            may_verify: &|_, _| true,
                        };
                        opened.verify_datastore(&*task, &scope, options).await?
                    }
                    Some(Target::Group(group)) => {
                        opened.verify_group(&*task, &ns, &group, options).await?
                    }
                    Some(Target::Snapshot(dir)) => {
                        let path = SnapshotPath::new(ns, dir);
                        opened.verify_snapshot(&*task, &path, None, options).await?
                    }
                };
                // What was found matters most if it is bad.
                format.print_json(&report)?;
                Ok(report.into_task_result()?)
            })
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ns: &str, target: Option<&str>) -> String {
        let target: Option<Target> = target.map(|text| text.parse().unwrap());
        let id = WorkerId {
            store: &"store1".parse().unwrap(),
            ns: &ns.parse().unwrap(),
            target: target.as_ref(),
        };
        format!("{} {id}", id.worker_type())
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

//! Removing old snapshots of a group by rules.

use anyhow::{Result, ensure};
use api_types::names::{BackupDir, BackupGroup};
use api_types::prune::KeepOptions;
use api_types::status::PruneListItem;
use clap::Args;
use serde_json::Value;

use crate::cli::options::{NamespaceOptions, RepositoryOptions, store_path};
use crate::cli::output::{OutputOptions, parsed};
use crate::cli::show::local_time;
use crate::cli::table::{Align, Table};

/// Remove the snapshots of a group that no rule keeps
#[derive(Clone, Debug, Args)]
pub struct PruneArguments {
    /// The group: TYPE/ID
    #[arg(required_unless_present = "of_group", conflicts_with = "of_group")]
    pub group: Option<BackupGroup>,
    /// The group, as an option
    #[arg(long = "group", id = "of_group", value_name = "GROUP")]
    pub of_group: Option<BackupGroup>,
    /// Only show what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// Do not show what is kept
    #[arg(long)]
    pub quiet: bool,
    /// Keep the newest snapshots, so many
    #[arg(long, value_name = "N")]
    pub keep_last: Option<u64>,
    /// Keep the newest snapshot of each of so many hours
    #[arg(long, value_name = "N")]
    pub keep_hourly: Option<u64>,
    /// Keep the newest snapshot of each of so many days
    #[arg(long, value_name = "N")]
    pub keep_daily: Option<u64>,
    /// Keep the newest snapshot of each of so many weeks
    #[arg(long, value_name = "N")]
    pub keep_weekly: Option<u64>,
    /// Keep the newest snapshot of each of so many months
    #[arg(long, value_name = "N")]
    pub keep_monthly: Option<u64>,
    /// Keep the newest snapshot of each of so many years
    #[arg(long, value_name = "N")]
    pub keep_yearly: Option<u64>,
    /// Where.
    #[command(flatten)]
    pub repository: RepositoryOptions,
    /// In which namespace.
    #[command(flatten)]
    pub ns: NamespaceOptions,
    /// In which form.
    #[command(flatten)]
    pub output: OutputOptions,
}

impl PruneArguments {
    pub(crate) async fn run(&self) -> Result<()> {
        let group = self.group.as_ref().or(self.of_group.as_ref());
        let mut parameters = group
            .map(|group| self.ns.of_group(group))
            .unwrap_or_default();
        let keep = KeepOptions {
            keep_last: self.keep_last,
            keep_hourly: self.keep_hourly,
            keep_daily: self.keep_daily,
            keep_weekly: self.keep_weekly,
            keep_monthly: self.keep_monthly,
            keep_yearly: self.keep_yearly,
        };
        ensure!(
            keep.keeps_something(),
            "no rule is given, so everything would be kept: use --keep-last and the like"
        );
        for (name, count) in keep.rules() {
            if let Some(count) = count {
                parameters.insert(name.to_owned(), count.into());
            }
        }
        if self.dry_run {
            parameters.insert("dry-run".to_owned(), true.into());
        }
        let remote = self.repository.connect().await?;
        let path = store_path(&remote, "prune");
        let list = remote.post(&path, &Value::Object(parameters)).await?;
        self.output
            .print(&list, || Ok(of_decisions(parsed(&list)?, self.quiet)))
    }
}

/// What becomes of each snapshot; with `quiet` only what is removed, and nothing if nothing is.
fn of_decisions(mut list: Vec<PruneListItem>, quiet: bool) -> String {
    if quiet {
        list.retain(|item| !item.keep && !item.protected);
        if list.is_empty() {
            return String::new();
        }
    }
    list.sort_by_key(|item| item.backup_time);
    let mut table = Table::new(&[
        ("snapshot", Align::Left),
        ("date", Align::Right),
        ("action", Align::Right),
    ]);
    for item in list {
        let group = BackupGroup::new(item.backup_type, item.backup_id.clone());
        let action = match (item.keep, item.protected) {
            (_, true) => "protected",
            (true, false) => "keep",
            (false, false) => "remove",
        };
        table.row([
            BackupDir::new(group, item.backup_time).to_string(),
            local_time(item.backup_time.secs()),
            action.to_owned(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn decisions_are_shown_by_time() {
        let item = |time: i64, keep: bool, protected: bool| {
            json!({ "backup-type": "host", "backup-id": "split", "backup-time": time,
                    "keep": keep, "protected": protected })
        };
        let list = json!([
            item(30, true, false),
            item(10, false, false),
            item(20, true, true)
        ]);
        let text = of_decisions(parsed(&list).unwrap(), false);
        let actions: Vec<_> = text.lines().skip(3).step_by(2).collect();
        for (line, action) in actions.iter().zip(["remove", "protected", "keep"]) {
            assert!(line.ends_with(&format!("{action} │")), "{text}");
        }
        let quiet = of_decisions(parsed(&list).unwrap(), true);
        assert!(quiet.contains("remove │"), "{quiet}");
        assert!(
            !quiet.contains("keep │") && !quiet.contains("protected │"),
            "{quiet}"
        );
        assert_eq!(
            of_decisions(parsed(&json!([item(1, true, false)])).unwrap(), true),
            ""
        );
    }
}

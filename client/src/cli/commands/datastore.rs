//! The datastore as a whole: what is in it, how full it is, its garbage.

use anyhow::{Context as _, Result};
use api_types::names::{BackupDir, BackupGroup};
use api_types::status::{DatastoreStatus, GroupListItem};
use clap::Args;
use serde_json::{Map, Value};

use crate::cli::options::{NamespaceOptions, RepositoryOptions, get, store_path};
use crate::cli::output::{OutputOptions, parsed};
use crate::cli::show::percent;
use crate::cli::table::{Align, Table};
use crate::cli::task_log::{Lines, follow, task_path};

/// List the groups of a namespace
#[derive(Clone, Debug, Args)]
pub struct ListArguments {
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

impl ListArguments {
    pub(crate) async fn run(&self) -> Result<()> {
        let remote = self.repository.connect().await?;
        let mut parameters = Map::new();
        self.ns.add_to(&mut parameters);
        let list = get(&remote, "groups", &parameters).await?;
        self.output.print(&list, || {
            let mut groups: Vec<GroupListItem> = parsed(&list)?;
            groups.sort_by(|a, b| {
                let key = |item: &GroupListItem| (item.backup_type, item.backup_id.clone());
                key(a).cmp(&key(b))
            });
            let mut table = Table::new(&[
                ("group", Align::Left),
                ("last snapshot", Align::Left),
                ("backup-count", Align::Right),
                ("files", Align::Left),
            ]);
            for item in groups {
                let group = BackupGroup::new(item.backup_type, item.backup_id.clone());
                let last = item.last_backup.try_into().ok();
                let last = last.map(|time| BackupDir::new(group.clone(), time).to_string());
                let mut files: Vec<_> = item.files.iter().map(|file| file.client_name()).collect();
                files.sort_unstable();
                table.row([
                    group.to_string(),
                    last.unwrap_or_default(),
                    item.backup_count.to_string(),
                    files.join(" "),
                ]);
            }
            Ok(table.render())
        })
    }
}

/// Show how full the datastore is
#[derive(Clone, Debug, Args)]
pub struct StatusArguments {
    /// Where.
    #[command(flatten)]
    pub repository: RepositoryOptions,
    /// In which form.
    #[command(flatten)]
    pub output: OutputOptions,
}

impl StatusArguments {
    pub(crate) async fn run(&self) -> Result<()> {
        let remote = self.repository.connect().await?;
        let status = get(&remote, "status", &Map::new()).await?;
        self.output.print(&status, || {
            let status: DatastoreStatus = parsed(&status)?;
            Ok(of_status(&status))
        })
    }
}

fn of_status(status: &DatastoreStatus) -> String {
    let mut table = Table::bare(&[Align::Left, Align::Right]);
    for (name, value) in [
        ("total", status.total),
        ("used", status.used),
        ("avail", status.avail),
    ] {
        let share = format!("({} %)", percent(value, status.total));
        table.row([name.to_owned(), format!("{value} {share:>8}")]);
    }
    table.render()
}

/// Remove the chunks that no snapshot needs
#[derive(Clone, Debug, Args)]
pub struct GarbageCollectArguments {
    /// Where.
    #[command(flatten)]
    pub repository: RepositoryOptions,
    /// In which form.
    #[command(flatten)]
    pub output: OutputOptions,
}

impl GarbageCollectArguments {
    pub(crate) async fn run(&self) -> Result<()> {
        let remote = self.repository.connect().await?;
        let path = store_path(&remote, "gc");
        let upid = remote.post(&path, &Value::Object(Map::new())).await?;
        let upid = upid.as_str();
        let upid = upid.context("the server has started no task")?;
        let env = datastore::env::Env::system();
        if self.output.is_json() {
            follow(&remote, upid, Lines::None, &env).await?;
            let status = remote.get(&task_path(upid, "/status"), &[]).await?;
            return self.output.print(&status, || Ok(String::new()));
        }
        follow(&remote, upid, Lines::Text, &env).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the real client printed it.
    #[test]
    fn the_status_looks_like_upstream_s() {
        let status = serde_json::json!({
            "total": 270_553_174_016_u64, "used": 17_683_464_192_u64, "avail": 79_889_285_120_u64,
            "backend-type": "filesystem",
        });
        let expected = "\
┌───────┬───────────────────────┐
│ total │ 270553174016  (100 %) │
├───────┼───────────────────────┤
│ used  │  17683464192    (7 %) │
├───────┼───────────────────────┤
│ avail │  79889285120   (30 %) │
└───────┴───────────────────────┘
";
        assert_eq!(of_status(&parsed(&status).unwrap()), expected);
    }
}

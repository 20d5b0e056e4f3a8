//! `prune`.

use anyhow::{Result, bail};
use api_types::datastore::Operation;
use api_types::names::{BackupGroup, BackupNamespace, DatastoreName};
use api_types::prune::KeepOptions;
use clap::builder::RangedU64ValueParser;

use super::Session;
use crate::operations::prune::{Prune, WORKER_TYPE};
use crate::operations::{all_groups, counted_client};

/// Remove snapshots that no rule keeps. Without any rule everything is kept.
#[derive(Debug, clap::Args)]
pub struct PruneArguments {
    /// Name of the datastore.
    store: DatastoreName,
    /// Only this group, for example 'vm/100'.
    group: Option<BackupGroup>,
    /// Namespace [default: the root].
    #[arg(long)]
    ns: Option<BackupNamespace>,
    /// How many levels of namespaces below it to prune [default: all].
    #[arg(long, value_name = "LEVELS")]
    max_depth: Option<usize>,
    /// Remove nothing: only say what would be kept and removed.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    keep: KeepArguments,
}

/// What to keep.
#[derive(Debug, clap::Args)]
struct KeepArguments {
    /// Keep that many newest snapshots.
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    keep_last: Option<u64>,
    /// Keep the newest snapshot of each of that many hours.
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    keep_hourly: Option<u64>,
    /// Likewise of days.
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    keep_daily: Option<u64>,
    /// Likewise of weeks.
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    keep_weekly: Option<u64>,
    /// Likewise of months.
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    keep_monthly: Option<u64>,
    /// Likewise of years.
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    keep_yearly: Option<u64>,
}

fn at_least_one() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(1..)
}

impl KeepArguments {
    fn options(&self) -> KeepOptions {
        KeepOptions {
            keep_last: self.keep_last,
            keep_hourly: self.keep_hourly,
            keep_daily: self.keep_daily,
            keep_weekly: self.keep_weekly,
            keep_monthly: self.keep_monthly,
            keep_yearly: self.keep_yearly,
        }
    }
}

impl PruneArguments {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<()> {
        if self.group.is_some() && self.max_depth.is_some() {
            bail!("--max-depth makes no sense with a single group");
        }
        let prune = Prune {
            ns: self.ns.unwrap_or_default(),
            group: self.group,
            max_depth: self.max_depth,
            keep: self.keep.options(),
            dry_run: self.dry_run,
            store: self.store,
        };
        let opened = session
            .datastores
            .open(&prune.store, Operation::Write)
            .await?;
        let client = counted_client(&opened);
        let id = prune.worker_id();
        let report = session
            .work(WORKER_TYPE, id, client, |task| async move {
                prune.run(&*task, &opened, &all_groups).await
            })
            .await?;
        session.format.print_json(&report.items)
    }
}

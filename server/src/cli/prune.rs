//! `prune`.

use anyhow::{Result, bail};
use api_types::datastore::Operation;
use api_types::names::{BackupGroup, BackupNamespace, DatastoreName};
use api_types::prune::KeepOptions;
use clap::builder::RangedU64ValueParser;
use datastore::prune::{PruneOptions, PruneScope};

use super::Session;

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
        let ns = self.ns.unwrap_or_default();
        if self.group.is_some() && self.max_depth.is_some() {
            bail!("--max-depth makes no sense with a single group");
        }
        let options = PruneOptions {
            dry_run: self.dry_run,
            ..PruneOptions::new(self.keep.options())
        };
        let opened = session
            .datastores
            .open(&self.store, Operation::Write)
            .await?;
        let client = opened
            .backend()
            .s3()
            .map(|backend| backend.client().clone());
        let id = match &self.group {
            Some(group) => format!("{}:{ns}:{group}", self.store),
            None => format!("{}:{ns}", self.store),
        };
        let (group, max_depth) = (self.group, self.max_depth);
        let report = session
            .work("prune", id, client, |task| async move {
                let report = match group {
                    Some(group) => opened.prune_group(&*task, &ns, &group, &options).await?,
                    None => {
                        let scope = PruneScope {
                            ns,
                            max_depth,
                            may_prune: &|_, _| true,
                        };
                        opened.prune_datastore(&*task, &scope, &options).await?
                    }
                };
                Ok(report)
            })
            .await?;
        session.format.print_json(&report.items)
    }
}

//! `verify`.

use anyhow::Result;
use api_types::datastore::Operation;
use api_types::names::{BackupNamespace, DatastoreName};
use clap::builder::RangedI64ValueParser;
use datastore::verify::{VerifyMode, VerifyOptions};

use super::Session;
use crate::operations::verify::{Target, Verification};
use crate::operations::{all_groups, counted_client};

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

impl VerifyArguments {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<()> {
        let verification = Verification {
            ns: self.ns.unwrap_or_default(),
            target: self.target,
            max_depth: self.max_depth,
            options: VerifyOptions {
                mode: if self.quick {
                    VerifyMode::Quick
                } else {
                    VerifyMode::Full
                },
                ignore_verified: self.ignore_verified,
                outdated_after: self.outdated_after,
                read_threads: self.read_threads,
                verify_threads: self.verify_threads,
            },
            store: self.store,
        };
        let opened = session
            .datastores
            .open(&verification.store, Operation::Write)
            .await?;
        let client = counted_client(&opened);
        let format = session.format;
        let (worker_type, worker_id) = (verification.worker_type(), verification.worker_id());
        session
            .work(worker_type, worker_id, client, |task| async move {
                let report = verification.run(&*task, &opened, &all_groups).await?;
                // What was found matters most if it is bad.
                format.print_json(&report)?;
                Ok(report.into_task_result()?)
            })
            .await?;
        Ok(())
    }
}

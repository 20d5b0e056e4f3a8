//! `garbage-collection start | status`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use api_types::datastore::Operation;
use api_types::human::ByteSize;
use api_types::names::DatastoreName;
use clap::Subcommand;
use datastore::gc::GcOptions;
use serde_json::Value;

use super::Session;
use super::table::Table;
use crate::operations::gc::{GcJobStatus, WORKER_TYPE, lock};
use crate::operations::{counted_client, job};
use crate::task::log_file::local_time;

/// Remove chunks that no snapshot references.
#[derive(Debug, Subcommand)]
pub enum GarbageCollectionCommand {
    /// Collect garbage.
    Start(StartOptions),
    /// Show what the last collection found and did.
    Status {
        /// Name of the datastore.
        store: DatastoreName,
    },
}

/// How to collect garbage.
#[derive(Debug, clap::Args)]
pub struct StartOptions {
    /// Name of the datastore.
    store: DatastoreName,
    /// Delete nothing: report what would be deleted, and what that costs and saves.
    #[arg(long)]
    dry_run: bool,
    /// Go on although something is odd, for example if much more would be deleted than usual.
    #[arg(long)]
    force: bool,
    /// Read all index files anew instead of relying on what is known from the last collection.
    #[arg(long)]
    full: bool,
    /// Leave garbage younger than this many minutes; 0 = none [default: the datastore's
    /// gc-atime-cutoff].
    #[arg(long, value_name = "MINUTES")]
    grace: Option<u32>,
}

impl GarbageCollectionCommand {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<()> {
        match self {
            Self::Start(options) => options.run(session).await,
            Self::Status { store } => status(session, &store).await,
        }
    }
}

impl StartOptions {
    async fn run(self, session: &Session) -> Result<()> {
        session.datastores.check_nesting(&self.store).await?;
        let opened = session
            .datastores
            .open(&self.store, Operation::Write)
            .await?;
        let options = GcOptions {
            dry_run: self.dry_run,
            force: self.force,
            full: self.full,
            grace: self
                .grace
                .map(|minutes| Duration::from_secs(60 * u64::from(minutes))),
            ..GcOptions::default()
        };
        let client = counted_client(&opened);
        let dry_run = self.dry_run;
        // Under an id of its own a dry run is not taken for the last collection.
        let suffix = if dry_run { ":dry-run" } else { "" };
        let id = format!("{}{suffix}", self.store);
        let run = if dry_run {
            None
        } else {
            Some(lock(&session.jobs(), &self.store)?)
        };
        let report = session
            .work(WORKER_TYPE, id, client, |task| async move {
                let context = Arc::clone(&task);
                let work = async move { Ok(opened.garbage_collection(context, options).await?) };
                match run {
                    Some(run) => job::run(run, &task, work).await,
                    None => work.await,
                }
            })
            .await?;
        session.format.print_json(&report)
    }
}

async fn status(session: &Session, store: &DatastoreName) -> Result<()> {
    let config = session.datastores.config_of(store)?;
    let status = GcJobStatus::of(&config, &session.jobs(), &session.env).await;
    let factor = status.status.deduplication_factor();
    let mut shown = serde_json::to_value(&status)?;
    if let Some(members) = shown.as_object_mut() {
        members.insert(
            "deduplication-factor".to_owned(),
            format!("{factor:.2}").into(),
        );
        members
            .iter_mut()
            .for_each(|(name, value)| for_people(name, value));
    }
    session
        .format
        .print(&status, || Table::of_members(&shown).to_string())
}

/// Bytes with a unit, times as local time.
fn for_people(name: &str, value: &mut Value) {
    if let Some(bytes) = value.as_u64().filter(|_| name.ends_with("-bytes")) {
        let size = ByteSize::from_bytes(bytes);
        *value = if bytes < 1024 {
            size.to_string().into()
        } else {
            format!("{size} ({bytes} B)").into()
        };
    } else if let Some(time) = value.as_i64().filter(|_| name.ends_with("-endtime")) {
        *value = local_time(time).into();
    } else if let Some(seconds) = value.as_i64().filter(|_| name == "duration") {
        *value = format!("{seconds} s").into();
    }
}

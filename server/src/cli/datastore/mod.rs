//! `datastore ...`.

mod create;
mod refresh;
mod remove;

use anyhow::{Result, bail};
use api_types::datastore::DatastoreConfig;
use api_types::names::DatastoreName;
use clap::Subcommand;
use clap::builder::PossibleValuesParser;

use super::Session;
use super::table::Column;
use crate::config::Entity;
use crate::config::properties::Given;

/// What `update --delete` takes.
const DELETABLE: [&str; 7] = [
    "comment",
    "gc-schedule",
    "verify-new",
    "tuning",
    "maintenance-mode",
    "notification-thresholds",
    "counter-reset-schedule",
];

/// Manage datastores.
#[derive(Debug, Subcommand)]
pub enum DatastoreCommand {
    /// List the datastores.
    List,
    /// Show the configuration of a datastore.
    Show {
        /// Name of the datastore.
        name: DatastoreName,
    },
    /// Create a datastore.
    Create(Box<create::CreateArguments>),
    /// Remove a datastore from the configuration; its data stays unless asked otherwise.
    Remove(remove::RemoveArguments),
    /// Rebuild the local state of an S3 datastore from its bucket.
    S3Refresh(refresh::RefreshArguments),
    /// Change the configuration of a datastore.
    Update {
        /// Name of the datastore.
        name: DatastoreName,
        #[command(flatten)]
        options: Box<DatastoreOptions>,
        /// Property to delete; may be repeated.
        #[arg(long, value_name = "PROPERTY", value_parser = PossibleValuesParser::new(DELETABLE))]
        delete: Vec<String>,
        /// Change only if the configuration file still has this SHA-256 digest.
        #[arg(long)]
        digest: Option<String>,
    },
}

/// Properties that can be set at creation and later.
#[derive(Debug, clap::Args)]
pub struct DatastoreOptions {
    /// Comment.
    #[arg(long)]
    comment: Option<String>,
    /// When garbage collection runs (calendar event).
    #[arg(long)]
    gc_schedule: Option<String>,
    /// Verify each backup when it is complete.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    verify_new: Option<String>,
    /// Tuning options, for example 'gc-atime-cutoff=60,sync-level=file'.
    #[arg(long)]
    tuning: Option<String>,
    /// Maintenance mode, for example 'offline,message="disk swap"'.
    #[arg(long)]
    maintenance_mode: Option<String>,
    /// Request counts that are worth a notification, for example 's3-put=100000'.
    #[arg(long)]
    notification_thresholds: Option<String>,
    /// When the request counters start again at zero (calendar event).
    #[arg(long)]
    counter_reset_schedule: Option<String>,
}

impl DatastoreOptions {
    fn given(&self) -> Given {
        Given::default()
            .set("comment", self.comment.as_ref())
            .set("gc-schedule", self.gc_schedule.as_ref())
            .set("verify-new", self.verify_new.as_ref())
            .set("tuning", self.tuning.as_ref())
            .set("maintenance-mode", self.maintenance_mode.as_ref())
            .set(
                "notification-thresholds",
                self.notification_thresholds.as_ref(),
            )
            .set(
                "counter-reset-schedule",
                self.counter_reset_schedule.as_ref(),
            )
    }
}

impl DatastoreCommand {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<()> {
        let file = session.config.datastores();
        match self {
            Self::List => {
                let columns = [
                    Column::plain("name"),
                    Column::plain("path"),
                    Column::plain("comment"),
                ];
                session.format.print_list(&file.load()?.entries, &columns)
            }
            Self::Show { name } => session
                .format
                .print_object(file.load()?.get(name.as_str())?),
            Self::Create(arguments) => arguments.run(session).await,
            Self::Remove(arguments) => arguments.run(session).await,
            Self::S3Refresh(arguments) => arguments.run(session).await,
            Self::Update {
                name,
                options,
                delete,
                digest,
            } => {
                file.update(digest.as_deref(), |content| {
                    let datastore = content.get_mut(name.as_str())?;
                    let properties = options
                        .given()
                        .merge_into(datastore.to_section(), &delete)?;
                    let changed = DatastoreConfig::from_properties(name.as_str(), &properties)?;
                    check_maintenance(datastore, &changed)?;
                    *datastore = changed;
                    Ok(())
                })
                .await
            }
        }
    }
}

/// A datastore that is being deleted does not come back.
fn check_maintenance(old: &DatastoreConfig, new: &DatastoreConfig) -> Result<()> {
    let next = new.maintenance_mode.as_ref().map(|mode| mode.ty);
    match &old.maintenance_mode {
        Some(mode) if !mode.ty.may_become(next) => {
            bail!(
                "datastore '{}' is being deleted: its maintenance mode is final",
                old.name
            )
        }
        _ => Ok(()),
    }
}

//! `datastore s3-refresh`.

use std::sync::Arc;

use anyhow::Result;
use api_types::names::DatastoreName;
use datastore::refresh::RefreshOptions;

use crate::cli::Session;

/// What to refresh.
#[derive(Debug, clap::Args)]
pub struct RefreshArguments {
    /// Name of the datastore.
    name: DatastoreName,
    /// Only report what would change.
    #[arg(long)]
    dry_run: bool,
    /// Take the bucket prefix over even if another server uses it. That server must not be running
    /// any more.
    #[arg(long, conflicts_with = "dry_run")]
    overwrite_in_use: bool,
}

impl RefreshArguments {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<()> {
        let config = session.datastores.config_of(&self.name)?;
        let client = session.datastores.client(&config)?;
        let options = RefreshOptions {
            dry_run: self.dry_run,
            overwrite_in_use: self.overwrite_in_use,
        };
        let datastores = Arc::clone(&session.datastores);
        let name = self.name;
        let report = session
            .work("s3-refresh", name.to_string(), client, |task| async move {
                datastores.refresh(&*task, &name, options).await
            })
            .await?;
        session.format.print_json(&report)
    }
}

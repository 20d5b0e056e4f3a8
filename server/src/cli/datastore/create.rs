//! `datastore create`.

use std::sync::Arc;

use anyhow::Result;
use api_types::datastore::{DatastoreBackend, DatastoreConfig};
use api_types::names::DatastoreName;

use super::DatastoreOptions;
use crate::cli::Session;
use crate::datastores::create::CreateRequest;

/// What to create.
#[derive(Debug, clap::Args)]
pub struct CreateArguments {
    /// Name of the datastore; in a bucket also its prefix.
    name: DatastoreName,
    /// Its directory (with an S3 backend: its cache), as an absolute path.
    #[arg(value_name = "PATH", required_unless_present = "path_option")]
    path: Option<String>,
    /// The same as an option.
    #[arg(
        long = "path",
        id = "path_option",
        value_name = "PATH",
        conflicts_with = "path"
    )]
    path_option: Option<String>,
    /// Where the data lives [default: type=filesystem]; for example
    /// 'type=s3,client=ENDPOINT,bucket=BUCKET,max-cache-size=10GiB'.
    #[arg(long, value_name = "PROPERTIES")]
    backend: Option<DatastoreBackend>,
    /// Take the data that is already there into use.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t, default_missing_value = "true")]
    reuse_datastore: bool,
    /// Take the bucket prefix over even if another server uses it. That server must not be running
    /// any more.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t, default_missing_value = "true")]
    overwrite_in_use: bool,
    #[command(flatten)]
    options: DatastoreOptions,
}

impl CreateArguments {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<()> {
        let path = self.path.or(self.path_option);
        let properties = self
            .options
            .given()
            .set("path", path.as_ref())
            .set("backend", self.backend.as_ref())
            .into_properties();
        let config = DatastoreConfig::from_properties(self.name.as_str(), &properties)?;
        session.datastores.check_new(&config)?;
        let request = CreateRequest {
            config: config.clone(),
            reuse: self.reuse_datastore,
            overwrite_in_use: self.overwrite_in_use,
        };
        let client = session.datastores.client(&config)?;
        let datastores = Arc::clone(&session.datastores);
        session
            .work(
                "create-datastore",
                self.name.to_string(),
                client,
                |task| async move { datastores.create(&*task, &request).await },
            )
            .await?;
        session.format.print_json(&config)
    }
}

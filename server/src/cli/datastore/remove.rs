//! `datastore remove`.

use std::sync::Arc;

use anyhow::Result;
use api_types::names::DatastoreName;

use crate::access::acl_file::AclFile;
use crate::cli::Session;
use crate::datastores::dependents::Dependents;
use crate::datastores::remove::RemoveOptions;

/// What to remove.
#[derive(Debug, clap::Args)]
pub struct RemoveArguments {
    /// Name of the datastore.
    name: DatastoreName,
    /// Delete all data, in the bucket too. There is no return, not even from an interrupted run.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t, default_missing_value = "true")]
    destroy_data: bool,
    /// Keep its jobs and access rights, for a datastore that is to come back.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t, default_missing_value = "true")]
    keep_job_configs: bool,
    /// Leave the bucket prefix claimed by this server, for when the bucket is out of reach.
    #[arg(long, conflicts_with = "destroy_data")]
    keep_claim: bool,
}

impl RemoveArguments {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<()> {
        let mut content = session.config.datastores().load()?;
        let config = content.remove(self.name.as_str())?;
        let client = if self.keep_claim {
            None
        } else {
            session.datastores.client(&config)?
        };
        let options = RemoveOptions {
            destroy_data: self.destroy_data,
            keep_claim: self.keep_claim,
        };
        let datastores = Arc::clone(&session.datastores);
        let rights = AclFile::new(&session.paths.config, session.env.clone());
        let (states, keep) = (session.jobs(), self.keep_job_configs);
        let name = self.name;
        session
            .work(
                "delete-datastore",
                name.to_string(),
                client,
                |task| async move {
                    let dependents = Dependents {
                        states: &states,
                        rights: &rights,
                        keep,
                    };
                    datastores.remove(&*task, &name, options, &dependents).await
                },
            )
            .await
    }
}

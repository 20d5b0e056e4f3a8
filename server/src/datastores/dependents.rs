//! What is there for a datastore and goes with it: jobs, with what is known of their runs, and access
//! rights (`rest-api.md` §5.1).

use anyhow::{Context as _, Result};
use api_types::access::AclPath;
use api_types::names::DatastoreName;

use crate::access::acl_file::AclFile;
use crate::config::jobs::{Job, PruneJob, VerifyJob};
use crate::config::sync::SyncJob;
use crate::config::{Config, ConfigError, ConfigFile};
use crate::jobs::state::{JobStates, JobType};

/// Where that is.
#[derive(Debug)]
pub struct Dependents<'a> {
    /// The runs of jobs.
    pub states: &'a JobStates,
    /// The access rights.
    pub rights: &'a AclFile,
    /// Jobs and rights stay: the datastore is to come back.
    pub keep: bool,
}

impl Dependents<'_> {
    /// Removes the jobs and the access rights of a datastore, unless they are to be kept.
    pub(super) async fn remove(&self, config: &Config, name: &DatastoreName) -> Result<()> {
        if self.keep {
            return Ok(());
        }
        self.remove_jobs::<PruneJob>(config.prune_jobs(), name)
            .await?;
        self.remove_jobs::<VerifyJob>(config.verify_jobs(), name)
            .await?;
        self.remove_jobs::<SyncJob>(config.sync_jobs(), name)
            .await?;
        self.remove_rights(name)
            .await
            .context("unable to remove the access rights on the datastore")
    }

    async fn remove_jobs<T: Job>(&self, file: &ConfigFile<T>, name: &DatastoreName) -> Result<()> {
        let removed = file.update::<_, ConfigError>(None, |content| {
            let of_store = content.entries.extract_if(.., |job| job.uses(name));
            Ok(of_store.collect::<Vec<_>>())
        });
        let removed = removed
            .await
            .with_context(|| format!("unable to remove jobs of the datastore from {}", T::FILE))?;
        for job in removed {
            self.states.remove(T::TYPE, job.id())?;
        }
        Ok(())
    }

    async fn remove_rights(&self, name: &DatastoreName) -> Result<()> {
        let path: AclPath = format!("/datastore/{name}").parse()?;
        self.rights
            .update(None, |tree| {
                tree.remove_below(&path);
                Ok::<_, ConfigError>(())
            })
            .await?;
        Ok(())
    }

    /// The collections of a datastore that is no more: another one of that name has had none.
    pub(super) fn forget_collections(&self, name: &DatastoreName) -> Result<()> {
        self.states
            .remove(JobType::GarbageCollection, name.as_str())
    }
}

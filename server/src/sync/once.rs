//! A sync without a job: of a REST call, or of a command.

use anyhow::Result;
use api_types::auth::Authid;
use datastore::task::TaskContext as _;

use super::options::SyncOptions;
use super::pull::pull;
use super::push::push;
use crate::config::Entity as _;
use crate::config::properties::Given;
use crate::config::sync::{SyncDirection, SyncJob};
use crate::operations::prepared::Prepared;
use crate::site::Site;
use crate::task::TaskSpec;

/// Type of the task.
const WORKER_TYPE: &str = "sync";

/// The job that has these properties, and is run once by `caller`, whose rights count.
///
/// # Errors
/// What is wrong with the properties.
pub fn job(direction: SyncDirection, given: Given, caller: &Authid) -> Result<SyncJob, String> {
    let properties = given
        .set("owner", Some(caller))
        .set("sync-direction", Some(&direction))
        .into_properties();
    SyncJob::from_section("sync", &direction.to_string(), &properties)
}

/// Prepares what such a job does.
pub async fn prepare(site: &Site, job: &SyncJob, caller: Authid) -> Result<Prepared> {
    site.config.check_sync_job(job)?;
    let options = SyncOptions::of(job)?;
    let direction = job.direction();
    let store = site.stores.open(&job.store, direction.operation()).await?;
    let spec = TaskSpec::new(WORKER_TYPE, Some(job.store.to_string()), caller);
    let site = site.clone();
    Ok(Prepared::new(spec, store, move |task, store| async move {
        match direction {
            SyncDirection::Pull => {
                let (here, there) = (options.store.clone(), options.other_end());
                task.log(&format!("pull datastore '{here}' from '{there}'"));
                pull(&site, &task, store, options, false).await?;
                task.log(&format!("pull datastore '{here}' end"));
                Ok(())
            }
            // It says itself what it does.
            SyncDirection::Push => push(&site, &task, store, options).await,
        }
    }))
}

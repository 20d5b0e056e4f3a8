//! A sync, whichever way it goes: of a job, or one that is done once.

use std::sync::Arc;

use anyhow::Result;
use api_types::auth::Authid;
use api_types::datastore::Operation;
use datastore::task::TaskContext as _;

use super::options::SyncOptions;
use super::pull::pull;
use super::push::push;
use crate::config::Entity as _;
use crate::config::properties::Given;
use crate::config::sync::{SyncDirection, SyncJob};
use crate::datastores::OpenDatastore;
use crate::operations::prepared::Prepared;
use crate::site::Site;
use crate::task::{TaskSpec, WorkerTask};

/// Type of the task of a sync without a job.
const WORKER_TYPE: &str = "sync";

/// What a job would do that has these properties: a sync that `caller` has done once, and on whose
/// rights it goes.
///
/// # Errors
/// What is wrong with the properties.
pub fn once(direction: SyncDirection, given: Given, caller: &Authid) -> Result<SyncJob, String> {
    let properties = given
        .set("owner", Some(caller))
        .set("sync-direction", Some(&direction))
        .into_properties();
    SyncJob::from_section("sync", &direction.to_string(), &properties)
}

/// Prepares a sync that is no run of a job.
pub async fn prepare_once(site: &Site, job: &SyncJob, caller: Authid) -> Result<Prepared> {
    site.config.check_sync_job(job)?;
    let options = SyncOptions::of(job)?;
    let store = open(site, job).await?;
    let spec = TaskSpec::new(WORKER_TYPE, Some(job.store.to_string()), caller);
    let (site, direction) = (site.clone(), job.direction());
    Ok(Prepared::new(spec, store, move |task, store| async move {
        let (here, there) = (options.store.clone(), options.other_end());
        // A push says itself what it does.
        let is_pull = direction == SyncDirection::Pull;
        if is_pull {
            task.log(&format!("pull datastore '{here}' from '{there}'"));
        }
        transfer(&site, &task, store, direction, options, false).await?;
        if is_pull {
            task.log(&format!("pull datastore '{here}' end"));
        }
        Ok(())
    }))
}

/// Opens the datastore here for what a sync does with it.
pub async fn open(site: &Site, job: &SyncJob) -> Result<OpenDatastore> {
    let operation = match job.direction() {
        SyncDirection::Pull => Operation::Write,
        SyncDirection::Push => Operation::Read,
    };
    site.stores.open(&job.store, operation).await
}

/// Pulls into `store`, or pushes from it.
pub async fn transfer(
    site: &Site,
    task: &Arc<WorkerTask>,
    store: OpenDatastore,
    direction: SyncDirection,
    options: SyncOptions,
    is_job: bool,
) -> Result<()> {
    match direction {
        SyncDirection::Pull => pull(site, task, store, options, is_job).await,
        SyncDirection::Push => push(site, task, store, options).await,
    }
}

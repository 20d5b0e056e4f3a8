//! A run of a job, prepared: the daemon starts it in the background, `coffer-manager` does it in
//! the foreground.

use std::future::Future;
use std::sync::Arc;

use anyhow::{Result, bail};
use api_types::access::Privilege;
use api_types::auth::Authid;
use api_types::datastore::Operation;
use api_types::names::DatastoreName;
use datastore::gc::GcOptions;
use datastore::task::TaskContext;
use datastore::verify::VerifyOptions;

use super::state::JobLock;
use crate::api::rights::may_touch;
use crate::config::jobs::{Job, PruneJob, VerifyJob};
use crate::config::sync::{SyncDirection, SyncJob};
use crate::operations::prepared::Prepared;
use crate::operations::prune::Prune;
use crate::operations::verify::Verification;
use crate::operations::{gc, job};
use crate::site::Site;
use crate::sync::options::SyncOptions;
use crate::sync::pull::pull;
use crate::sync::push::push;
use crate::task::TaskSpec;

/// Jobs that can be run.
pub trait Runnable: Job {
    /// Prepares a run on behalf of `auth_id`. `schedule` is what triggered it, if that was the
    /// clock. The job counts as running until what is returned has been done, or is dropped.
    fn prepare(
        &self,
        site: &Site,
        auth_id: Authid,
        schedule: Option<&str>,
    ) -> impl Future<Output = Result<Prepared>> + Send;
}

/// Prepares a collection of garbage. `schedule` is what triggered it, if that was the clock.
pub async fn garbage_collection(
    site: &Site,
    name: &DatastoreName,
    auth_id: Authid,
    schedule: Option<&str>,
) -> Result<Prepared> {
    site.stores.check_nesting(name)?;
    let store = site.stores.open(name, Operation::Write).await?;
    let run = gc::lock(&site.jobs, name)?;
    let spec = TaskSpec::new(gc::WORKER_TYPE, Some(name.to_string()), auth_id);
    let trigger = trigger(schedule);
    Ok(Prepared::new(spec, store, |task, store| async move {
        log_trigger(&*task, trigger.as_deref());
        let context = Arc::clone(&task);
        let work = async move {
            store
                .garbage_collection(context, GcOptions::default())
                .await?;
            Ok(())
        };
        job::run(run, &task, work).await
    }))
}

impl Runnable for PruneJob {
    async fn prepare(
        &self,
        site: &Site,
        auth_id: Authid,
        schedule: Option<&str>,
    ) -> Result<Prepared> {
        let store = site.stores.open(&self.store, Operation::Write).await?;
        let run = lock(site, self)?;
        let prune = Prune {
            store: self.store.clone(),
            ns: self.ns(),
            group: None,
            max_depth: self.max_depth,
            keep: self.keep.clone(),
            dry_run: false,
        };
        let may_prune = may_touch(
            &site.access,
            &auth_id,
            &[Privilege::DatastoreModify],
            &[Privilege::DatastorePrune],
            &store,
        );
        let worker_id = if prune.ns.is_root() {
            prune.store.to_string()
        } else {
            format!("{}:{}", prune.store, prune.ns)
        };
        let spec = TaskSpec::new(Self::TYPE.as_str(), Some(worker_id), auth_id);
        let (id, trigger) = (self.id.clone(), trigger(schedule));
        Ok(Prepared::new(spec, store, |task, store| async move {
            task.log(&format!("prune job '{id}'"));
            log_trigger(&*task, trigger.as_deref());
            let context = Arc::clone(&task);
            let work = async move {
                prune.run(&*context, &store, &may_prune).await?;
                Ok(())
            };
            job::run(run, &task, work).await
        }))
    }
}

impl Runnable for VerifyJob {
    async fn prepare(
        &self,
        site: &Site,
        auth_id: Authid,
        schedule: Option<&str>,
    ) -> Result<Prepared> {
        let store = site.stores.open(&self.store, Operation::Write).await?;
        let run = lock(site, self)?;
        let verification = Verification {
            store: self.store.clone(),
            ns: self.ns(),
            target: None,
            max_depth: self.max_depth,
            options: VerifyOptions {
                ignore_verified: self.ignore_verified.unwrap_or(true),
                outdated_after: self.outdated_after,
                read_threads: self.read_threads,
                verify_threads: self.verify_threads,
                ..VerifyOptions::default()
            },
        };
        let may_verify = may_touch(
            &site.access,
            &auth_id,
            &[Privilege::DatastoreVerify],
            &[Privilege::DatastoreBackup],
            &store,
        );
        let worker_id = format!("{}:{}", self.store, self.id);
        let spec = TaskSpec::new(Self::TYPE.as_str(), Some(worker_id), auth_id);
        let (id, trigger) = (self.id.clone(), trigger(schedule));
        Ok(Prepared::new(spec, store, |task, store| async move {
            task.log(&format!("Starting datastore verify job '{id}'"));
            log_trigger(&*task, trigger.as_deref());
            let context = Arc::clone(&task);
            let work = async move {
                let report = verification.run(&*context, &store, &may_verify).await?;
                report.into_task_result()?;
                Ok(())
            };
            job::run(run, &task, work).await
        }))
    }
}

impl Runnable for SyncJob {
    async fn prepare(
        &self,
        site: &Site,
        auth_id: Authid,
        schedule: Option<&str>,
    ) -> Result<Prepared> {
        let options = SyncOptions::of(self)?;
        let direction = self.direction();
        let store = site.stores.open(&self.store, direction.operation()).await?;
        let run = lock(site, self)?;
        let worker_id = SyncOptions::job_worker_id(self);
        let spec = TaskSpec::new(Self::TYPE.as_str(), Some(worker_id.clone()), auth_id);
        let trigger = trigger(schedule);
        let site = site.clone();
        Ok(Prepared::new(spec, store, move |task, store| async move {
            task.log(&format!("Starting datastore sync job '{worker_id}'"));
            log_trigger(&*task, trigger.as_deref());
            let context = Arc::clone(&task);
            job::run(run, &task, async move {
                match direction {
                    SyncDirection::Pull => pull(&site, &context, store, options, true).await?,
                    SyncDirection::Push => push(&site, &context, store, options).await?,
                }
                context.log(&format!("sync job '{worker_id}' end"));
                Ok(())
            })
            .await
        }))
    }
}

fn lock<T: Job>(site: &Site, config: &T) -> Result<JobLock> {
    match site.jobs.try_lock(T::TYPE, config.id())? {
        Some(lock) => Ok(lock),
        None => bail!("job '{}' is already running", config.id()),
    }
}

fn trigger(schedule: Option<&str>) -> Option<String> {
    schedule.map(|schedule| format!("task triggered by schedule '{schedule}'"))
}

fn log_trigger(task: &dyn TaskContext, trigger: Option<&str>) {
    if let Some(trigger) = trigger {
        task.log(trigger);
    }
}

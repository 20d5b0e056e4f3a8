//! A run of a job, as a task in the background.

use std::sync::Arc;

use anyhow::{Result, bail};
use api_types::access::Privilege;
use api_types::auth::Authid;
use api_types::datastore::Operation;
use api_types::names::DatastoreName;
use api_types::upid::Upid;
use datastore::gc::GcOptions;
use datastore::task::TaskContext;
use datastore::verify::VerifyOptions;

use super::state::{JobLock, JobStates};
use crate::api::rights::may_touch;
use crate::config::jobs::{Job, PruneJob, VerifyJob};
use crate::config::sync::{SyncDirection, SyncJob};
use crate::daemon::Server;
use crate::operations::background::start;
use crate::operations::prune::Prune;
use crate::operations::verify::Verification;
use crate::operations::{gc, job};
use crate::sync::options::SyncOptions;
use crate::sync::pull::pull;
use crate::sync::push::push;
use crate::task::TaskSpec;

/// Collects garbage. `schedule` is what triggered it, if that was the clock.
pub async fn garbage_collection(
    server: &Arc<Server>,
    name: &DatastoreName,
    auth_id: Authid,
    schedule: Option<&str>,
) -> Result<Upid> {
    server.stores.check_nesting(name).await?;
    let store = server.stores.open(name, Operation::Write).await?;
    let run = gc::lock(&JobStates::of(server), name)?;
    let spec = TaskSpec::new(gc::WORKER_TYPE, Some(name.to_string()), auth_id);
    let trigger = trigger(schedule);
    start(server, spec, store, |task, store| async move {
        log_trigger(&*task, trigger.as_deref());
        let context = Arc::clone(&task);
        let work = async move {
            store
                .garbage_collection(context, GcOptions::default())
                .await?;
            Ok(())
        };
        job::run(run, &task, work).await
    })
}

/// Runs a prune job.
pub async fn prune(
    server: &Arc<Server>,
    config: &PruneJob,
    auth_id: Authid,
    schedule: Option<&str>,
) -> Result<Upid> {
    let store = server.stores.open(&config.store, Operation::Write).await?;
    let run = lock(server, config)?;
    let prune = Prune {
        store: config.store.clone(),
        ns: config.ns(),
        group: None,
        max_depth: config.max_depth,
        keep: config.keep.clone(),
        dry_run: false,
    };
    let may_prune = may_touch(
        server,
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
    let spec = TaskSpec::new(PruneJob::TYPE.as_str(), Some(worker_id), auth_id);
    let (id, trigger) = (config.id.clone(), trigger(schedule));
    start(server, spec, store, |task, store| async move {
        task.log(&format!("prune job '{id}'"));
        log_trigger(&*task, trigger.as_deref());
        let context = Arc::clone(&task);
        let work = async move {
            prune.run(&*context, &store, &may_prune).await?;
            Ok(())
        };
        job::run(run, &task, work).await
    })
}

/// Runs a verify job.
pub async fn verify(
    server: &Arc<Server>,
    config: &VerifyJob,
    auth_id: Authid,
    schedule: Option<&str>,
) -> Result<Upid> {
    let store = server.stores.open(&config.store, Operation::Write).await?;
    let run = lock(server, config)?;
    let verification = Verification {
        store: config.store.clone(),
        ns: config.ns(),
        target: None,
        max_depth: config.max_depth,
        options: VerifyOptions {
            ignore_verified: config.ignore_verified.unwrap_or(true),
            outdated_after: config.outdated_after,
            read_threads: config.read_threads,
            verify_threads: config.verify_threads,
            ..VerifyOptions::default()
        },
    };
    let may_verify = may_touch(
        server,
        &auth_id,
        &[Privilege::DatastoreVerify],
        &[Privilege::DatastoreBackup],
        &store,
    );
    let worker_id = format!("{}:{}", config.store, config.id);
    let spec = TaskSpec::new(VerifyJob::TYPE.as_str(), Some(worker_id), auth_id);
    let (id, trigger) = (config.id.clone(), trigger(schedule));
    start(server, spec, store, |task, store| async move {
        task.log(&format!("Starting datastore verify job '{id}'"));
        log_trigger(&*task, trigger.as_deref());
        let context = Arc::clone(&task);
        let work = async move {
            let report = verification.run(&*context, &store, &may_verify).await?;
            report.into_task_result()?;
            Ok(())
        };
        job::run(run, &task, work).await
    })
}

/// Runs a sync job, whichever way it goes.
pub async fn sync(
    server: &Arc<Server>,
    config: &SyncJob,
    auth_id: Authid,
    schedule: Option<&str>,
) -> Result<Upid> {
    let options = SyncOptions::of(config)?;
    let direction = config.direction();
    let operation = match direction {
        SyncDirection::Pull => Operation::Write,
        SyncDirection::Push => Operation::Read,
    };
    let store = server.stores.open(&config.store, operation).await?;
    let run = lock(server, config)?;
    let worker_id = SyncOptions::job_worker_id(config);
    let spec = TaskSpec::new(SyncJob::TYPE.as_str(), Some(worker_id.clone()), auth_id);
    let trigger = trigger(schedule);
    let server_of_task = Arc::clone(server);
    start(server, spec, store, move |task, store| async move {
        task.log(&format!("Starting datastore sync job '{worker_id}'"));
        log_trigger(&*task, trigger.as_deref());
        let context = Arc::clone(&task);
        job::run(run, &task, async move {
            match direction {
                SyncDirection::Pull => {
                    pull(&server_of_task, &context, store, options, true).await?;
                }
                SyncDirection::Push => push(&server_of_task, &context, store, options).await?,
            }
            context.log(&format!("sync job '{worker_id}' end"));
            Ok(())
        })
        .await
    })
}

fn lock<T: Job>(server: &Server, config: &T) -> Result<JobLock> {
    match JobStates::of(server).try_lock(T::TYPE, config.id())? {
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

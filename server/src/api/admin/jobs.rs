//! Jobs: what there is, when it ran and will run, and running it now.

use std::sync::Arc;

use api_types::access::Privilege;
use api_types::datastore::{DatastoreConfig, Operation};
use api_types::names::DatastoreName;
use api_types::upid::Upid;
use hyper::Method;
use serde::Serialize;

use super::datastore::sight;
use crate::api::config::entries::ApiEntity as _;
use crate::api::config::jobs::{ApiJob, may_see, require};
use crate::api::config::sync::ANY_DIRECTION;
use crate::api::entry;
use crate::api::fields::{ANY_STORE, SAFE_ID, STORE};
use crate::api::target::{open, refused};
use crate::config::jobs::{Job, PruneJob, VerifyJob};
use crate::config::sync::SyncJob;
use crate::daemon::Server;
use crate::jobs::run;
use crate::jobs::state::JobStates;
use crate::jobs::status::JobScheduleStatus;
use crate::operations::gc::GcJobStatus;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::table::{Access, Endpoint};

const ID: Param = Param::required("id", "Name of the job.", SAFE_ID);

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::GET,
        "/admin/gc",
        "List the garbage collections of the datastores.",
        &[ANY_STORE],
        Access::Anybody,
        |call| Box::pin(list_gc(call)),
    ),
    entry(
        Method::GET,
        "/admin/gc/{store}",
        "Tell about the garbage collection of a datastore.",
        &[STORE],
        Access::Anybody,
        |call| Box::pin(list_gc(call)),
    ),
    entry(
        Method::GET,
        "/admin/prune",
        "List the prune jobs with their last and next runs.",
        &[ANY_STORE],
        Access::Anybody,
        |call| Box::pin(list::<PruneJob>(call)),
    ),
    entry(
        Method::POST,
        "/admin/prune/{id}/run",
        "Run a prune job.",
        &[ID],
        Access::ByHandler,
        |call| Box::pin(run_prune(call)),
    ),
    entry(
        Method::GET,
        "/admin/sync",
        "List the sync jobs with their last and next runs.",
        &[ANY_STORE, ANY_DIRECTION],
        Access::Anybody,
        |call| Box::pin(list_sync(call)),
    ),
    entry(
        Method::POST,
        "/admin/sync/{id}/run",
        "Run a sync job.",
        &[ID],
        Access::ByHandler,
        |call| Box::pin(run_sync(call)),
    ),
    entry(
        Method::GET,
        "/admin/verify",
        "List the verify jobs with their last and next runs.",
        &[ANY_STORE],
        Access::Anybody,
        |call| Box::pin(list::<VerifyJob>(call)),
    ),
    entry(
        Method::POST,
        "/admin/verify/{id}/run",
        "Run a verify job.",
        &[ID],
        Access::ByHandler,
        |call| Box::pin(run_verify(call)),
    ),
];

/// A job with its last and next run.
#[derive(Debug, Serialize)]
struct Item<'a, T> {
    #[serde(flatten)]
    job: &'a T,
    #[serde(flatten)]
    status: JobScheduleStatus,
}

impl<'a, T: Job> Item<'a, T> {
    fn of(job: &'a T, states: &JobStates) -> Self {
        let state = states.get(T::TYPE, job.id());
        Self {
            status: JobScheduleStatus::of(&state, job.schedule()),
            job,
        }
    }
}

async fn list_gc(call: Call) -> Result<Answer, RestError> {
    let asked: Option<DatastoreName> = call.optional(STORE.name)?;
    let content = call.server.config.datastores().load().map_err(refused)?;
    if let Some(store) = &asked {
        content.get(store.as_str()).map_err(refused)?;
    }
    let jobs = JobStates::of(&call.server);
    let mut items = Vec::new();
    for config in &content.entries {
        let wanted = asked.as_ref().is_none_or(|store| *store == config.name);
        if !wanted || sight(&call, &config.name).is_none() {
            continue;
        }
        match gc_status(&call, config, &jobs).await {
            Ok(status) => items.push(status),
            Err(error) if asked.is_some() => return Err(error),
            Err(_) => {}
        }
    }
    Answer::of(items)
}

async fn gc_status(
    call: &Call,
    config: &DatastoreConfig,
    jobs: &JobStates,
) -> Result<GcJobStatus, RestError> {
    let _open = open(call, &config.name, Operation::Read).await?;
    let (owned, jobs, env) = (config.clone(), jobs.clone(), call.server.env.clone());
    let look = async move { GcJobStatus::of(&owned, &jobs, &env).await };
    Ok(call.server.stores.in_time(&config.name, look).await?)
}

async fn list<T: ApiJob>(call: Call) -> Result<Answer, RestError> {
    let asked: Option<DatastoreName> = call.optional(STORE.name)?;
    let content = T::file(&call.server).load().map_err(refused)?;
    let states = JobStates::of(&call.server);
    let items: Vec<Item<'_, T>> = content
        .entries
        .iter()
        .filter(|job| asked.as_ref().is_none_or(|store| store == job.store()))
        .filter(|job| may_see(&call, *job))
        .map(|job| Item::of(job, &states))
        .collect();
    Answer::of(items)?.with("digest", &content.digest)
}

async fn list_sync(call: Call) -> Result<Answer, RestError> {
    let asked: Option<DatastoreName> = call.optional(STORE.name)?;
    let direction = call.params.text(ANY_DIRECTION.name).unwrap_or("all");
    let content = SyncJob::file(&call.server).load().map_err(refused)?;
    let states = JobStates::of(&call.server);
    let items: Vec<Item<'_, SyncJob>> = content
        .entries
        .iter()
        .filter(|job| asked.as_ref().is_none_or(|store| *store == job.store))
        .filter(|job| direction == "all" || direction == job.direction().to_string())
        .filter(|job| job.is_listed(&call))
        .map(|job| Item::of(job, &states))
        .collect();
    Answer::of(items)?.with("digest", &content.digest)
}

/// The job that the call names, if the caller may run it.
fn to_run<T: ApiJob>(call: &Call, any: &[Privilege]) -> Result<T, RestError> {
    let content = T::file(&call.server).load().map_err(refused)?;
    let id = call.params.text(ID.name).unwrap_or_default();
    let job = content.get(id).map_err(refused)?;
    require(call, job, any)?;
    Ok(job.clone())
}

async fn run_prune(call: Call) -> Result<Answer, RestError> {
    let job: PruneJob = to_run(&call, PruneJob::CHANGE)?;
    let server: &Arc<Server> = &call.server;
    let upid: Upid = run::prune(server, &job, call.auth_id.clone(), None).await?;
    Answer::of(upid)
}

async fn run_verify(call: Call) -> Result<Answer, RestError> {
    let job: VerifyJob = to_run(&call, VerifyJob::CHANGE)?;
    let server: &Arc<Server> = &call.server;
    let upid: Upid = run::verify(server, &job, call.auth_id.clone(), None).await?;
    Answer::of(upid)
}

async fn run_sync(call: Call) -> Result<Answer, RestError> {
    let content = SyncJob::file(&call.server).load().map_err(refused)?;
    let id = call.params.text(ID.name).unwrap_or_default();
    let job = content.get(id).map_err(refused)?;
    job.check_change(&call)?;
    job.check_names(&call.server)?;
    let upid: Upid = run::sync(&call.server, job, call.auth_id.clone(), None).await?;
    Answer::of(upid)
}

//! Jobs: what there is, when it ran and will run, and running it now.

use api_types::datastore::Operation;
use api_types::names::DatastoreName;
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
use crate::jobs::run::Runnable;
use crate::jobs::state::JobStates;
use crate::jobs::status::JobScheduleStatus;
use crate::operations::background::start_prepared;
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
        |call| Box::pin(run_job::<PruneJob>(call)),
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
        |call| Box::pin(run_job::<VerifyJob>(call)),
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
        match open(&call, &config.name, Operation::Read).await {
            Ok(_) => items.push(GcJobStatus::of(config, &jobs, &call.server.env).await),
            Err(error) if asked.is_some() => return Err(error),
            Err(_) => {}
        }
    }
    Answer::of(items)
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

async fn run_job<T: ApiJob + Runnable>(call: Call) -> Result<Answer, RestError> {
    let content = T::file(&call.server).load().map_err(refused)?;
    let job = content.get(id_of(&call)).map_err(refused)?;
    require(&call, job, T::CHANGE)?;
    start(&call, job).await
}

async fn run_sync(call: Call) -> Result<Answer, RestError> {
    let content = SyncJob::file(&call.server).load().map_err(refused)?;
    let job = content.get(id_of(&call)).map_err(refused)?;
    job.check_change(&call)?;
    start(&call, job).await
}

fn id_of(call: &Call) -> &str {
    call.params.text(ID.name).unwrap_or_default()
}

async fn start<T: Runnable>(call: &Call, job: &T) -> Result<Answer, RestError> {
    let site = call.server.site();
    let prepared = job.prepare(&site, call.auth_id.clone(), None).await?;
    Answer::of(start_prepared(&call.server, prepared)?)
}

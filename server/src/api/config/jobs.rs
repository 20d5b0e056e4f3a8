//! `/config/prune` and `/config/verify`: what is pruned and verified by the clock.

use api_types::access::Privilege;
use hyper::Method;

use super::entries::{changed, digest, entry as made, failed, given};
use crate::api::entry;
use crate::api::fields::{
    COMMENT, DIGEST, KEEP_DAILY, KEEP_HOURLY, KEEP_LAST, KEEP_MONTHLY, KEEP_WEEKLY, KEEP_YEARLY,
    MAX_DEPTH, NS, SAFE_ID, SCHEDULE, STORE, THREADS,
};
use crate::api::rights::{on_namespace, require_any_in};
use crate::api::target::refused;
use crate::config::jobs::{Job, PruneJob, VerifyJob};
use crate::config::{ConfigError, ConfigFile};
use crate::daemon::Server;
use crate::jobs::state::JobStates;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::{Param, joined};
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, Endpoint};

const ID: Param = Param::required("id", "Name of the job.", SAFE_ID);
const NEW_STORE: Param = Param::optional("store", "Name of the datastore.", SAFE_ID);
const REQUIRED_SCHEDULE: Param = Param::required("schedule", "When it runs.", SCHEDULE);
const ANY_SCHEDULE: Param = Param::optional("schedule", "When it runs.", SCHEDULE);
const DISABLE: Param = Param::optional("disable", "Whether it rests.", Schema::Boolean);
const IGNORE_VERIFIED: Param = Param::optional(
    "ignore-verified",
    "Skip snapshots that have been verified; yes if absent.",
    Schema::Boolean,
);
const OUTDATED_AFTER: Param = Param::optional(
    "outdated-after",
    "But not if that was more than so many days ago.",
    Schema::integer(0, i64::MAX),
);
const READ_THREADS: Param = Param::optional("read-threads", "Chunks read at once.", THREADS);
const VERIFY_THREADS: Param = Param::optional("verify-threads", "Chunks checked at once.", THREADS);
const DELETE_OF_PRUNE: Param = Param::optional(
    "delete",
    "Properties to unset.",
    Schema::Array(&Schema::Choice(&[
        "comment",
        "disable",
        "ns",
        "max-depth",
        "keep-last",
        "keep-hourly",
        "keep-daily",
        "keep-weekly",
        "keep-monthly",
        "keep-yearly",
    ])),
);
const DELETE_OF_VERIFY: Param = Param::optional(
    "delete",
    "Properties to unset.",
    Schema::Array(&Schema::Choice(&[
        "ignore-verified",
        "comment",
        "schedule",
        "outdated-after",
        "ns",
        "max-depth",
        "read-threads",
        "verify-threads",
    ])),
);

/// What a prune job may have.
const OF_PRUNE: [Param; 10] = [
    DISABLE,
    COMMENT,
    NS,
    MAX_DEPTH,
    KEEP_LAST,
    KEEP_HOURLY,
    KEEP_DAILY,
    KEEP_WEEKLY,
    KEEP_MONTHLY,
    KEEP_YEARLY,
];
/// The parameters of a new prune job.
pub const NEW_PRUNE: [Param; 13] = joined(&[&[ID, STORE, REQUIRED_SCHEDULE], &OF_PRUNE]);
/// The parameters of a change of one.
pub const CHANGED_PRUNE: [Param; 15] = joined(&[
    &[ID, NEW_STORE, ANY_SCHEDULE, DELETE_OF_PRUNE, DIGEST],
    &OF_PRUNE,
]);
/// What a verify job may have.
const OF_VERIFY: [Param; 8] = [
    ANY_SCHEDULE,
    IGNORE_VERIFIED,
    OUTDATED_AFTER,
    COMMENT,
    NS,
    MAX_DEPTH,
    READ_THREADS,
    VERIFY_THREADS,
];
/// The parameters of a new verify job.
pub const NEW_VERIFY: [Param; 10] = joined(&[&[ID, STORE], &OF_VERIFY]);
/// The parameters of a change of one.
pub const CHANGED_VERIFY: [Param; 12] =
    joined(&[&[ID, NEW_STORE, DELETE_OF_VERIFY, DIGEST], &OF_VERIFY]);

/// The endpoints of prune jobs.
pub const PRUNE_ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::GET,
        "/config/prune",
        "List the prune jobs.",
        &[],
        Access::Anybody,
        |call| Box::pin(list::<PruneJob>(call)),
    ),
    entry(
        Method::POST,
        "/config/prune",
        "Add a prune job.",
        &NEW_PRUNE,
        Access::ByHandler,
        |call| Box::pin(create::<PruneJob>(call)),
    ),
    entry(
        Method::GET,
        "/config/prune/{id}",
        "Show a prune job.",
        &[ID],
        Access::ByHandler,
        |call| Box::pin(show::<PruneJob>(call)),
    ),
    entry(
        Method::PUT,
        "/config/prune/{id}",
        "Change a prune job.",
        &CHANGED_PRUNE,
        Access::ByHandler,
        |call| Box::pin(update::<PruneJob>(call)),
    ),
    entry(
        Method::DELETE,
        "/config/prune/{id}",
        "Remove a prune job.",
        &[ID, DIGEST],
        Access::ByHandler,
        |call| Box::pin(remove::<PruneJob>(call)),
    ),
];

/// The endpoints of verify jobs.
pub const VERIFY_ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::GET,
        "/config/verify",
        "List the verify jobs.",
        &[],
        Access::Anybody,
        |call| Box::pin(list::<VerifyJob>(call)),
    ),
    entry(
        Method::POST,
        "/config/verify",
        "Add a verify job.",
        &NEW_VERIFY,
        Access::ByHandler,
        |call| Box::pin(create::<VerifyJob>(call)),
    ),
    entry(
        Method::GET,
        "/config/verify/{id}",
        "Show a verify job.",
        &[ID],
        Access::ByHandler,
        |call| Box::pin(show::<VerifyJob>(call)),
    ),
    entry(
        Method::PUT,
        "/config/verify/{id}",
        "Change a verify job.",
        &CHANGED_VERIFY,
        Access::ByHandler,
        |call| Box::pin(update::<VerifyJob>(call)),
    ),
    entry(
        Method::DELETE,
        "/config/verify/{id}",
        "Remove a verify job.",
        &[ID, DIGEST],
        Access::ByHandler,
        |call| Box::pin(remove::<VerifyJob>(call)),
    ),
];

/// Jobs as the API has them: their file, and who may see and change them.
pub trait ApiJob: Job + Send + Sync + 'static {
    /// Who has one of these where a job works may see it.
    const SEE: &'static [Privilege];
    /// Who has one of these where a job works may change and run it.
    const CHANGE: &'static [Privilege];

    /// Their file.
    fn file(server: &Server) -> &ConfigFile<Self>;
}

impl ApiJob for PruneJob {
    const SEE: &'static [Privilege] = &[Privilege::DatastoreAudit, Privilege::DatastoreModify];
    const CHANGE: &'static [Privilege] = &[Privilege::DatastoreModify];

    fn file(server: &Server) -> &ConfigFile<Self> {
        server.config.prune_jobs()
    }
}

impl ApiJob for VerifyJob {
    const SEE: &'static [Privilege] = &[Privilege::DatastoreAudit, Privilege::DatastoreVerify];
    const CHANGE: &'static [Privilege] = &[Privilege::DatastoreVerify];

    fn file(server: &Server) -> &ConfigFile<Self> {
        server.config.verify_jobs()
    }
}

/// Whether the caller may see a job.
pub fn may_see<T: ApiJob>(call: &Call, job: &T) -> bool {
    on_namespace(&call.server.access, &call.auth_id, job.store(), &job.ns())
        .has_any(api_types::access::Privileges::of(T::SEE))
}

/// Refuses a caller who has none of these where a job works.
pub fn require<T: ApiJob>(call: &Call, job: &T, any: &[Privilege]) -> Result<(), RestError> {
    require_any_in(call, job.store(), &job.ns(), any)
}

fn said(error: ConfigError) -> RestError {
    failed(error, ID.name, "job")
}

fn id_of(call: &Call) -> &str {
    call.params.text(ID.name).unwrap_or_default()
}

async fn list<T: ApiJob>(call: Call) -> Result<Answer, RestError> {
    let content = T::file(&call.server).load().map_err(refused)?;
    let seen: Vec<&T> = content
        .entries
        .iter()
        .filter(|job| may_see(&call, *job))
        .collect();
    Answer::of(seen)?.with("digest", &content.digest)
}

async fn show<T: ApiJob>(call: Call) -> Result<Answer, RestError> {
    let content = T::file(&call.server).load().map_err(refused)?;
    let job = content.get(id_of(&call)).map_err(said)?;
    require(&call, job, T::SEE)?;
    Answer::of(job)?.with("digest", &content.digest)
}

async fn create<T: ApiJob>(call: Call) -> Result<Answer, RestError> {
    let id = id_of(&call);
    let properties = given(&call, &[ID.name]).replace_in(Vec::new(), &[]);
    let section_type = T::TYPES.first().copied().unwrap_or_default();
    let job: T = made(section_type, id, &properties)?;
    require(&call, &job, T::CHANGE)?;
    // Whoever may do anything may also name a datastore that is not there.
    call.server.stores.config_of(job.store())?;
    T::file(&call.server)
        .update(None, |content| content.insert(job))
        .await
        .map_err(said)?;
    JobStates::of(&call.server).touch(T::TYPE, id)?;
    Ok(Answer::null())
}

async fn update<T: ApiJob>(call: Call) -> Result<Answer, RestError> {
    let id = id_of(&call);
    let rescheduled = T::file(&call.server)
        .update(digest(&call), |content| {
            let job = content.get_mut(id)?;
            require(&call, job, T::CHANGE)?;
            let new: T = changed(&call, job, &[ID.name])?;
            require(&call, &new, T::CHANGE)?;
            call.server.stores.config_of(new.store())?;
            let rescheduled = new.schedule() != job.schedule();
            *job = new;
            anyhow::Ok(rescheduled)
        })
        .await?;
    if rescheduled {
        JobStates::of(&call.server).touch(T::TYPE, id)?;
    }
    Ok(Answer::null())
}

async fn remove<T: ApiJob>(call: Call) -> Result<Answer, RestError> {
    let id = id_of(&call);
    T::file(&call.server)
        .update(digest(&call), |content| {
            let job = content
                .remove(id)
                .map_err(|error| anyhow::Error::new(said(error)))?;
            Ok(require(&call, &job, T::CHANGE)?)
        })
        .await
        .map_err(|error: anyhow::Error| RestError::from(error))?;
    JobStates::of(&call.server).remove(T::TYPE, id)?;
    Ok(Answer::null())
}

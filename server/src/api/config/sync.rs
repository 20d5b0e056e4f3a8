//! `/config/sync`: what is to be copied from and to other datastores.

use std::sync::Arc;

use api_types::access::{Privilege, Privileges};
use api_types::auth::Authid;
use api_types::human::ByteSize;
use api_types::names::{BackupNamespace, DatastoreName};
use hyper::{Method, StatusCode};

use super::entries::{ApiEntity, create, listed, remove, show, update};
use crate::api::entry;
use crate::api::fields::{COMMENT, DEPTH, DIGEST, NAMESPACE, SAFE_ID, SCHEDULE, STORE, THREADS};
use crate::api::rights::{on_namespace, require_any_in};
use crate::api::target::refused;
use crate::config::ConfigFile;
use crate::config::jobs::Job as _;
use crate::config::sync::{GroupFilter, SyncDirection, SyncJob};
use crate::daemon::Server;
use crate::jobs::state::JobStates;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::{Param, joined};
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, Endpoint};

const ID: Param = Param::required("id", "Name of the job.", SAFE_ID);
const BYTES: Schema = Schema::text::<ByteSize>("byte size");
const FILTERS: Schema = Schema::Array(&Schema::text::<GroupFilter>("group filter"));
/// What jobs, pulls and pushes have in common.
pub const COMMON: [Param; 13] = [
    Param::optional("ns", "Namespace here; the root if absent.", NAMESPACE),
    Param::optional(
        "remote-ns",
        "Namespace there; the root if absent.",
        NAMESPACE,
    ),
    Param::optional(
        "remove-vanished",
        "Remove what has vanished at the source.",
        Schema::Boolean,
    ),
    Param::optional("max-depth", "Levels of namespaces below.", DEPTH),
    Param::optional("group-filter", "Which groups.", FILTERS),
    Param::optional("rate-in", "Bytes to receive per second.", BYTES),
    Param::optional("burst-in", "Bytes to receive at once.", BYTES),
    Param::optional("rate-out", "Bytes to send per second.", BYTES),
    Param::optional("burst-out", "Bytes to send at once.", BYTES),
    Param::optional(
        "transfer-last",
        "Only so many of the newest snapshots of each group.",
        Schema::integer(1, i64::MAX),
    ),
    Param::optional(
        "encrypted-only",
        "Only encrypted snapshots.",
        Schema::Boolean,
    ),
    Param::optional("verified-only", "Only verified snapshots.", Schema::Boolean),
    Param::optional("worker-threads", "Groups at once.", THREADS),
];
/// The other server, where it may be this one.
pub const ANY_REMOTE: Param =
    Param::optional("remote", "The other server; this one if absent.", SAFE_ID);
/// The datastore at the other end.
pub const REMOTE_STORE: Param = Param::required(
    "remote-store",
    "The datastore at the other end.",
    Schema::text::<DatastoreName>("datastore name"),
);
/// Only of pulls.
pub const RESYNC_CORRUPT: Param = Param::optional(
    "resync-corrupt",
    "Fetch anew what a verification found damaged.",
    Schema::Boolean,
);
/// What only jobs have.
const OF_JOBS: [Param; 8] = [
    Param::optional("owner", "Whose groups.", Schema::text::<Authid>("auth id")),
    COMMENT,
    Param::optional("schedule", "When it is to run.", SCHEDULE),
    Param::optional(
        "run-on-mount",
        "Run when the datastore's device appears.",
        Schema::Boolean,
    ),
    Param::optional(
        "unmount-on-done",
        "Detach the device afterwards.",
        Schema::Boolean,
    ),
    Param::optional(
        "sync-direction",
        "Which way; here if absent.",
        Schema::Choice(&["pull", "push"]),
    ),
    Param::optional("active-encryption-key", "Key to encrypt with.", SAFE_ID),
    Param::optional(
        "associated-key",
        "Keys to decrypt with.",
        Schema::Array(&SAFE_ID),
    ),
];
const OPTIONS: [Param; 23] = joined(&[&[ANY_REMOTE, RESYNC_CORRUPT], &COMMON, &OF_JOBS]);
/// The parameters of a new one.
pub const CREATE: [Param; 26] = joined(&[&[ID, STORE, REMOTE_STORE], &OPTIONS]);
/// The parameters of a change.
pub const UPDATE: [Param; 28] = joined(&[
    &[
        ID,
        Param::optional("store", "Name of the datastore.", SAFE_ID),
        Param::optional("remote-store", REMOTE_STORE.about, SAFE_ID),
        Param::optional(
            "delete",
            "Properties to unset.",
            Schema::Array(&Schema::Choice(&[
                "remote",
                "owner",
                "comment",
                "schedule",
                "remove-vanished",
                "group-filter",
                "rate-in",
                "burst-in",
                "rate-out",
                "burst-out",
                "ns",
                "remote-ns",
                "max-depth",
                "transfer-last",
                "encrypted-only",
                "verified-only",
                "run-on-mount",
                "unmount-on-done",
                "sync-direction",
                "worker-threads",
                "active-encryption-key",
                "associated-key",
            ])),
        ),
        DIGEST,
    ],
    &OPTIONS,
]);
/// Which jobs to list.
pub const ANY_DIRECTION: Param = Param::optional(
    "sync-direction",
    "Only jobs of this direction.",
    Schema::Choice(&["all", "push", "pull"]),
)
.or_text("pull");

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::GET,
        "/config/sync",
        "List the sync jobs.",
        &[ANY_DIRECTION],
        Access::Anybody,
        |call| Box::pin(list(call)),
    ),
    entry(
        Method::POST,
        "/config/sync",
        "Add a sync job.",
        &CREATE,
        Access::ByHandler,
        |call| Box::pin(add(call)),
    ),
    entry(
        Method::GET,
        "/config/sync/{id}",
        "Show a sync job.",
        &[ID],
        Access::ByHandler,
        |call| Box::pin(show::<SyncJob>(call)),
    ),
    entry(
        Method::PUT,
        "/config/sync/{id}",
        "Change a sync job.",
        &UPDATE,
        Access::ByHandler,
        |call| Box::pin(change(call)),
    ),
    entry(
        Method::DELETE,
        "/config/sync/{id}",
        "Remove a sync job.",
        &[ID, DIGEST],
        Access::ByHandler,
        |call| Box::pin(forget(call)),
    ),
];

/// What somebody may do at the other end.
fn there(call: &Call, job: &SyncJob, ns: &BackupNamespace) -> Privileges {
    let Some(remote) = &job.remote else {
        return on_namespace(&call.server.access, &call.auth_id, &job.remote_store, ns);
    };
    let mut path = vec!["remote", remote.as_str(), job.remote_store.as_str()];
    path.extend(ns.components().iter().map(AsRef::as_ref));
    call.server.access.privileges(&call.auth_id, &path)
}

/// Refuses a caller who lacks one of these at the other end.
pub fn require_there(call: &Call, job: &SyncJob, all: &[Privilege]) -> Result<(), RestError> {
    let ns = match job.direction() {
        SyncDirection::Push => job.remote_ns(),
        SyncDirection::Pull => BackupNamespace::root(),
    };
    let granted = there(call, job, &ns);
    let missing = all
        .iter()
        .find(|privilege| !granted.has_any(Privileges::of(&[**privilege])));
    let Some(missing) = missing else {
        return Ok(());
    };
    let remote = job.remote.as_ref().map_or("", |remote| remote.as_str());
    Err(RestError::bad_request(format!(
        "missing permissions '{}' on '/remote/{remote}/{}'",
        missing.as_str(),
        job.remote_store
    )))
}

/// Whether the caller is the job's owner, or the user whose token that is.
fn is_owner(call: &Call, job: &SyncJob) -> bool {
    Authid::is_owner_ok(&job.owner(), &call.auth_id)
}

impl ApiEntity for SyncJob {
    const ID: &'static str = ID.name;
    const WHAT: &'static str = "job";

    fn file(server: &Server) -> &ConfigFile<Self> {
        server.config.sync_jobs()
    }

    fn is_listed(&self, call: &Call) -> bool {
        let here = on_namespace(&call.server.access, &call.auth_id, &self.store, &self.ns());
        let audit = Privileges::of(&[Privilege::DatastoreAudit]);
        let (ns, other) = match (&self.remote, self.direction()) {
            (None, _) => (self.remote_ns(), Privilege::DatastoreAudit),
            (Some(remote), SyncDirection::Pull) => {
                let path = ["remote", remote.as_str()];
                let granted = call.server.access.privileges(&call.auth_id, &path);
                let audit_there = Privileges::of(&[Privilege::RemoteAudit]);
                return here.has_any(audit) && granted.has_any(audit_there);
            }
            (Some(_), SyncDirection::Push) => (self.remote_ns(), Privilege::RemoteAudit),
        };
        here.has_any(audit) && there(call, self, &ns).has_any(Privileges::of(&[other]))
    }

    fn check_see(&self, call: &Call) -> Result<(), RestError> {
        if self.is_listed(call) {
            return Ok(());
        }
        Err(RestError::new(
            StatusCode::FORBIDDEN,
            "permission check failed",
        ))
    }

    fn check_change(&self, call: &Call) -> Result<(), RestError> {
        let here = |privilege| require_any_in(call, &self.store, &self.ns(), &[privilege]);
        let removes = self.remove_vanished == Some(true);
        here(Privilege::DatastoreAudit)?;
        match self.direction() {
            SyncDirection::Pull => {
                here(Privilege::DatastoreBackup)?;
                if removes {
                    here(Privilege::DatastorePrune)?;
                }
                if !is_owner(call, self) {
                    here(Privilege::DatastoreModify)?;
                }
                if self.remote.is_some() {
                    require_there(call, self, &[Privilege::RemoteRead])?;
                }
            }
            SyncDirection::Push => {
                require_there(call, self, &[Privilege::RemoteDatastoreBackup])?;
                if removes {
                    require_there(call, self, &[Privilege::RemoteDatastorePrune])?;
                }
                if here(Privilege::DatastoreRead).is_err() {
                    here(Privilege::DatastoreBackup)?;
                    if !is_owner(call, self) {
                        here(Privilege::DatastoreModify)?;
                    }
                }
            }
        }
        // Whoever may do so may also name what is not there.
        Ok(call.server.config.check_sync_job(self)?)
    }
}

async fn list(call: Call) -> Result<Answer, RestError> {
    let direction = call.params.text(ANY_DIRECTION.name).unwrap_or("all");
    let wanted = |job: &SyncJob| direction == "all" || direction == job.direction().to_string();
    listed::<SyncJob>(&call, wanted)
}

async fn add(call: Call) -> Result<Answer, RestError> {
    let (states, id) = (JobStates::of(&call.server), id_of(&call));
    let answer = create::<SyncJob>(call).await?;
    states.touch(SyncJob::TYPE, &id)?;
    Ok(answer)
}

async fn change(call: Call) -> Result<Answer, RestError> {
    let (states, id, server) = (
        JobStates::of(&call.server),
        id_of(&call),
        Arc::clone(&call.server),
    );
    let schedule = || -> Result<Option<String>, RestError> {
        let content = server.config.sync_jobs().load().map_err(refused)?;
        let job = content.get(&id).ok();
        Ok(job.and_then(|job| job.schedule.clone()))
    };
    let before = schedule()?;
    let answer = update::<SyncJob>(call).await?;
    if schedule()? != before {
        states.touch(SyncJob::TYPE, &id)?;
    }
    Ok(answer)
}

async fn forget(call: Call) -> Result<Answer, RestError> {
    let (states, id) = (JobStates::of(&call.server), id_of(&call));
    let answer = remove::<SyncJob>(call).await?;
    states.remove(SyncJob::TYPE, &id)?;
    Ok(answer)
}

fn id_of(call: &Call) -> String {
    call.params.text(ID.name).unwrap_or_default().to_owned()
}

//! `/push`: a sync to another server without a job.

use std::sync::Arc;

use api_types::access::Privilege;
use api_types::datastore::Operation;
use hyper::Method;

use super::config::entries;
use super::config::sync::{COMMON, REMOTE_STORE, require_there};
use super::entry;
use super::fields::{SAFE_ID, STORE};
use super::rights::require_any_in;
use super::target::{open, refused};
use crate::config::jobs::Job as _;
use crate::config::sync::{SyncDirection, SyncJob};
use crate::operations::background::start;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::{Param, joined};
use crate::rest::error::RestError;
use crate::rest::table::{Access, Endpoint};
use crate::sync::options::SyncOptions;
use crate::sync::push::push;
use crate::task::TaskSpec;

const WORKER_TYPE: &str = "sync";
const PUSH: [Param; 16] = joined(&[
    &[
        STORE,
        Param::required("remote", "The other server.", SAFE_ID),
        REMOTE_STORE,
    ],
    &COMMON,
]);

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[entry(
    Method::POST,
    "/push",
    "Copy snapshots to a datastore of another server.",
    &PUSH,
    Access::ByHandler,
    |call| Box::pin(start_push(call)),
)];

async fn start_push(call: Call) -> Result<Answer, RestError> {
    let properties = entries::given(&call, &[])
        .set("owner", Some(&call.auth_id))
        .set("sync-direction", Some(&SyncDirection::Push))
        .into_properties();
    // What a job would do that has these properties, and is run once by the caller.
    let job: SyncJob = entries::entry("sync", "push", &properties)?;
    require_there(&call, &job, &[Privilege::RemoteDatastoreBackup])?;
    if job.remove_vanished == Some(true) {
        require_there(&call, &job, &[Privilege::RemoteDatastorePrune])?;
    }
    let any = [Privilege::DatastoreRead, Privilege::DatastoreBackup];
    require_any_in(&call, &job.store, &job.ns(), &any)?;
    call.server.config.check_sync_job(&job).map_err(refused)?;
    let options = SyncOptions::of(&job)?;
    let store = open(&call, &job.store, Operation::Read).await?;
    let spec = TaskSpec::new(WORKER_TYPE, Some(job.store.to_string()), call.auth_id);
    let server = Arc::clone(&call.server);
    let upid = start(&call.server, spec, store, |task, store| async move {
        push(&server, &task, store, options).await
    })?;
    Answer::of(upid)
}

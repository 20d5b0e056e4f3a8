//! `/push`: a sync to another server without a job.

use api_types::access::Privilege;
use hyper::Method;

use super::config::entries::given;
use super::config::sync::{COMMON, REMOTE_STORE, require_there};
use super::entry;
use super::fields::{SAFE_ID, STORE};
use super::rights::require_any_in;
use crate::config::jobs::Job as _;
use crate::config::sync::SyncDirection;
use crate::operations::background::start_prepared;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::{Param, joined};
use crate::rest::error::RestError;
use crate::rest::table::{Access, Endpoint};
use crate::sync::once;

/// The parameters.
pub const PUSH: [Param; 16] = joined(&[
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
    let given = given(&call, &[]);
    let job =
        once::job(SyncDirection::Push, given, &call.auth_id).map_err(RestError::bad_request)?;
    require_there(&call, &job, &[Privilege::RemoteDatastoreBackup])?;
    if job.remove_vanished == Some(true) {
        require_there(&call, &job, &[Privilege::RemoteDatastorePrune])?;
    }
    let any = [Privilege::DatastoreRead, Privilege::DatastoreBackup];
    require_any_in(&call, &job.store, &job.ns(), &any)?;
    let prepared = once::prepare(&call.server.site(), &job, call.auth_id).await?;
    Answer::of(start_prepared(&call.server, prepared)?)
}

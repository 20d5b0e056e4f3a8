//! `/pull`: a sync without a job.

use api_types::access::Privilege;
use hyper::Method;

use super::config::entries::given;
use super::config::sync::{ANY_REMOTE, COMMON, REMOTE_STORE, RESYNC_CORRUPT, require_there};
use super::entry;
use super::fields::{SAFE_ID, STORE};
use super::rights::require_any_in;
use crate::config::jobs::Job as _;
use crate::config::sync::{SyncDirection, SyncJob};
use crate::operations::background::start_prepared;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::{Param, joined};
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, Endpoint};
use crate::sync::once;

/// Refused by the handler; the tool does not have it.
pub const DECRYPTION_KEYS: Param = Param::optional(
    "decryption-keys",
    "Keys to decrypt with: refused, since snapshots are pulled as they are.",
    Schema::Array(&SAFE_ID),
);
/// The parameters.
pub const PULL: [Param; 18] = joined(&[
    &[
        STORE,
        ANY_REMOTE,
        REMOTE_STORE,
        RESYNC_CORRUPT,
        DECRYPTION_KEYS,
    ],
    &COMMON,
]);

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[entry(
    Method::POST,
    "/pull",
    "Copy snapshots of another datastore into one here.",
    &PULL,
    Access::ByHandler,
    |call| Box::pin(pull(call)),
)];

async fn pull(call: Call) -> Result<Answer, RestError> {
    if call.params.get(DECRYPTION_KEYS.name).is_some() {
        return Err(RestError::parameter(
            DECRYPTION_KEYS.name,
            "decrypting while pulling is not supported: snapshots are pulled as they are",
        ));
    }
    let given = given(&call, &[DECRYPTION_KEYS.name]);
    let job =
        once::job(SyncDirection::Pull, given, &call.auth_id).map_err(RestError::bad_request)?;
    check_rights(&call, &job)?;
    let prepared = once::prepare(&call.server.site(), &job, call.auth_id).await?;
    Answer::of(start_prepared(&call.server, prepared)?)
}

fn check_rights(call: &Call, job: &SyncJob) -> Result<(), RestError> {
    let here = |privilege| require_any_in(call, &job.store, &job.ns(), &[privilege]);
    here(Privilege::DatastoreBackup)?;
    if job.remove_vanished == Some(true) {
        here(Privilege::DatastorePrune)?;
    }
    match job.remote {
        Some(_) => require_there(call, job, &[Privilege::RemoteRead]),
        None => {
            let ns = job.remote_ns();
            require_any_in(call, &job.remote_store, &ns, &[Privilege::DatastoreBackup])
        }
    }
}

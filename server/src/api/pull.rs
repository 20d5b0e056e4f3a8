//! `/pull`: a sync without a job.

use std::sync::Arc;

use api_types::access::Privilege;
use api_types::datastore::Operation;
use hyper::Method;

use super::config::entries::{entry as made, given};
use super::config::sync::{ANY_REMOTE, COMMON, REMOTE_STORE, RESYNC_CORRUPT, require_there};
use super::entry;
use super::fields::{SAFE_ID, STORE};
use super::rights::require_any_in;
use super::target::{open, refused};
use crate::config::jobs::Job as _;
use crate::config::sync::SyncJob;
use crate::operations::background::start;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::{Param, joined};
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, Endpoint};
use crate::sync::options::SyncOptions;
use crate::sync::pull::pull as run;
use crate::task::TaskSpec;
use datastore::task::TaskContext as _;

/// Type of the task.
const WORKER_TYPE: &str = "sync";

const DECRYPTION_KEYS: Param = Param::optional(
    "decryption-keys",
    "Keys to decrypt with: refused, since snapshots are pulled as they are.",
    Schema::Array(&SAFE_ID),
);
const PULL: [Param; 18] = joined(&[
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
    let properties = given(&call, &[DECRYPTION_KEYS.name])
        .set("owner", Some(&call.auth_id))
        .into_properties();
    // What a job would do that has these properties, and is run once by the caller.
    let job: SyncJob = made("sync", "pull", &properties)?;
    check_rights(&call, &job)?;
    call.server.config.check_sync_job(&job).map_err(refused)?;
    let options = SyncOptions::of(&job).map_err(refused)?;
    let store = open(&call, &job.store, Operation::Write).await?;
    let spec = TaskSpec::new(WORKER_TYPE, Some(job.store.to_string()), call.auth_id);
    let server = Arc::clone(&call.server);
    let upid = start(&call.server, spec, store, |task, store| async move {
        let (here, there) = (options.store.clone(), options.other_end());
        task.log(&format!("pull datastore '{here}' from '{there}'"));
        run(&server, &task, store, options, false).await?;
        task.log(&format!("pull datastore '{here}' end"));
        Ok(())
    })?;
    Answer::of(upid)
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

//! Who may make, change, remove and run a sync job (`jobs-and-sync.md` §7.1).
//!
//! A job runs by the rights of its owner, who is the super-user unless somebody else is named. So
//! whoever has it run must be allowed all that it does by itself, or be its owner.

use api_types::access::Privilege;
use api_types::auth::Authid;

use super::sync::require_there;
use crate::api::rights::{require_any_in, require_throughout};
use crate::config::jobs::Job as _;
use crate::config::sync::{SyncDirection, SyncJob};
use crate::rest::call::Call;
use crate::rest::error::RestError;

/// Refuses a caller who may not have the job run.
pub fn check_rights(call: &Call, job: &SyncJob) -> Result<(), RestError> {
    let here = |privilege| require_any_in(call, &job.store, &job.ns(), &[privilege]);
    let removes = job.remove_vanished == Some(true);
    here(Privilege::DatastoreAudit)?;
    match job.direction() {
        SyncDirection::Pull => {
            here(Privilege::DatastoreBackup)?;
            if removes {
                here(Privilege::DatastorePrune)?;
            }
            if !is_owner(call, job) {
                here(Privilege::DatastoreModify)?;
            }
            match job.remote {
                Some(_) => require_there(call, job, &[Privilege::RemoteRead])?,
                None => check_local_source(call, job)?,
            }
        }
        SyncDirection::Push => {
            require_there(call, job, &[Privilege::RemoteDatastoreBackup])?;
            if removes {
                require_there(call, job, &[Privilege::RemoteDatastorePrune])?;
            }
            if here(Privilege::DatastoreRead).is_err() {
                here(Privilege::DatastoreBackup)?;
                if !is_owner(call, job) {
                    here(Privilege::DatastoreModify)?;
                }
            }
        }
    }
    Ok(())
}

/// Whether the caller is the job's owner, or the user whose token that is.
fn is_owner(call: &Call, job: &SyncJob) -> bool {
    Authid::is_owner_ok(&job.owner(), &call.auth_id)
}

/// Of a datastore here the job reads what its owner may. If that is the caller, some right will
/// do, since the job asks for the rest itself; else the caller must be allowed to read all of it.
fn check_local_source(call: &Call, job: &SyncJob) -> Result<(), RestError> {
    let (store, ns) = (&job.remote_store, &job.remote_ns());
    let read = [Privilege::DatastoreRead];
    if is_owner(call, job) {
        let any = [Privilege::DatastoreRead, Privilege::DatastoreBackup];
        require_any_in(call, store, ns, &any)
    } else if job.max_depth == Some(0) {
        require_any_in(call, store, ns, &read)
    } else {
        require_throughout(call, store, ns, &read)
    }
}

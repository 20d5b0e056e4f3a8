//! Who may do what to which groups (`auth.md` §8.4).

use std::sync::Arc;

use api_types::access::{Privilege, Privileges};
use api_types::auth::Authid;
use api_types::names::{BackupGroup, BackupNamespace, DatastoreName};
use datastore::store::DataStore;
use hyper::StatusCode;

use crate::access::control::AccessControl;
use crate::rest::call::Call;
use crate::rest::error::RestError;

/// The groups of a namespace that someone may deal with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of them.
    All,
    /// Their own.
    Own,
}

impl Reach {
    /// Whether a group with this owner is within reach. One without a known owner is nobody's own.
    #[must_use]
    pub fn includes(self, owner: Option<&Authid>, caller: &Authid) -> bool {
        match self {
            Self::All => true,
            Self::Own => owner.is_some_and(|owner| Authid::is_owner_ok(owner, caller)),
        }
    }

    /// Refuses a group that is not within reach.
    pub async fn check_owner(
        self,
        caller: &Authid,
        store: &DataStore,
        ns: &BackupNamespace,
        group: &BackupGroup,
    ) -> Result<(), RestError> {
        if self == Self::All {
            return Ok(());
        }
        let owner = owner_of(store, ns, group)
            .await?
            .ok_or_else(|| RestError::bad_request(no_such_group(store, group)))?;
        if Authid::is_owner_ok(&owner, caller) {
            return Ok(());
        }
        Err(RestError::bad_request(format!(
            "backup owner check failed ({caller} != {owner})"
        )))
    }
}

/// What is said of a group that is not there; clients look for the words of the system's error.
#[must_use]
pub fn no_such_group(store: &DataStore, group: &BackupGroup) -> String {
    format!(
        "unable to open group '{group}' of datastore '{}' - ENOENT: No such file or directory",
        store.name()
    )
}

/// The owner of a group, if there is one.
pub async fn owner_of(
    store: &DataStore,
    ns: &BackupNamespace,
    group: &BackupGroup,
) -> Result<Option<Authid>, RestError> {
    let (snapshots, ns, group) = (store.snapshots().clone(), ns.clone(), group.clone());
    let owner = store
        .env()
        .blocking(move || snapshots.owner(&ns, &group))
        .await;
    owner.map_err(|error| RestError::bad_request(error.to_string()))
}

/// What someone may do in a namespace.
#[must_use]
pub fn on_namespace(
    access: &AccessControl,
    auth_id: &Authid,
    store: &DatastoreName,
    ns: &BackupNamespace,
) -> Privileges {
    let mut names = vec!["datastore", store.as_str()];
    names.extend(ns.components().iter().map(AsRef::as_ref));
    access.privileges(auth_id, &names)
}

/// How far someone reaches in a namespace: to all groups with one of `full`, to their own with one
/// of `partial`, not at all otherwise.
#[must_use]
pub fn reach(
    access: &AccessControl,
    auth_id: &Authid,
    store: &DatastoreName,
    ns: &BackupNamespace,
    full: &[Privilege],
    partial: &[Privilege],
) -> Option<Reach> {
    let granted = on_namespace(access, auth_id, store, ns);
    if granted.has_any(Privileges::of(full)) {
        Some(Reach::All)
    } else if granted.has_any(Privileges::of(partial)) {
        Some(Reach::Own)
    } else {
        None
    }
}

/// [`reach`] for the caller, with upstream's refusal.
pub fn check_ns(
    call: &Call,
    store: &DatastoreName,
    ns: &BackupNamespace,
    full: &[Privilege],
    partial: &[Privilege],
) -> Result<Reach, RestError> {
    let access = &call.server.access;
    reach(access, &call.auth_id, store, ns, full, partial).ok_or_else(|| {
        let missing: Vec<&str> = full.iter().chain(partial).map(|p| p.as_str()).collect();
        let place = if ns.is_root() {
            format!("/datastore/{store}")
        } else {
            format!("/datastore/{store}/{ns}")
        };
        RestError::new(
            StatusCode::FORBIDDEN,
            format!(
                "permission check failed - missing {} on {place}",
                missing.join("|")
            ),
        )
    })
}

/// Whether the caller has one of these privileges at a path.
#[must_use]
pub fn has_any(call: &Call, path: &[&str], any: &[Privilege]) -> bool {
    let granted = call.server.access.privileges(&call.auth_id, path);
    granted.has_any(Privileges::of(any))
}

/// Refuses a caller who has none of these privileges in a namespace, in the words of checks inside
/// of handlers.
pub fn require_any_in(
    call: &Call,
    store: &DatastoreName,
    ns: &BackupNamespace,
    any: &[Privilege],
) -> Result<(), RestError> {
    let mut names = vec!["datastore", store.as_str()];
    names.extend(ns.components().iter().map(AsRef::as_ref));
    call.server.access.require(&call.auth_id, &names, any)
}

/// Which groups `auth_id` may deal with with these privileges, asked for each namespace and group anew.
pub fn may_touch(
    access: &Arc<AccessControl>,
    auth_id: &Authid,
    full: &'static [Privilege],
    partial: &'static [Privilege],
    store: &DataStore,
) -> impl Fn(&BackupNamespace, &BackupGroup) -> bool + Send + Sync + use<> {
    let (access, auth_id) = (Arc::clone(access), auth_id.clone());
    let (name, snapshots) = (store.name().clone(), store.snapshots().clone());
    move |ns, group| match reach(&access, &auth_id, &name, ns, full, partial) {
        Some(Reach::All) => true,
        Some(Reach::Own) => {
            let owner = snapshots.owner(ns, group).ok().flatten();
            Reach::Own.includes(owner.as_ref(), &auth_id)
        }
        None => false,
    }
}

//! What whoever a push is done for may do at the other end, as far as this server is asked.

use std::sync::Arc;

use anyhow::{Result, bail};
use api_types::access::{Privilege, Privileges};
use api_types::auth::Authid;
use api_types::names::{BackupNamespace, DatastoreName};

use crate::access::control::AccessControl;

/// Rights of somebody on a datastore of a remote.
#[derive(Clone)]
pub struct RemoteRights {
    access: Arc<AccessControl>,
    who: Authid,
    remote: String,
    store: DatastoreName,
}

impl RemoteRights {
    /// Of `who` on that datastore.
    #[must_use]
    pub fn new(
        access: &Arc<AccessControl>,
        who: &Authid,
        remote: &str,
        store: &DatastoreName,
    ) -> Self {
        Self {
            access: Arc::clone(access),
            who: who.clone(),
            remote: remote.to_owned(),
            store: store.clone(),
        }
    }

    /// Refuses whoever lacks a privilege on a namespace there.
    pub fn require(&self, ns: &BackupNamespace, privilege: Privilege) -> Result<()> {
        let mut path = vec!["remote", self.remote.as_str(), self.store.as_str()];
        path.extend(ns.components().iter().map(AsRef::as_ref));
        let granted = self.access.privileges(&self.who, &path);
        if granted.has_any(Privileges::of(&[privilege])) {
            return Ok(());
        }
        bail!(
            "{} is missing the permission '{}' on '/{}'",
            self.who,
            privilege.as_str(),
            path.join("/")
        )
    }
}

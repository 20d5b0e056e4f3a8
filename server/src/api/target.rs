//! What a call is about: a datastore, a namespace, a group, a snapshot.

use api_types::access::Privilege;
use api_types::datastore::Operation;
use api_types::names::{
    BackupDir, BackupGroup, BackupId, BackupNamespace, BackupTime, BackupType, DatastoreName,
    SnapshotPath,
};
use s3_client::{S3Client, TaskKind};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::rights::{Reach, check_ns};
use crate::datastores::OpenDatastore;
use crate::rest::call::Call;
use crate::rest::error::RestError;

/// The parameters that name a group.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GroupParams {
    /// The datastore.
    pub store: DatastoreName,
    /// The namespace.
    #[serde(default)]
    pub ns: BackupNamespace,
    backup_type: BackupType,
    backup_id: BackupId,
}

impl GroupParams {
    /// The group.
    #[must_use]
    pub fn group(&self) -> BackupGroup {
        BackupGroup::new(self.backup_type, self.backup_id.clone())
    }
}

/// The parameters that name a snapshot.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SnapshotParams {
    /// The group.
    #[serde(flatten)]
    pub group: GroupParams,
    backup_time: BackupTime,
}

impl SnapshotParams {
    /// The snapshot within its namespace.
    #[must_use]
    pub fn dir(&self) -> BackupDir {
        BackupDir::new(self.group.group(), self.backup_time)
    }

    /// The snapshot.
    #[must_use]
    pub fn path(&self) -> SnapshotPath {
        SnapshotPath::new(self.group.ns.clone(), self.dir())
    }
}

/// An error of the datastore as an answer: status 400 and its whole story.
pub fn refused(error: impl Into<anyhow::Error>) -> RestError {
    RestError::from(error.into())
}

/// Opens the datastore for an operation, unless it does not exist or is in maintenance.
pub async fn open(
    call: &Call,
    store: &DatastoreName,
    operation: Operation,
) -> Result<OpenDatastore, RestError> {
    Ok(call.server.stores.open(store, operation).await?)
}

/// A client for the datastore's bucket, for a call that nobody can abort.
#[must_use]
pub fn client(store: &OpenDatastore) -> Option<S3Client> {
    store.client(TaskKind::Other, &CancellationToken::new())
}

/// Who may do it: with `full` to all groups, with `partial` to their own.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// One of these: all groups.
    pub full: &'static [Privilege],
    /// One of these: own groups.
    pub partial: &'static [Privilege],
    /// What the datastore is opened for.
    pub operation: Operation,
}

impl Rule {
    /// Opens the datastore, for all groups of a namespace or those of the caller.
    pub async fn open_ns(
        &self,
        call: &Call,
        store: &DatastoreName,
        ns: &BackupNamespace,
    ) -> Result<(OpenDatastore, Reach), RestError> {
        let reach = check_ns(call, store, ns, self.full, self.partial)?;
        Ok((open(call, store, self.operation).await?, reach))
    }

    /// Opens the datastore, for one group.
    pub async fn open_group(
        &self,
        call: &Call,
        params: &GroupParams,
    ) -> Result<OpenDatastore, RestError> {
        let (store, reach) = self.open_ns(call, &params.store, &params.ns).await?;
        reach
            .check_owner(&call.auth_id, &store, &params.ns, &params.group())
            .await?;
        Ok(store)
    }
}

/// See what is there.
pub const LIST: Rule = Rule {
    full: &[Privilege::DatastoreAudit],
    partial: &[Privilege::DatastoreBackup],
    operation: Operation::Read,
};
/// See the files of a snapshot.
pub const FILES: Rule = Rule {
    full: &[Privilege::DatastoreAudit, Privilege::DatastoreRead],
    partial: &[Privilege::DatastoreBackup],
    operation: Operation::Read,
};
/// Read contents.
pub const READ: Rule = Rule {
    full: &[Privilege::DatastoreRead],
    partial: &[Privilege::DatastoreBackup],
    operation: Operation::Read,
};
/// Change notes, protection, owners.
pub const CHANGE: Rule = Rule {
    full: &[Privilege::DatastoreModify],
    partial: &[Privilege::DatastoreBackup],
    operation: Operation::Write,
};
/// Remove.
pub const REMOVE: Rule = Rule {
    full: &[Privilege::DatastoreModify],
    partial: &[Privilege::DatastorePrune],
    operation: Operation::Write,
};
/// Verify.
pub const VERIFY: Rule = Rule {
    full: &[Privilege::DatastoreVerify],
    partial: &[Privilege::DatastoreBackup],
    operation: Operation::Write,
};
/// Add to a snapshot.
pub const UPLOAD: Rule = Rule {
    full: &[],
    partial: &[Privilege::DatastoreBackup],
    operation: Operation::Write,
};

//! What is asked of the other server.

use anyhow::{Context as _, Result};
use api_types::auth::Authid;
use api_types::names::{BackupDir, BackupGroup, BackupNamespace, DatastoreName};
use api_types::status::{GroupListItem, NamespaceListItem, SnapshotListItem};
use client::remote::Remote;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::version::Version;

/// A datastore of another server. Clones share login and connections.
#[derive(Clone, Debug)]
pub struct RemoteStore {
    remote: Remote,
    store: DatastoreName,
}

/// What a removal has removed, from servers since [`Version::REMOVAL_STATISTICS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RemovedThere {
    /// Snapshots that were left since they are protected.
    #[serde(default)]
    pub protected_snapshots: u64,
    /// Snapshots removed.
    #[serde(default)]
    pub removed_snapshots: u64,
    /// Groups removed.
    #[serde(default)]
    pub removed_groups: u64,
}

impl RemoteStore {
    pub(super) fn new(remote: Remote, store: DatastoreName) -> Self {
        Self { remote, store }
    }

    /// For sessions.
    #[must_use]
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Its name.
    #[must_use]
    pub fn store(&self) -> &DatastoreName {
        &self.store
    }

    /// Who we are there.
    #[must_use]
    pub fn auth_id(&self) -> &Authid {
        self.remote.repository().user()
    }

    /// Which server it is.
    pub async fn version(&self) -> Result<Version> {
        let what = "the version of the remote server";
        let answer = self.remote.get("/version", &[]).await;
        let answer = answer.with_context(|| format!("failed to ask for {what}"))?;
        let text = |name| answer.get(name).and_then(Value::as_str).unwrap_or("");
        let (version, release) = (text("version"), text("release"));
        Version::of(version, release)
            .with_context(|| format!("{what} is not to be read: '{version}.{release}'"))
    }

    /// The datastores there that we may see, as it tells of them.
    pub async fn datastores(&self) -> Result<Value> {
        let answer = self.remote.get("/admin/datastore", &[]).await;
        answer.context("failed to list datastores")
    }

    /// The namespaces from `parent` on, itself included; of the whole datastore without one.
    ///
    /// # Errors
    /// Of a server too old to have any, with [`Refused`](client::remote::Refused) of status 404.
    pub async fn namespaces(
        &self,
        parent: Option<&BackupNamespace>,
        max_depth: Option<usize>,
    ) -> Result<Vec<NamespaceListItem>> {
        let (parent, max_depth) = (
            parent.map(ToString::to_string),
            max_depth.map(|depth| depth.to_string()),
        );
        let mut query = Vec::new();
        query.extend(max_depth.as_deref().map(|depth| ("max-depth", depth)));
        query.extend(parent.as_deref().map(|parent| ("parent", parent)));
        self.list("namespace", &query, "namespaces").await
    }

    /// The groups of a namespace. Without one those of the root, not naming it, which servers
    /// without namespaces understand.
    pub async fn groups(&self, ns: Option<&BackupNamespace>) -> Result<Vec<GroupListItem>> {
        let ns = ns.map(ToString::to_string);
        let query: Vec<_> = ns.as_deref().map(|ns| ("ns", ns)).into_iter().collect();
        self.list("groups", &query, "groups").await
    }

    /// The snapshots of a group.
    pub async fn snapshots(
        &self,
        ns: &BackupNamespace,
        group: &BackupGroup,
    ) -> Result<Vec<SnapshotListItem>> {
        let (ty, id, ns) = (
            group.ty.to_string(),
            group.id.to_string(),
            (!ns.is_root()).then(|| ns.to_string()),
        );
        let mut query = vec![("backup-type", ty.as_str()), ("backup-id", id.as_str())];
        query.extend(ns.as_deref().map(|ns| ("ns", ns)));
        let what = format!("snapshots of group {group}");
        self.list("snapshots", &query, &what).await
    }

    /// Creates a namespace whose parent is there.
    pub async fn create_namespace(&self, ns: &BackupNamespace) -> Result<()> {
        let failed = || format!("failed to create namespace '{ns}' at the remote");
        let name = ns.components().last().with_context(failed)?;
        let mut parameters = Map::new();
        parameters.insert("name".into(), json!(name.as_ref() as &str));
        if let Some(parent) = ns.parent().filter(|parent| !parent.is_root()) {
            parameters.insert("parent".into(), json!(parent));
        }
        let path = self.path("namespace");
        let created = self.remote.post(&path, &parameters.into()).await;
        created.with_context(failed)?;
        Ok(())
    }

    /// Removes a snapshot.
    pub async fn remove_snapshot(&self, ns: &BackupNamespace, dir: &BackupDir) -> Result<()> {
        let mut parameters = group_parameters(ns, &dir.group);
        parameters.insert("backup-time".into(), json!(dir.time));
        let path = self.path("snapshots");
        let removed = self.remote.delete(&path, &parameters.into()).await;
        removed.with_context(|| format!("failed to remove snapshot {dir} at the remote"))?;
        Ok(())
    }

    /// Removes a group, but for its protected snapshots. What was removed is known where the
    /// server has `statistics`; one without them fails on protected snapshots.
    pub async fn remove_group(
        &self,
        ns: &BackupNamespace,
        group: &BackupGroup,
        statistics: bool,
    ) -> Result<Option<RemovedThere>> {
        let parameters = group_parameters(ns, group);
        self.remove("groups", parameters, statistics)
            .await
            .with_context(|| format!("failed to remove group {group} at the remote"))
    }

    /// Removes a namespace with its groups, but for protected snapshots; as
    /// [`RemoteStore::remove_group`].
    pub async fn remove_namespace(
        &self,
        ns: &BackupNamespace,
        statistics: bool,
    ) -> Result<Option<RemovedThere>> {
        let mut parameters = Map::new();
        parameters.insert("ns".into(), json!(ns));
        parameters.insert("delete-groups".into(), json!(true));
        self.remove("namespace", parameters, statistics)
            .await
            .with_context(|| format!("failed to remove namespace '{ns}' at the remote"))
    }

    async fn remove(
        &self,
        endpoint: &str,
        mut parameters: Map<String, Value>,
        statistics: bool,
    ) -> Result<Option<RemovedThere>> {
        if statistics {
            parameters.insert("error-on-protected".into(), json!(false));
        }
        let path = self.path(endpoint);
        let removed = self.remote.delete(&path, &parameters.into()).await?;
        if !statistics {
            return Ok(None);
        }
        let removed = serde_json::from_value(removed);
        Ok(Some(removed.context(
            "the remote server did not say what it has removed",
        )?))
    }

    async fn list<T: DeserializeOwned>(
        &self,
        endpoint: &str,
        query: &[(&str, &str)],
        what: &str,
    ) -> Result<Vec<T>> {
        let answer = self.remote.get(&self.path(endpoint), query).await;
        let answer = answer.with_context(|| format!("failed to list {what} at the remote"))?;
        serde_json::from_value(answer)
            .with_context(|| format!("the remote server's list of {what} is not to be read"))
    }

    fn path(&self, endpoint: &str) -> String {
        format!("/admin/datastore/{}/{endpoint}", self.store)
    }
}

/// What names a group; the namespace only if it is not the root.
fn group_parameters(ns: &BackupNamespace, group: &BackupGroup) -> Map<String, Value> {
    let mut parameters = Map::new();
    parameters.insert("backup-type".into(), json!(group.ty));
    parameters.insert("backup-id".into(), json!(group.id));
    if !ns.is_root() {
        parameters.insert("ns".into(), json!(ns));
    }
    parameters
}

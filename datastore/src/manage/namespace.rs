//! Namespaces: creation, removal.
//!
//! In the bucket a namespace is an empty marker object, written before the local directory and
//! deleted after it, and only once nothing else is left below it (R-D6).

use api_types::names::BackupNamespace;
use bytes::Bytes;
use s3_client::{ListOptions, S3Client};
use tokio_util::sync::CancellationToken;

use crate::backend::s3::S3Backend;
use crate::error::{Error, Result};
use crate::store::DataStore;

use super::group::RemovalStats;
use super::mirrored::Object;

/// What the removal of a namespace did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NamespaceRemoval {
    /// Groups and snapshots.
    pub stats: RemovalStats,
    /// Namespaces removed.
    pub removed_namespaces: u64,
    /// Groups were left since groups were not to be removed.
    pub groups_left: bool,
}

impl NamespaceRemoval {
    /// Whether nothing had to be left.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.groups_left && self.stats.protected_snapshots == 0
    }
}

impl DataStore {
    /// Creates a namespace; one that exists is fine.
    ///
    /// # Errors
    /// If its parent does not exist, or the bucket or the disk refuses.
    pub async fn create_namespace(
        &self,
        client: Option<&S3Client>,
        ns: &BackupNamespace,
        cancel: &CancellationToken,
    ) -> Result<()> {
        const ACTION: &str = "create a namespace";
        let Some(parent) = ns.parent() else {
            return Ok(());
        };
        let _change = self.change_lease()?;
        let _epoch = self.share_metadata_epoch(cancel).await?;
        if !self.namespace_exists(&parent).await? {
            return Err(Error::Refused(format!(
                "cannot create new namespace, parent {parent} doesn't already exists"
            )));
        }
        if self.namespace_exists(ns).await? {
            return Ok(());
        }
        if let Some(backend) = self.backend.s3() {
            // Its directory goes before its marker: the delete would be of ours.
            backend.cleanup.adopt(&self.env).await?;
            if backend
                .cleanup
                .others_have_below(&self.env, &ns.path())
                .await?
            {
                return Err(Error::Locked {
                    what: format!("namespace '{ns}'"),
                    reason:
                        "another process is removing it, or has just done so and waits for late \
                             requests; try again later"
                            .into(),
                });
            }
        }
        let relative = self.relative_namespace_marker(ns);
        let object = Object::Put(Bytes::new());
        let ns = ns.clone();
        self.change_mirrored(client, &relative, object, ACTION, move |snapshots| {
            snapshots.create_namespace(&ns).map(|_| ())
        })
        .await
    }

    /// Removes a namespace with all below it: its groups only if `delete_groups` says so, protected
    /// snapshots never.
    ///
    /// # Errors
    /// If it does not exist, a group is in use, objects that are not known locally are left below
    /// it in the bucket, or the bucket or the disk refuses.
    pub async fn destroy_namespace(
        &self,
        client: Option<&S3Client>,
        ns: &BackupNamespace,
        delete_groups: bool,
        cancel: &CancellationToken,
    ) -> Result<NamespaceRemoval> {
        if !self.namespace_exists(ns).await? {
            return Err(Error::NotFound {
                what: format!("namespace '{ns}'"),
            });
        }
        let mut levels = {
            let ns = ns.clone();
            self.local(move |snapshots| snapshots.namespaces(&ns, None))
                .await?
        };
        // Children come after their parents in the list.
        levels.reverse();
        let mut removal = NamespaceRemoval::default();
        for level in levels {
            if cancel.is_cancelled() {
                return Err(Error::Aborted);
            }
            if delete_groups {
                self.destroy_groups_of(client, &level, cancel, &mut removal)
                    .await?;
            }
            if !level.is_root() && self.remove_empty_level(client, &level, cancel).await? {
                removal.removed_namespaces += 1;
            } else if !delete_groups {
                removal.groups_left |= !self.groups_of(&level).await?.is_empty();
            }
        }
        Ok(removal)
    }

    async fn destroy_groups_of(
        &self,
        client: Option<&S3Client>,
        ns: &BackupNamespace,
        cancel: &CancellationToken,
        removal: &mut NamespaceRemoval,
    ) -> Result<()> {
        for group in self.groups_of(ns).await? {
            match self.destroy_group(client, ns, &group, cancel).await {
                Ok(stats) => removal.stats.add(stats),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes one namespace if nothing is left in it; returns whether it is gone.
    pub(super) async fn remove_empty_level(
        &self,
        client: Option<&S3Client>,
        ns: &BackupNamespace,
        cancel: &CancellationToken,
    ) -> Result<bool> {
        let _change = self.change_lease()?;
        // Alone with the tree: a namespace created anew meanwhile would lose its marker.
        let _epoch = tokio::select! {
            biased;
            guard = self.metadata_epoch.write() => guard,
            () = cancel.cancelled() => return Err(Error::Aborted),
        };
        let remote = self.remote(client);
        if let Some((backend, client)) = &remote
            && self.is_locally_empty(ns).await?
        {
            self.prove_empty(backend, client, ns).await?;
        }
        let relative = self.relative_namespace_marker(ns);
        let mut intent = None;
        if let Some((backend, _)) = &remote {
            // With the directory gone and the marker there, it would be back after a refresh.
            let intended = backend.cleanup.intend(&self.env, vec![relative.clone()]);
            intent = Some(intended.await?);
        }
        let gone = {
            let ns = ns.clone();
            self.local(move |snapshots| snapshots.remove_namespace_dir(&ns))
                .await?
        };
        if let (true, Some((backend, client))) = (gone, &remote) {
            let fence = backend
                .ownership
                .check(client, "remove a namespace")
                .await?;
            let fenced = client.signed_at(fence.signed_at);
            backend.delete_metadata(&fenced, &relative).await?;
        }
        if let Some(intent) = intent {
            intent.done(&self.env).await?;
        }
        Ok(gone)
    }

    /// Fails if the bucket holds anything but the marker below the namespace.
    async fn prove_empty(
        &self,
        backend: &S3Backend,
        client: &S3Client,
        ns: &BackupNamespace,
    ) -> Result<()> {
        let marker = backend
            .keys
            .content_file(&self.relative_namespace_marker(ns))?;
        let dir = backend.keys.content_dir(&ns.path())?;
        let options = ListOptions {
            max_keys: Some(2),
            ..ListOptions::default()
        };
        let mut listing = client.list(dir, options);
        while let Some(page) = listing.next_page().await {
            if let Some(other) = page?.objects.iter().find(|object| object.key != marker) {
                return Err(Error::Refused(format!(
                    "unable to remove namespace '{ns}': the bucket holds {}, which is not known \
                     here; run s3-refresh on the datastore to see what it is",
                    other.key
                )));
            }
        }
        Ok(())
    }

    async fn is_locally_empty(&self, ns: &BackupNamespace) -> Result<bool> {
        let below = {
            let ns = ns.clone();
            self.local(move |snapshots| snapshots.child_namespaces(&ns))
                .await?
        };
        Ok(below.is_empty() && self.groups_of(ns).await?.is_empty())
    }

    pub(super) async fn namespace_exists(&self, ns: &BackupNamespace) -> Result<bool> {
        let ns = ns.clone();
        self.local(move |snapshots| snapshots.namespace_exists(&ns))
            .await
    }

    pub(super) async fn groups_of(
        &self,
        ns: &BackupNamespace,
    ) -> Result<Vec<api_types::names::BackupGroup>> {
        let ns = ns.clone();
        self.local(move |snapshots| snapshots.list_groups(&ns))
            .await
    }
}

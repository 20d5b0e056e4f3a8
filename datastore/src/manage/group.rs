//! Groups: owner, notes, removal.

use api_types::auth::Authid;
use api_types::names::{BackupDir, BackupGroup, BackupNamespace, SnapshotPath};
use bytes::Bytes;
use s3_client::S3Client;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::gc::history::RemovalKind;
use crate::local_error::LocalResult;
use crate::snapshot::{NOTES_FILE, OWNER_FILE, SnapshotStore};
use crate::store::DataStore;

use super::mirrored::Object;

/// How much a removal removed; the members have upstream's names.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RemovalStats {
    /// Groups removed.
    pub removed_groups: u64,
    /// Snapshots left since they are protected.
    pub protected_snapshots: u64,
    /// Snapshots removed.
    pub removed_snapshots: u64,
}

impl RemovalStats {
    /// Adds up two removals.
    pub fn add(&mut self, other: Self) {
        self.removed_groups += other.removed_groups;
        self.protected_snapshots += other.protected_snapshots;
        self.removed_snapshots += other.removed_snapshots;
    }
}

impl DataStore {
    /// Records the owner of a new group. The caller holds the group's lock.
    pub(crate) async fn create_owner(
        &self,
        client: Option<&S3Client>,
        ns: &BackupNamespace,
        group: &BackupGroup,
        owner: &Authid,
    ) -> Result<()> {
        let create = SnapshotStore::create_owner;
        self.write_owner(client, ns, group, owner, "create a group", create)
            .await
    }

    /// Changes the owner of a group.
    ///
    /// # Errors
    /// If the group is missing or in use, or the bucket or the disk refuses.
    pub async fn set_owner(
        &self,
        client: Option<&S3Client>,
        ns: &BackupNamespace,
        group: &BackupGroup,
        owner: &Authid,
    ) -> Result<()> {
        self.check_group(ns, group).await?;
        let _lock = self.locks.group(ns, group)?;
        self.check_group(ns, group).await?;
        let replace = SnapshotStore::replace_owner;
        self.write_owner(client, ns, group, owner, "change an owner", replace)
            .await
    }

    async fn write_owner(
        &self,
        client: Option<&S3Client>,
        ns: &BackupNamespace,
        group: &BackupGroup,
        owner: &Authid,
        action: &'static str,
        write: fn(&SnapshotStore, &BackupNamespace, &BackupGroup, &Authid) -> LocalResult<()>,
    ) -> Result<()> {
        let relative = self.relative_group_file(ns, group, OWNER_FILE);
        let object = Object::Put(owner_text(owner));
        let (ns, group, owner) = (ns.clone(), group.clone(), owner.clone());
        self.change_mirrored(client, &relative, object, action, move |snapshots| {
            write(snapshots, &ns, &group, &owner)
        })
        .await
    }

    /// The notes of a group, empty if there are none.
    ///
    /// # Errors
    /// If the group is missing or the file unreadable.
    pub async fn group_notes(&self, ns: &BackupNamespace, group: &BackupGroup) -> Result<String> {
        self.check_group(ns, group).await?;
        let (ns, group) = (ns.clone(), group.clone());
        let notes = self
            .local(move |snapshots| snapshots.group_notes(&ns, &group))
            .await?;
        Ok(notes.unwrap_or_default())
    }

    /// Sets the notes of a group; an empty text removes them.
    ///
    /// # Errors
    /// If the group is missing or in use, or the bucket or the disk refuses.
    pub async fn set_group_notes(
        &self,
        client: Option<&S3Client>,
        ns: &BackupNamespace,
        group: &BackupGroup,
        notes: &str,
    ) -> Result<()> {
        self.check_group(ns, group).await?;
        let _lock = self.locks.group(ns, group)?;
        self.check_group(ns, group).await?;
        self.write_group_notes(client, ns, group, notes).await
    }

    /// [`Self::set_group_notes`] for a caller that holds the group's lock.
    pub(super) async fn write_group_notes(
        &self,
        client: Option<&S3Client>,
        ns: &BackupNamespace,
        group: &BackupGroup,
        notes: &str,
    ) -> Result<()> {
        let relative = self.relative_group_file(ns, group, NOTES_FILE);
        let (ns, group, text) = (ns.clone(), group.clone(), notes.to_owned());
        let object = match notes {
            "" => Object::Delete,
            notes => Object::Put(Bytes::copy_from_slice(notes.as_bytes())),
        };
        self.change_mirrored(
            client,
            &relative,
            object,
            "change notes",
            move |snapshots| snapshots.set_group_notes(&ns, &group, &text),
        )
        .await
    }

    /// Removes a group with all its snapshots but the protected ones.
    ///
    /// # Errors
    /// If the group is missing or in use, or a snapshot could not be removed for another reason
    /// than its protection; the other snapshots are gone then.
    pub async fn destroy_group(
        &self,
        client: Option<&S3Client>,
        ns: &BackupNamespace,
        group: &BackupGroup,
        cancel: &CancellationToken,
    ) -> Result<RemovalStats> {
        self.check_group(ns, group).await?;
        let lock = self.locks.group(ns, group)?;
        let mut paths = self.snapshots_of(ns, group).await?;
        // Oldest first: what is left after a failure is a group that still has its newest ones.
        paths.reverse();
        let forgotten = self
            .remove_snapshots(client, &paths, RemovalKind::Destroy, cancel)
            .await;
        let mut stats = RemovalStats {
            removed_groups: 0,
            protected_snapshots: count(&forgotten.protected),
            removed_snapshots: count(&forgotten.removed),
        };
        let failed = forgotten.failed.into_iter().map(|(_, error)| error);
        if let Some(error) = failed.chain(forgotten.stopped).next() {
            return Err(error);
        }
        if stats.protected_snapshots == 0 && self.remove_group_if_empty(client, ns, group).await? {
            lock.remove()?;
            stats.removed_groups = 1;
        }
        Ok(stats)
    }

    /// Removes a group without snapshots, unless somebody uses it; returns whether it is gone.
    pub(crate) async fn remove_idle_group(
        &self,
        client: Option<&S3Client>,
        ns: &BackupNamespace,
        group: &BackupGroup,
    ) -> Result<bool> {
        // A new backup may be on its way; it holds the lock from before its first snapshot on.
        let Ok(lock) = self.locks.group(ns, group) else {
            return Ok(false);
        };
        let removed = self.remove_group_if_empty(client, ns, group).await?;
        if removed {
            lock.remove()?;
        }
        Ok(removed)
    }

    /// Removes a group without snapshots; returns whether it is gone. The caller holds its lock.
    ///
    /// In the bucket the owner goes last: a group without owner is unusable (R-D5).
    pub(crate) async fn remove_group_if_empty(
        &self,
        client: Option<&S3Client>,
        ns: &BackupNamespace,
        group: &BackupGroup,
    ) -> Result<bool> {
        let _change = self.change_lease()?;
        let scan = {
            let (ns, group) = (ns.clone(), group.clone());
            self.local(move |snapshots| match snapshots.scan_group(&ns, &group) {
                Err(error) if error.is_not_found() => Ok(None),
                scan => scan.map(Some),
            })
            .await?
        };
        let Some(scan) = scan else { return Ok(true) };
        if !scan.snapshots.is_empty() || scan.vanished > 0 {
            return Ok(false);
        }
        let remote = self.remote(client);
        let files = [NOTES_FILE, OWNER_FILE].map(|file| self.relative_group_file(ns, group, file));
        let mut intent = None;
        if let Some((backend, client)) = &remote {
            // With its owner gone from the bucket alone, whoever backs up next would get the group
            // after a refresh.
            intent = Some(backend.cleanup.intend(&self.env, files.to_vec()).await?);
            let fence = backend.ownership.check(client, "remove a group").await?;
            let fenced = client.signed_at(fence.signed_at);
            for relative in &files {
                backend.delete_metadata(&fenced, relative).await?;
            }
        }
        let removed = {
            let (ns, group) = (ns.clone(), group.clone());
            self.local(move |snapshots| snapshots.remove_group_if_empty(&ns, &group))
                .await
        };
        match (&removed, intent, &remote) {
            (Ok(true), Some(intent), _) => intent.done(&self.env).await?,
            (_, Some(intent), Some((backend, client))) => {
                drop(intent);
                backend.reconcile_held(client, &files).await?;
            }
            _ => {}
        }
        removed
    }

    /// All snapshots of a group, newest first.
    pub(super) async fn snapshots_of(
        &self,
        ns: &BackupNamespace,
        group: &BackupGroup,
    ) -> Result<Vec<SnapshotPath>> {
        let (ns, group) = (ns.clone(), group.clone());
        self.local(move |snapshots| {
            let infos = snapshots.list_snapshots(&ns, &group)?;
            let path = |dir: BackupDir| SnapshotPath::new(ns.clone(), dir);
            Ok(infos.into_iter().map(|info| path(info.dir)).collect())
        })
        .await
    }

    /// Fails unless the group exists.
    pub(super) async fn check_group(
        &self,
        ns: &BackupNamespace,
        group: &BackupGroup,
    ) -> Result<()> {
        let exists = {
            let (ns, group) = (ns.clone(), group.clone());
            self.local(move |snapshots| snapshots.group_exists(&ns, &group))
                .await?
        };
        if exists {
            return Ok(());
        }
        // Upstream's client looks for the first half of the text in the parentheses.
        let what = format!("group {group} (ENOENT: No such file or directory)");
        Err(Error::NotFound { what })
    }
}

/// What the file `owner` holds.
fn owner_text(owner: &Authid) -> Bytes {
    Bytes::from(format!("{owner}\n"))
}

fn count<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

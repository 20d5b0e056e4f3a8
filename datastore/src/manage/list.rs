//! Listings, from the local tree alone (`rest-api.md` §3.3–3.7).

use api_types::names::{
    ArchiveName, BackupDir, BackupGroup, BackupId, BackupNamespace, BackupType,
};
use api_types::status::{
    BackupContent, CryptMode, GroupListItem, NamespaceListItem, SnapshotListItem,
};

use crate::error::{Error, Result};
use crate::format::manifest::Manifest;
use crate::snapshot::{BackupInfo, GroupSummary, SnapshotStore};
use crate::store::DataStore;

use super::manifest::{StoredManifest, read_manifest};

impl DataStore {
    /// `parent` and the namespaces below it, parents before children.
    ///
    /// # Errors
    /// If the local tree cannot be read.
    pub async fn list_namespaces(
        &self,
        parent: &BackupNamespace,
        max_depth: Option<usize>,
    ) -> Result<Vec<NamespaceListItem>> {
        let parent = parent.clone();
        let found = self
            .local(move |snapshots| snapshots.namespaces(&parent, max_depth))
            .await?;
        Ok(found
            .into_iter()
            .map(|ns| NamespaceListItem { ns, comment: None })
            .collect())
    }

    /// The groups of a namespace. One whose owner cannot be read is left out.
    ///
    /// # Errors
    /// If the namespace does not exist or the local tree cannot be read.
    pub async fn list_groups(&self, ns: &BackupNamespace) -> Result<Vec<GroupListItem>> {
        let (snapshots, ns) = (self.snapshots.clone(), ns.clone());
        self.env
            .blocking(move || {
                check_namespace(&snapshots, &ns)?;
                let mut items = Vec::new();
                for group in snapshots.list_groups(&ns)? {
                    items.extend(group_item(&snapshots, &ns, &group)?);
                }
                Ok(items)
            })
            .await
    }

    /// The snapshots of a namespace, of one type or group if asked for; each group's newest first.
    ///
    /// # Errors
    /// If the namespace does not exist or the local tree cannot be read.
    pub async fn list_snapshots(
        &self,
        ns: &BackupNamespace,
        ty: Option<BackupType>,
        id: Option<&BackupId>,
    ) -> Result<Vec<SnapshotListItem>> {
        let (snapshots, ns, id) = (self.snapshots.clone(), ns.clone(), id.cloned());
        self.env
            .blocking(move || {
                check_namespace(&snapshots, &ns)?;
                let mut items = Vec::new();
                for group in snapshots.list_groups(&ns)? {
                    let asked_for = ty.is_none_or(|ty| ty == group.ty)
                        && id.as_ref().is_none_or(|id| *id == group.id);
                    if asked_for {
                        items.extend(snapshot_items(&snapshots, &ns, &group)?);
                    }
                }
                Ok(items)
            })
            .await
    }

    /// The files of a finished snapshot.
    ///
    /// # Errors
    /// If the snapshot does not exist, is unfinished, or its manifest is unreadable.
    pub async fn list_files(
        &self,
        ns: &BackupNamespace,
        dir: &BackupDir,
    ) -> Result<Vec<BackupContent>> {
        let (snapshots, ns, dir) = (self.snapshots.clone(), ns.clone(), dir.clone());
        self.env
            .blocking(move || {
                let info = snapshots
                    .snapshot_info(&ns, &dir)?
                    .ok_or_else(|| Error::NotFound {
                        what: format!("snapshot {dir}"),
                    })?;
                if !info.is_finished() {
                    return Err(Error::Refused(format!(
                        "manifest not found for snapshot '{dir}'"
                    )));
                }
                Ok(contents(
                    &read_manifest(&snapshots, &ns, &dir)?,
                    &info.files,
                ))
            })
            .await
    }
}

fn check_namespace(snapshots: &SnapshotStore, ns: &BackupNamespace) -> Result<()> {
    if snapshots.namespace_exists(ns)? {
        return Ok(());
    }
    Err(Error::NotFound {
        what: format!("namespace '{ns}'"),
    })
}

/// `None` if the owner cannot be read: nobody may be shown the group then.
fn group_item(
    snapshots: &SnapshotStore,
    ns: &BackupNamespace,
    group: &BackupGroup,
) -> Result<Option<GroupListItem>> {
    let owner = match snapshots.owner(ns, group) {
        Ok(Some(owner)) => owner,
        Ok(None) => return Ok(None),
        Err(error) => {
            tracing::warn!(%ns, %group, %error, "group left out of a listing");
            return Ok(None);
        }
    };
    let summary = GroupSummary::of(snapshots.list_snapshots(ns, group)?);
    let comment = snapshots.group_notes(ns, group).ok().flatten();
    Ok(Some(GroupListItem {
        backup_type: group.ty,
        backup_id: group.id.clone(),
        last_backup: summary.last.as_ref().map_or(0, |info| info.dir.time.secs()),
        backup_count: summary.count,
        files: summary
            .last
            .map_or_else(Vec::new, |info| names(&info.files).collect()),
        owner: Some(owner),
        comment: comment.and_then(|notes| first_line(&notes)),
    }))
}

fn snapshot_items(
    snapshots: &SnapshotStore,
    ns: &BackupNamespace,
    group: &BackupGroup,
) -> Result<Vec<SnapshotListItem>> {
    let owner = match snapshots.owner(ns, group) {
        Ok(Some(owner)) => owner,
        Ok(None) => return Ok(Vec::new()),
        Err(error) => {
            tracing::warn!(%ns, %group, %error, "snapshots left out of a listing");
            return Ok(Vec::new());
        }
    };
    let infos = snapshots.list_snapshots(ns, group)?;
    let item = |info| snapshot_item(snapshots, ns, &info);
    let owned = |mut item: SnapshotListItem| {
        item.owner = Some(owner.clone());
        item
    };
    Ok(infos.into_iter().map(item).map(owned).collect())
}

fn snapshot_item(
    snapshots: &SnapshotStore,
    ns: &BackupNamespace,
    info: &BackupInfo,
) -> SnapshotListItem {
    let stored = info
        .is_finished()
        .then(|| read_manifest(snapshots, ns, &info.dir));
    let mut item = SnapshotListItem {
        backup_type: info.dir.group.ty,
        backup_id: info.dir.group.id.clone(),
        backup_time: info.dir.time,
        comment: None,
        verification: None,
        fingerprint: None,
        files: Vec::new(),
        size: None,
        owner: None,
        protected: info.protected,
    };
    match stored {
        Some(Ok(stored)) => {
            let manifest = &stored.manifest;
            item.comment = manifest.notes().and_then(first_line);
            item.verification = manifest.verify_state().ok().flatten();
            item.fingerprint = manifest.key_fingerprint().ok().flatten();
            item.files = contents(&stored, &info.files);
            item.size = Some(item.files.iter().filter_map(|file| file.size).sum());
        }
        Some(Err(error)) => {
            tracing::warn!(snapshot = %info.dir, %error, "unreadable manifest");
            item.files = names(&info.files).map(name_only).collect();
        }
        None => item.files = names(&info.files).map(name_only).collect(),
    }
    item
}

/// The files of the manifest in its order, the manifest itself, then whatever else is there.
fn contents(stored: &StoredManifest, files: &[String]) -> Vec<BackupContent> {
    let manifest: &Manifest = &stored.manifest;
    let mut contents: Vec<BackupContent> = manifest
        .files()
        .iter()
        .map(|file| BackupContent {
            filename: file.filename.clone(),
            crypt_mode: Some(file.crypt_mode),
            size: Some(file.size),
        })
        .collect();
    let signed = manifest.signature().is_some();
    let mode = if signed {
        CryptMode::SignOnly
    } else {
        CryptMode::None
    };
    for filename in names(files) {
        if filename.is_manifest() {
            contents.push(BackupContent {
                filename,
                crypt_mode: Some(mode),
                size: Some(stored.raw_size),
            });
        }
    }
    let others = names(files)
        .filter(|name| !name.is_manifest() && manifest.lookup_file(name.as_str()).is_none());
    contents.extend(others.map(name_only));
    contents
}

fn name_only(filename: ArchiveName) -> BackupContent {
    BackupContent {
        filename,
        crypt_mode: None,
        size: None,
    }
}

/// The names that the interface can express.
fn names(files: &[String]) -> impl Iterator<Item = ArchiveName> {
    files.iter().filter_map(|name| name.parse().ok())
}

fn first_line(notes: &str) -> Option<String> {
    notes
        .lines()
        .next()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
}

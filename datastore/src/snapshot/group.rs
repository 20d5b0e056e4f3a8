//! Groups: listing, owner, notes.

use api_types::auth::Authid;
use api_types::names::{BackupGroup, BackupId, BackupNamespace, BackupType};

use super::{SnapshotStore, read_file, remove_durable, sub_dirs};
use crate::atomic_file::{Durability, create_exclusive, replace, sync_parent};
use crate::local_error::{LocalError, LocalResult};

/// File with the auth id of the group's owner.
pub const OWNER_FILE: &str = "owner";
/// File with the group's notes.
pub const NOTES_FILE: &str = "notes";

const MAX_OWNER_LEN: u64 = 4096;
const MAX_NOTES_LEN: u64 = 1 << 20;

/// In the order of group listings.
pub(super) const TYPES: [BackupType; 3] = [BackupType::Ct, BackupType::Host, BackupType::Vm];

impl SnapshotStore {
    /// The groups directly in a namespace, in group order; none if the namespace is missing.
    pub fn list_groups(&self, ns: &BackupNamespace) -> LocalResult<Vec<BackupGroup>> {
        let mut groups = Vec::new();
        for ty in TYPES {
            let Some(directory) = self.existing_dir(&ns.path_of(ty.as_str()))? else {
                continue;
            };
            let names = sub_dirs(&directory)?.unwrap_or_default();
            let ids = names
                .iter()
                .filter_map(|name| name.parse::<BackupId>().ok());
            groups.extend(ids.map(|id| BackupGroup::new(ty, id)));
        }
        groups.sort_unstable();
        Ok(groups)
    }

    /// Whether the group's directory exists.
    pub fn group_exists(&self, ns: &BackupNamespace, group: &BackupGroup) -> LocalResult<bool> {
        Ok(self.existing_dir(&ns.path_of(&group.path()))?.is_some())
    }

    /// Creates the group's directory (and its type's); returns whether it is new. The namespace
    /// must exist.
    pub fn create_group_dir(&self, ns: &BackupNamespace, group: &BackupGroup) -> LocalResult<bool> {
        if !self.namespace_exists(ns)? {
            let reason = format!("the namespace '{ns}' does not exist, create it first");
            return Err(LocalError::refused(
                "create group",
                self.group_path(ns, group),
                reason,
            ));
        }
        let path = self.group_path(ns, group);
        let created = self.create_dirs(&ns.path_of(&group.path()))?;
        if created {
            // Its name is in the type's directory, which may be new in the namespace's.
            for path in [Some(path.as_path()), path.parent()].into_iter().flatten() {
                sync_parent(path)?;
            }
        }
        Ok(created)
    }

    /// The group's owner; `None` if none is recorded. Unreadable content is an error.
    pub fn owner(&self, ns: &BackupNamespace, group: &BackupGroup) -> LocalResult<Option<Authid>> {
        let path = self.group_path(ns, group).join(OWNER_FILE);
        let Some(data) = read_file(&path, MAX_OWNER_LEN)? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&data);
        let first_line = text.lines().next().unwrap_or_default().trim_end();
        match first_line.parse() {
            Ok(owner) => Ok(Some(owner)),
            Err(error) => Err(LocalError::invalid(
                path,
                format!("{error}; set the owner anew"),
            )),
        }
    }

    /// Records the owner of a new group; fails with "already exists" if there is one.
    pub fn create_owner(
        &self,
        ns: &BackupNamespace,
        group: &BackupGroup,
        owner: &Authid,
    ) -> LocalResult<()> {
        let path = self.group_path(ns, group).join(OWNER_FILE);
        create_exclusive(
            &path,
            &owner_line(owner),
            &self.file_options(Durability::Synced),
        )
    }

    /// Changes the owner of a group.
    pub fn replace_owner(
        &self,
        ns: &BackupNamespace,
        group: &BackupGroup,
        owner: &Authid,
    ) -> LocalResult<()> {
        let path = self.group_path(ns, group).join(OWNER_FILE);
        replace(
            &path,
            &owner_line(owner),
            &self.file_options(Durability::Synced),
        )
    }

    /// The group's notes, if there are any.
    pub fn group_notes(
        &self,
        ns: &BackupNamespace,
        group: &BackupGroup,
    ) -> LocalResult<Option<String>> {
        let path = self.group_path(ns, group).join(NOTES_FILE);
        let data = read_file(&path, MAX_NOTES_LEN)?;
        Ok(data.map(|data| String::from_utf8_lossy(&data).into_owned()))
    }

    /// Sets the group's notes; an empty text removes them.
    pub fn set_group_notes(
        &self,
        ns: &BackupNamespace,
        group: &BackupGroup,
        notes: &str,
    ) -> LocalResult<()> {
        let path = self.group_path(ns, group).join(NOTES_FILE);
        if notes.is_empty() {
            return remove_durable(&path).map(|_| ());
        }
        if u64::try_from(notes.len()).unwrap_or(u64::MAX) > MAX_NOTES_LEN {
            return Err(LocalError::refused(
                "write notes",
                path,
                "they are longer than 1 MiB",
            ));
        }
        replace(
            &path,
            notes.as_bytes(),
            &self.file_options(Durability::Synced),
        )
    }
}

/// What the file `owner` holds.
fn owner_line(owner: &Authid) -> Vec<u8> {
    format!("{owner}\n").into_bytes()
}

//! Privileges and sets of them.

use std::fmt;
use std::ops::{BitAnd, BitOr};

use crate::macros::named_enum;

named_enum! {
    /// One thing that someone may do on a path; the order is upstream's.
    Privilege, "privilege" {
        /// See the system's state.
        SysAudit = "Sys.Audit",
        /// Change the system's settings.
        SysModify = "Sys.Modify",
        /// Reboot and shut down.
        SysPowerManagement = "Sys.PowerManagement",
        /// See settings and state of a datastore, list all groups and snapshots, read notes.
        DatastoreAudit = "Datastore.Audit",
        /// Create and remove datastores.
        DatastoreAllocate = "Datastore.Allocate",
        /// Change settings, collect garbage, delete any snapshot, change owners, notes and protection.
        DatastoreModify = "Datastore.Modify",
        /// Read and restore the contents of any group.
        DatastoreRead = "Datastore.Read",
        /// Verify any snapshot.
        DatastoreVerify = "Datastore.Verify",
        /// Create backups; read, list, verify, annotate and protect those of own groups.
        DatastoreBackup = "Datastore.Backup",
        /// Delete and prune own groups.
        DatastorePrune = "Datastore.Prune",
        /// Change users, tokens and access rights.
        PermissionsModify = "Permissions.Modify",
        /// See remotes.
        RemoteAudit = "Remote.Audit",
        /// Change remotes.
        RemoteModify = "Remote.Modify",
        /// Read from remotes.
        RemoteRead = "Remote.Read",
        /// Create backups on remotes.
        RemoteDatastoreBackup = "Remote.DatastoreBackup",
        /// Change datastores of remotes.
        RemoteDatastoreModify = "Remote.DatastoreModify",
        /// Prune datastores of remotes.
        RemoteDatastorePrune = "Remote.DatastorePrune",
        /// Use the system's console.
        SysConsole = "Sys.Console",
        /// See tapes.
        TapeAudit = "Tape.Audit",
        /// Change the configuration of tapes.
        TapeModify = "Tape.Modify",
        /// Write tapes.
        TapeWrite = "Tape.Write",
        /// Read tapes.
        TapeRead = "Tape.Read",
        /// Create and remove realms.
        RealmAllocate = "Realm.Allocate",
    }
}

/// A set of privileges.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Privileges(u64);

impl Privileges {
    /// No privilege.
    pub const NONE: Self = Self(0);
    /// Every privilege.
    pub const ALL: Self = Self::of(Privilege::ALL);
    /// One of these on a namespace lets its datastore's name be seen.
    pub const NAMESPACE: Self = Self::of(&[
        Privilege::DatastoreModify,
        Privilege::DatastoreRead,
        Privilege::DatastoreBackup,
        Privilege::DatastoreAudit,
    ]);

    /// The set of these.
    #[must_use]
    pub const fn of(privileges: &[Privilege]) -> Self {
        let mut mask = 0;
        let mut rest = privileges;
        while let [first, others @ ..] = rest {
            mask |= 1 << (*first as u8);
            rest = others;
        }
        Self(mask)
    }

    /// Whether all of `wanted` are in the set.
    #[must_use]
    pub const fn has_all(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    /// Whether one of `wanted` is in the set.
    #[must_use]
    pub const fn has_any(self, wanted: Self) -> bool {
        self.0 & wanted.0 != 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in the set, in upstream's order.
    pub fn iter(self) -> impl Iterator<Item = Privilege> {
        Privilege::ALL
            .iter()
            .copied()
            .filter(move |privilege| self.has_all((*privilege).into()))
    }

    /// The names, with `separator` between them.
    #[must_use]
    pub fn join(self, separator: &str) -> String {
        let names: Vec<_> = self.iter().map(Privilege::as_str).collect();
        names.join(separator)
    }
}

impl From<Privilege> for Privileges {
    fn from(privilege: Privilege) -> Self {
        Self::of(&[privilege])
    }
}

impl BitOr for Privileges {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Privileges {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl FromIterator<Privilege> for Privileges {
    fn from_iter<I: IntoIterator<Item = Privilege>>(privileges: I) -> Self {
        privileges
            .into_iter()
            .fold(Self::NONE, |set, privilege| set | privilege.into())
    }
}

impl fmt::Debug for Privileges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Privileges({})", self.join("|"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bits() {
        for (index, privilege) in Privilege::ALL.iter().enumerate() {
            assert_eq!(usize::from(*privilege as u8), index);
        }
        assert_eq!(Privilege::RealmAllocate as u8, 22);
    }

    #[test]
    fn sets() {
        let set = Privileges::of(&[Privilege::DatastorePrune, Privilege::SysAudit]);
        assert_eq!(set.join("&"), "Sys.Audit&Datastore.Prune");
        assert!(set.has_any(Privileges::ALL) && !set.has_all(Privileges::ALL));
        assert!(set.has_all(Privilege::SysAudit.into()) && set.has_all(Privileges::NONE));
        assert!(!set.has_any(Privileges::NONE));
        assert_eq!(set.iter().collect::<Privileges>(), set);
        assert_eq!(set & Privilege::SysAudit.into(), Privilege::SysAudit.into());
    }
}

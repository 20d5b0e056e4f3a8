//! Roles: fixed bundles of privileges.

use super::{Privilege, Privileges};
use crate::macros::named_enum;

named_enum! {
    /// A bundle of privileges that can be given on a path. They cannot be changed.
    Role, "role" {
        /// Everything.
        Admin = "Admin",
        /// See everything.
        Audit = "Audit",
        /// Nothing, and it cancels what was inherited.
        NoAccess = "NoAccess",
        /// Everything on a datastore but its creation and removal.
        DatastoreAdmin = "DatastoreAdmin",
        /// See, verify and restore everything in a datastore.
        DatastoreReader = "DatastoreReader",
        /// Create and restore own backups.
        DatastoreBackup = "DatastoreBackup",
        /// Create, restore and remove own backups.
        DatastorePowerUser = "DatastorePowerUser",
        /// See a datastore's contents.
        DatastoreAudit = "DatastoreAudit",
        /// See remotes.
        RemoteAudit = "RemoteAudit",
        /// Everything on remotes.
        RemoteAdmin = "RemoteAdmin",
        /// Pull from remotes.
        RemoteSyncOperator = "RemoteSyncOperator",
        /// Push to remotes.
        RemoteSyncPushOperator = "RemoteSyncPushOperator",
        /// Push to remotes and remove there what was pushed.
        RemoteDatastorePowerUser = "RemoteDatastorePowerUser",
        /// Everything on datastores of remotes.
        RemoteDatastoreAdmin = "RemoteDatastoreAdmin",
        /// See tapes.
        TapeAudit = "TapeAudit",
        /// Everything on tapes.
        TapeAdmin = "TapeAdmin",
        /// Back up to and restore from tapes.
        TapeOperator = "TapeOperator",
        /// Restore from tapes.
        TapeReader = "TapeReader",
    }
}

impl Role {
    /// What it allows.
    #[must_use]
    pub const fn privileges(self) -> Privileges {
        use Privilege as P;
        match self {
            Self::Admin => Privileges::ALL,
            Self::Audit => Privileges::of(&[P::SysAudit, P::DatastoreAudit]),
            Self::NoAccess => Privileges::NONE,
            Self::DatastoreAdmin => Privileges::of(&[
                P::DatastoreAudit,
                P::DatastoreModify,
                P::DatastoreRead,
                P::DatastoreVerify,
                P::DatastoreBackup,
                P::DatastorePrune,
            ]),
            Self::DatastoreReader => {
                Privileges::of(&[P::DatastoreAudit, P::DatastoreVerify, P::DatastoreRead])
            }
            Self::DatastoreBackup => Privileges::of(&[P::DatastoreBackup]),
            Self::DatastorePowerUser => Privileges::of(&[P::DatastorePrune, P::DatastoreBackup]),
            Self::DatastoreAudit => Privileges::of(&[P::DatastoreAudit]),
            Self::RemoteAudit => Privileges::of(&[P::RemoteAudit]),
            Self::RemoteAdmin => Privileges::of(&[P::RemoteAudit, P::RemoteModify, P::RemoteRead]),
            Self::RemoteSyncOperator => Privileges::of(&[P::RemoteAudit, P::RemoteRead]),
            Self::RemoteSyncPushOperator => {
                Privileges::of(&[P::RemoteAudit, P::RemoteDatastoreBackup])
            }
            Self::RemoteDatastorePowerUser => Privileges::of(&[
                P::RemoteAudit,
                P::RemoteDatastoreBackup,
                P::RemoteDatastorePrune,
            ]),
            Self::RemoteDatastoreAdmin => Privileges::of(&[
                P::RemoteAudit,
                P::RemoteDatastoreBackup,
                P::RemoteDatastoreModify,
                P::RemoteDatastorePrune,
            ]),
            Self::TapeAudit => Privileges::of(&[P::TapeAudit]),
            Self::TapeAdmin => {
                Privileges::of(&[P::TapeAudit, P::TapeModify, P::TapeRead, P::TapeWrite])
            }
            Self::TapeOperator => Privileges::of(&[P::TapeAudit, P::TapeRead, P::TapeWrite]),
            Self::TapeReader => Privileges::of(&[P::TapeAudit, P::TapeRead]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_specification() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse::<Role>().unwrap(), *role);
        }
        assert!("admin".parse::<Role>().is_err());
        assert_eq!(Role::ALL.len(), 18);
    }

    #[test]
    fn what_the_common_ones_allow() {
        let privileges = |role: Role| role.privileges().join(",");
        assert_eq!(privileges(Role::Audit), "Sys.Audit,Datastore.Audit");
        assert_eq!(
            privileges(Role::DatastorePowerUser),
            "Datastore.Backup,Datastore.Prune"
        );
        assert!(Role::NoAccess.privileges().is_empty());
        let admin = Role::DatastoreAdmin.privileges();
        assert!(!admin.has_any(Privilege::DatastoreAllocate.into()));
        assert!(Role::Admin.privileges().has_all(Privileges::ALL));
    }
}

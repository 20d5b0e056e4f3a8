//! Items of listings: snapshots, groups, namespaces, the result of a prune.

use serde::{Deserialize, Serialize};

use crate::auth::Authid;
use crate::digest::Fingerprint;
use crate::macros::named_enum;
use crate::names::{
    ArchiveName, BackupDir, BackupGroup, BackupId, BackupNamespace, BackupTime, BackupType,
};
use crate::upid::Upid;

named_enum! {
    /// Result of a verification.
    VerifyState, "verify state" {
        /// All data was there and right.
        Ok = "ok",
        /// Something is missing or damaged.
        Failed = "failed",
    }
}

/// The last verification of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotVerifyState {
    /// The task; its start is the time of the verification.
    pub upid: Upid,
    /// The result.
    pub state: VerifyState,
}

named_enum! {
    /// How an archive is protected.
    CryptMode, "crypt mode" {
        /// Not at all.
        None = "none",
        /// Encrypted.
        Encrypt = "encrypt",
        /// Plain, but covered by the manifest's signature.
        SignOnly = "sign-only",
    }
}

/// One file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BackupContent {
    /// Its name.
    pub filename: ArchiveName,
    /// How it is protected, if the manifest says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crypt_mode: Option<CryptMode>,
    /// Its size, if the manifest says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SnapshotListItem {
    /// Type of the group.
    pub backup_type: BackupType,
    /// Id of the group.
    pub backup_id: BackupId,
    /// Time of the backup.
    pub backup_time: BackupTime,
    /// First line of the notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The last verification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<SnapshotVerifyState>,
    /// The key it is encrypted or signed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// Its files.
    pub files: Vec<BackupContent>,
    /// Sum of the known sizes; absent while the snapshot is unfinished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Owner of the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Authid>,
    /// Whether it is protected from removal.
    #[serde(default)]
    pub protected: bool,
}

impl SnapshotListItem {
    /// The snapshot.
    #[must_use]
    pub fn dir(&self) -> BackupDir {
        BackupDir::new(
            BackupGroup::new(self.backup_type, self.backup_id.clone()),
            self.backup_time,
        )
    }
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GroupListItem {
    /// Type of the group.
    pub backup_type: BackupType,
    /// Id of the group.
    pub backup_id: BackupId,
    /// Time of the newest finished snapshot, 0 if there is none.
    pub last_backup: i64,
    /// Number of snapshots.
    pub backup_count: u64,
    /// Files of the newest finished snapshot.
    pub files: Vec<ArchiveName>,
    /// Owner of the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Authid>,
    /// First line of the group's notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// One namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceListItem {
    /// Its name, empty for the root.
    pub ns: BackupNamespace,
    /// Never set by us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// What a prune decided about one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PruneListItem {
    /// Type of the group.
    pub backup_type: BackupType,
    /// Id of the group.
    pub backup_id: BackupId,
    /// Time of the backup.
    pub backup_time: BackupTime,
    /// Whether it stays.
    pub keep: bool,
    /// Whether it is protected from removal.
    pub protected: bool,
    /// The namespace; only in a dry run, and not for the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ns: Option<BackupNamespace>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same<T: Serialize + for<'de> Deserialize<'de>>(json: &str) -> T {
        let item: T = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&item).unwrap(), json);
        item
    }

    #[test]
    fn answers_of_the_real_system_are_read_and_written() {
        let item: SnapshotListItem = same(
            r#"{"backup-type":"vm","backup-id":"100","backup-time":1795336458,"comment":"a snapshot note","verification":{"upid":"UPID:vm:00000B5D:00032AF6:00000094:6B02A923:verify_group:samples\\x3a-vm-100:test@pbs:","state":"ok"},"files":[{"filename":"drive-scsi0.img.fidx","crypt-mode":"none","size":33554432},{"filename":"client.log.blob"}],"size":33855046,"owner":"test@pbs","protected":false}"#,
        );
        assert_eq!(item.dir().to_string(), "vm/100/2026-11-22T08:34:18Z");
        assert_eq!(
            item.verification.unwrap().upid.worker_id(),
            Some("samples:/vm/100")
        );
        same::<SnapshotListItem>(
            r#"{"backup-type":"host","backup-id":"enc","backup-time":1795336458,"fingerprint":"84:ec:48:9f:90:28:ab:e2:10:1a:f8:dd:5f:16:83:85:1b:63:4c:9e:3b:8d:cf:4a:ef:65:a8:07:83:a3:fd:ee","files":[{"filename":"root.pxar.didx","crypt-mode":"encrypt","size":393971},{"filename":"index.json.blob","crypt-mode":"sign-only","size":675}],"size":698202,"owner":"test@pbs!tok1","protected":false}"#,
        );
        same::<GroupListItem>(
            r#"{"backup-type":"vm","backup-id":"100","last-backup":1700000000,"backup-count":3,"files":["qemu-server.conf.blob"],"owner":"root@pam","comment":"first line"}"#,
        );
        same::<NamespaceListItem>(r#"{"ns":""}"#);
        same::<NamespaceListItem>(r#"{"ns":"a/b"}"#);
        same::<PruneListItem>(
            r#"{"backup-type":"vm","backup-id":"100","backup-time":1700000000,"keep":true,"protected":false,"ns":"a/b"}"#,
        );
    }
}

//! Parameters that many endpoints have.

use api_types::names::{ArchiveName, BackupId, BackupNamespace, DatastoreName};
use api_types::upid::Upid;

use crate::jobs::calendar::CalendarEvent;
use crate::rest::endpoint::Param;
use crate::rest::schema::{Schema, Text};

/// The last second that a snapshot can be named after.
const MAX_BACKUP_TIME: i64 = 253_402_300_799;

/// A namespace.
pub const NAMESPACE: Schema = Schema::text::<BackupNamespace>("namespace");
/// Levels of namespaces.
pub const DEPTH: Schema = Schema::integer(0, 7);
/// Threads of a verification.
pub const THREADS: Schema = Schema::integer(1, 32);
/// Type of a group.
const TYPE: Schema = Schema::Choice(&["vm", "ct", "host"]);
/// Id of a group.
const ID: Schema = Schema::text::<BackupId>("backup id");
/// Time of a snapshot.
const TIME: Schema = Schema::integer(1, MAX_BACKUP_TIME);
/// Number of snapshots to keep.
const COUNT: Schema = Schema::integer(1, i64::MAX);
/// Name of a file of a snapshot.
const FILE: Schema = Schema::text::<ArchiveName>("archive name");
/// Several texts.
const TEXTS: Schema = Schema::Array(&Schema::ANY_TEXT);
/// Name of an entry of a configuration file.
pub const SAFE_ID: Schema = Schema::Text(Text {
    form: "safe id",
    check: |text| match text.parse::<DatastoreName>() {
        Ok(_) => Ok(()),
        Err(error) => Err(error.reason.to_string()),
    },
    max_len: 32,
});
/// A calendar event.
pub const SCHEDULE: Schema = Schema::Text(Text {
    form: "calendar event",
    check: |text| match text.parse::<CalendarEvent>() {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    },
    max_len: 256,
});
/// One line of text.
pub const LINE: Schema = Schema::Text(Text {
    form: "single line",
    check: |text| {
        if text.chars().any(char::is_control) {
            Err("control characters are not allowed".into())
        } else {
            Ok(())
        }
    },
    max_len: 4096,
});

/// The datastore.
pub const STORE: Param = Param::required(
    "store",
    "Name of the datastore.",
    Schema::text::<DatastoreName>("datastore name"),
);
/// The datastore, where it is a filter.
pub const ANY_STORE: Param = Param::optional(
    "store",
    "Only what concerns this datastore.",
    Schema::text::<DatastoreName>("datastore name"),
);
/// The namespace.
pub const NS: Param = Param::optional("ns", "Namespace; the root if absent.", NAMESPACE);
/// Type of the group.
pub const BACKUP_TYPE: Param = Param::required("backup-type", "Type of the group.", TYPE);
/// Id of the group.
pub const BACKUP_ID: Param = Param::required("backup-id", "Id of the group.", ID);
/// Time of the snapshot.
pub const BACKUP_TIME: Param = Param::required(
    "backup-time",
    "Time of the snapshot, seconds since the epoch.",
    TIME,
);
/// Type of the group, where it is a filter.
pub const ANY_TYPE: Param = Param::optional("backup-type", "Only groups of this type.", TYPE);
/// Id of the group, where it is a filter.
pub const ANY_ID: Param = Param::optional("backup-id", "Only groups with this id.", ID);
/// Time of the snapshot, where it is a filter.
pub const ANY_TIME: Param = Param::optional("backup-time", "Only the snapshot of this time.", TIME);
/// Name of a file.
pub const FILE_NAME: Param = Param::required("file-name", "Name of a file of the snapshot.", FILE);
/// An archive.
pub const ARCHIVE_NAME: Param = Param::optional("archive-name", "Name of an archive.", FILE);
/// Depth below a namespace.
pub const MAX_DEPTH: Param = Param::optional(
    "max-depth",
    "Levels of namespaces below; all if absent.",
    DEPTH,
);
/// Notes.
pub const NOTES: Param = Param::required(
    "notes",
    "The notes, of any number of lines.",
    Schema::ANY_TEXT,
);
/// Whether to act at all.
pub const DRY_RUN: Param =
    Param::optional("dry-run", "Only say what would be done.", Schema::Boolean).or_flag(false);
/// How to treat protected snapshots in removals.
pub const ERROR_ON_PROTECTED: Param = Param::optional(
    "error-on-protected",
    "Fail if protected snapshots are left.",
    Schema::Boolean,
)
.or_flag(true);
/// Rules of a prune.
pub const KEEP_LAST: Param = Param::optional("keep-last", "Newest snapshots to keep.", COUNT);
/// Rules of a prune.
pub const KEEP_HOURLY: Param =
    Param::optional("keep-hourly", "Hours of which to keep a snapshot.", COUNT);
/// Rules of a prune.
pub const KEEP_DAILY: Param =
    Param::optional("keep-daily", "Days of which to keep a snapshot.", COUNT);
/// Rules of a prune.
pub const KEEP_WEEKLY: Param =
    Param::optional("keep-weekly", "Weeks of which to keep a snapshot.", COUNT);
/// Rules of a prune.
pub const KEEP_MONTHLY: Param =
    Param::optional("keep-monthly", "Months of which to keep a snapshot.", COUNT);
/// Rules of a prune.
pub const KEEP_YEARLY: Param =
    Param::optional("keep-yearly", "Years of which to keep a snapshot.", COUNT);
/// The state of a configuration file that the caller has seen.
pub const DIGEST: Param = Param::optional(
    "digest",
    "Change only if the configuration file still has this SHA-256 digest.",
    Schema::ANY_TEXT,
);
/// Properties to unset.
pub const DELETE: Param = Param::optional("delete", "Properties to unset.", TEXTS);
/// The node, which may be called anything.
pub const NODE: Param = Param::required("node", "Name of the node.", Schema::ANY_TEXT);
/// A task.
pub const UPID: Param = Param::required("upid", "Id of the task.", Schema::text::<Upid>("task id"));
/// A comment.
pub const COMMENT: Param = Param::optional("comment", "Comment.", LINE);

//! The operations, and the classes that limits, counters and tasks are kept by.

use std::fmt;

/// One kind of S3 request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `GET /` without a bucket.
    ListBuckets,
    /// `HEAD` of the bucket.
    HeadBucket,
    /// `HEAD` of an object.
    HeadObject,
    /// `GET` of an object or a range of it.
    GetObject,
    /// `PUT` of an object.
    PutObject,
    /// `PUT` with a copy source.
    CopyObject,
    /// `GET ?list-type=2`.
    ListObjects,
    /// `DELETE` of an object.
    DeleteObject,
    /// `POST ?delete`.
    DeleteObjects,
}

impl Operation {
    /// Every operation, in the order of the counters.
    pub const ALL: [Self; 9] = [
        Self::ListBuckets,
        Self::HeadBucket,
        Self::HeadObject,
        Self::GetObject,
        Self::PutObject,
        Self::CopyObject,
        Self::ListObjects,
        Self::DeleteObject,
        Self::DeleteObjects,
    ];

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// The name in logs and errors.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ListBuckets => "list buckets",
            Self::HeadBucket => "head bucket",
            Self::HeadObject => "head object",
            Self::GetObject => "get object",
            Self::PutObject => "put object",
            Self::CopyObject => "copy object",
            Self::ListObjects => "list objects",
            Self::DeleteObject => "delete object",
            Self::DeleteObjects => "delete objects",
        }
    }

    /// Whether it changes the bucket, so that a lost answer leaves its effect unknown.
    #[must_use]
    pub fn is_mutating(self) -> bool {
        matches!(
            self,
            Self::PutObject | Self::CopyObject | Self::DeleteObject | Self::DeleteObjects
        )
    }

    /// The class whose concurrency limit it counts against.
    #[must_use]
    pub fn class(self) -> OpClass {
        match self {
            Self::PutObject | Self::CopyObject => OpClass::Upload,
            Self::GetObject => OpClass::Download,
            Self::ListBuckets | Self::ListObjects => OpClass::List,
            Self::DeleteObject | Self::DeleteObjects => OpClass::Delete,
            Self::HeadBucket | Self::HeadObject => OpClass::Head,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Operations that share one concurrency limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpClass {
    /// Put and copy.
    Upload,
    /// Get.
    Download,
    /// Listings.
    List,
    /// Single and batched deletes.
    Delete,
    /// Heads.
    Head,
}

impl OpClass {
    /// Every class.
    pub const ALL: [Self; 5] = [
        Self::Upload,
        Self::Download,
        Self::List,
        Self::Delete,
        Self::Head,
    ];

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// On whose behalf a request is made; requests are counted by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TaskKind {
    /// A backup session.
    Backup,
    /// Garbage collection.
    Gc,
    /// Verification.
    Verify,
    /// Restore or reader session.
    Restore,
    /// Rebuild of local state from the bucket.
    Refresh,
    /// Push or pull synchronisation.
    Sync,
    /// Prune and removal of snapshots.
    Prune,
    /// Endpoint checks.
    Check,
    /// Anything else.
    #[default]
    Other,
}

impl TaskKind {
    /// Every kind, in the order of the counters.
    pub const ALL: [Self; 9] = [
        Self::Backup,
        Self::Gc,
        Self::Verify,
        Self::Restore,
        Self::Refresh,
        Self::Sync,
        Self::Prune,
        Self::Check,
        Self::Other,
    ];

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Gc => "gc",
            Self::Verify => "verify",
            Self::Restore => "restore",
            Self::Refresh => "refresh",
            Self::Sync => "sync",
            Self::Prune => "prune",
            Self::Check => "check",
            Self::Other => "other",
        }
    }
}

/// Who goes first when requests wait for a free slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Someone waits for data to come back.
    Restore,
    /// A client is sending a backup.
    #[default]
    Backup,
    /// Verify, garbage collection and the like.
    Background,
}

impl Priority {
    pub(crate) const COUNT: usize = 3;

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

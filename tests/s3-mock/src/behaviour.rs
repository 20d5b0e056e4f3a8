//! How the server behaves when no fault is scripted: the provider it plays.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::answer::Reply;
use crate::op::Op;
use crate::pattern::Pattern;

/// The provider that the server plays. Change it at any time with `MockS3::configure`.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// What create-only PUTs meet.
    pub conditional_put: ConditionalPut,
    /// Whether DeleteObjects exists (501 otherwise).
    pub delete_objects: bool,
    /// Whether DeleteObjects insists on `Content-MD5` (or a checksum header).
    pub delete_objects_requires_md5: bool,
    /// Whether DeleteObjects answers verbosely even when asked to be quiet.
    pub ignore_quiet: bool,
    /// Keys that DeleteObjects fails to delete, with the error's code; not applied for them.
    pub delete_key_errors: Vec<KeyError>,
    /// Whether DELETE of a missing key answers 404 instead of 204.
    pub delete_missing_is_404: bool,
    /// Keys under retention: every delete answers AccessDenied.
    pub locked: Vec<Pattern>,
    /// How listings look.
    pub list: ListBehaviour,
    /// Time that passes before an operation is applied.
    pub latency: BTreeMap<Op, Duration>,
    /// Bytes per second, in and out; delays the answer.
    pub bandwidth: Option<u64>,
    /// The `Date` header of answers.
    pub date_header: DateHeader,
    /// Headers left out of answers (lower case), for example `etag` or `content-type`.
    pub omit_headers: BTreeSet<String>,
    /// HEAD and GET see a new or deleted object only after this time.
    pub stale_reads: Duration,
    /// Deleted objects are remembered for single stale listings (`Treatment::listing`), although
    /// listings in general are not stale.
    pub remember_deleted: bool,
    /// Whether there is room for more.
    pub space: Space,
    /// A request rate beyond which the server refuses.
    pub throttle: Option<Throttle>,
}

impl Default for Behaviour {
    /// A strict, consistent server.
    fn default() -> Self {
        Self {
            conditional_put: ConditionalPut::Supported,
            delete_objects: true,
            delete_objects_requires_md5: true,
            ignore_quiet: false,
            delete_key_errors: Vec::new(),
            delete_missing_is_404: false,
            locked: Vec::new(),
            list: ListBehaviour::default(),
            latency: BTreeMap::new(),
            bandwidth: None,
            date_header: DateHeader::ServerClock,
            omit_headers: BTreeSet::new(),
            stale_reads: Duration::ZERO,
            remember_deleted: false,
            space: Space::Unlimited,
            throttle: None,
        }
    }
}

impl Behaviour {
    /// Sets the latency of one operation.
    pub fn set_latency(&mut self, op: Op, latency: Duration) {
        self.latency.insert(op, latency);
    }

    /// Sets the latency of every operation.
    pub fn set_latency_of_all(&mut self, latency: Duration) {
        self.latency = Op::ALL.into_iter().map(|op| (op, latency)).collect();
    }
}

/// What `If-None-Match: *` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionalPut {
    /// 412 when the object exists.
    Supported,
    /// The header is ignored: the object is overwritten.
    Ignored,
    /// 501 NotImplemented.
    NotImplemented,
    /// The first `conflicts` create-only PUTs of each key answer 409, then as `Supported`.
    Racy {
        /// How many.
        conflicts: u32,
    },
}

/// A key that DeleteObjects refuses.
#[derive(Clone, Debug)]
pub struct KeyError {
    /// Which keys.
    pub keys: Pattern,
    /// `InternalError`, `AccessDenied`, …
    pub code: String,
    /// How often each key fails before it works; `None` = always.
    pub times: Option<u32>,
    /// Whether the key is deleted all the same (an error answer that lies).
    pub applied: bool,
}

impl KeyError {
    /// Keys that always fail with `code`.
    #[must_use]
    pub fn always(keys: impl Into<Pattern>, code: &str) -> Self {
        Self {
            keys: keys.into(),
            code: code.to_owned(),
            times: None,
            applied: false,
        }
    }

    /// Keys that fail with `code` the first `times` times.
    #[must_use]
    pub fn first(keys: impl Into<Pattern>, code: &str, times: u32) -> Self {
        Self {
            times: Some(times),
            ..Self::always(keys, code)
        }
    }
}

/// The `Date` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateHeader {
    /// The server's clock.
    ServerClock,
    /// None.
    Missing,
    /// The server's clock plus so many seconds.
    OffBySecs(i64),
}

/// Room for objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Always room.
    Unlimited,
    /// 507 InsufficientStorage for every write of data.
    Full507,
    /// 403 QuotaExceeded for every write of data.
    Full403,
}

/// A request rate limit over all operations (or some).
#[derive(Clone, Debug)]
pub struct Throttle {
    /// The operations that count; empty = all.
    pub ops: Vec<Op>,
    /// Requests per second that go through.
    pub per_second: u32,
    /// What the others get.
    pub reply: Reply,
}

/// How listings look.
#[derive(Clone, Debug)]
pub struct ListBehaviour {
    /// The most keys of a page.
    pub page_size: usize,
    /// Elements left out.
    pub omit: BTreeSet<ListField>,
    /// The order of keys.
    pub order: ListOrder,
    /// How continuation works.
    pub tokens: TokenMode,
    /// Writes and deletes are seen only after this time.
    pub stale: Duration,
    /// `start-after` skips one key too many.
    pub start_after_skips_one: bool,
    /// Keys that listings never show.
    pub hidden: Vec<Pattern>,
    /// The listing claims to be complete after so many pages.
    pub cut_after_pages: Option<u64>,
    /// ETags are quoted with `&#34;` instead of `&quot;`.
    pub numeric_entities: bool,
    /// Timestamps carry no fraction.
    pub whole_seconds: bool,
}

impl Default for ListBehaviour {
    fn default() -> Self {
        Self {
            page_size: 1000,
            omit: BTreeSet::new(),
            order: ListOrder::Sorted,
            tokens: TokenMode::LastKey,
            stale: Duration::ZERO,
            start_after_skips_one: false,
            hidden: Vec::new(),
            cut_after_pages: None,
            numeric_entities: false,
            whole_seconds: false,
        }
    }
}

/// An element of a listing that may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListField {
    /// `IsTruncated`
    IsTruncated,
    /// `Name`
    Name,
    /// `Prefix`
    Prefix,
    /// `KeyCount`
    KeyCount,
    /// `MaxKeys`
    MaxKeys,
    /// `ContinuationToken`
    ContinuationToken,
    /// `LastModified` of each object
    LastModified,
    /// `ETag` of each object
    ETag,
    /// `StorageClass` of each object
    StorageClass,
}

/// The order of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListOrder {
    /// By key, as documented.
    Sorted,
    /// Each page backwards.
    ReversedPages,
    /// By a hash of the key, over the whole listing.
    Hashed,
}

/// How a listing continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenMode {
    /// After the last key of the page: safe while objects come and go.
    LastKey,
    /// At an offset: deleting behind the cursor skips keys.
    Offset,
    /// Each page begins with the last key of the page before.
    Overlap,
    /// From this page on (0 = first) the token never advances.
    Repeats {
        /// The page.
        from_page: u64,
    },
    /// From this page on `IsTruncated` comes without a token.
    Missing {
        /// The page.
        from_page: u64,
    },
}

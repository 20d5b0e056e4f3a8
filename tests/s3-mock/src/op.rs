//! The S3 operations that the server knows.

use std::fmt;

use hyper::Method;

/// An S3 operation, as recognised from a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// `GET /`
    ListBuckets,
    /// `PUT /bucket`
    CreateBucket,
    /// `HEAD /bucket`
    HeadBucket,
    /// `GET /bucket?versioning`
    GetBucketVersioning,
    /// `GET /bucket?list-type=2`
    ListObjects,
    /// `HEAD /bucket/key`
    HeadObject,
    /// `GET /bucket/key`
    GetObject,
    /// `PUT /bucket/key`
    PutObject,
    /// `PUT /bucket/key` with `x-amz-copy-source`
    CopyObject,
    /// `DELETE /bucket/key`
    DeleteObject,
    /// `POST /bucket?delete`
    DeleteObjects,
    /// Anything else: answered with 501 or 405.
    Unknown,
}

impl Op {
    /// Every operation.
    pub const ALL: [Self; 12] = [
        Self::ListBuckets,
        Self::CreateBucket,
        Self::HeadBucket,
        Self::GetBucketVersioning,
        Self::ListObjects,
        Self::HeadObject,
        Self::GetObject,
        Self::PutObject,
        Self::CopyObject,
        Self::DeleteObject,
        Self::DeleteObjects,
        Self::Unknown,
    ];

    /// Whether the operation can change a bucket.
    #[must_use]
    pub fn is_write(self) -> bool {
        matches!(
            self,
            Self::CreateBucket
                | Self::PutObject
                | Self::CopyObject
                | Self::DeleteObject
                | Self::DeleteObjects
        )
    }

    /// Recognises a request; `query` has the names of its parameters.
    pub(crate) fn classify(
        method: &Method,
        has_bucket: bool,
        has_key: bool,
        has_copy_source: bool,
        query: impl Fn(&str) -> bool,
    ) -> Self {
        match (method.as_str(), has_bucket, has_key) {
            ("GET", false, _) => Self::ListBuckets,
            ("GET", true, false) if query("versioning") => Self::GetBucketVersioning,
            ("GET", true, false) if query("list-type") => Self::ListObjects,
            ("GET", true, true) => Self::GetObject,
            ("HEAD", true, false) => Self::HeadBucket,
            ("HEAD", true, true) => Self::HeadObject,
            ("PUT", true, false) => Self::CreateBucket,
            ("PUT", true, true) if has_copy_source => Self::CopyObject,
            ("PUT", true, true) => Self::PutObject,
            ("DELETE", true, true) => Self::DeleteObject,
            ("POST", true, false) if query("delete") => Self::DeleteObjects,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

//! Reading objects, and proving that they do not exist.
//!
//! A 404 alone proves nothing: a wrong bucket, host or a proxy's own page look the same. Absence
//! counts only with the code `NoSuchKey`, which a HEAD cannot carry; it is confirmed by a GET.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use crate::classify::{Failure, RetryClass, failure_of, protocol};
use crate::client::S3Client;
use crate::error::{S3Error, S3ErrorKind, Subject};
use crate::key::ObjectKey;
use crate::operation::Operation;
use crate::timestamp::parse_http_date;
use crate::transport::Response;

/// An entity tag as the server sent it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ETag(String);

impl ETag {
    /// Wraps a tag as sent, quotes included.
    #[must_use]
    pub fn new(tag: impl Into<String>) -> Self {
        Self(tag.into())
    }

    /// The tag as sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The MD5 it stands for, if it has the form of one: 32 hex digits. Whether it is one depends
    /// on how the object was uploaded and encrypted.
    #[must_use]
    pub fn md5(&self) -> Option<[u8; 16]> {
        let bare = self.0.trim();
        let bare = bare
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or(bare);
        let mut digest = [0; 16];
        hex::decode_to_slice(bare, &mut digest).ok()?;
        Some(digest)
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is known of an object without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectHead {
    /// Size in bytes.
    pub size: u64,
    /// Entity tag.
    pub etag: Option<ETag>,
    /// Last modification, milliseconds since the epoch (whole seconds).
    pub last_modified: Option<i64>,
    /// The server's clock at the answer, seconds since the epoch.
    pub server_date: Option<i64>,
    /// Storage class, where the server names it.
    pub storage_class: Option<String>,
    /// Version id: the bucket is or was versioned.
    pub version_id: Option<String>,
    /// The tag may be something else than the MD5 of the content (encryption by the server).
    pub encrypted_by_server: bool,
}

impl ObjectHead {
    fn of(response: &Response, size: u64) -> Self {
        Self {
            size,
            etag: response.header("etag").map(ETag::new),
            last_modified: response
                .header("last-modified")
                .and_then(parse_http_date)
                .map(|seconds| seconds * 1000),
            server_date: response.server_date(),
            storage_class: response.header("x-amz-storage-class").map(str::to_owned),
            version_id: version_id(response),
            encrypted_by_server: encrypted_by_server(response),
        }
    }
}

pub(super) fn version_id(response: &Response) -> Option<String> {
    let id = response.header("x-amz-version-id")?;
    if id.is_empty() || id == "null" {
        None
    } else {
        Some(id.to_owned())
    }
}

/// Whether the answer says that the ETag need not be the MD5.
pub(super) fn encrypted_by_server(response: &Response) -> bool {
    let kms = response
        .header("x-amz-server-side-encryption")
        .is_some_and(|algorithm| algorithm.starts_with("aws:kms"));
    kms || response
        .header("x-amz-server-side-encryption-customer-algorithm")
        .is_some()
}

/// An object or a range of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its head; `size` is that of the whole object.
    pub head: ObjectHead,
    /// The content asked for.
    pub body: Bytes,
}

/// Pauses before a missing object is looked for again on eventually consistent providers.
const SECOND_LOOKS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// First byte and total of a `Content-Range: bytes 0-9/100`; the first is `None` for `*`.
fn content_range(response: &Response) -> Option<(Option<u64>, u64)> {
    let (range, total) = response
        .header("content-range")?
        .strip_prefix("bytes ")?
        .split_once('/')?;
    let total = total.parse().ok()?;
    match range.split_once('-') {
        Some((first, _)) => Some((Some(first.parse().ok()?), total)),
        None if range == "*" => Some((None, total)),
        None => None,
    }
}

/// What HEAD says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeadAnswer {
    Found(ObjectHead),
    /// Found, but without a size.
    Unsized,
    /// 404, which proves nothing yet.
    AbsentCandidate,
}

fn read_head(response: &Response) -> Result<HeadAnswer, Failure> {
    if response.is_success() {
        let size = response
            .header("content-length")
            .and_then(|size| size.trim().parse().ok());
        return Ok(match size {
            Some(size) => HeadAnswer::Found(ObjectHead::of(response, size)),
            None => HeadAnswer::Unsized,
        });
    }
    if response.status == 404 {
        return Ok(HeadAnswer::AbsentCandidate);
    }
    Err(failure_of(Operation::HeadObject, response))
}

/// Reads the answer to a GET of the first byte: the head of an object, or the proof that it is
/// absent.
fn read_probe(response: &Response) -> Result<Option<ObjectHead>, Failure> {
    let size = match (response.status, content_range(response)) {
        (206, Some((_, total))) => total,
        // No first byte: the object is empty.
        (416, range) => range.map_or(0, |(_, total)| total),
        (200, _) => length(&response.body),
        _ => return absent_or_failure(response).map(|()| None),
    };
    Ok(Some(ObjectHead::of(response, size)))
}

fn absent_or_failure(response: &Response) -> Result<(), Failure> {
    let failure = failure_of(Operation::GetObject, response);
    if failure.kind == S3ErrorKind::NoSuchKey {
        Ok(())
    } else {
        Err(failure)
    }
}

fn read_object(response: &Response) -> Result<Option<Object>, Failure> {
    if response.is_success() && response.status != 200 {
        // A part of the object, or somebody else's idea of it.
        let text = format!("status {} to a request for a whole object", response.status);
        return Err(protocol(response, text, RetryClass::Transient));
    }
    if response.is_success() {
        let body = response.body.clone();
        return Ok(Some(Object {
            head: ObjectHead::of(response, length(&body)),
            body,
        }));
    }
    absent_or_failure(response).map(|()| None)
}

fn read_range(response: &Response, range: &Range<u64>) -> Result<Option<Object>, Failure> {
    let body = response.body.clone();
    let wrong = |text: &str| Err(protocol(response, text, RetryClass::Transient));
    match response.status {
        206 => {
            let (first, total) = content_range(response).unwrap_or((Some(range.start), range.end));
            if first != Some(range.start) {
                return wrong("the server sent another range than was asked for");
            }
            let expected = range.end.min(total).saturating_sub(range.start);
            if length(&body) != expected {
                return wrong("the range sent has the wrong length");
            }
            Ok(Some(Object {
                head: ObjectHead::of(response, total),
                body,
            }))
        }
        // A server without ranges sends everything.
        200 => {
            let total = length(&body);
            let end = usize::try_from(range.end.min(total)).unwrap_or(usize::MAX);
            let start = usize::try_from(range.start).unwrap_or(usize::MAX);
            if start >= end {
                let text = format!("the range starts behind the end of the object ({total} bytes)");
                return Err(protocol(response, text, RetryClass::Never));
            }
            let head = ObjectHead::of(response, total);
            Ok(Some(Object {
                head,
                body: body.slice(start..end),
            }))
        }
        _ => absent_or_failure(response).map(|()| None),
    }
}

impl S3Client {
    /// The head of an object; `None` only when its absence is proven.
    ///
    /// # Errors
    /// As all requests do; also when nothing proves the absence.
    pub async fn head_object(&self, key: &ObjectKey) -> Result<Option<ObjectHead>, S3Error> {
        if let Some(head) = self.head_once(key).await? {
            return Ok(Some(head));
        }
        for pause in self.second_looks() {
            self.pause(Operation::HeadObject, &subject(key), pause)
                .await?;
            if let Some(head) = self.head_once(key).await? {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    async fn head_once(&self, key: &ObjectKey) -> Result<Option<ObjectHead>, S3Error> {
        match self.head_candidate(key).await? {
            HeadAnswer::Found(head) => Ok(Some(head)),
            HeadAnswer::Unsized | HeadAnswer::AbsentCandidate => {
                let draft = self
                    .request(Operation::GetObject, Some(key))
                    .header("range", "bytes=0-0");
                self.run(draft, read_probe).await
            }
        }
    }

    /// HEAD without proof of absence; enough where a PUT follows.
    pub(super) async fn head_candidate(&self, key: &ObjectKey) -> Result<HeadAnswer, S3Error> {
        self.run(self.request(Operation::HeadObject, Some(key)), read_head)
            .await
    }

    /// An object; `None` only when its absence is proven.
    ///
    /// # Errors
    /// As all requests do; also when it is larger than the client's limit.
    pub async fn get_object(&self, key: &ObjectKey) -> Result<Option<Object>, S3Error> {
        self.get_object_limited(key, self.core.max_object_bytes)
            .await
    }

    /// An object of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`S3Client::get_object`].
    pub async fn get_object_limited(
        &self,
        key: &ObjectKey,
        limit: usize,
    ) -> Result<Option<Object>, S3Error> {
        self.get(key, None, limit, read_object).await
    }

    /// A range of an object, cut at its end; `None` only when its absence is proven.
    ///
    /// # Errors
    /// As [`S3Client::get_object`]; also when the range is empty or starts behind the end.
    pub async fn get_object_range(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
    ) -> Result<Option<Object>, S3Error> {
        if range.is_empty() {
            let kind = S3ErrorKind::Config(format!("the range {range:?} is empty"));
            return Err(self.local_error(Operation::GetObject, subject(key), kind));
        }
        let header = format!("bytes={}-{}", range.start, range.end - 1);
        let limit = self.core.max_object_bytes;
        self.get(key, Some(header), limit, |response| {
            read_range(response, &range)
        })
        .await
    }

    async fn get(
        &self,
        key: &ObjectKey,
        range: Option<String>,
        limit: usize,
        read: impl Fn(&Response) -> Result<Option<Object>, Failure> + Copy,
    ) -> Result<Option<Object>, S3Error> {
        let mut looks = self.second_looks();
        loop {
            let mut draft = self
                .request(Operation::GetObject, Some(key))
                .body_limit(limit);
            if let Some(range) = &range {
                draft = draft.header("range", range.clone());
            }
            if let Some(object) = self.run(draft, read).await? {
                return Ok(Some(object));
            }
            let Some(pause) = looks.next() else {
                return Ok(None);
            };
            self.pause(Operation::GetObject, &subject(key), pause)
                .await?;
        }
    }

    fn second_looks(&self) -> impl Iterator<Item = Duration> + use<> {
        let count = if self.quirks().eventual_consistency {
            SECOND_LOOKS.len()
        } else {
            0
        };
        SECOND_LOOKS.into_iter().take(count)
    }
}

pub(super) fn subject(key: &ObjectKey) -> Subject {
    Subject::Key(key.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::tests::{error_body, response};

    #[test]
    fn an_etag_is_an_md5_only_in_form() {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        for tag in [md5.to_owned(), format!("\"{md5}\""), md5.to_uppercase()] {
            assert!(ETag::new(tag).md5().is_some());
        }
        for tag in [
            "",
            "\"",
            "\"abc\"",
            &format!("\"{md5}-2\""),
            &format!("W/\"{md5}\""),
        ] {
            assert!(ETag::new(tag).md5().is_none(), "{tag}");
        }
    }

    #[test]
    fn absence_needs_the_code() {
        let proof = response(404, &[], &error_body("NoSuchKey"));
        assert_eq!(read_object(&proof), Ok(None));
        assert_eq!(read_probe(&proof), Ok(None));
        assert_eq!(read_range(&proof, &(0..1)), Ok(None));
        for body in [String::new(), "<html/>".into(), error_body("NoSuchBucket")] {
            assert!(read_object(&response(404, &[], &body)).is_err(), "{body}");
            assert!(read_probe(&response(404, &[], &body)).is_err(), "{body}");
        }
        assert_eq!(
            read_head(&response(404, &[], "")),
            Ok(HeadAnswer::AbsentCandidate)
        );
        assert!(read_object(&response(403, &[], &error_body("AccessDenied"))).is_err());
    }

    #[test]
    fn a_part_does_not_pass_for_the_whole() {
        let part = [("content-range", "bytes 0-2/5")];
        for (status, headers) in [(206, &part[..]), (204, &[])] {
            let failure = read_object(&response(status, headers, "abc")).unwrap_err();
            assert!(matches!(failure.kind, S3ErrorKind::Protocol(_)), "{status}");
        }
        assert!(read_object(&response(200, &[], "abc")).is_ok());
    }

    #[test]
    fn optional_headers_are_optional() {
        let HeadAnswer::Found(head) =
            read_head(&response(200, &[("content-length", "5")], "")).unwrap()
        else {
            panic!()
        };
        assert_eq!((head.size, head.etag, head.last_modified), (5, None, None));
        assert_eq!(read_head(&response(200, &[], "")), Ok(HeadAnswer::Unsized));
    }

    #[test]
    fn the_size_comes_from_the_range() {
        let size = |status, headers: &[(&'static str, &str)], body| {
            read_probe(&response(status, headers, body))
                .unwrap()
                .unwrap()
                .size
        };
        assert_eq!(size(206, &[("content-range", "bytes 0-0/77")], "x"), 77);
        assert_eq!(size(416, &[("content-range", "bytes */0")], ""), 0);
        assert_eq!(size(200, &[], ""), 0);
    }

    #[test]
    fn ranges_are_checked() {
        let part = |headers: &[(&'static str, &str)], status, body, range: Range<u64>| {
            read_range(&response(status, headers, body), &range).map(|object| object.unwrap().body)
        };
        let header = [("content-range", "bytes 2-4/5")];
        assert_eq!(part(&header, 206, "cde", 2..9).unwrap(), "cde");
        assert!(part(&header, 206, "cd", 2..9).is_err());
        assert!(part(&header, 206, "cde", 1..4).is_err());
        assert_eq!(part(&[], 206, "cd", 2..4).unwrap(), "cd");
        assert_eq!(part(&[], 200, "abcde", 2..4).unwrap(), "cd");
        assert_eq!(part(&[], 200, "abcde", 2..u64::MAX).unwrap(), "cde");
        assert!(part(&[], 200, "abcde", 5..6).is_err());
    }
}

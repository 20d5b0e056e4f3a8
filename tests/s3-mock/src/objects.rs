//! PUT, COPY, GET and HEAD of objects.

use std::sync::Arc;

use bytes::Bytes;

use crate::answer::Answer;
use crate::behaviour::{ConditionalPut, Space};
use crate::dates::{http_date, iso_date};
use crate::encoding::{crc32c, md5, percent_decode};
use crate::journal::Change;
use crate::request::Request;
use crate::state::{Outcome, State};
use crate::store::StoredObject;

/// The longest key, in bytes.
const MAX_KEY: usize = 1024;

fn no_such_key() -> Outcome {
    Outcome::read(Answer::error(
        404,
        "NoSuchKey",
        "The specified key does not exist.",
    ))
}

fn precondition_failed() -> Outcome {
    let message = "At least one of the pre-conditions you specified did not hold";
    Outcome::read(Answer::error(412, "PreconditionFailed", message))
}

impl State {
    /// PUT of an object.
    pub(crate) fn put_object(
        &mut self,
        bucket_name: &str,
        key: &str,
        req: &Request,
        now: i64,
    ) -> Outcome {
        if let Some(refused) = self.refuse_write(key) {
            return refused;
        }
        if let Err(answer) = check_sums(req) {
            return Outcome::read(answer);
        }
        if !self.buckets.contains_key(bucket_name) {
            return Outcome::no_such_bucket();
        }
        if let Some(refused) = self.check_conditions(bucket_name, key, req) {
            return refused;
        }
        let mut object = StoredObject::new(req.body.clone(), now);
        object.content_type = req.header("content-type").map(Arc::from);
        object.storage_class = req.header("x-amz-storage-class").map(Arc::from);
        let etag = object.etag();
        let Some(bucket) = self.buckets.get_mut(bucket_name) else {
            return Outcome::no_such_bucket();
        };
        let replaced = bucket.put(key, object);
        let mut answer = Answer::empty(200).header("etag", etag);
        if let Some(version) = bucket.get(key).filter(|_| bucket.versioning) {
            answer = answer.header("x-amz-version-id", format!("v{}", version.version));
        }
        Outcome {
            answer,
            changes: vec![Change::Put {
                key: key.to_owned(),
                replaced,
            }],
        }
    }

    fn refuse_write(&self, key: &str) -> Option<Outcome> {
        let refusal = if key.len() > MAX_KEY {
            Answer::error(400, "KeyTooLongError", "Your key is too long")
        } else {
            match self.behaviour.space {
                Space::Unlimited => return None,
                Space::Full507 => Answer::error(507, "InsufficientStorage", "the disks are full"),
                Space::Full403 => Answer::error(403, "QuotaExceeded", "the quota is used up"),
            }
        };
        Some(Outcome::read(refusal))
    }

    fn check_conditions(&mut self, bucket: &str, key: &str, req: &Request) -> Option<Outcome> {
        let existing = self.buckets.get(bucket).and_then(|bucket| bucket.get(key));
        if let Some(wanted) = req.header("if-match") {
            return match existing {
                None => Some(no_such_key()),
                Some(object) if wanted == "*" || wanted == object.etag() => None,
                Some(_) => Some(precondition_failed()),
            };
        }
        let wanted = req.header("if-none-match")?;
        let failed = existing.is_some_and(|object| wanted == "*" || wanted == object.etag());
        match self.behaviour.conditional_put {
            ConditionalPut::Ignored => None,
            ConditionalPut::NotImplemented => {
                let message =
                    "A header you provided implies functionality that is not implemented.";
                let mut answer = Answer::error(501, "NotImplemented", message);
                answer.body = String::from_utf8_lossy(&answer.body)
                    .replace("</Message>", "</Message><Header>If-None-Match</Header>")
                    .into();
                Some(Outcome::read(answer))
            }
            ConditionalPut::Racy { conflicts } => {
                let seen = self
                    .conflicts
                    .entry((bucket.to_owned(), key.to_owned()))
                    .or_default();
                if *seen < conflicts {
                    *seen += 1;
                    let message = "A conflicting conditional operation is currently in progress";
                    let answer = Answer::error(409, "ConditionalRequestConflict", message);
                    return Some(Outcome::read(answer));
                }
                failed.then(precondition_failed)
            }
            ConditionalPut::Supported => failed.then(precondition_failed),
        }
    }

    /// PUT with a copy source.
    pub(crate) fn copy_object(
        &mut self,
        bucket_name: &str,
        key: &str,
        req: &Request,
        now: i64,
    ) -> Outcome {
        if let Some(refused) = self.refuse_write(key) {
            return refused;
        }
        let source = req.header("x-amz-copy-source").unwrap_or_default();
        let source = percent_decode(source, false).unwrap_or_default();
        let Some((from_bucket, from_key)) = source.trim_start_matches('/').split_once('/') else {
            let message = "Copy Source must mention the source bucket and key";
            return Outcome::read(Answer::error(400, "InvalidArgument", message));
        };
        let Some(bucket) = self.buckets.get(from_bucket) else {
            return Outcome::no_such_bucket();
        };
        let Some(found) = bucket.get(from_key) else {
            return no_such_key();
        };
        let replace = req.header("x-amz-metadata-directive") == Some("REPLACE");
        if from_bucket == bucket_name && from_key == key && !replace {
            let message = "This copy request is illegal because it is trying to copy an object to \
                           itself without changing the object's metadata";
            return Outcome::read(Answer::error(400, "InvalidRequest", message));
        }
        let mut object = StoredObject {
            last_modified_millis: now,
            ..found.clone()
        };
        if replace {
            object.content_type = req.header("content-type").map(Arc::from);
            object.storage_class = req.header("x-amz-storage-class").map(Arc::from);
        }
        let document = format!(
            "<CopyObjectResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <LastModified>{}</LastModified><ETag>&quot;{}&quot;</ETag></CopyObjectResult>",
            iso_date(now),
            hex::encode(object.md5),
        );
        let Some(bucket) = self.buckets.get_mut(bucket_name) else {
            return Outcome::no_such_bucket();
        };
        let replaced = bucket.put(key, object);
        let changes = vec![Change::Put {
            key: key.to_owned(),
            replaced,
        }];
        Outcome {
            answer: Answer::xml(200, &document),
            changes,
        }
    }

    /// GET or HEAD of an object; the body is taken away later for HEAD.
    pub(crate) fn get_object(
        &self,
        bucket_name: &str,
        key: &str,
        req: &Request,
        now: i64,
    ) -> Outcome {
        let Some(bucket) = self.buckets.get(bucket_name) else {
            return Outcome::no_such_bucket();
        };
        let Some(object) = bucket.get_stale(key, now, self.behaviour.stale_reads) else {
            return no_such_key();
        };
        let full = object.body.len();
        let (status, body, range) = match req.header("range").map(|text| parse_range(text, full)) {
            None | Some(Range::Ignored) => (200, object.body.clone(), None),
            Some(Range::Part(from, to)) => {
                let range = format!("bytes {from}-{}/{full}", to - 1);
                (206, object.body.slice(from..to), Some(range))
            }
            Some(Range::Unsatisfiable) => {
                let message = "The requested range is not satisfiable";
                let answer = Answer::error(416, "InvalidRange", message)
                    .header("content-range", format!("bytes */{full}"));
                return Outcome::read(answer);
            }
        };
        let content_type = object
            .content_type
            .as_deref()
            .unwrap_or("binary/octet-stream");
        let mut answer = Answer::empty(status)
            .body(body)
            .header("etag", object.etag())
            .header("last-modified", http_date(object.last_modified_millis))
            .header("accept-ranges", "bytes")
            .header("content-type", content_type);
        if let Some(range) = range {
            answer = answer.header("content-range", range);
        }
        if let Some(class) = &object.storage_class {
            answer = answer.header("x-amz-storage-class", &**class);
        }
        if bucket.versioning {
            answer = answer.header("x-amz-version-id", format!("v{}", object.version));
        }
        Outcome::read(answer)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    Part(usize, usize),
    Unsatisfiable,
    /// Not of a form that the server knows: the whole object is sent.
    Ignored,
}

fn parse_range(text: &str, full: usize) -> Range {
    let Some((from, to)) = text
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
    else {
        return Range::Ignored;
    };
    match (from.parse::<usize>(), to.parse::<usize>()) {
        (Ok(from), _) if from >= full => Range::Unsatisfiable,
        (Ok(from), Ok(to)) if to >= from => Range::Part(from, to.saturating_add(1).min(full)),
        (Ok(from), Err(_)) if to.is_empty() => Range::Part(from, full),
        (Err(_), Ok(0)) if from.is_empty() => Range::Unsatisfiable,
        (Err(_), Ok(last)) if from.is_empty() && full > 0 => {
            Range::Part(full.saturating_sub(last), full)
        }
        _ => Range::Ignored,
    }
}

/// Checks the sums that the client sent along with its body.
pub(crate) fn check_sums(req: &Request) -> Result<(), Answer> {
    let decode = |text: &str| openssl::base64::decode_block(text).unwrap_or_default();
    if let Some(text) = req.header("content-md5") {
        let sum = decode(text);
        if sum.len() != 16 {
            let message = "The Content-MD5 you specified was invalid.";
            return Err(Answer::error(400, "InvalidDigest", message));
        }
        if sum != md5(&req.body) {
            return Err(bad_digest());
        }
    }
    if let Some(text) = req.header("x-amz-checksum-crc32c") {
        let sum: Bytes = crc32c(&req.body).to_be_bytes().to_vec().into();
        if decode(text) != sum {
            return Err(bad_digest());
        }
    }
    Ok(())
}

fn bad_digest() -> Answer {
    Answer::error(
        400,
        "BadDigest",
        "The sum you specified did not match what we received.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(parse_range("bytes=0-0", 10), Range::Part(0, 1));
        assert_eq!(parse_range("bytes=3-99", 10), Range::Part(3, 10));
        assert_eq!(parse_range("bytes=3-", 10), Range::Part(3, 10));
        assert_eq!(parse_range("bytes=-3", 10), Range::Part(7, 10));
        assert_eq!(parse_range("bytes=10-", 10), Range::Unsatisfiable);
        assert_eq!(parse_range("bytes=0-0", 0), Range::Unsatisfiable);
        assert_eq!(parse_range("bytes=5-3", 10), Range::Ignored);
        assert_eq!(parse_range("lines=1-2", 10), Range::Ignored);
    }
}

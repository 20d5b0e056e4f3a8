//! Deleting objects: one, or any number in batches, with retries of what failed.

use futures_util::StreamExt;
use futures_util::stream;

use super::answered::Answered;
use crate::classify::{Failure, bad_document, failure_of, is_server_side};
use crate::client::{Draft, S3Client};
use crate::error::{S3Error, S3ErrorKind, Subject};
use crate::key::ObjectKey;
use crate::operation::{OpClass, Operation};
use crate::transport::Response;
use crate::xml::{DeleteResult, XmlError, delete_request, parse_delete, parse_error};

/// The most keys one request may name.
pub const MAX_DELETE_KEYS: usize = 1000;
/// 1000 failures with their messages.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// What a delete came to; in each case the object is not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// The server did it, or there was nothing to do (most servers do not tell).
    Deleted,
    /// Only a delete marker was written: the bucket is versioned, no space is freed.
    Marked,
    /// The server says that there was no such object.
    Missing,
}

/// A key that could not be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteFailure {
    /// The key.
    pub key: ObjectKey,
    /// S3 error code, or a word for what happened.
    pub code: String,
    /// In words.
    pub message: String,
    /// The deletion may have happened, or may still happen.
    pub unresolved: bool,
}

/// What became of a number of deletions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct DeleteReport {
    /// Keys that are deleted.
    pub deleted: u64,
    /// Of these, those with only a delete marker as far as the server told.
    pub delete_markers: u64,
    /// Of these, those that an attempt before the successful one may delete once more, later.
    pub unsettled: Vec<ObjectKey>,
    /// Keys that are not.
    pub failures: Vec<DeleteFailure>,
}

impl DeleteReport {
    /// Whether every key is deleted.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty()
    }

    fn deleted(&mut self, key: ObjectKey, unsettled: bool) {
        self.deleted += 1;
        if unsettled {
            self.unsettled.push(key);
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.deleted += other.deleted;
        self.delete_markers += other.delete_markers;
        self.unsettled.extend(other.unsettled);
        self.failures.extend(other.failures);
    }
}

pub(super) fn read_delete(response: &Response) -> Result<DeleteOutcome, Failure> {
    if response.is_success() {
        if let Ok(error) = parse_error(&response.body) {
            let error = XmlError::Error(Box::new(error));
            return Err(bad_document(Operation::DeleteObject, response, &error));
        }
        let marked = response
            .header("x-amz-delete-marker")
            .is_some_and(|value| value == "true");
        return Ok(if marked {
            DeleteOutcome::Marked
        } else {
            DeleteOutcome::Deleted
        });
    }
    let failure = failure_of(Operation::DeleteObject, response);
    // Some servers answer 404 for what is not there, without a body; a page of somebody else
    // would have one.
    let bare_404 = response.status == 404 && response.body.is_empty();
    if bare_404 || failure.kind == S3ErrorKind::NoSuchKey {
        return Ok(DeleteOutcome::Missing);
    }
    Err(failure)
}

pub(super) fn read_batch(response: &Response) -> Result<DeleteResult, Failure> {
    if !response.is_success() {
        return Err(failure_of(Operation::DeleteObjects, response));
    }
    parse_delete(&response.body)
        .map_err(|error| bad_document(Operation::DeleteObjects, response, &error))
}

impl S3Client {
    /// Deletes an object; that it does not exist is fine.
    ///
    /// # Errors
    /// As all requests do.
    pub async fn delete_object(&self, key: &ObjectKey) -> Result<Answered<DeleteOutcome>, S3Error> {
        self.run_noting(
            self.request(Operation::DeleteObject, Some(key)),
            read_delete,
        )
        .await
    }

    pub(super) async fn batch_draft(&self, keys: &[ObjectKey]) -> Draft {
        let xml = delete_request(keys.iter().map(ObjectKey::as_str));
        let body = self.body(xml.into()).await;
        self.request(Operation::DeleteObjects, None)
            .query("delete", "")
            .header("content-type", "application/xml")
            .subject(Subject::Keys(keys.len()))
            .body(body)
            .body_limit(MAX_ANSWER)
    }

    /// Deletes any number of objects, in batches, several at a time. What fails for a passing
    /// reason is tried again; the rest is in the report, key by key.
    ///
    /// # Errors
    /// When the task is aborted, or when nothing at all could be deleted because the requests as
    /// such failed.
    pub async fn delete_objects(&self, keys: &[ObjectKey]) -> Result<DeleteReport, S3Error> {
        let size = if self.quirks().delete_one_by_one {
            1
        } else {
            MAX_DELETE_KEYS
        };
        // Owned batches, copied one by one as they are sent: futures over borrowed ones are not
        // `Send` in the eyes of the compiler.
        let batches = keys.chunks(size).map(<[ObjectKey]>::to_vec);
        let batches = batches.map(|batch| async move { self.delete_batch(&batch).await });
        let mut batches = stream::iter(batches).buffer_unordered(self.concurrency(OpClass::Delete));
        let mut report = DeleteReport::default();
        let mut failed = None;
        while let Some(batch) = batches.next().await {
            let (part, error) = batch;
            report.merge(part);
            match error {
                Some(error) if error.is_aborted() => return Err(error),
                other => failed = failed.or(other),
            }
        }
        match failed {
            Some(error) if report.deleted == 0 => Err(error),
            _ => Ok(report),
        }
    }

    /// Deletes a batch; whatever goes wrong is in the report, a failed request also by itself.
    pub(super) async fn delete_batch(&self, keys: &[ObjectKey]) -> (DeleteReport, Option<S3Error>) {
        let mut report = DeleteReport::default();
        let result = match keys {
            [key] if self.quirks().delete_one_by_one => match self.delete_object(key).await {
                Ok(answer) => {
                    report.delete_markers = u64::from(answer.outcome == DeleteOutcome::Marked);
                    report.deleted(key.clone(), !answer.is_settled());
                    Ok(())
                }
                Err(error) => Err((keys.to_vec(), error)),
            },
            _ => self.delete_rounds(keys.to_vec(), &mut report).await,
        };
        let Err((keys, error)) = result else {
            return (report, None);
        };
        report
            .failures
            .extend(keys.into_iter().map(|key| DeleteFailure {
                key,
                code: error_code(&error),
                message: error.kind().to_string(),
                unresolved: error.may_have_been_applied(),
            }));
        (report, Some(error))
    }

    /// Repeats a batch for the keys that failed for a passing reason. An error comes with the keys
    /// that are left.
    async fn delete_rounds(
        &self,
        mut keys: Vec<ObjectKey>,
        report: &mut DeleteReport,
    ) -> Result<(), (Vec<ObjectKey>, S3Error)> {
        let mut round = 1;
        // Attempts that left something open; after the first round, for every key that is left.
        let mut open = 0;
        while !keys.is_empty() {
            let draft = self.batch_draft(&keys).await;
            let Answered {
                outcome: result,
                unresolved,
            } = match self.run_noting(draft, read_batch).await {
                Ok(answer) => answer,
                Err(error) => return Err((keys, error.after_unresolved(open))),
            };
            report.delete_markers += markers(&result);
            let last = round >= self.policy.max_attempts;
            let again = sort_out(keys, &result, last, open + unresolved > 0, report);
            open += unresolved + 1;
            if !again.is_empty() {
                let pause = self.core.env.jitter(self.policy.base * round.min(16));
                let subject = Subject::Keys(again.len());
                if let Err(error) = self.pause(Operation::DeleteObjects, &subject, pause).await {
                    return Err((again, error.after_unresolved(open)));
                }
            }
            keys = again;
            round += 1;
        }
        Ok(())
    }
}

pub(super) fn markers(result: &DeleteResult) -> u64 {
    let count = result
        .deleted
        .iter()
        .filter(|entry| entry.delete_marker)
        .count();
    u64::try_from(count).unwrap_or(u64::MAX)
}

pub(super) fn error_code(error: &S3Error) -> String {
    error.code().unwrap_or("RequestFailed").to_owned()
}

/// Splits the keys of an answered batch into deleted, failed, and those to try again. `open` says
/// whether earlier attempts for them may still be applied.
fn sort_out(
    keys: Vec<ObjectKey>,
    result: &DeleteResult,
    last: bool,
    open: bool,
    report: &mut DeleteReport,
) -> Vec<ObjectKey> {
    let errors = std::collections::HashMap::<&str, _>::from_iter(
        result
            .errors
            .iter()
            .filter_map(|entry| Some((entry.key.as_deref()?, entry))),
    );
    // An error about no key in particular, or about one that was not asked for, may be about any.
    let stray = result.errors.iter().find(|entry| {
        entry
            .key
            .as_deref()
            .is_none_or(|key| !keys.iter().any(|known| known.as_str() == key))
    });
    let mut again = Vec::new();
    for key in keys {
        let Some(entry) = errors.get(key.as_str()).copied().or(stray) else {
            report.deleted(key, open);
            continue;
        };
        if entry.code == "NoSuchKey" && entry.key.as_deref() == Some(key.as_str()) {
            report.deleted(key, open);
        } else if is_server_side(&entry.code) && !last {
            again.push(key);
        } else {
            report.failures.push(DeleteFailure {
                key,
                code: entry.code.clone(),
                message: entry.message.clone(),
                unresolved: open || is_server_side(&entry.code),
            });
        }
    }
    again
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::tests::{error_body, response};

    fn keys(names: &[&str]) -> Vec<ObjectKey> {
        names
            .iter()
            .map(|name| ObjectKey::new(*name).unwrap())
            .collect()
    }

    fn result(errors: &[(&str, &str)]) -> DeleteResult {
        let mut xml = String::from("<DeleteResult>");
        for (key, code) in errors {
            let key = if key.is_empty() {
                String::new()
            } else {
                format!("<Key>{key}</Key>")
            };
            xml.push_str(&format!("<Error>{key}<Code>{code}</Code></Error>"));
        }
        xml.push_str("</DeleteResult>");
        read_batch(&response(200, &[], &xml)).unwrap()
    }

    #[test]
    fn keys_are_sorted_out_by_code() {
        let answer = result(&[
            ("b", "InternalError"),
            ("c", "AccessDenied"),
            ("d", "NoSuchKey"),
        ]);
        let mut report = DeleteReport::default();
        let again = sort_out(
            keys(&["a", "b", "c", "d"]),
            &answer,
            false,
            false,
            &mut report,
        );
        assert_eq!(again, keys(&["b"]));
        assert_eq!(report.deleted, 2);
        assert_eq!(report.failures.len(), 1);
        assert_eq!(
            (&*report.failures[0].code, report.failures[0].unresolved),
            ("AccessDenied", false)
        );

        let mut report = DeleteReport::default();
        assert!(sort_out(keys(&["b"]), &answer, true, false, &mut report).is_empty());
        assert!(report.failures[0].unresolved);
    }

    #[test]
    fn an_error_about_no_key_may_be_about_any() {
        for stray in [
            result(&[("", "AccessDenied")]),
            result(&[("unknown", "AccessDenied")]),
        ] {
            let mut report = DeleteReport::default();
            assert!(sort_out(keys(&["a", "b"]), &stray, false, false, &mut report).is_empty());
            assert_eq!((report.deleted, report.failures.len()), (0, 2));
        }
    }

    #[test]
    fn answers_to_a_single_delete() {
        let read = |status, headers: &[(&'static str, &str)], body: &str| {
            read_delete(&response(status, headers, body))
        };
        assert_eq!(read(204, &[], ""), Ok(DeleteOutcome::Deleted));
        assert_eq!(read(200, &[], ""), Ok(DeleteOutcome::Deleted));
        assert_eq!(
            read(204, &[("x-amz-delete-marker", "true")], ""),
            Ok(DeleteOutcome::Marked)
        );
        assert_eq!(read(404, &[], ""), Ok(DeleteOutcome::Missing));
        assert_eq!(
            read(404, &[], &error_body("NoSuchKey")),
            Ok(DeleteOutcome::Missing)
        );
        assert!(read(404, &[], &error_body("NoSuchBucket")).is_err());
        assert!(read(404, &[], "<html>not found</html>").is_err());
        assert!(read(403, &[], &error_body("AccessDenied")).is_err());
        // An error after the status line was sent leaves it open whether it was done.
        let late = read(200, &[], &error_body("InternalError")).unwrap_err();
        assert!(late.unresolved);
    }
}

//! Deleting with exactly one attempt, and saying precisely what is known afterwards.
//!
//! A delete whose answer was lost may be carried out later, when the object has been uploaded
//! again. Garbage collection keeps a journal of what it sends and puts such keys under quarantine;
//! for that it must know of each attempt whether its outcome is definite. Only a complete answer
//! makes it so: a 200 with a closed result, or a 4xx other than 408. Everything else once a byte
//! may have left is unresolved, 5xx of every kind included.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt, stream};

use super::delete::{DeleteOutcome, MAX_DELETE_KEYS, error_code, markers, read_batch, read_delete};
use crate::client::S3Client;
use crate::error::{S3Error, S3ErrorKind, Subject};
use crate::key::ObjectKey;
use crate::operation::{OpClass, Operation};
use crate::retry::RetryPolicy;
use crate::xml::{DeleteEntry, DeleteResult};

/// What is known of one key after the attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOutcome {
    /// Definite: it is deleted, or was not there.
    Deleted,
    /// Definite: the server will not do it (denied, retention lock, …).
    Refused {
        /// S3 error code.
        code: String,
        /// In words.
        message: String,
    },
    /// Definite: it was not done, and another attempt may succeed.
    Retryable {
        /// S3 error code, or a word for what happened.
        code: String,
        /// In words.
        message: String,
    },
    /// It may have been done, or may still be.
    Unresolved {
        /// In words.
        reason: String,
    },
}

impl KeyOutcome {
    /// Whether the outcome is known.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        !matches!(self, Self::Unresolved { .. })
    }
}

/// The outcome of [`S3Client::delete_objects_attempt`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct DeleteAttempt {
    /// One outcome per key, in the order of the keys.
    pub outcomes: Vec<KeyOutcome>,
    /// Delete markers that the server reported instead of deletions.
    pub delete_markers: u64,
    /// The error of the request as a whole (or of the first one), for the log.
    pub error: Option<S3Error>,
}

impl DeleteAttempt {
    /// Whether the outcome of every key is known.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        self.outcomes.iter().all(KeyOutcome::is_definite)
    }
}

/// Codes with which a server says of a key that it will not do it. Anything else could be the
/// server's own trouble, with the deletion still to come.
fn is_definite_refusal(code: &str) -> bool {
    matches!(
        code,
        "AccessDenied"
            | "AccountProblem"
            | "AllAccessDisabled"
            | "InvalidAccessKeyId"
            | "InvalidArgument"
            | "InvalidObjectState"
            | "InvalidRequest"
            | "KeyTooLongError"
            | "MalformedXML"
            | "MethodNotAllowed"
            | "NoSuchBucket"
            | "NoSuchVersion"
            | "ObjectLocked"
            | "ObjectLockConfigurationNotFoundError"
            | "PreconditionFailed"
            | "UserKeyMustBeSpecified"
            | "InvalidRetentionPeriod"
    )
}

/// The outcome that the failure of a whole request has for each of its keys.
fn of_failed_request(error: &S3Error) -> KeyOutcome {
    let message = error.to_string();
    if error.may_have_been_applied() {
        return KeyOutcome::Unresolved { reason: message };
    }
    let code = error_code(error);
    // Nothing left this machine, or the server denies it for a reason that can pass.
    let passing = matches!(
        error.kind(),
        S3ErrorKind::Connect { .. }
            | S3ErrorKind::Timeout { .. }
            | S3ErrorKind::Disconnected { .. }
            | S3ErrorKind::Throttled { .. }
            | S3ErrorKind::Server { .. }
            | S3ErrorKind::Conflict { .. }
            | S3ErrorKind::Protocol(_)
            | S3ErrorKind::Aborted
    );
    let skewed = code == "RequestTimeTooSkewed";
    if passing || skewed {
        KeyOutcome::Retryable { code, message }
    } else {
        KeyOutcome::Refused { code, message }
    }
}

/// The outcome that an error about one key stands for.
fn of_entry(entry: &DeleteEntry) -> KeyOutcome {
    let (code, message) = (entry.code.clone(), entry.message.clone());
    match code.as_str() {
        "NoSuchKey" => KeyOutcome::Deleted,
        known if is_definite_refusal(known) => KeyOutcome::Refused { code, message },
        _ => KeyOutcome::Unresolved {
            reason: format!("{code}: {message}"),
        },
    }
}

/// The outcome of each key of an answered batch.
fn of_answer(keys: &[ObjectKey], result: &DeleteResult) -> Vec<KeyOutcome> {
    let asked: HashSet<&str> = keys.iter().map(ObjectKey::as_str).collect();
    let mut errors: HashMap<&str, KeyOutcome> = HashMap::new();
    let mut stray = None;
    for entry in &result.errors {
        match entry.key.as_deref().filter(|key| asked.contains(key)) {
            // Two errors about one key: the one that leaves it open counts.
            Some(key) if errors.get(key).is_none_or(KeyOutcome::is_definite) => {
                errors.insert(key, of_entry(entry));
            }
            Some(_) => {}
            None => stray = Some(entry),
        }
    }
    let outcome = |key: &ObjectKey| match (errors.get(key.as_str()), stray) {
        (Some(outcome), _) => outcome.clone(),
        (None, None) => KeyOutcome::Deleted,
        // An error that cannot be attributed could be about any key that has none of its own.
        (None, Some(entry)) => KeyOutcome::Unresolved {
            reason: format!("the answer has an error about no key sent: {}", entry.code),
        },
    };
    keys.iter().map(outcome).collect()
}

impl S3Client {
    /// Sends one request to delete up to 1000 objects, never repeats it, and reports what is known
    /// of each key (with the quirk for single deletes: one request per key, in parallel).
    ///
    /// Uses a connection that was open before only if it was busy a moment ago, since a stale one
    /// would leave the outcome open.
    pub async fn delete_objects_attempt(&self, keys: &[ObjectKey]) -> DeleteAttempt {
        if keys.is_empty() {
            return DeleteAttempt::default();
        }
        let client = self
            .with_retry(RetryPolicy {
                max_attempts: 1,
                ..self.policy
            })
            .prefer_fresh();
        if keys.len() > MAX_DELETE_KEYS {
            let text = format!(
                "{} keys in one request, {MAX_DELETE_KEYS} are allowed",
                keys.len()
            );
            let subject = Subject::Keys(keys.len());
            let kind = S3ErrorKind::Config(text);
            let error = self.local_error(Operation::DeleteObjects, subject, kind);
            return failed(keys, error);
        }
        if self.quirks().delete_one_by_one {
            return client.attempt_one_by_one(keys).await;
        }
        client.delete_batch_attempt(keys).await
    }

    /// One request for all keys, whatever the quirks say.
    pub(crate) async fn delete_batch_attempt(&self, keys: &[ObjectKey]) -> DeleteAttempt {
        match self.run(self.batch_draft(keys).await, read_batch).await {
            Ok(result) => DeleteAttempt {
                outcomes: of_answer(keys, &result),
                delete_markers: markers(&result),
                error: None,
            },
            Err(error) => failed(keys, error),
        }
    }

    async fn attempt_one_by_one(&self, keys: &[ObjectKey]) -> DeleteAttempt {
        // Owned keys: futures over borrowed ones are not `Send` in the eyes of the compiler.
        let requests = keys.iter().cloned().map(|key| async move {
            self.run(
                self.request(Operation::DeleteObject, Some(&key)),
                read_delete,
            )
            .await
        });
        let results: Vec<_> = stream::iter(requests)
            .buffered(self.concurrency(OpClass::Delete))
            .collect()
            .await;
        let mut attempt = DeleteAttempt::default();
        for result in results {
            let outcome = match result {
                Ok(outcome) => {
                    attempt.delete_markers += u64::from(outcome == DeleteOutcome::Marked);
                    KeyOutcome::Deleted
                }
                Err(error) => {
                    let outcome = of_failed_request(&error);
                    attempt.error.get_or_insert(error);
                    outcome
                }
            };
            attempt.outcomes.push(outcome);
        }
        attempt
    }
}

fn failed(keys: &[ObjectKey], error: S3Error) -> DeleteAttempt {
    DeleteAttempt {
        outcomes: vec![of_failed_request(&error); keys.len()],
        delete_markers: 0,
        error: Some(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::tests::response;

    fn keys(names: &[&str]) -> Vec<ObjectKey> {
        names
            .iter()
            .map(|name| ObjectKey::new(*name).unwrap())
            .collect()
    }

    fn outcomes(names: &[&str], errors: &str) -> Vec<KeyOutcome> {
        let xml = format!("<DeleteResult>{errors}</DeleteResult>");
        of_answer(
            &keys(names),
            &read_batch(&response(200, &[], &xml)).unwrap(),
        )
    }

    #[test]
    fn silence_means_deleted_and_codes_decide() {
        assert_eq!(
            outcomes(&["a", "b"], ""),
            [KeyOutcome::Deleted, KeyOutcome::Deleted]
        );
        let error = |code: &str| format!("<Error><Key>a</Key><Code>{code}</Code></Error>");
        assert_eq!(outcomes(&["a"], &error("NoSuchKey")), [KeyOutcome::Deleted]);
        assert!(matches!(
            outcomes(&["a"], &error("AccessDenied"))[..],
            [KeyOutcome::Refused { .. }]
        ));
        for code in [
            "InternalError",
            "SlowDown",
            "ServiceUnavailable",
            "SomethingNew",
            "",
        ] {
            assert!(
                matches!(
                    outcomes(&["a"], &error(code))[..],
                    [KeyOutcome::Unresolved { .. }]
                ),
                "{code}"
            );
        }
    }

    #[test]
    fn of_two_errors_about_a_key_the_open_one_counts() {
        let error = |code: &str| format!("<Error><Key>a</Key><Code>{code}</Code></Error>");
        let (open, definite) = (error("InternalError"), error("AccessDenied"));
        for both in [format!("{open}{definite}"), format!("{definite}{open}")] {
            assert!(!outcomes(&["a"], &both)[0].is_definite(), "{both}");
        }
        // A key that was named twice has the same outcome twice.
        let twice = outcomes(&["a", "a"], &definite);
        assert!(matches!(
            twice[..],
            [KeyOutcome::Refused { .. }, KeyOutcome::Refused { .. }]
        ));
    }

    #[test]
    fn an_error_that_belongs_to_no_key_leaves_all_open() {
        for stray in [
            "<Error><Code>AccessDenied</Code></Error>",
            "<Error><Key>zzz</Key><Code>AccessDenied</Code></Error>",
        ] {
            let both = outcomes(&["a", "b"], stray);
            assert!(
                both.iter().all(|outcome| !outcome.is_definite()),
                "{both:?}"
            );
        }
    }
}

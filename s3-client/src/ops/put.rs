//! Uploads: create-only or replacing, with the answers 412 and 409 and the check of the ETag.

use std::time::Duration;

use bytes::Bytes;

use super::answered::Answered;
use super::object::{ETag, HeadAnswer, encrypted_by_server, subject};
use crate::body::Body;
use crate::classify::{Failure, RetryClass, failure_of};
use crate::client::S3Client;
use crate::error::{S3Error, S3ErrorKind};
use crate::key::ObjectKey;
use crate::operation::Operation;
use crate::transport::Response;

/// What to do about an object that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// Leave it and answer [`PutOutcome::AlreadyExists`]. For content-addressed objects, where
    /// overwriting is harmless: after repeated conflicts (409), and on providers without
    /// conditional uploads, the last attempt is unconditional.
    CreateOnly,
    /// As `CreateOnly`, but repeated conflicts are an error, never an overwrite.
    CreateExclusive,
    /// Overwrite it.
    Replace,
}

/// How to upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutOptions {
    /// What to do about an object that is there already.
    pub mode: PutMode,
    /// Send the storage class configured for the endpoint (it is meant for chunks).
    pub storage_class: bool,
}

impl PutOptions {
    /// The upload of a chunk: with the endpoint's storage class.
    #[must_use]
    pub fn chunk(mode: PutMode) -> Self {
        Self {
            mode,
            storage_class: true,
        }
    }
}

impl From<PutMode> for PutOptions {
    fn from(mode: PutMode) -> Self {
        Self {
            mode,
            storage_class: false,
        }
    }
}

/// What an upload came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object was created.
    Created {
        /// Its tag.
        etag: Option<ETag>,
        /// The bucket keeps versions: what is deleted or overwritten still costs space.
        versioned: bool,
    },
    /// The object was written, whatever was there before.
    Replaced {
        /// Its tag.
        etag: Option<ETag>,
        /// The bucket keeps versions: what is deleted or overwritten still costs space.
        versioned: bool,
    },
    /// An object is there and was left alone. It may be our own, from an attempt whose answer was
    /// lost; and it is only a claim: whether it is the same content has to be checked.
    AlreadyExists,
}

/// Rounds for conflicts and damaged uploads, each with its own retries of transport trouble.
const ROUNDS: u32 = 4;
const CONFLICT_PAUSE: Duration = Duration::from_millis(50);
const CONFLICT_JITTER: Duration = Duration::from_millis(350);

/// One answer to a PUT.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Stored {
        etag: Option<ETag>,
        versioned: bool,
    },
    /// The tag says that something else was stored.
    Damaged(ETag),
    Exists,
    Conflict(Box<Failure>),
}

fn read_answer(
    response: &Response,
    conditional: bool,
    md5: Option<[u8; 16]>,
) -> Result<Answer, Failure> {
    if response.is_success() {
        if let Ok(error) = crate::xml::parse_error(&response.body) {
            let error = crate::xml::XmlError::Error(Box::new(error));
            return Err(crate::classify::bad_document(
                Operation::PutObject,
                response,
                &error,
            ));
        }
        let etag = response.header("etag").map(ETag::new);
        let stored = etag
            .as_ref()
            .and_then(ETag::md5)
            .filter(|_| !encrypted_by_server(response));
        return Ok(match (stored, md5, etag) {
            (Some(stored), Some(ours), Some(etag)) if stored != ours => Answer::Damaged(etag),
            (_, _, etag) => Answer::Stored {
                etag,
                versioned: super::object::version_id(response).is_some(),
            },
        });
    }
    let failure = failure_of(Operation::PutObject, response);
    match failure.kind {
        S3ErrorKind::PreconditionFailed if conditional => Ok(Answer::Exists),
        S3ErrorKind::Conflict { .. } => Ok(Answer::Conflict(Box::new(failure))),
        _ => Err(failure),
    }
}

impl S3Client {
    /// Uploads an object.
    ///
    /// # Errors
    /// As all requests do. After an error with [`S3Error::may_have_been_applied`] the object may
    /// exist, or may still appear.
    pub async fn put_object(
        &self,
        key: &ObjectKey,
        body: Bytes,
        options: impl Into<PutOptions>,
    ) -> Result<Answered<PutOutcome>, S3Error> {
        let options = options.into();
        let body = self.body(body).await;
        let mut unresolved = 0;
        match self.put_rounds(key, &body, &options, &mut unresolved).await {
            Ok(outcome) => Ok(Answered {
                outcome,
                unresolved,
            }),
            Err(error) => Err(error.after_unresolved(unresolved)),
        }
    }

    /// Repeats the upload as its answers demand. `unresolved` counts attempts that may have
    /// written something although they were not a success.
    async fn put_rounds(
        &self,
        key: &ObjectKey,
        body: &Body,
        options: &PutOptions,
        unresolved: &mut u32,
    ) -> Result<PutOutcome, S3Error> {
        let quirks = self.quirks();
        let creates = options.mode != PutMode::Replace;
        let mut conditional = creates && !quirks.skip_if_none_match;
        if creates
            && (quirks.skip_if_none_match || quirks.head_before_put)
            && self.is_there(key).await?
        {
            return Ok(PutOutcome::AlreadyExists);
        }
        let rounds = ROUNDS.min(self.policy.max_attempts);
        let mut round = 1;
        loop {
            let answer = self.put_noting(key, body, conditional, options).await?;
            *unresolved = unresolved.saturating_add(answer.unresolved);
            let failure = match answer.outcome {
                Answer::Stored { etag, versioned } if creates => {
                    return Ok(PutOutcome::Created { etag, versioned });
                }
                Answer::Stored { etag, versioned } => {
                    return Ok(PutOutcome::Replaced { etag, versioned });
                }
                Answer::Exists => return Ok(PutOutcome::AlreadyExists),
                Answer::Damaged(etag) => {
                    // What is there now is ours and wrong: overwrite it.
                    conditional = false;
                    *unresolved = unresolved.saturating_add(1);
                    damaged(&etag)
                }
                Answer::Conflict(failure) => *failure,
            };
            if round >= rounds {
                return Err(self.local_error(Operation::PutObject, subject(key), failure.kind));
            }
            let pause = CONFLICT_PAUSE + self.core.env.jitter(CONFLICT_JITTER);
            self.pause(Operation::PutObject, &subject(key), pause)
                .await?;
            round += 1;
            if conditional {
                if self.is_there(key).await? {
                    return Ok(PutOutcome::AlreadyExists);
                }
                conditional = options.mode == PutMode::CreateExclusive || round < rounds;
            }
        }
    }

    /// Whether HEAD finds it; enough here, since a PUT follows if not.
    async fn is_there(&self, key: &ObjectKey) -> Result<bool, S3Error> {
        Ok(self.head_candidate(key).await? != HeadAnswer::AbsentCandidate)
    }

    /// One PUT with its retries, and what the answer is.
    pub(crate) async fn put_once(
        &self,
        key: &ObjectKey,
        body: &Body,
        conditional: bool,
        options: &PutOptions,
    ) -> Result<Answer, S3Error> {
        let answer = self.put_noting(key, body, conditional, options).await?;
        Ok(answer.outcome)
    }

    /// The same, with what the attempts before the answer left open.
    async fn put_noting(
        &self,
        key: &ObjectKey,
        body: &Body,
        conditional: bool,
        options: &PutOptions,
    ) -> Result<Answered<Answer>, S3Error> {
        let mut draft = self
            .request(Operation::PutObject, Some(key))
            .header("content-type", "application/octet-stream")
            .body(body.clone());
        if conditional {
            draft = draft.header("if-none-match", "*");
        }
        if let Some(class) = &self.core.endpoint.storage_class
            && options.storage_class
        {
            draft = draft.header("x-amz-storage-class", class.as_str());
        }
        let md5 = body.md5;
        self.run_noting(draft, move |response| {
            read_answer(response, conditional, md5)
        })
        .await
    }
}

fn damaged(etag: &ETag) -> Failure {
    Failure {
        kind: S3ErrorKind::Protocol(format!(
            "the server stored something else than was sent: its etag {etag} is not our md5"
        )),
        retry: RetryClass::Never,
        unresolved: false,
        retry_after: None,
        request_id: None,
        body_excerpt: None,
        stale_connection: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::tests::{error_body, response};

    const MD5: &str = "\"74f3b4f2f0b11989aa0cb21ac399eddd\"";

    fn md5() -> Option<[u8; 16]> {
        crate::body::md5(b"chunk-bytes")
    }

    #[test]
    fn a_200_may_have_a_body_and_no_etag() {
        assert_eq!(
            read_answer(&response(200, &[], ""), true, md5()),
            Ok(Answer::Stored {
                etag: None,
                versioned: false
            })
        );
        let with_body = response(200, &[("etag", MD5)], "<Ok/>");
        let stored = Answer::Stored {
            etag: Some(ETag::new(MD5)),
            versioned: false,
        };
        assert_eq!(read_answer(&with_body, true, md5()), Ok(stored));
    }

    #[test]
    fn an_error_in_a_200_is_an_error() {
        let answer = response(200, &[], &error_body("InternalError"));
        let failure = read_answer(&answer, true, md5()).unwrap_err();
        assert_eq!(
            (failure.retry, failure.unresolved),
            (RetryClass::Transient, true)
        );
    }

    #[test]
    fn another_md5_means_damage_unless_the_server_encrypts() {
        let other = "\"d41d8cd98f00b204e9800998ecf8427e\"";
        let damaged = read_answer(&response(200, &[("etag", other)], ""), true, md5()).unwrap();
        assert_eq!(damaged, Answer::Damaged(ETag::new(other)));
        for header in [
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ] {
            let answer = response(200, &[("etag", other), header], "");
            assert!(matches!(
                read_answer(&answer, true, md5()),
                Ok(Answer::Stored { .. })
            ));
        }
        // Not of the form of an MD5, or no MD5 of our own.
        for (etag, md5) in [("\"x-1\"", md5()), (other, None)] {
            let answer = response(200, &[("etag", etag)], "");
            assert!(matches!(
                read_answer(&answer, true, md5),
                Ok(Answer::Stored { .. })
            ));
        }
    }

    #[test]
    fn what_412_and_409_mean() {
        let precondition = response(412, &[], &error_body("PreconditionFailed"));
        assert_eq!(read_answer(&precondition, true, md5()), Ok(Answer::Exists));
        assert!(read_answer(&precondition, false, md5()).is_err());
        for code in ["ConditionalRequestConflict", "OperationAborted"] {
            let conflict = response(409, &[], &error_body(code));
            assert!(matches!(
                read_answer(&conflict, true, md5()),
                Ok(Answer::Conflict(_))
            ));
        }
    }
}

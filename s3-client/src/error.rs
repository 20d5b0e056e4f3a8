//! What can go wrong, named by meaning, with what was attempted on what.

use std::fmt;
use std::time::Duration;

use crate::key::KeyError;
use crate::operation::Operation;

/// Where in an attempt a timeout struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Name resolution, TCP, proxy and TLS handshake.
    Connect,
    /// Waiting for the response headers after the request was sent.
    Headers,
    /// No progress while sending or receiving.
    Stall,
    /// The deadline over all attempts.
    Deadline,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "while connecting",
            Self::Headers => "waiting for the response",
            Self::Stall => "because the transfer stalled",
            Self::Deadline => "at the overall deadline",
        })
    }
}

/// The kinds of failure.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum S3ErrorKind {
    /// Bad endpoint, key, bucket or option; nothing was sent.
    Config(String),
    /// DNS, TCP, proxy, TLS or fingerprint.
    Connect {
        /// Host and port.
        target: String,
        /// What failed.
        cause: String,
        /// Whether trying again can help (not so for a certificate that does not match).
        retryable: bool,
    },
    /// No answer in time.
    Timeout {
        /// Where it struck.
        phase: Phase,
    },
    /// The connection broke before the answer was complete.
    Disconnected {
        /// What happened.
        cause: String,
    },
    /// 429, 503, `SlowDown`.
    Throttled {
        /// HTTP status.
        status: u16,
        /// S3 error code, empty if the answer had none.
        code: String,
        /// Pause the server asked for.
        retry_after: Option<Duration>,
    },
    /// Another failure of the server.
    Server {
        /// HTTP status.
        status: u16,
        /// S3 error code, empty if the answer had none.
        code: String,
        /// Message of the server.
        message: String,
    },
    /// 401 or 403: permissions, credentials, clock, account, archived object.
    Denied {
        /// S3 error code, empty if the answer had none.
        code: String,
        /// Message of the server.
        message: String,
    },
    /// The bucket does not exist (or may not be seen).
    NoSuchBucket,
    /// The object was proven not to exist, where its absence is an error.
    NoSuchKey,
    /// The bucket lives in another region.
    WrongRegion {
        /// The region the server named.
        expected: String,
    },
    /// 412 where it has no meaning of its own.
    PreconditionFailed,
    /// 409: a concurrent operation on the same key.
    Conflict {
        /// S3 error code.
        code: String,
    },
    /// 501.
    NotImplemented {
        /// The header the server named.
        header: Option<String>,
        /// The quirk to set.
        hint: Option<&'static str>,
    },
    /// Another 4xx.
    InvalidRequest {
        /// HTTP status.
        status: u16,
        /// S3 error code, empty if the answer had none.
        code: String,
        /// Message of the server.
        message: String,
    },
    /// An answer that cannot be right: unparsable, wrong length, wrong digest.
    Protocol(String),
    /// The answer, or the object in it, is longer than what was asked for can be. Asking again
    /// brings the same.
    TooLarge {
        /// The longest that would have been taken, in bytes.
        limit: usize,
    },
    /// The answer was lost: the change may have been applied, or may still be.
    Ambiguous {
        /// Number of keys concerned.
        keys: usize,
        /// How the answer was lost.
        cause: String,
    },
    /// The task was aborted.
    Aborted,
}

impl fmt::Display for S3ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(text) => f.write_str(text),
            Self::Connect { target, cause, .. } => write!(f, "cannot connect to {target}: {cause}"),
            Self::Timeout { phase } => write!(f, "timed out {phase}"),
            Self::Disconnected { cause } => write!(f, "the connection broke: {cause}"),
            Self::Throttled { status, code, .. } => {
                write!(f, "the server asks to slow down (status {status}")?;
                with_code(f, code)?;
                f.write_str("); lower the concurrency or the rate limit of the endpoint")
            }
            Self::Server {
                status,
                code,
                message,
            } => {
                write!(f, "the server failed (status {status}")?;
                with_code(f, code)?;
                f.write_str(")")?;
                with_message(f, message)
            }
            Self::Denied { code, message } => {
                f.write_str("access denied")?;
                if !code.is_empty() {
                    write!(f, " ({code})")?;
                }
                with_message(f, message)?;
                f.write_str(denied_hint(code))
            }
            Self::NoSuchBucket => f.write_str(
                "the bucket does not exist or may not be accessed; check bucket name, region, \
                 path-style and the permissions of the access key",
            ),
            Self::NoSuchKey => f.write_str("the object does not exist"),
            Self::WrongRegion { expected } => {
                write!(
                    f,
                    "the bucket is in region {expected:?}; set it in the endpoint"
                )
            }
            Self::PreconditionFailed => f.write_str("the server says a precondition failed (412)"),
            Self::Conflict { code } => {
                f.write_str("a concurrent operation on the same object is in the way (status 409")?;
                with_code(f, code)?;
                f.write_str("); try again")
            }
            Self::NotImplemented { header, hint } => {
                f.write_str("the server does not implement this request")?;
                if let Some(header) = header {
                    write!(f, " (header {header})")?;
                }
                match hint {
                    Some(quirk) => write!(f, "; set the provider quirk {quirk}"),
                    None => Ok(()),
                }
            }
            Self::InvalidRequest {
                status,
                code,
                message,
            } => {
                write!(f, "the server rejects the request (status {status}")?;
                with_code(f, code)?;
                f.write_str(")")?;
                with_message(f, message)
            }
            Self::Protocol(text) => write!(f, "unusable answer: {text}"),
            Self::TooLarge { limit } => write!(
                f,
                "the answer is larger than {limit} bytes, which this can never be"
            ),
            Self::Ambiguous { cause, .. } => {
                write!(
                    f,
                    "the outcome is unknown, the change may still be applied: {cause}"
                )
            }
            Self::Aborted => f.write_str("aborted"),
        }
    }
}

fn with_code(f: &mut fmt::Formatter<'_>, code: &str) -> fmt::Result {
    if code.is_empty() {
        Ok(())
    } else {
        write!(f, ", {code}")
    }
}

fn with_message(f: &mut fmt::Formatter<'_>, message: &str) -> fmt::Result {
    if message.is_empty() {
        Ok(())
    } else {
        write!(f, ": {message}")
    }
}

fn denied_hint(code: &str) -> &'static str {
    match code {
        "" => "; check access key, secret key, region and permissions",
        "SignatureDoesNotMatch" => "; check the secret key and the region",
        "InvalidAccessKeyId" => "; check the access key",
        "RequestTimeTooSkewed" => "; set the clock of this machine",
        "InvalidObjectState" => {
            "; the object is in an archive storage class, which is not supported: restore it first"
        }
        _ => "",
    }
}

/// What a request was about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Subject {
    /// The endpoint or bucket as a whole.
    #[default]
    Whole,
    /// One object.
    Key(String),
    /// The objects below a prefix.
    Prefix(String),
    /// A number of objects.
    Keys(usize),
}

/// What was attempted, on what, how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorContext {
    /// The operation; `None` if the error came before one was chosen.
    pub operation: Option<Operation>,
    /// Id of the endpoint.
    pub endpoint: String,
    /// The bucket, if one was addressed.
    pub bucket: Option<String>,
    /// Key, prefix or number of keys.
    pub subject: Subject,
    /// Attempts made.
    pub attempts: u32,
    /// Attempts of a changing operation whose effect is unknown.
    pub unresolved_attempts: u32,
    /// `x-amz-request-id` of the last answer.
    pub request_id: Option<String>,
    /// The first KiB of the last error body.
    pub body_excerpt: Option<String>,
}

/// An error of this crate: a kind and its context.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Error(Box<(S3ErrorKind, ErrorContext)>);

impl S3Error {
    pub(crate) fn new(kind: S3ErrorKind, context: ErrorContext) -> Self {
        Self(Box::new((kind, context)))
    }

    pub(crate) fn config(text: impl Into<String>) -> Self {
        Self::new(S3ErrorKind::Config(text.into()), ErrorContext::default())
    }

    /// The same error after `attempts` more whose effect is unknown.
    pub(crate) fn after_unresolved(mut self, attempts: u32) -> Self {
        self.0.1.unresolved_attempts = self.0.1.unresolved_attempts.saturating_add(attempts);
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> &S3ErrorKind {
        &self.0.0
    }

    /// What was attempted, on what.
    #[must_use]
    pub fn context(&self) -> &ErrorContext {
        &self.0.1
    }

    /// Trouble of transport or server that may be over on another try; never a statement about
    /// the object's content or existence.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.kind() {
            S3ErrorKind::Connect { retryable, .. } => *retryable,
            S3ErrorKind::Timeout { .. }
            | S3ErrorKind::Disconnected { .. }
            | S3ErrorKind::Throttled { .. }
            | S3ErrorKind::Server { .. }
            | S3ErrorKind::Conflict { .. }
            | S3ErrorKind::Protocol(_)
            | S3ErrorKind::Ambiguous { .. } => true,
            _ => false,
        }
    }

    /// Whether this error proves that the object does not exist.
    #[must_use]
    pub fn is_absent_proof(&self) -> bool {
        matches!(self.kind(), S3ErrorKind::NoSuchKey)
    }

    /// Whether the attempted change may have been applied, or may still be.
    #[must_use]
    pub fn may_have_been_applied(&self) -> bool {
        self.context().unresolved_attempts > 0
    }

    /// Whether the object ends before the range that was asked for.
    #[must_use]
    pub fn is_out_of_range(&self) -> bool {
        matches!(self.kind(), S3ErrorKind::InvalidRequest { status: 416, .. })
    }

    /// Whether the object is longer than what was asked for can be.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        matches!(self.kind(), S3ErrorKind::TooLarge { .. })
    }

    /// Whether the task was aborted.
    #[must_use]
    pub fn is_aborted(&self) -> bool {
        matches!(self.kind(), S3ErrorKind::Aborted)
    }

    /// The S3 error code the server gave, if any.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        let code = match self.kind() {
            S3ErrorKind::Throttled { code, .. }
            | S3ErrorKind::Server { code, .. }
            | S3ErrorKind::Denied { code, .. }
            | S3ErrorKind::Conflict { code }
            | S3ErrorKind::InvalidRequest { code, .. } => code.as_str(),
            S3ErrorKind::NoSuchBucket => "NoSuchBucket",
            S3ErrorKind::NoSuchKey => "NoSuchKey",
            _ => "",
        };
        Some(code).filter(|code| !code.is_empty())
    }
}

impl From<KeyError> for S3Error {
    fn from(error: KeyError) -> Self {
        Self::config(error.to_string())
    }
}

impl std::error::Error for S3Error {}

impl fmt::Display for S3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let context = self.context();
        if let Some(operation) = context.operation {
            write!(f, "{operation}")?;
            match &context.subject {
                Subject::Whole => {}
                Subject::Key(key) => write!(f, " {key:?}")?,
                Subject::Prefix(prefix) => write!(f, " below {prefix:?}")?,
                Subject::Keys(count) => write!(f, " ({count} keys)")?,
            }
            if let Some(bucket) = &context.bucket {
                write!(f, " in bucket {bucket:?}")?;
            }
            if !context.endpoint.is_empty() {
                write!(f, " of endpoint {:?}", context.endpoint)?;
            }
            f.write_str(": ")?;
        }
        write!(f, "{}", self.kind())?;
        if context.attempts > 1 {
            write!(f, " (after {} attempts)", context.attempts)?;
        }
        if let Some(id) = &context.request_id {
            write!(f, " [request id {id}]")?;
        }
        Ok(())
    }
}

impl fmt::Debug for S3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Error")
            .field("kind", self.kind())
            .field("context", self.context())
            .finish()
    }
}

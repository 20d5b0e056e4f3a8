//! What an answer means: pure functions from status, headers and body to a [`Failure`].

use std::time::Duration;

use crate::error::S3ErrorKind;
use crate::operation::Operation;
use crate::timestamp::parse_http_date;
use crate::transport::{Response, TransportError, TransportErrorKind};
use crate::xml::{ErrorDocument, XmlError, parse_error};

/// Whether and how another attempt can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryClass {
    /// It cannot.
    Never,
    /// After a pause.
    Transient,
    /// After a pause, and with less load.
    Throttle,
    /// Once, signed with the server's time.
    ClockSkew,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong.
    pub kind: S3ErrorKind,
    /// Whether another attempt can help.
    pub retry: RetryClass,
    /// A changing request may have been applied, or may still be: anything but a complete answer
    /// that denies it.
    pub unresolved: bool,
    /// Pause the server asked for.
    pub retry_after: Option<Duration>,
    /// The server's request id.
    pub request_id: Option<Box<str>>,
    /// The first KiB of an error body.
    pub body_excerpt: Option<Box<str>>,
    /// The connection was stale: the first retry needs no pause.
    pub stale_connection: bool,
}

const EXCERPT: usize = 1024;
/// Longest message taken over into an error.
const MAX_MESSAGE: usize = 300;

fn excerpt(body: &[u8]) -> Option<Box<str>> {
    let start = &body[..body.len().min(EXCERPT)];
    if start.is_empty() {
        None
    } else {
        Some(String::from_utf8_lossy(start).into())
    }
}

fn shorten(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(MAX_MESSAGE)
        .collect()
}

/// Codes with which a server says that it is too busy.
#[must_use]
pub fn is_throttle(status: u16, code: &str) -> bool {
    matches!(status, 429 | 503)
        || code == "SlowDown"
        || code == "TooManyRequests"
        || code == "ServiceUnavailable"
        || code == "RequestLimitExceeded"
        || code.starts_with("Throttling")
}

/// Codes with which a server says that it failed itself.
#[must_use]
pub fn is_server_side(code: &str) -> bool {
    is_throttle(0, code)
        || matches!(
            code,
            "InternalError" | "RequestTimeout" | "OperationAborted"
        )
}

/// Whether an answer asks to slow down; for the adaptive concurrency and the counters.
#[must_use]
pub fn asks_to_slow_down(response: &Response) -> bool {
    if response.is_success() {
        return false;
    }
    let code = parse_error(&response.body)
        .map(|error| error.code)
        .unwrap_or_default();
    is_throttle(response.status, &code)
}

fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.header("retry-after")?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let wait = parse_http_date(value)?.checked_sub(response.server_date()?)?;
    Some(Duration::from_secs(u64::try_from(wait).unwrap_or(0)))
}

/// The region a redirect or a malformed authorisation points to.
fn other_region(response: &Response, error: &ErrorDocument) -> Option<String> {
    let redirect = matches!(response.status, 301 | 302 | 307 | 308);
    let wrong = error.code == "AuthorizationHeaderMalformed"
        || error.code == "PermanentRedirect"
        || error.code == "IllegalLocationConstraintException";
    let bare_head = response.status == 400 && response.body.is_empty();
    if !(redirect || wrong || bare_head) {
        return None;
    }
    let region = response.header("x-amz-bucket-region").map(str::to_owned);
    region
        .or_else(|| error.region.clone())
        .map(|region| shorten(&region))
}

/// The failure that an answer other than 2xx stands for.
#[must_use]
pub fn failure_of(operation: Operation, response: &Response) -> Failure {
    let parsed = parse_error(&response.body).ok();
    let has_document = parsed.is_some();
    let error = parsed.unwrap_or_default();
    let (kind, retry) = kind_of(operation, response, &error, has_document);
    Failure {
        kind,
        retry,
        unresolved: !(400..500).contains(&response.status) || response.status == 408,
        retry_after: retry_after(response),
        request_id: request_id(response)
            .or_else(|| error.request_id.as_deref().map(|id| shorten(id).into())),
        body_excerpt: excerpt(&response.body),
        stale_connection: false,
    }
}

fn request_id(response: &Response) -> Option<Box<str>> {
    response
        .header("x-amz-request-id")
        .map(|id| shorten(id).into())
}

fn kind_of(
    operation: Operation,
    response: &Response,
    error: &ErrorDocument,
    has_document: bool,
) -> (S3ErrorKind, RetryClass) {
    use RetryClass::{ClockSkew, Never, Throttle, Transient};
    let status = response.status;
    let code = shorten(&error.code);
    let message = shorten(&error.message);
    if let Some(expected) = other_region(response, error) {
        return (S3ErrorKind::WrongRegion { expected }, Never);
    }
    if is_throttle(status, &code) {
        let retry_after = retry_after(response);
        return (
            S3ErrorKind::Throttled {
                status,
                code,
                retry_after,
            },
            Throttle,
        );
    }
    match (status, code.as_str()) {
        (_, "NoSuchBucket") => (S3ErrorKind::NoSuchBucket, Never),
        (_, "RequestTimeTooSkewed") => (S3ErrorKind::Denied { code, message }, ClockSkew),
        (_, "BadDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch") => {
            let text = format!("the server received a damaged body ({code}): {message}");
            (S3ErrorKind::Protocol(text), Transient)
        }
        (_, "OperationAborted") => (S3ErrorKind::Conflict { code }, Transient),
        (_, "RequestTimeout" | "InternalError") | (408 | 500 | 502 | 504, _) => (
            S3ErrorKind::Server {
                status,
                code,
                message,
            },
            Transient,
        ),
        (501, _) | (_, "NotImplemented") => {
            let header = error.header.as_deref().map(shorten);
            let hint = quirk_for(operation, header.as_deref());
            (S3ErrorKind::NotImplemented { header, hint }, Never)
        }
        (401 | 403, _) => (S3ErrorKind::Denied { code, message }, Never),
        (404, "NoSuchKey") => (S3ErrorKind::NoSuchKey, Never),
        (404, _) if operation == Operation::HeadBucket => (S3ErrorKind::NoSuchBucket, Never),
        (404, "") if !has_document => {
            let text = "status 404 without an s3 error code: this is not an answer about the \
                        object; check endpoint, path-style and any proxy in between";
            (S3ErrorKind::Protocol(text.to_owned()), Never)
        }
        (409, _) => (S3ErrorKind::Conflict { code }, Never),
        (412, _) => (S3ErrorKind::PreconditionFailed, Never),
        (500.., _) => (
            S3ErrorKind::Server {
                status,
                code,
                message,
            },
            Never,
        ),
        _ => (
            S3ErrorKind::InvalidRequest {
                status,
                code,
                message,
            },
            Never,
        ),
    }
}

fn quirk_for(operation: Operation, header: Option<&str>) -> Option<&'static str> {
    match operation {
        Operation::DeleteObjects => Some("delete-objects-via-delete-object"),
        Operation::PutObject
            if header.is_none_or(|name| name.eq_ignore_ascii_case("if-none-match")) =>
        {
            Some("skip-if-none-match-header")
        }
        _ => None,
    }
}

/// The failure of a 2xx answer whose body is not what it must be.
#[must_use]
pub fn bad_document(operation: Operation, response: &Response, error: &XmlError) -> Failure {
    if let XmlError::Error(document) = error {
        // An error that came after the status line was sent: as if it had its own status.
        let server_side = is_server_side(&document.code);
        let status = if server_side { 500 } else { 400 };
        let late = Response {
            status,
            ..response.clone()
        };
        return Failure {
            unresolved: true,
            ..failure_of(operation, &late)
        };
    }
    Failure {
        kind: S3ErrorKind::Protocol(format!("status {}, but {error}", response.status)),
        retry: RetryClass::Transient,
        unresolved: true,
        retry_after: None,
        request_id: request_id(response),
        body_excerpt: excerpt(&response.body),
        stale_connection: false,
    }
}

/// A failure of our own making about a complete answer.
#[must_use]
pub fn protocol(response: &Response, text: impl Into<String>, retry: RetryClass) -> Failure {
    Failure {
        kind: S3ErrorKind::Protocol(text.into()),
        retry,
        unresolved: true,
        retry_after: None,
        request_id: request_id(response),
        body_excerpt: None,
        stale_connection: false,
    }
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        let (kind, retry) = match error.kind {
            TransportErrorKind::Connect { target, retryable } => {
                let retry = if retryable {
                    RetryClass::Transient
                } else {
                    RetryClass::Never
                };
                (
                    S3ErrorKind::Connect {
                        target,
                        cause: error.message,
                        retryable,
                    },
                    retry,
                )
            }
            TransportErrorKind::Timeout(phase) => {
                (S3ErrorKind::Timeout { phase }, RetryClass::Transient)
            }
            TransportErrorKind::Broken => (
                S3ErrorKind::Disconnected {
                    cause: error.message,
                },
                RetryClass::Transient,
            ),
            TransportErrorKind::TooLarge(limit) => {
                (S3ErrorKind::TooLarge { limit }, RetryClass::Never)
            }
            TransportErrorKind::Invalid => (S3ErrorKind::Config(error.message), RetryClass::Never),
        };
        Self {
            kind,
            retry,
            unresolved: error.may_have_arrived,
            retry_after: None,
            request_id: None,
            body_excerpt: None,
            stale_connection: error.stale_connection,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use hyper::HeaderMap;
    use hyper::header::HeaderValue;

    pub(crate) fn response(status: u16, headers: &[(&'static str, &str)], body: &str) -> Response {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        Response {
            status,
            headers: map,
            body: body.to_owned().into(),
            received_at: None,
        }
    }

    pub(crate) fn error_body(code: &str) -> String {
        format!("<Error><Code>{code}</Code><Message>text</Message></Error>")
    }

    #[test]
    fn retry_table() {
        use RetryClass::{ClockSkew, Never, Throttle, Transient};
        for (status, code, retry, unresolved) in [
            (400, "InvalidArgument", Never, false),
            (400, "BadDigest", Transient, false),
            (400, "XAmzContentSHA256Mismatch", Transient, false),
            (400, "RequestTimeout", Transient, false),
            (401, "", Never, false),
            (403, "AccessDenied", Never, false),
            (403, "RequestTimeTooSkewed", ClockSkew, false),
            (404, "NoSuchBucket", Never, false),
            (404, "NoSuchKey", Never, false),
            (405, "MethodNotAllowed", Never, false),
            (408, "", Transient, true),
            (409, "ConditionalRequestConflict", Never, false),
            (409, "OperationAborted", Transient, false),
            (411, "", Never, false),
            (412, "PreconditionFailed", Never, false),
            (416, "InvalidRange", Never, false),
            (429, "", Throttle, false),
            (400, "ThrottlingException", Throttle, false),
            (500, "InternalError", Transient, true),
            (500, "", Transient, true),
            (501, "NotImplemented", Never, true),
            (502, "", Transient, true),
            (503, "SlowDown", Throttle, true),
            (503, "", Throttle, true),
            (504, "", Transient, true),
            (507, "InsufficientStorage", Never, true),
        ] {
            let body = if code.is_empty() {
                String::new()
            } else {
                error_body(code)
            };
            let failure = failure_of(Operation::PutObject, &response(status, &[], &body));
            assert_eq!(
                (failure.retry, failure.unresolved),
                (retry, unresolved),
                "{status} {code}"
            );
        }
    }

    #[test]
    fn a_404_page_of_somebody_else_is_no_proof_of_absence() {
        for body in [
            "",
            "<html><body>Not Found</body></html>",
            "404 page not found",
        ] {
            let failure = failure_of(Operation::GetObject, &response(404, &[], body));
            assert!(matches!(failure.kind, S3ErrorKind::Protocol(_)), "{body}");
        }
        let failure = failure_of(
            Operation::GetObject,
            &response(404, &[], &error_body("NoSuchKey")),
        );
        assert_eq!(failure.kind, S3ErrorKind::NoSuchKey);
        let odd = failure_of(
            Operation::GetObject,
            &response(404, &[], &error_body("NoSuchVersion")),
        );
        assert!(matches!(
            odd.kind,
            S3ErrorKind::InvalidRequest { status: 404, .. }
        ));
    }

    #[test]
    fn regions_are_named_not_followed() {
        let region = [("x-amz-bucket-region", "eu-central-1")];
        for (status, body) in [(301, ""), (307, ""), (400, "")] {
            let failure = failure_of(Operation::HeadBucket, &response(status, &region, body));
            let expected = S3ErrorKind::WrongRegion {
                expected: "eu-central-1".into(),
            };
            assert_eq!(failure.kind, expected, "{status}");
        }
        let body = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>r2</Region></Error>";
        let failure = failure_of(Operation::PutObject, &response(400, &[], body));
        assert_eq!(
            failure.kind,
            S3ErrorKind::WrongRegion {
                expected: "r2".into()
            }
        );
        let denied = failure_of(Operation::HeadBucket, &response(403, &region, ""));
        assert!(matches!(denied.kind, S3ErrorKind::Denied { .. }));
    }

    #[test]
    fn not_implemented_names_the_quirk() {
        let body = "<Error><Code>NotImplemented</Code><Header>If-None-Match</Header></Error>";
        let failure = failure_of(Operation::PutObject, &response(501, &[], body));
        let S3ErrorKind::NotImplemented { header, hint } = failure.kind else {
            panic!()
        };
        assert_eq!(
            (header.as_deref(), hint),
            (Some("If-None-Match"), Some("skip-if-none-match-header"))
        );
        let failure = failure_of(Operation::DeleteObjects, &response(501, &[], ""));
        assert!(
            failure
                .kind
                .to_string()
                .contains("delete-objects-via-delete-object")
        );
    }

    #[test]
    fn retry_after_in_both_forms() {
        let seconds = response(503, &[("retry-after", "7")], "");
        assert_eq!(retry_after(&seconds), Some(Duration::from_secs(7)));
        let date = [
            ("retry-after", "Fri, 24 May 2013 00:00:30 GMT"),
            ("date", "Fri, 24 May 2013 00:00:10 GMT"),
        ];
        assert_eq!(
            retry_after(&response(503, &date, "")),
            Some(Duration::from_secs(20))
        );
        assert_eq!(
            retry_after(&response(503, &[("retry-after", "soon")], "")),
            None
        );
    }

    #[test]
    fn an_error_inside_a_200_counts_as_one() {
        let answer = response(200, &[], &error_body("SlowDown"));
        let error = crate::xml::parse_delete(&answer.body).unwrap_err();
        let failure = bad_document(Operation::DeleteObjects, &answer, &error);
        assert_eq!(
            (failure.retry, failure.unresolved),
            (RetryClass::Throttle, true)
        );
        let answer = response(200, &[], "<DeleteResult><Er");
        let error = crate::xml::parse_delete(&answer.body).unwrap_err();
        let failure = bad_document(Operation::DeleteObjects, &answer, &error);
        assert_eq!(
            (failure.retry, failure.unresolved),
            (RetryClass::Transient, true)
        );
    }

    #[test]
    fn the_body_is_kept_in_part() {
        let long = "x".repeat(5000);
        let failure = failure_of(Operation::PutObject, &response(400, &[], &long));
        assert_eq!(failure.body_excerpt.map(|text| text.len()), Some(1024));
    }
}

//! Answers: what an operation says, and what a test scripts instead of it.

use bytes::Bytes;

use crate::encoding::xml_escape;
use crate::sigv4::Refusal;

/// What the server wants to say, before faults and headers common to all answers.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// The S3 error code, for the journal.
    pub(crate) code: Option<String>,
}

impl Answer {
    /// An answer without body.
    pub(crate) fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            code: None,
        }
    }

    /// An XML document: the declaration is added here.
    pub(crate) fn xml(status: u16, document: &str) -> Self {
        let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{document}");
        Self::empty(status)
            .header("content-type", "application/xml")
            .body(body.into())
    }

    /// An S3 error document.
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        Self::error_with(status, code, message, &[])
    }

    fn error_with(status: u16, code: &str, message: &str, extra: &[(&str, String)]) -> Self {
        let extra: String = extra
            .iter()
            .map(|(name, text)| format!("<{name}>{}</{name}>", xml_escape(text)))
            .collect();
        let (code_text, message) = (xml_escape(code), xml_escape(message));
        let document = format!(
            "<Error><Code>{code_text}</Code><Message>{message}</Message>{extra}\
             <RequestId>{{request-id}}</RequestId><HostId>mock</HostId></Error>"
        );
        let mut answer = Self::xml(status, &document);
        answer.code = Some(code.to_owned());
        answer
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the body.
    pub(crate) fn body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self::error_with(
            refusal.status,
            refusal.code,
            &refusal.message,
            &refusal.extra,
        )
    }
}

/// A scripted answer.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    code: Option<String>,
    message: String,
    headers: Vec<(String, String)>,
    body: Option<Bytes>,
}

impl Reply {
    /// An answer with this status and no body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self {
            status,
            code: None,
            message: String::new(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// `503 SlowDown`
    #[must_use]
    pub fn slow_down() -> Self {
        Self::status(503).code("SlowDown", "please reduce your request rate")
    }

    /// `500 InternalError`
    #[must_use]
    pub fn internal_error() -> Self {
        Self::status(500).code("InternalError", "we encountered an internal error")
    }

    /// `403 AccessDenied`
    #[must_use]
    pub fn access_denied() -> Self {
        Self::status(403).code("AccessDenied", "Access Denied")
    }

    /// A load balancer's own 404 page, which proves nothing about an object.
    #[must_use]
    pub fn foreign_404() -> Self {
        Self::status(404)
            .header("content-type", "text/html")
            .body("<html><head><title>404 Not Found</title></head><body>nginx</body></html>")
    }

    /// An S3 error document with this code.
    #[must_use]
    pub fn code(mut self, code: &str, message: &str) -> Self {
        self.code = Some(code.to_owned());
        message.clone_into(&mut self.message);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds `Retry-After` in seconds.
    #[must_use]
    pub fn retry_after(self, secs: u64) -> Self {
        self.header("retry-after", &secs.to_string())
    }

    /// Sends this body in place of an error document.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    pub(crate) fn to_answer(&self) -> Answer {
        let mut answer = match &self.code {
            Some(code) => Answer::error(self.status, code, &self.message),
            None => Answer::empty(self.status),
        };
        answer.headers.extend(self.headers.iter().cloned());
        if let Some(body) = &self.body {
            answer.body = body.clone();
        }
        answer
    }
}

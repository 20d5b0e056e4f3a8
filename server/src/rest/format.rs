//! How answers look (`rest-api.md` §1.1).

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue, SET_COOKIE};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::answer::{Answer, AnswerBody, full};
use super::error::RestError;
use crate::api::stream::{self, Large};

const JSON: HeaderValue = HeaderValue::from_static("application/json;charset=UTF-8");
/// Makes browsers forget a ticket that is not good any more.
const FORGET_COOKIE: HeaderValue = HeaderValue::from_static(
    "__Host-PBSAuthCookie=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure; SameSite=Lax; \
     HttpOnly; Path=/;",
);

/// What a client asked for by the word after `/api2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `json`: the status says whether it worked; an error is plain text.
    Json,
    /// `extjs`: always status 200, everything is in the body.
    ExtJs,
}

impl Format {
    /// The format of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "extjs" => Some(Self::ExtJs),
            _ => None,
        }
    }

    /// What a handler answered.
    #[must_use]
    pub fn answer(self, answer: Answer) -> Response<AnswerBody> {
        let (data, mut body) = match answer {
            Answer::Response(response) => return response,
            Answer::Json { data, large } => return self.written(data, large),
            Answer::Data(data) => (data, Map::new()),
            Answer::Rich { data, attributes } => (data, attributes),
        };
        body.insert("data".into(), data);
        if self == Self::ExtJs {
            body.entry("status").or_insert(json!(200));
            body.entry("success").or_insert(json!(true));
        }
        response(StatusCode::OK, Value::Object(body).to_string())
    }

    fn written(self, mut text: Vec<u8>, large: Option<Large>) -> Response<AnswerBody> {
        text.splice(..0, *br#"{"data":"#);
        text.extend_from_slice(match self {
            Self::Json => b"}",
            Self::ExtJs => br#","status":200,"success":true}"#,
        });
        let body = match large {
            None => full(text),
            Some(large) => stream::whole(large, text.into()),
        };
        let mut response = Response::new(body);
        response.headers_mut().insert(CONTENT_TYPE, JSON);
        response
    }

    /// A document that stands for itself.
    #[must_use]
    pub fn document(document: Bytes) -> Response<AnswerBody> {
        response(StatusCode::OK, document)
    }

    /// Why it did not work.
    #[must_use]
    pub fn error(self, error: &RestError) -> Response<AnswerBody> {
        let answer = match self {
            Self::Json => response(error.status, error.message.clone()),
            Self::ExtJs => {
                let mut body = json!({
                    "message": error.message,
                    "status": error.status.as_u16(),
                    "success": false,
                });
                if let (false, Value::Object(body)) = (error.parameters.is_empty(), &mut body) {
                    let errors = error
                        .parameters
                        .iter()
                        .map(|(name, reason)| (name.clone(), json!(reason)));
                    body.insert("errors".into(), Value::Object(errors.collect()));
                }
                response(StatusCode::OK, body.to_string())
            }
        };
        match error.status {
            StatusCode::UNAUTHORIZED => forget(answer),
            _ => answer,
        }
    }

    /// No good credentials, in whatever format.
    #[must_use]
    pub fn unauthorized() -> Response<AnswerBody> {
        let mut response = Response::new(full("authentication failed"));
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        forget(response)
    }
}

/// With the header that makes browsers forget their ticket.
#[must_use]
pub fn forget(mut response: Response<AnswerBody>) -> Response<AnswerBody> {
    response.headers_mut().insert(SET_COOKIE, FORGET_COOKIE);
    response
}

/// An answer in JSON, or the plain text of an error with the same content type.
fn response(status: StatusCode, body: impl Into<Bytes>) -> Response<AnswerBody> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn read(response: Response<AnswerBody>) -> (u16, String) {
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn parsed(response: Response<AnswerBody>) -> Value {
        let (status, body) = read(response).await;
        assert_eq!(status, 200);
        serde_json::from_str(&body).unwrap()
    }

    #[tokio::test]
    async fn results() {
        let done = Format::Json.answer(Answer::null());
        assert_eq!(
            done.headers()[CONTENT_TYPE],
            "application/json;charset=UTF-8"
        );
        assert_eq!(read(done).await, (200, r#"{"data":null}"#.into()));
        let rich = || Answer::of([1]).unwrap().with("total", 7).unwrap();
        assert_eq!(
            parsed(Format::Json.answer(rich())).await,
            json!({ "data": [1], "total": 7 })
        );
        assert_eq!(
            parsed(Format::ExtJs.answer(rich())).await,
            json!({ "data": [1], "total": 7, "status": 200, "success": true })
        );
    }

    #[tokio::test]
    async fn errors() {
        let error = RestError::parameter("limit", "too large");
        let text = "parameter verification failed - 'limit': too large";
        assert_eq!(read(Format::Json.error(&error)).await, (400, text.into()));
        assert_eq!(
            parsed(Format::ExtJs.error(&error)).await,
            json!({
                "message": text, "errors": { "limit": "too large" },
                "status": 400, "success": false
            })
        );
        let unauthorized = Format::unauthorized();
        assert!(unauthorized.headers().contains_key(SET_COOKIE));
        let answer = read(unauthorized).await;
        assert_eq!(answer, (401, "authentication failed".into()));
    }
}

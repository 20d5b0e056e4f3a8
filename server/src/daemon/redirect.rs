//! For browsers that speak plain HTTP where TLS is spoken (`auth.md` §1).

use hyper::header::{HOST, HeaderValue, LOCATION};
use hyper::{Method, Request, Response, StatusCode};

use crate::rest::answer::{AnswerBody, empty};

/// Sends to the same place with TLS.
#[must_use]
pub fn redirect<B>(request: &Request<B>) -> Response<AnswerBody> {
    let mut response = Response::new(empty());
    let location = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .and_then(|host| HeaderValue::from_str(&format!("https://{host}")).ok());
    *response.status_mut() = match (&location, request.method()) {
        (None, _) => StatusCode::BAD_REQUEST,
        (Some(_), &Method::GET | &Method::HEAD) => StatusCode::MOVED_PERMANENTLY,
        (Some(_), _) => StatusCode::PERMANENT_REDIRECT,
    };
    if let Some(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirected(method: Method, host: Option<&str>) -> (u16, Option<String>) {
        let mut request = Request::new(());
        *request.method_mut() = method;
        if let Some(host) = host {
            request.headers_mut().insert(HOST, host.parse().unwrap());
        }
        let response = redirect(&request);
        let location = response.headers().get(LOCATION);
        (
            response.status().as_u16(),
            location.map(|value| value.to_str().unwrap().to_owned()),
        )
    }

    #[test]
    fn to_the_host_that_was_asked_for() {
        let there = Some("https://backup:8007".to_owned());
        assert_eq!(
            redirected(Method::GET, Some("backup:8007")),
            (301, there.clone())
        );
        assert_eq!(redirected(Method::POST, Some("backup:8007")), (308, there));
        assert_eq!(redirected(Method::GET, None), (400, None));
    }
}

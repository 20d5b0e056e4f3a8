//! A line for each request (`auth.md` §1.1), as the journal's target `access`.

use std::net::SocketAddr;

use hyper::body::Body as _;
use hyper::header::USER_AGENT;
use hyper::{Method, Request};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::rest::dispatch::Answered;

/// More of a path or a user agent is not logged.
const MAX_TEXT: usize = 512;

/// What is known when the request begins.
#[derive(Debug)]
pub struct AccessLog {
    peer: SocketAddr,
    method: Method,
    path: String,
    agent: String,
}

impl AccessLog {
    /// Of this request. The query is left out: there may be secrets in it.
    pub fn begin<B>(request: &Request<B>, peer: SocketAddr) -> Self {
        let agent = request
            .headers()
            .get(USER_AGENT)
            .and_then(|agent| agent.to_str().ok());
        Self {
            peer,
            method: request.method().clone(),
            path: printable(request.uri().path()),
            agent: agent.map_or_else(|| "-".to_owned(), printable),
        }
    }

    /// Writes the line.
    pub fn end(&self, answered: &Answered, unix_secs: i64) {
        tracing::info!(target: "access", "{}", self.line(answered, unix_secs));
    }

    fn line(&self, answered: &Answered, unix_secs: i64) -> String {
        let time = Timestamp::from_second(unix_secs)
            .map(|time| time.to_zoned(TimeZone::system()))
            .map(|time| time.strftime("%d/%b/%Y:%H:%M:%S %z").to_string())
            .unwrap_or_default();
        let who = answered
            .auth_id
            .as_ref()
            .map_or_else(|| "-".to_owned(), ToString::to_string);
        let size = answered.response.body().size_hint().exact().unwrap_or(0);
        format!(
            "{} - {who} [{time}] \"{} {}\" {} {size} {}",
            self.peer.ip().to_canonical(),
            self.method,
            self.path,
            answered.response.status().as_u16(),
            self.agent,
        )
    }
}

/// Nothing that breaks a line or the quotes.
fn printable(text: &str) -> String {
    text.chars()
        .take(MAX_TEXT)
        .map(|c| if c.is_control() || c == '"' { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use hyper::Response;

    use super::*;
    use crate::rest::answer::full;

    #[test]
    fn a_line_says_who_asked_what_and_not_the_query() {
        let mut request = Request::new(());
        *request.uri_mut() = "/api2/json/x?password=secret".parse().unwrap();
        request
            .headers_mut()
            .insert(USER_AGENT, "curl \"x".parse().unwrap());
        let log = AccessLog::begin(&request, "[::ffff:10.0.0.5]:4711".parse().unwrap());
        let line = log.line(
            &Answered {
                response: Response::new(full("body")),
                auth_id: Some("a@pbs!t".parse().unwrap()),
            },
            1_790_000_000,
        );
        assert!(line.starts_with("10.0.0.5 - a@pbs!t ["), "{line}");
        assert!(line.contains("/Sep/2026:"), "{line}");
        assert!(
            line.ends_with("] \"GET /api2/json/x\" 200 4 curl ?x"),
            "{line}"
        );
    }
}

//! What a request shows to say who it is from (`auth.md` §4).

use std::fmt;

use api_types::auth::Authid;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, COOKIE};

use crate::rest::path::percent_decode;

/// Name of the cookie that browsers guard best, which wins.
pub const HOST_COOKIE: &str = "__Host-PBSAuthCookie";
/// Name of the cookie that the clients set themselves.
pub const PLAIN_COOKIE: &str = "PBSAuthCookie";
/// The header with the token against request forgery.
pub const CSRF_HEADER: &str = "CSRFPreventionToken";

/// Beginning of the header of API tokens.
const TOKEN_SCHEME: &str = "PBSAPIToken";

/// What a request shows.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A ticket in a cookie, decoded, and the token against request forgery.
    Ticket {
        /// The ticket.
        ticket: String,
        /// The other header, if it is there.
        csrf: Option<String>,
    },
    /// An API token.
    Token {
        /// Whose.
        auth_id: Authid,
        /// Its secret, decoded.
        secret: String,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ticket { .. } => f.write_str("Ticket(..)"),
            Self::Token { auth_id, .. } => write!(f, "Token({auth_id}, ..)"),
        }
    }
}

/// Why there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCredentials {
    /// Nothing was shown.
    #[error("no authentication credentials provided")]
    Missing,
    /// Something was, but it is not understood.
    #[error("malformed API token header")]
    Malformed,
}

impl Credentials {
    /// What these headers show: a cookie goes before an API token.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, NoCredentials> {
        if let Some(ticket) = auth_cookie(headers) {
            let csrf = headers
                .get(CSRF_HEADER)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned);
            return Ok(Self::Ticket { ticket, csrf });
        }
        let header = headers
            .get_all(AUTHORIZATION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .find_map(token_header)
            .ok_or(NoCredentials::Missing)?;
        let (auth_id, secret) = header.split_once(':').ok_or(NoCredentials::Malformed)?;
        let auth_id: Authid = auth_id.parse().map_err(|_| NoCredentials::Malformed)?;
        if !auth_id.is_token() {
            return Err(NoCredentials::Malformed);
        }
        let secret = percent_decode(secret).ok_or(NoCredentials::Malformed)?;
        Ok(Self::Token { auth_id, secret })
    }
}

/// What follows `PBSAPIToken=` or `PBSAPIToken `: both are really sent.
fn token_header(value: &str) -> Option<&str> {
    let rest = value.strip_prefix(TOKEN_SCHEME)?;
    rest.strip_prefix(['=', ' ']).map(str::trim)
}

/// The ticket in the cookies: the first guarded one, else the last plain one.
pub fn auth_cookie(headers: &HeaderMap) -> Option<String> {
    let (guarded, plain) = cookies(headers);
    guarded.or(plain).and_then(percent_decode)
}

/// The ticket in the guarded cookie.
pub fn host_cookie(headers: &HeaderMap) -> Option<String> {
    cookies(headers).0.and_then(percent_decode)
}

/// The first guarded cookie and the last plain one before it, as they were sent.
fn cookies(headers: &HeaderMap) -> (Option<&str>, Option<&str>) {
    let mut plain = None;
    for header in headers.get_all(COOKIE) {
        let Ok(header) = header.to_str() else {
            continue;
        };
        // What follows the first piece without '=' is not looked at: the storage plugin of the
        // virtualisation platform sends `…; path=/; secure; SameSite=Strict;`.
        let pieces = header.split(';').map(|piece| piece.trim().split_once('='));
        for (name, value) in pieces.map_while(|piece| piece) {
            if name == HOST_COOKIE {
                return (Some(value), plain);
            }
            if name == PLAIN_COOKIE {
                plain = Some(value);
            }
        }
    }
    (None, plain)
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn shown(headers: &[(&str, &str)]) -> Result<Credentials, NoCredentials> {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (
                    name.parse::<HeaderName>().unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        Credentials::from_headers(&headers)
    }

    fn ticket(text: &str) -> Result<Credentials, NoCredentials> {
        Ok(Credentials::Ticket {
            ticket: text.into(),
            csrf: None,
        })
    }

    #[test]
    fn cookies_as_they_are_really_sent() {
        assert_eq!(
            shown(&[("cookie", "PBSAuthCookie=PBS%3Aa%40pbs%3A1")]),
            ticket("PBS:a@pbs:1")
        );
        assert_eq!(
            shown(&[(
                "cookie",
                "PBSAuthCookie=T; path=/; secure; SameSite=Strict;"
            )]),
            ticket("T")
        );
        assert_eq!(
            shown(&[("cookie", "secure; PBSAuthCookie=T")]),
            Err(NoCredentials::Missing)
        );
        assert_eq!(
            shown(&[
                ("cookie", "PBSAuthCookie=A; x=y"),
                ("cookie", "PBSAuthCookie=B")
            ]),
            ticket("B")
        );
        assert_eq!(
            shown(&[(
                "cookie",
                "PBSAuthCookie=A; __Host-PBSAuthCookie=B; __Host-PBSAuthCookie=C"
            )]),
            ticket("B")
        );
    }

    #[test]
    fn api_tokens_with_both_separators() {
        let token = Ok(Credentials::Token {
            auth_id: "me@pbs!t1".parse().unwrap(),
            secret: "abc:d".into(),
        });
        assert_eq!(
            shown(&[("authorization", "PBSAPIToken=me@pbs!t1:abc:d")]),
            token
        );
        assert_eq!(
            shown(&[("authorization", "PBSAPIToken me@pbs!t1:abc%3Ad")]),
            token
        );
        for bad in [
            "PBSAPIToken=me@pbs!t1",
            "PBSAPIToken=me@pbs:x",
            "PBSAPIToken=!:x",
        ] {
            assert_eq!(
                shown(&[("authorization", bad)]),
                Err(NoCredentials::Malformed),
                "{bad}"
            );
        }
        for other in ["Basic abc", "PBSAPITokenX", "PVEAPIToken=a@b!c:d"] {
            assert_eq!(
                shown(&[("authorization", other)]),
                Err(NoCredentials::Missing),
                "{other}"
            );
        }
    }

    #[test]
    fn a_cookie_goes_first_and_nothing_is_printed() {
        let both = shown(&[
            ("authorization", "PBSAPIToken=me@pbs!t1:secret"),
            ("cookie", "PBSAuthCookie=secret"),
            ("csrfpreventiontoken", "c"),
        ])
        .unwrap();
        assert!(matches!(&both, Credentials::Ticket { csrf: Some(c), .. } if c == "c"));
        assert!(!format!("{both:?}").contains("secret"));
    }
}

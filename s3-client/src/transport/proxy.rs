//! HTTP proxy: a CONNECT tunnel, with TLS to the server inside it.

use std::fmt;
use std::str::FromStr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::endpoint::Authority;

/// An HTTP proxy, `[http://][user:password@]host[:port]`.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpProxy {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    credentials: Option<String>,
}

impl fmt::Debug for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpProxy")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("with_credentials", &self.credentials.is_some())
            .finish()
    }
}

/// The port of a proxy that is named without one.
const USUAL_PORT: u16 = 3128;

impl FromStr for HttpProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::with_default_port(text, USUAL_PORT)
    }
}

impl HttpProxy {
    /// From its text form, where another port than 3128 is meant if it has none.
    pub fn with_default_port(text: &str, default: u16) -> Result<Self, String> {
        let bad = "expected an http proxy as [http://][user:password@]host[:port]";
        let rest = match text.split_once("://") {
            None => text,
            Some(("http", rest)) => rest,
            Some(_) => return Err(format!("{bad}; only the scheme http is supported")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => (Some(credentials.to_owned()), rest),
            None => (None, rest),
        };
        let (host, port) = if let Some(bracketed) = rest.strip_prefix('[') {
            let (host, tail) = bracketed.split_once(']').ok_or(bad)?;
            match tail.is_empty() {
                true => (host, None),
                false => (host, Some(tail.strip_prefix(':').ok_or(bad)?)),
            }
        } else {
            match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            }
        };
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(valid) {
            return Err(bad.to_owned());
        }
        let port = match port {
            Some(port) => port.parse().map_err(|_| bad)?,
            None => default,
        };
        let credentials = credentials
            .map(|text| decode(&text).ok_or(bad))
            .transpose()?;
        Ok(Self {
            host: host.to_owned(),
            port,
            credentials,
        })
    }
}

/// `user:password` with percent-encoded characters decoded; `None` if that cannot be sent.
///
/// A percent sign that encodes nothing stands for itself, as passwords are often pasted as they are.
fn decode(credentials: &str) -> Option<String> {
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let (user, password) = (percent_decode(user)?, percent_decode(password)?);
    // Basic authentication ends the user's name at the first colon.
    if user.contains(':') || user.chars().chain(password.chars()).any(char::is_control) {
        return None;
    }
    Some(format!("{user}:{password}"))
}

fn percent_decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let mut byte = [0];
        let code = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        if code.is_some_and(|code| hex::decode_to_slice(code, &mut byte).is_ok()) {
            decoded.push(byte[0]);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(decoded).ok()
}

/// A proxy did not open a tunnel.
#[derive(Debug)]
pub struct TunnelError {
    /// Why not, and what to do.
    pub message: String,
    /// Whether another attempt can help: not if the proxy has refused this request for good.
    pub retryable: bool,
}

/// The longest answer to CONNECT that is read.
const MAX_ANSWER: usize = 16 * 1024;

/// Asks the proxy at the other end of `stream` for a tunnel to `target`.
///
/// # Errors
/// If it does not open one.
pub async fn open_tunnel<S>(
    stream: &mut S,
    proxy: &HttpProxy,
    target: &Authority,
) -> Result<(), TunnelError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let host = if target.host.contains(':') {
        format!("[{}]:{}", target.host, target.port)
    } else {
        format!("{}:{}", target.host, target.port)
    };
    let mut request = format!("CONNECT {host} HTTP/1.1\r\nhost: {host}\r\n");
    if let Some(credentials) = &proxy.credentials {
        let encoded = openssl::base64::encode_block(credentials.as_bytes());
        request.push_str(&format!("proxy-authorization: Basic {encoded}\r\n"));
    }
    request.push_str("\r\n");
    let passing = |message: String| TunnelError {
        message,
        retryable: true,
    };
    let io = |error: std::io::Error| passing(format!("the proxy {} failed: {error}", proxy.host));
    stream.write_all(request.as_bytes()).await.map_err(io)?;
    stream.flush().await.map_err(io)?;

    // Byte by byte, since everything after the blank line belongs to the tunnel.
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() == MAX_ANSWER {
            let text = format!("the proxy {} sent an endless answer", proxy.host);
            return Err(passing(text));
        }
        answer.push(stream.read_u8().await.map_err(io)?);
    }
    let answer = String::from_utf8_lossy(&answer);
    let line = answer.lines().next().unwrap_or_default();
    let mut words = line.split(' ');
    let is_http = words
        .next()
        .is_some_and(|version| version.starts_with("HTTP/1."));
    let status = words.next().and_then(|status| status.parse::<u16>().ok());
    let status = status.filter(|_| is_http);
    if status.is_some_and(|status| (200..300).contains(&status)) {
        return Ok(());
    }
    let hint = match status {
        Some(407) => "; check user name and password of the proxy",
        Some(403) => "; ask its administrator to allow it, or list the host in NO_PROXY",
        _ => "",
    };
    let line: String = line.chars().take(100).collect();
    Err(TunnelError {
        message: format!(
            "the proxy {} refused a tunnel to {host}: {line:?}{hint}",
            proxy.host
        ),
        retryable: !status.is_some_and(|status| {
            (400..500).contains(&status) && !matches!(status, 408 | 425 | 429)
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(text: &str) -> HttpProxy {
        text.parse().unwrap()
    }

    #[test]
    fn forms() {
        for (text, host, port) in [
            ("proxy.lan", "proxy.lan", 3128),
            ("http://proxy.lan:8080/", "proxy.lan", 8080),
            ("http://user:p@ss@[::1]:1", "::1", 1),
            ("[::1]", "::1", 3128),
            ("[::1]:7", "::1", 7),
        ] {
            assert_eq!(
                (&*proxy(text).host, proxy(text).port),
                (host, port),
                "{text}"
            );
        }
        let other = HttpProxy::with_default_port("http://u:p@proxy.lan", 1080).unwrap();
        assert_eq!(other.port, 1080);
        for bad in [
            "",
            "https://p:1",
            "socks5://p",
            "p:x",
            "p:70000",
            "http://",
            "[::1",
            "a b",
            "a\r\nb",
        ] {
            assert!(bad.parse::<HttpProxy>().is_err(), "{bad}");
        }
        assert!(!format!("{:?}", proxy("u:secret@h")).contains("secret"));
    }

    #[test]
    fn credentials_are_decoded() {
        for (text, expected) in [
            ("http://user:p%40ss%3Aword@h", "user:p@ss:word"),
            ("http://us%65r:x@h", "user:x"),
            ("user:100%@h", "user:100%"),
            ("user:%zz%2@h", "user:%zz%2"),
            ("user@h", "user:"),
            ("user:%C3%A4@h", "user:ä"),
        ] {
            assert_eq!(proxy(text).credentials.as_deref(), Some(expected), "{text}");
        }
        for bad in ["a%3Ab:c@h", "u:%0d%0a@h", "u:%ff@h", "u:\n@h"] {
            assert!(bad.parse::<HttpProxy>().is_err(), "{bad}");
        }
    }

    async fn tunnel(answer: &'static str) -> (Result<(), TunnelError>, String) {
        let (mut near, mut far) = tokio::io::duplex(4096);
        far.write_all(answer.as_bytes()).await.unwrap();
        far.shutdown().await.unwrap();
        let target = Authority {
            host: "s3.test".into(),
            port: 443,
            header: "s3.test".into(),
        };
        let result = open_tunnel(&mut near, &proxy("u:p@h"), &target).await;
        drop(near);
        let mut seen = String::new();
        far.read_to_string(&mut seen).await.unwrap();
        (result, seen)
    }

    #[tokio::test]
    async fn the_tunnel_is_open_after_any_2xx() {
        let (result, seen) = tunnel("HTTP/1.1 200 Connection established\r\nx: y\r\n\r\n").await;
        result.unwrap();
        assert!(
            seen.starts_with("CONNECT s3.test:443 HTTP/1.1\r\n"),
            "{seen}"
        );
        assert!(
            seen.contains("proxy-authorization: Basic dTpw\r\n"),
            "{seen}"
        );
    }

    #[tokio::test]
    async fn refusals_and_nonsense_are_errors() {
        let (refused, _) = tunnel("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        let refused = refused.unwrap_err();
        assert!(refused.message.contains("407") && refused.message.contains("password"));
        assert!(!refused.retryable);
        for (answer, retryable) in [
            ("HTTP/1.1 403 Forbidden\r\n\r\n", false),
            ("HTTP/1.1 429 Too Many Requests\r\n\r\n", true),
            ("HTTP/1.1 502 Bad Gateway\r\n\r\n", true),
            ("SSH-2.0-x 403\r\n\r\n", true),
        ] {
            assert_eq!(
                tunnel(answer).await.0.unwrap_err().retryable,
                retryable,
                "{answer}"
            );
        }
        for bad in [
            "SSH-2.0-x 200\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1\r\n\r\n",
            "cut",
        ] {
            assert!(tunnel(bad).await.0.is_err(), "{bad}");
        }
    }
}

//! Credentials and certificates of an endpoint.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::ParseError;
use crate::macros::{serde_as_string, string_id};

fn check_credential(text: &str) -> Result<(), Cow<'static, str>> {
    if text.is_empty() || text.len() > 1024 {
        return Err("must have 1 to 1024 characters".into());
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("must not contain whitespace or control characters".into());
    }
    Ok(())
}

fn check_access_key(text: &str) -> Result<(), Cow<'static, str>> {
    check_credential(text)?;
    // It goes into a header between these two.
    if !text.is_ascii() || text.contains(['/', ',']) {
        return Err("must be ASCII, without '/' and ','".into());
    }
    Ok(())
}

string_id! {
    /// Public half of the credentials.
    AccessKey, "access key", check_access_key
}

/// Secret half of the credentials. Has no `Display` and no serde, so that it reaches a log or an
/// answer only where somebody writes [`Self::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(Box<str>);

impl SecretKey {
    /// The secret, for signing and for the configuration file.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretKey {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match check_credential(text) {
            Ok(()) => Ok(Self(text.into())),
            Err(reason) => Err(ParseError::new("secret key", "", reason)),
        }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(redacted)")
    }
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// Enough for a bundle of a dozen certificates.
const MAX_CERT_LEN: usize = 64 * 1024;

/// Certificates to trust, PEM. Prints in one line, as a configuration file needs it.
#[derive(Clone, PartialEq, Eq)]
pub struct CaCert {
    /// The base64 bodies, without whitespace.
    bodies: Vec<String>,
}

impl CaCert {
    /// The certificates as PEM with line breaks.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let mut pem = String::new();
        for body in &self.bodies {
            pem.push_str(BEGIN);
            for (index, c) in body.chars().enumerate() {
                if index % 64 == 0 {
                    pem.push('\n');
                }
                pem.push(c);
            }
            pem.push('\n');
            pem.push_str(END);
            pem.push('\n');
        }
        pem
    }
}

impl FromStr for CaCert {
    type Err = ParseError;

    /// Reads PEM with any whitespace, spaces in place of line breaks included.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = |reason: &'static str| ParseError::new("ca certificate", text, reason);
        if text.len() > MAX_CERT_LEN {
            return Err(error("longer than 64 KiB"));
        }
        let mut bodies = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (body, after) = rest
                .strip_prefix(BEGIN)
                .and_then(|rest| rest.split_once(END))
                .ok_or_else(|| error("expected PEM: BEGIN CERTIFICATE, base64, END CERTIFICATE"))?;
            let body: String = body.split_whitespace().collect();
            if !is_base64(&body) {
                return Err(error("what stands between BEGIN and END is not base64"));
            }
            bodies.push(body);
            rest = after.trim_start();
        }
        if bodies.is_empty() {
            return Err(error("there is no certificate in it"));
        }
        Ok(Self { bodies })
    }
}

fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    !digits.is_empty()
        && text.len().is_multiple_of(4)
        && text.len() - digits.len() <= 2
        && digits
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

impl fmt::Display for CaCert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, body) in self.bodies.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            write!(f, "{separator}{BEGIN} {body} {END}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for CaCert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaCert({} certificates)", self.bodies.len())
    }
}

serde_as_string!(CaCert, "PEM certificates");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nowhere() {
        let secret: SecretKey = "hunter2hunter2".parse().unwrap();
        assert_eq!(secret.expose(), "hunter2hunter2");
        assert!(!format!("{secret:?}").contains("hunter2"));
        let error = "hunter2 hunter2".parse::<SecretKey>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn access_keys_fit_into_a_header() {
        assert!("AKIAPEERTEST".parse::<AccessKey>().is_ok());
        for bad in ["", "a b", "a/b", "a,b", "a\r\nb", "ä", &"x".repeat(1025)] {
            assert!(bad.parse::<AccessKey>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn pem_goes_through_one_line_and_back() {
        let body = "QUJD".repeat(40);
        let (first, second) = body.split_at(64);
        let (second, third) = second.split_at(64);
        let pem = format!("{BEGIN}\n{first}\n{second}\n{third}\n{END}\n");
        let two = format!("{pem}\r\n{pem}");
        for (text, expected) in [(&pem, pem.clone()), (&two, format!("{pem}{pem}"))] {
            let cert: CaCert = text.parse().unwrap();
            let line = cert.to_string();
            assert!(!line.contains('\n'));
            assert_eq!(line.parse::<CaCert>().unwrap(), cert);
            assert_eq!(cert.to_pem(), expected);
        }
    }

    #[test]
    fn what_is_not_pem_is_refused() {
        for bad in [
            "".to_owned(),
            "QUJD".to_owned(),
            format!("{BEGIN} QUJD"),
            format!("{BEGIN} {END}"),
            format!("{BEGIN} QUJ {END}"),
            format!("{BEGIN} Q=== {END}"),
            format!("{BEGIN} QU!D {END}"),
            format!("{BEGIN} QUJD {END} x"),
            "x".repeat(MAX_CERT_LEN + 1),
        ] {
            assert!(bad.parse::<CaCert>().is_err(), "{bad:?}");
        }
    }
}

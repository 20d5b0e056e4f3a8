//! Percent-encoding, the same for the URL and for the signature, applied exactly once.

use thiserror::Error;

const HEX: &[u8; 16] = b"0123456789ABCDEF";

fn encode(text: &str, keep_slash: bool) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for &byte in text.as_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            b'/' if keep_slash => out.push('/'),
            _ => {
                out.push('%');
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    out
}

/// Encodes an object key for a URL path or a copy source: slashes stay.
#[must_use]
pub fn encode_path(key: &str) -> String {
    encode(key, true)
}

/// Encodes a query name or value: slashes become `%2F`.
#[must_use]
pub fn encode_component(text: &str) -> String {
    encode(text, false)
}

/// A key in a listing with `encoding-type=url` that cannot be decoded.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the listed key {0:?} is not valid percent-encoded utf-8")]
pub struct DecodeError(String);

/// Decodes a key of a listing requested with `encoding-type=url`.
///
/// Works on bytes and checks UTF-8 at the end; `+` is a space, since servers that encode this way
/// send a literal plus as `%2B`.
///
/// # Errors
/// On a broken escape or when the bytes are no UTF-8.
pub fn decode_listed(text: &str) -> Result<String, DecodeError> {
    let bad = || DecodeError(text.chars().take(128).collect());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let [high, low, tail @ ..] = rest else {
                    return Err(bad());
                };
                let value = hex_digit(*high).zip(hex_digit(*low)).ok_or_else(bad)?;
                bytes.push(value.0 << 4 | value.1);
                rest = tail;
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Query parameters of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// No parameters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a parameter; an empty value is sent as the bare name.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0
            .push((encode_component(name), encode_component(value)));
        self
    }

    /// As it stands in the canonical request: sorted after encoding, every name with `=`.
    #[must_use]
    pub fn canonical(&self) -> String {
        self.joined(false)
    }

    /// As it is sent: same order, a parameter without a value as the bare name.
    #[must_use]
    pub fn wire(&self) -> String {
        self.joined(true)
    }

    fn joined(&self, bare_names: bool) -> String {
        let mut pairs: Vec<_> = self.0.iter().collect();
        pairs.sort();
        let mut out = String::new();
        for (name, value) in pairs {
            if !out.is_empty() {
                out.push('&');
            }
            out.push_str(name);
            if !(bare_names && value.is_empty()) {
                out.push('=');
                out.push_str(value);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encoding_table() {
        for (plain, path, component) in [
            ("a-b.c_d~e", "a-b.c_d~e", "a-b.c_d~e"),
            ("a/b", "a/b", "a%2Fb"),
            ("a b", "a%20b", "a%20b"),
            ("a+b", "a%2Bb", "a%2Bb"),
            ("14:20:02Z", "14%3A20%3A02Z", "14%3A20%3A02Z"),
            ("ü", "%C3%BC", "%C3%BC"),
            ("ሴ", "%E1%88%B4", "%E1%88%B4"),
            ("100%", "100%25", "100%25"),
            ("%3A", "%253A", "%253A"),
            ("a//b/../c/.", "a//b/../c/.", "a%2F%2Fb%2F..%2Fc%2F."),
            ("test$file.text", "test%24file.text", "test%24file.text"),
            ("=&?#", "%3D%26%3F%23", "%3D%26%3F%23"),
            ("\u{0}\n\u{7f}", "%00%0A%7F", "%00%0A%7F"),
            ("*'()!", "%2A%27%28%29%21", "%2A%27%28%29%21"),
        ] {
            assert_eq!(encode_path(plain), path, "{plain:?}");
            assert_eq!(encode_component(plain), component, "{plain:?}");
        }
    }

    #[test]
    fn query_is_sorted_after_encoding_and_keeps_bare_names() {
        let query = Query::new()
            .with("prefix", "a/b")
            .with("delete", "")
            .with("a", "2");
        assert_eq!(query.canonical(), "a=2&delete=&prefix=a%2Fb");
        assert_eq!(query.wire(), "a=2&delete&prefix=a%2Fb");
    }

    #[test]
    fn listed_keys_are_decoded_as_bytes() {
        assert_eq!(decode_listed("a+b%2B%C3%BC%2f"), Ok("a b+ü/".into()));
        for bad in ["%", "%4", "%zz", "%FF"] {
            assert!(decode_listed(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(text in ".*") {
            prop_assert_eq!(decode_listed(&encode_path(&text)), Ok(text.clone()));
            prop_assert_eq!(decode_listed(&encode_component(&text)), Ok(text));
        }
    }
}

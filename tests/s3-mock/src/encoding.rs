//! Percent-encoding, XML escaping and checksums, as the S3 documents describe them.

use std::fmt::Write as _;

use bytes::Bytes;
use openssl::hash::{MessageDigest, hash};

/// Percent-encodes every byte but the unreserved ones; `keep_slash` leaves `/` alone.
pub fn percent_encode(text: &str, keep_slash: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let unreserved = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if unreserved || (keep_slash && byte == b'/') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Decodes `%XX`; `None` where that is malformed or the result is no UTF-8.
pub(crate) fn percent_decode(text: &str, plus_is_space: bool) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let pair = [bytes.next()?, bytes.next()?];
                let mut value = [0; 1];
                hex::decode_to_slice(pair, &mut value).ok()?;
                decoded.push(value[0]);
            }
            b'+' if plus_is_space => decoded.push(b' '),
            other => decoded.push(other),
        }
    }
    String::from_utf8(decoded).ok()
}

/// Escapes text for an XML element.
pub(crate) fn xml_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            control if u32::from(control) < 0x20 => {
                let _ = write!(escaped, "&#{};", u32::from(control));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

/// The MD5 sum of `data`.
pub fn md5(data: &[u8]) -> [u8; 16] {
    let mut sum = [0; 16];
    if let Ok(digest) = hash(MessageDigest::md5(), data) {
        sum.copy_from_slice(&digest);
    }
    sum
}

/// The SHA-256 sum of `data`, in hexadecimal.
pub fn sha256_hex(data: &[u8]) -> String {
    hex::encode(openssl::sha::sha256(data))
}

/// The CRC-32C (Castagnoli) of `data`, bit by bit: small bodies only need to be right.
pub(crate) fn crc32c(data: &Bytes) -> u32 {
    let mut crc = u32::MAX;
    for byte in data.iter() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc >>= 1;
            if carry == 1 {
                crc ^= 0x82f6_3b78;
            }
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_bytes_once_and_upper_case() {
        assert_eq!(percent_encode("a b+c/ü:~", true), "a%20b%2Bc/%C3%BC%3A~");
        assert_eq!(percent_encode("a/b=", false), "a%2Fb%3D");
        assert_eq!(
            percent_decode("a%20b%2bc/%C3%BC", false).as_deref(),
            Some("a b+c/ü")
        );
        assert_eq!(percent_decode("%4", false), None);
        assert_eq!(percent_decode("%zz", false), None);
        assert_eq!(percent_decode("%ff", false), None);
    }

    #[test]
    fn crc32c_check_value() {
        assert_eq!(crc32c(&Bytes::from_static(b"123456789")), 0xe306_9283);
    }
}

//! SHA-256 values: chunk digests, and fingerprints of keys and certificates.

use std::fmt;
use std::str::FromStr;

use crate::ParseError;
use crate::macros::serde_as_string;

/// Length of both kinds, in bytes.
pub const DIGEST_LEN: usize = 32;

/// Digest of a chunk's content, its name in the chunk store. Ordered bytewise, which is also the
/// order of the hex form and of a bucket's listing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; DIGEST_LEN]);

impl Digest {
    /// Wraps raw bytes; any 32 bytes are a digest.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; DIGEST_LEN]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; DIGEST_LEN] {
        &self.0
    }

    /// Parses 64 lower-case hex digits; upper case is refused, because one digest has one name.
    pub fn from_hex(text: &str) -> Result<Self, ParseError> {
        let error = |reason: &'static str| ParseError::new("digest", text, reason);
        if text.len() != 2 * DIGEST_LEN {
            return Err(error("expected 64 lower-case hex digits"));
        }
        if text
            .bytes()
            .any(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(error("only the characters 0-9 and a-f are allowed"));
        }
        decode_hex(text)
            .map(Self)
            .ok_or_else(|| error("expected 64 lower-case hex digits"))
    }

    /// 64 lower-case hex digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// First two bytes as a number: which of the 65536 chunk directories holds the chunk.
    #[must_use]
    pub const fn prefix(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }

    /// First four hex digits: the name of the chunk's directory.
    #[must_use]
    pub fn prefix_hex(&self) -> String {
        format!("{:04x}", self.prefix())
    }
}

impl FromStr for Digest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::from_hex(text)
    }
}

impl From<[u8; DIGEST_LEN]> for Digest {
    fn from(bytes: [u8; DIGEST_LEN]) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

serde_as_string!(Digest, "64 lower-case hex digits");

/// SHA-256 fingerprint of an encryption key or of a TLS certificate; prints as lower-case hex
/// pairs joined by colons.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; DIGEST_LEN]);

impl Fingerprint {
    /// Wraps raw bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; DIGEST_LEN]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; DIGEST_LEN] {
        &self.0
    }

    /// The first 8 bytes, enough to tell keys apart in a message.
    #[must_use]
    pub fn short_id(&self) -> String {
        colon_hex(&self.0[..8])
    }
}

impl FromStr for Fingerprint {
    type Err = ParseError;

    /// Upper and lower case are alike and colons are ignored, as operators paste both forms.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new("fingerprint", text, "expected 32 hex pairs joined by ':'");
        // 64 digits and at most a colon beside each: more is not worth copying.
        if text.len() > 4 * DIGEST_LEN {
            return Err(error());
        }
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        decode_hex(&digits).map(Self).ok_or_else(error)
    }
}

impl From<[u8; DIGEST_LEN]> for Fingerprint {
    fn from(bytes: [u8; DIGEST_LEN]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&colon_hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

serde_as_string!(Fingerprint, "32 hex pairs joined by ':'");

fn decode_hex(text: &str) -> Option<[u8; DIGEST_LEN]> {
    let mut bytes = [0; DIGEST_LEN];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

fn colon_hex(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO_CHUNK: &str = "bb9f8df61474d25e71fa00722318cd387396ca1736605e1248821cc0de3d3af8";

    #[test]
    fn digest_has_exactly_one_spelling() {
        let digest: Digest = ZERO_CHUNK.parse().unwrap();
        assert_eq!(digest.to_string(), ZERO_CHUNK);
        assert_eq!(digest.prefix_hex(), "bb9f");
        assert_eq!(digest.prefix(), 0xbb9f);
        for bad in [
            "",
            &ZERO_CHUNK[1..],
            &ZERO_CHUNK.to_uppercase(),
            &format!("{ZERO_CHUNK}\n"),
            &ZERO_CHUNK.replace('b', "g"),
            &"ä".repeat(32),
        ] {
            assert!(Digest::from_hex(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn prefix_keeps_leading_zeros() {
        let digest = Digest::from_bytes([0; 32]);
        assert_eq!(digest.prefix_hex(), "0000");
    }

    #[test]
    fn fingerprint_ignores_case_and_colons() {
        let text = "6a:02:6c:6b:6e:66:db:c4:d5:d4:27:4c:47:c2:a4:2e:16:14:cf:91:4b:a9:77:d5:14:b1:0e:20:ad:30:80:19";
        let fingerprint: Fingerprint = text.parse().unwrap();
        assert_eq!(fingerprint.to_string(), text);
        assert_eq!(fingerprint.short_id(), "6a:02:6c:6b:6e:66:db:c4");
        assert_eq!(text.to_uppercase().parse(), Ok(fingerprint));
        assert_eq!(text.replace(':', "").parse(), Ok(fingerprint));
        for bad in [
            "",
            ":",
            &text[3..],
            &text.replace('6', "x"),
            &":".repeat(100_000),
        ] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn serde_is_the_printed_form() {
        let digest: Digest = ZERO_CHUNK.parse().unwrap();
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{ZERO_CHUNK}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
    }
}

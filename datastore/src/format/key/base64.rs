//! Byte strings of key files: base64, standard alphabet, padded when written.

use openssl::base64::{decode_block, encode_block};
use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Far beyond every salt and key.
const MAX_LEN: usize = 4096;

pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&encode_block(bytes))
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    decode(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// Strict, but padding may be missing.
fn decode(text: &str) -> Result<Vec<u8>, &'static str> {
    let digits = text.trim_end_matches('=');
    if text.len() > MAX_LEN {
        return Err("base64 text is too long");
    }
    let only_digits = digits
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'));
    if !only_digits || digits.len() % 4 == 1 || text.len() - digits.len() > 2 {
        return Err("not base64");
    }
    let padding = "=".repeat((4 - digits.len() % 4) % 4);
    decode_block(&format!("{digits}{padding}")).map_err(|_| "not base64")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn strict_but_for_padding() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zg", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
        ] {
            assert_eq!(decode(text).unwrap(), bytes, "{text}");
        }
        for text in ["Z", "Zm9v=\n", "Zm 9v", "Zm9v===", "=Zg", "Zm-_", "Zé=="] {
            assert!(decode(text).is_err(), "{text}");
        }
        assert!(decode(&"A".repeat(MAX_LEN + 4)).is_err());
    }

    proptest! {
        #[test]
        fn round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..200), text: String) {
            prop_assert_eq!(decode(&encode_block(&bytes)).unwrap(), bytes);
            let _ = decode(&text);
        }
    }
}

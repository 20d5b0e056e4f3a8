//! Tokens against cross-site request forgery (`auth.md` §5).
//!
//! ```text
//! <TIME>:<HMAC-SHA3-256 of "<TIME>:<userid>:">
//! ```
//! Whoever shows a ticket in a cookie shows one of these as well in each request that changes
//! something: a cookie is sent by a browser unasked, a header is not.

use api_types::auth::Userid;
use openssl::base64;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::memcmp;
use openssl::pkey::PKey;
use openssl::sign::Signer;

use super::ticket::{LOGIN, decode_unpadded};

/// Bytes of a key.
const KEY_LEN: usize = 64;

/// The key of the tokens.
#[derive(Clone)]
pub struct CsrfKey(Vec<u8>);

impl std::fmt::Debug for CsrfKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CsrfKey(..)")
    }
}

impl CsrfKey {
    /// A new key.
    pub fn generate() -> Result<Self, ErrorStack> {
        let mut key = vec![0; KEY_LEN];
        openssl::rand::rand_bytes(&mut key)?;
        Ok(Self(key))
    }

    /// From the text of a key file; absent if it is none.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let key = decode_unpadded(text.trim().trim_end_matches('='))?;
        (key.len() >= 32).then_some(Self(key))
    }

    /// The text of a key file.
    #[must_use]
    pub fn to_text(&self) -> String {
        base64::encode_block(&self.0)
            .trim_end_matches('=')
            .to_owned()
    }

    /// A token for `user`.
    pub fn issue(&self, user: &Userid, unix_secs: i64) -> Result<String, ErrorStack> {
        let time = format!("{unix_secs:08X}");
        let mac = base64::encode_block(&self.mac(&time, user)?);
        Ok(format!("{time}:{}", mac.trim_end_matches('=')))
    }

    /// Whether `token` was issued to `user` and is not too old at `now`.
    #[must_use]
    pub fn is_valid(&self, token: &str, user: &Userid, now: i64) -> bool {
        let Some((time, mac)) = token.split_once(':') else {
            return false;
        };
        let (Some(mac), Ok(expected)) = (decode_unpadded(mac), self.mac(time, user)) else {
            return false;
        };
        if mac.len() != expected.len() || !memcmp::eq(&mac, &expected) {
            return false;
        }
        i64::from_str_radix(time, 16).is_ok_and(|time| {
            let age = now.saturating_sub(time);
            (-LOGIN.ahead..=LOGIN.age).contains(&age)
        })
    }

    fn mac(&self, time: &str, user: &Userid) -> Result<Vec<u8>, ErrorStack> {
        let key = PKey::hmac(&self.0)?;
        let mut signer = Signer::new(MessageDigest::sha3_256(), &key)?;
        signer.update(format!("{time}:{user}:").as_bytes())?;
        signer.sign_to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;

    #[test]
    fn a_token_is_for_one_user_and_two_hours() {
        let key = CsrfKey::generate().unwrap();
        let (a, b): (Userid, Userid) = ("a@pbs".parse().unwrap(), "b@pbs".parse().unwrap());
        let token = key.issue(&a, NOW).unwrap();
        assert!(key.is_valid(&token, &a, NOW));
        assert!(key.is_valid(&token, &a, NOW + 7200));
        assert!(!key.is_valid(&token, &a, NOW + 7201));
        assert!(!key.is_valid(&token, &a, NOW - 301));
        assert!(!key.is_valid(&token, &b, NOW));
        assert!(!CsrfKey::generate().unwrap().is_valid(&token, &a, NOW));
        for bad in [
            "",
            ":",
            &token[1..],
            &token[..token.len() - 1],
            &format!("{token}A"),
        ] {
            assert!(!key.is_valid(bad, &a, NOW), "{bad:?}");
        }
    }

    #[test]
    fn key_files() {
        let key = CsrfKey::generate().unwrap();
        let user: Userid = "a@pbs".parse().unwrap();
        let again = CsrfKey::from_text(&format!("{}\n", key.to_text())).unwrap();
        assert!(again.is_valid(&key.issue(&user, NOW).unwrap(), &user, NOW));
        assert!(CsrfKey::from_text("").is_none());
        assert!(CsrfKey::from_text("AAAA").is_none());
        assert!(!format!("{key:?}").contains(&key.to_text()));
    }
}

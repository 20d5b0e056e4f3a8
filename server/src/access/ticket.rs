//! Login tickets: signed statements of who logged in when (`auth.md` §3).
//!
//! ```text
//! PBS:<userid>:<TIME>::<SIGNATURE>
//! ```
//! Clients never verify a ticket, but one of them reads its time, and all keep tickets over a
//! restart of the server: the key stays on disk.

use api_types::auth::Userid;
use openssl::base64;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey, Private};
use openssl::sign::{Signer, Verifier};

use crate::rest::path::percent_decode;

/// How much older or newer than now a ticket may be, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Into the future: clocks differ.
    pub ahead: i64,
    /// Into the past.
    pub age: i64,
}

/// Of a login ticket.
pub const LOGIN: Validity = Validity {
    ahead: 300,
    age: 7200,
};

/// Beginning of a login ticket: what makes a password one.
pub const PREFIX: &str = "PBS:";

/// Longest ticket that is looked at.
const MAX_LEN: usize = 2048;

/// Why a ticket is not accepted. The client is told nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It is not one.
    #[error("not a ticket")]
    Malformed,
    /// It was not signed by this server, or was changed.
    #[error("invalid ticket - wrong signature")]
    Signature,
    /// It is too old.
    #[error("invalid ticket - expired")]
    Expired,
    /// It is from the future.
    #[error("invalid ticket - from the future, check the clocks")]
    FromTheFuture,
}

/// The key that signs tickets.
#[derive(Clone)]
pub struct TicketKey {
    key: PKey<Private>,
}

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketKey(..)")
    }
}

impl TicketKey {
    /// A new key (Ed25519).
    pub fn generate() -> Result<Self, ErrorStack> {
        Ok(Self {
            key: PKey::generate_ed25519()?,
        })
    }

    /// From a key file: Ed25519, or RSA of an older installation.
    pub fn from_pem(pem: &[u8]) -> Result<Self, ErrorStack> {
        Ok(Self {
            key: PKey::private_key_from_pem(pem)?,
        })
    }

    /// The key file.
    pub fn to_pem(&self) -> Result<Vec<u8>, ErrorStack> {
        self.key.private_key_to_pem_pkcs8()
    }

    /// The public half, as a file.
    pub fn public_pem(&self) -> Result<Vec<u8>, ErrorStack> {
        self.key.public_key_to_pem()
    }

    /// A ticket for `user`, who logged in at `unix_secs`.
    pub fn issue(&self, user: &Userid, unix_secs: i64) -> Result<String, ErrorStack> {
        let signed = statement(user, unix_secs);
        let mut signer = match self.digest() {
            None => Signer::new_without_digest(&self.key)?,
            Some(digest) => Signer::new(digest, &self.key)?,
        };
        let signature = signer.sign_oneshot_to_vec(signed.as_bytes())?;
        let signature = base64::encode_block(&signature);
        Ok(format!("{signed}::{}", signature.trim_end_matches('=')))
    }

    /// Whose ticket it is, if it is one of ours and not too old at `now`.
    pub fn verify(
        &self,
        ticket: &str,
        now: i64,
        validity: Validity,
    ) -> Result<Userid, TicketError> {
        let parts = Parts::split(ticket).ok_or(TicketError::Malformed)?;
        let signature = decode_unpadded(parts.signature).ok_or(TicketError::Malformed)?;
        if !self.is_signed(parts.signed, &signature) {
            return Err(TicketError::Signature);
        }
        let age = now.saturating_sub(parts.time);
        if age > validity.age {
            return Err(TicketError::Expired);
        }
        if age < -validity.ahead {
            return Err(TicketError::FromTheFuture);
        }
        Ok(parts.user)
    }

    fn is_signed(&self, text: &str, signature: &[u8]) -> bool {
        let verifier = match self.digest() {
            None => Verifier::new_without_digest(&self.key),
            Some(digest) => Verifier::new(digest, &self.key),
        };
        verifier
            .and_then(|mut verifier| verifier.verify_oneshot(signature, text.as_bytes()))
            .unwrap_or(false)
    }

    /// Ed25519 hashes by itself.
    fn digest(&self) -> Option<MessageDigest> {
        (self.key.id() != Id::ED25519).then(MessageDigest::sha256)
    }
}

/// What is signed.
fn statement(user: &Userid, unix_secs: i64) -> String {
    // User names hold neither control characters nor colons: nothing to escape.
    format!("{PREFIX}{user}:{unix_secs:08X}")
}

/// A ticket, taken apart.
struct Parts<'a> {
    user: Userid,
    time: i64,
    signed: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    fn split(ticket: &'a str) -> Option<Self> {
        if ticket.len() > MAX_LEN {
            return None;
        }
        let (signed, signature) = ticket.split_once("::")?;
        let (user, time) = signed.strip_prefix(PREFIX)?.split_once(':')?;
        if time.len() < 8 || !time.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F')) {
            return None;
        }
        Some(Self {
            user: percent_decode(user)?.parse().ok()?,
            time: i64::from_str_radix(time, 16).ok()?,
            signed,
            signature,
        })
    }
}

/// Standard base64 without the padding.
pub(super) fn decode_unpadded(text: &str) -> Option<Vec<u8>> {
    if text.contains('=') || text.bytes().any(|byte| byte.is_ascii_whitespace()) {
        return None;
    }
    let padding = (4 - text.len() % 4) % 4;
    base64::decode_block(&(text.to_owned() + &"===="[..padding])).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn user(text: &str) -> Userid {
        text.parse().unwrap()
    }

    #[test]
    fn a_ticket_has_the_form_that_clients_read() {
        let key = TicketKey::generate().unwrap();
        let ticket = key.issue(&user("me@home@pbs"), NOW).unwrap();
        let (signed, signature) = ticket.split_once("::").unwrap();
        assert_eq!(signed, format!("PBS:me@home@pbs:{NOW:08X}"));
        assert_eq!(signature.len(), 86);
        assert!(!signature.contains([':', ' ', '=']));
        assert_eq!(key.verify(&ticket, NOW, LOGIN), Ok(user("me@home@pbs")));
    }

    #[test]
    fn it_is_valid_for_two_hours() {
        let key = TicketKey::generate().unwrap();
        let ticket = key.issue(&user("a@pbs"), NOW).unwrap();
        assert!(key.verify(&ticket, NOW + 7200, LOGIN).is_ok());
        assert!(key.verify(&ticket, NOW - 300, LOGIN).is_ok());
        assert_eq!(
            key.verify(&ticket, NOW + 7201, LOGIN),
            Err(TicketError::Expired)
        );
        assert_eq!(
            key.verify(&ticket, NOW - 301, LOGIN),
            Err(TicketError::FromTheFuture)
        );
    }

    #[test]
    fn nobody_else_can_make_or_change_one() {
        let key = TicketKey::generate().unwrap();
        let ticket = key.issue(&user("a@pbs"), NOW).unwrap();
        let other = TicketKey::generate().unwrap();
        assert_eq!(
            other.verify(&ticket, NOW, LOGIN),
            Err(TicketError::Signature)
        );
        let root = ticket.replace("a@pbs", "root@pam");
        assert_eq!(key.verify(&root, NOW, LOGIN), Err(TicketError::Signature));
        for bad in [
            "",
            "PBS:",
            "PBS:a@pbs",
            "PBS:a@pbs:6AB1",
            "PBS:a@pbs:6ab13b80::AAAA",
            "PBS:a@pbs:FFFFFFFFFFFFFFFFFFFF::AAAA",
            "PVE:a@pbs:6AB13B80::AAAA",
            "PBS:a:6AB13B80::AAAA",
            "PBS:a@pbs:6AB13B80::A=A=",
            "PBS:a@pbs:6AB13B80::",
            &"PBS:".repeat(1000),
        ] {
            assert!(key.verify(bad, 0x6AB1_3B80, LOGIN).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_survive_a_restart_and_old_ones_are_rsa() {
        let key = TicketKey::generate().unwrap();
        let again = TicketKey::from_pem(&key.to_pem().unwrap()).unwrap();
        let ticket = key.issue(&user("a@pbs"), NOW).unwrap();
        assert!(again.verify(&ticket, NOW, LOGIN).is_ok());

        let rsa = PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap();
        let old = TicketKey::from_pem(&rsa.private_key_to_pem_pkcs8().unwrap()).unwrap();
        let ticket = old.issue(&user("a@pbs"), NOW).unwrap();
        assert!(old.verify(&ticket, NOW, LOGIN).is_ok());
        assert!(key.verify(&ticket, NOW, LOGIN).is_err());
    }
}

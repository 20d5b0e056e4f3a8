//! Token secrets that were verified: clients send theirs with each request, and the hash in the
//! file is slow on purpose (`auth.md` §4.2).
//!
//! What is kept is a keyed hash of the secret, with a key that nobody but this process has, and the
//! hash from the file that it was verified against: when the file says something else, it does
//! not count any more.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::memcmp;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;

/// So many are remembered; then all are forgotten and verified again.
const MAX: usize = 4096;

/// The verified secrets.
pub struct Verified {
    key: PKey<Private>,
    known: Mutex<HashMap<String, Known>>,
}

struct Known {
    hash: String,
    mac: Vec<u8>,
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verified(..)")
    }
}

impl Verified {
    /// None yet.
    pub fn new() -> Result<Self, ErrorStack> {
        let mut key = [0; 32];
        openssl::rand::rand_bytes(&mut key)?;
        Ok(Self {
            key: PKey::hmac(&key)?,
            known: Mutex::new(HashMap::new()),
        })
    }

    /// Whether this secret of `name` was verified against this hash.
    #[must_use]
    pub fn holds(&self, name: &str, hash: &str, secret: &str) -> bool {
        let Ok(mac) = self.mac(secret) else {
            return false;
        };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).is_some_and(|known| {
            known.hash == hash && known.mac.len() == mac.len() && memcmp::eq(&known.mac, &mac)
        })
    }

    /// Remembers that this secret of `name` was verified against this hash.
    pub fn remember(&self, name: String, hash: &str, secret: &str) {
        let Ok(mac) = self.mac(secret) else {
            return;
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX {
            known.clear();
        }
        let hash = hash.to_owned();
        known.insert(name, Known { hash, mac });
    }

    fn mac(&self, secret: &str) -> Result<Vec<u8>, ErrorStack> {
        Signer::new(MessageDigest::sha256(), &self.key)?.sign_oneshot_to_vec(secret.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_secret_and_hash_count() {
        let verified = Verified::new().unwrap();
        verified.remember("a@pbs!t".into(), "h1", "secret");
        assert!(verified.holds("a@pbs!t", "h1", "secret"));
        assert!(!verified.holds("a@pbs!t", "h2", "secret"), "changed file");
        assert!(!verified.holds("a@pbs!t", "h1", "Secret"));
        assert!(!verified.holds("a@pbs!u", "h1", "secret"));
        for number in 0..=MAX {
            verified.remember(number.to_string(), "h", "s");
        }
        assert!(!verified.holds("a@pbs!t", "h1", "secret"));
    }
}

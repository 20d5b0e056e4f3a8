//! Password and token hashes in the form of `crypt(3)` (`auth.md` §7.1).
//!
//! New hashes are yescrypt, as upstream's; those of older installations (SHA-256 and SHA-512
//! crypt) are accepted, so that a configuration directory can move here as it is.

use anyhow::{Result, anyhow};
use sha_crypt::ShaCrypt;
use yescrypt::{PasswordHasher, PasswordVerifier, Yescrypt};

/// `crypt(3)` looks at no more of a password.
const MAX_LEN: usize = 511;
/// Bytes of salt.
const SALT_LEN: usize = 16;
/// Characters of the shortest hash proper: one that was cut off would fit more passwords.
const MIN_HASH_LEN: usize = 43;

/// The kinds of hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `$y$`, what new ones are.
    Yescrypt,
    /// `$5$` and `$6$`.
    Sha,
}

impl Kind {
    /// The kind of a hash, if it is one that is known.
    #[must_use]
    pub fn of(hash: &str) -> Option<Self> {
        match hash.get(..3)? {
            "$y$" => Some(Self::Yescrypt),
            "$5$" | "$6$" => Some(Self::Sha),
            _ => None,
        }
    }
}

/// A new hash of `password` (yescrypt with the parameters of libcrypt on Debian).
pub fn hash(password: &str) -> Result<String> {
    let mut salt = [0; SALT_LEN];
    openssl::rand::rand_bytes(&mut salt)?;
    let hash: yescrypt::PasswordHash = Yescrypt::default()
        .hash_password_with_salt(cut(password), &salt)
        .map_err(|error| anyhow!("cannot hash a password: {error}"))?;
    Ok(hash.as_str().to_owned())
}

/// Whether `password` has this hash. A hash of an unknown kind is nobody's.
///
/// Takes some 20 ms of CPU: off the async threads, please.
#[must_use]
pub fn verify(password: &str, hash: &str) -> bool {
    let complete = hash
        .rsplit('$')
        .next()
        .is_some_and(|hash| hash.len() >= MIN_HASH_LEN);
    if !complete {
        return false;
    }
    match Kind::of(hash) {
        Some(Kind::Yescrypt) => Yescrypt::default()
            .verify_password(cut(password), hash)
            .is_ok(),
        Some(Kind::Sha) => ShaCrypt::default()
            .verify_password(cut(password), hash)
            .is_ok(),
        None => false,
    }
}

fn cut(password: &str) -> &[u8] {
    let bytes = password.as_bytes();
    bytes.get(..MAX_LEN).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_its_password_only() {
        let made = hash("secret").unwrap();
        assert_eq!(Kind::of(&made), Some(Kind::Yescrypt));
        assert!(made.starts_with("$y$j9T$"), "{made}");
        assert!(verify("secret", &made));
        assert!(!verify("Secret", &made));
        assert!(!verify("", &made));
        assert_ne!(made, hash("secret").unwrap(), "salted");
    }

    #[test]
    fn hashes_of_the_real_system_and_of_older_ones() {
        // test@pbs of the fixtures.
        let real = "$y$j9T$NBPI.ArsuboDYpidQb7NyxiJI/v.LjUuuXjQtN.SqlC$\
                    X22kMMX80UeFqsIHH39tzhBqLpDHKzHquQh0e/miOD3";
        assert!(verify("test12345", real));
        assert!(!verify("test12346", real));
        // Made by `openssl passwd`.
        let sha256 = "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5";
        assert!(verify("Hello world!", sha256));
        assert!(!verify("Hello world", sha256));
        let sha512 = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnI\
                      FNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";
        assert!(verify("Hello world!", sha512));
    }

    #[test]
    fn what_is_no_hash_is_nobodys() {
        for bad in [
            "",
            "*",
            "!",
            "x",
            "$y$",
            "$y$j9T$NBPI$",
            "$y$j9T$NBPI.ArsuboDYpidQb7NyxiJI/v.LjUuuXjQtN.SqlC$",
            "$1$abc$def",
            "$5$$",
            "\u{e4}\u{e4}",
        ] {
            assert!(!verify("", bad), "{bad:?}");
            assert!(!verify("x", bad), "{bad:?}");
        }
    }

    #[test]
    fn only_the_beginning_of_a_very_long_password_counts() {
        let long = "x".repeat(600);
        let made = hash(&long).unwrap();
        assert!(verify(&"x".repeat(511), &made));
        assert!(!verify(&"x".repeat(510), &made));
    }
}

//! Key files, and keys encrypted with a master key (formats.md §5, §6).

use std::fmt;
use std::io;

use api_types::digest::Fingerprint;
use openssl::hash::MessageDigest;
use openssl::pkcs5::{pbkdf2_hmac, scrypt};
use s3_client::env::Env;
use serde::{Deserialize, Serialize};

use super::FormatError;
use super::crypt::{self, CryptConfig, IV_LEN, KEY_LEN, TAG_LEN};

mod base64;
mod rsa;
#[cfg(test)]
mod tests;

/// Shortest passphrase that is taken for an answer.
pub const MIN_PASSPHRASE_LEN: usize = 5;

const OBJECT: &str = "key file";
const SALT_LEN: usize = 32;
const SCRYPT_N: u64 = 65536;
const SCRYPT_R: u64 = 8;
const SCRYPT_P: u64 = 1;
/// What a key file may make us allocate.
const SCRYPT_MAX_MEMORY: u64 = 1025 << 20;
/// More parallel lanes only cost time, one after the other; nobody uses so many.
const SCRYPT_MAX_P: u64 = 1024;
const PBKDF2_ITERATIONS: u64 = 65535;
const WRAPPED_LEN: usize = IV_LEN + TAG_LEN + KEY_LEN;

/// IV, tag and ciphertext of a key protected by a passphrase.
type WrappedKey<'a> = ([u8; IV_LEN], [u8; TAG_LEN], &'a [u8]);

/// How a new key file is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kdf {
    /// Not at all.
    None,
    /// By a passphrase, through scrypt.
    Scrypt,
    /// By a passphrase, through PBKDF2.
    Pbkdf2,
}

/// How the passphrase becomes a key, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyDerivation {
    /// scrypt with its parameters.
    Scrypt {
        /// Cost in memory and time.
        n: u64,
        /// Block size.
        r: u64,
        /// Lanes.
        p: u64,
        /// Salt.
        #[serde(with = "base64")]
        salt: Vec<u8>,
    },
    /// PBKDF2 with HMAC-SHA256.
    #[serde(rename = "PBKDF2")]
    Pbkdf2 {
        /// Iterations.
        iter: u64,
        /// Salt.
        #[serde(with = "base64")]
        salt: Vec<u8>,
    },
}

impl KeyDerivation {
    fn new(kdf: Kdf, env: &Env) -> Option<Self> {
        let mut salt = vec![0; SALT_LEN];
        match kdf {
            Kdf::None => None,
            Kdf::Scrypt => {
                env.fill_random(&mut salt);
                Some(Self::Scrypt {
                    n: SCRYPT_N,
                    r: SCRYPT_R,
                    p: SCRYPT_P,
                    salt,
                })
            }
            Kdf::Pbkdf2 => {
                env.fill_random(&mut salt);
                Some(Self::Pbkdf2 {
                    iter: PBKDF2_ITERATIONS,
                    salt,
                })
            }
        }
    }

    /// The key that protects the key.
    fn derive(&self, passphrase: &[u8]) -> Result<[u8; KEY_LEN], FormatError> {
        if passphrase.len() < MIN_PASSPHRASE_LEN {
            return Err(FormatError::Passphrase {
                object: OBJECT.into(),
                why: format!("it has less than {MIN_PASSPHRASE_LEN} bytes; give a longer one"),
            });
        }
        let action = "derive a key from the passphrase";
        let mut derived = [0; KEY_LEN];
        match self {
            Self::Scrypt { n, r, p, salt } => {
                if *p > SCRYPT_MAX_P {
                    return Err(bad(format!("scrypt with p = {p} is beyond all reason")));
                }
                scrypt(
                    passphrase,
                    salt,
                    *n,
                    *r,
                    *p,
                    SCRYPT_MAX_MEMORY,
                    &mut derived,
                )
                .map_err(|e| bad(format!("scrypt refuses n = {n}, r = {r}, p = {p}: {e}")))?;
            }
            Self::Pbkdf2 { iter, salt } => {
                // The library counts with a C int, and panics beyond it.
                let iterations = i32::try_from(*iter)
                    .ok()
                    .and_then(|i| usize::try_from(i).ok());
                let Some(iterations) = iterations.filter(|i| *i > 0) else {
                    return Err(bad(format!("{iter} iterations of PBKDF2 cannot be made")));
                };
                pbkdf2_hmac(
                    passphrase,
                    salt,
                    iterations,
                    MessageDigest::sha256(),
                    &mut derived,
                )
                .map_err(FormatError::crypto(action))?;
            }
        }
        Ok(derived)
    }
}

/// A key file. Never prints the key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyConfig {
    kdf: Option<KeyDerivation>,
    created: String,
    modified: String,
    #[serde(with = "base64")]
    data: Vec<u8>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "fingerprint_text"
    )]
    fingerprint: Option<Fingerprint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl fmt::Debug for KeyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyConfig")
            .field("kdf", &self.kdf)
            .field("created", &self.created)
            .field("modified", &self.modified)
            .field("data", &"<redacted>")
            .field("fingerprint", &self.fingerprint.map(|f| f.to_string()))
            .field("hint", &self.hint)
            .finish()
    }
}

impl KeyConfig {
    /// A key file for `crypt`. Without a KDF there is no passphrase, and `passphrase` is ignored.
    pub fn new(
        crypt: &CryptConfig,
        kdf: Kdf,
        passphrase: &[u8],
        hint: Option<String>,
        env: &Env,
    ) -> Result<Self, FormatError> {
        let mut iv = [0; IV_LEN];
        env.fill_random(&mut iv);
        let created = local_time(env)?;
        let kdf = KeyDerivation::new(kdf, env);
        Self::wrap(crypt, kdf, passphrase, iv, created, hint)
    }

    /// The same key with another protection; when it was made is kept.
    pub fn protect(
        &self,
        crypt: &CryptConfig,
        kdf: Kdf,
        passphrase: &[u8],
        hint: Option<String>,
        env: &Env,
    ) -> Result<Self, FormatError> {
        let created = self.created.clone();
        let protected = Self::new(crypt, kdf, passphrase, hint, env)?;
        Ok(Self {
            created,
            ..protected
        })
    }

    fn wrap(
        crypt: &CryptConfig,
        kdf: Option<KeyDerivation>,
        passphrase: &[u8],
        iv: [u8; IV_LEN],
        created: String,
        hint: Option<String>,
    ) -> Result<Self, FormatError> {
        let data = match &kdf {
            None => crypt.key().to_vec(),
            Some(kdf) => {
                let mut cipher = Vec::with_capacity(KEY_LEN);
                let tag = crypt::seal(&kdf.derive(passphrase)?, &iv, crypt.key(), &mut cipher)?;
                [&iv[..], &tag, &cipher].concat()
            }
        };
        let fingerprint = Some(*crypt.fingerprint());
        Ok(Self {
            kdf,
            modified: created.clone(),
            created,
            data,
            fingerprint,
            hint,
        })
    }

    /// Parses a key file.
    pub fn from_json(json: &[u8]) -> Result<Self, FormatError> {
        serde_json::from_slice(json).map_err(|error| bad(error.to_string()))
    }

    /// The key file, compact. To be stored readable for its owner alone.
    pub fn to_json(&self) -> Result<Vec<u8>, FormatError> {
        serde_json::to_vec(self)
            .map_err(|error| FormatError::io("write", OBJECT)(io::Error::other(error)))
    }

    /// The key. `passphrase` is asked only if the file is protected by one.
    pub fn decrypt(
        &self,
        passphrase: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> Result<CryptConfig, FormatError> {
        let key = match &self.kdf {
            None => self.data.clone(),
            Some(kdf) => {
                let (iv, tag, cipher) = self.split_wrapped()?;
                let failed = FormatError::io("read the passphrase for", OBJECT);
                let derived = kdf.derive(&passphrase().map_err(failed)?)?;
                crypt::open(&derived, &iv, &tag, cipher).map_err(|error| match error {
                    FormatError::WrongKey { .. } => {
                        FormatError::wrong_key(OBJECT, "the passphrase does not open it")
                    }
                    other => other,
                })?
            }
        };
        let len = key.len();
        let key = key
            .try_into()
            .map_err(|_| bad(format!("its key has {len} bytes instead of {KEY_LEN}")))?;
        let crypt = CryptConfig::new(key)?;
        match &self.fingerprint {
            Some(stated) if stated != crypt.fingerprint() => {
                let why = format!(
                    "the file states fingerprint {}, its key has {}",
                    stated.short_id(),
                    crypt.fingerprint().short_id()
                );
                Err(FormatError::wrong_key(OBJECT, why))
            }
            _ => Ok(crypt),
        }
    }

    fn split_wrapped(&self) -> Result<WrappedKey<'_>, FormatError> {
        let parts = (self.data.len() == WRAPPED_LEN)
            .then(|| {
                let (iv, rest) = self.data.split_first_chunk()?;
                let (tag, cipher) = rest.split_first_chunk()?;
                Some((*iv, *tag, cipher))
            })
            .flatten();
        parts.ok_or_else(|| {
            bad(format!(
                "its data has {} bytes instead of {WRAPPED_LEN}",
                self.data.len()
            ))
        })
    }

    /// Whether a passphrase is needed.
    #[must_use]
    pub fn kdf(&self) -> Kdf {
        match self.kdf {
            None => Kdf::None,
            Some(KeyDerivation::Scrypt { .. }) => Kdf::Scrypt,
            Some(KeyDerivation::Pbkdf2 { .. }) => Kdf::Pbkdf2,
        }
    }

    /// Which key it is, as the file states.
    #[must_use]
    pub fn fingerprint(&self) -> Option<&Fingerprint> {
        self.fingerprint.as_ref()
    }

    /// The hint for the passphrase.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// When the key was made, as the file states.
    #[must_use]
    pub fn created(&self) -> &str {
        &self.created
    }

    /// When the file was last changed, as it states.
    #[must_use]
    pub fn modified(&self) -> &str {
        &self.modified
    }
}

fn bad(why: impl Into<String>) -> FormatError {
    FormatError::corrupt(OBJECT, why)
}

/// RFC 3339 in local time with a numeric offset.
fn local_time(env: &Env) -> Result<String, FormatError> {
    let zoned = jiff::Timestamp::from_second(env.unix_secs())
        .map(|now| now.to_zoned(jiff::tz::TimeZone::system()))
        .map_err(|e| FormatError::io("take the time for", OBJECT)(io::Error::other(e)))?;
    Ok(zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
}

/// Fingerprints as text, absent or null if there is none.
mod fingerprint_text {
    use api_types::digest::Fingerprint;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[allow(clippy::ref_option)] // the signature that serde asks for
    pub fn serialize<S: Serializer>(value: &Option<Fingerprint>, s: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(fingerprint) => s.collect_str(fingerprint),
            None => s.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Fingerprint>, D::Error> {
        let text = Option::<String>::deserialize(d)?;
        text.map(|text| text.parse())
            .transpose()
            .map_err(D::Error::custom)
    }
}

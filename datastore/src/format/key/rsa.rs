//! `rsa-encrypted.key.blob`: the encryption key for the holder of a master key (formats.md §5).

use std::io;

use openssl::pkey::Private;
use openssl::rsa::{Padding, Rsa};

use super::{Kdf, KeyConfig};
use crate::format::{CryptConfig, DataBlob, FormatError, MAX_CHUNK_PLAIN};

const MASTER_KEY: &str = "master key";
const ENCRYPTED_KEY: &str = "rsa-encrypted.key.blob";
const ENCRYPTED_MARK: &[u8] = b"ENCRYPTED";
/// The crypto library's buffer; it panics rather than asks again.
const MAX_PASSPHRASE_LEN: usize = 1024;

impl KeyConfig {
    /// Encrypts `crypt`'s key with the master's public key. `self` is the file that the key came
    /// from; its times are kept, its passphrase and hint are not.
    pub fn encrypt_for_master(
        &self,
        crypt: &CryptConfig,
        public_pem: &[u8],
    ) -> Result<DataBlob, FormatError> {
        let rsa = Rsa::public_key_from_pem(public_pem).map_err(|error| {
            FormatError::corrupt(MASTER_KEY, format!("it is not a public RSA key: {error}"))
        })?;
        let plain = Self {
            kdf: None,
            created: self.created.clone(),
            modified: self.modified.clone(),
            data: crypt.key().to_vec(),
            fingerprint: Some(*crypt.fingerprint()),
            hint: None,
        };
        let json = plain.to_json()?;
        let mut encrypted = vec![0; buffer_len(rsa.size())];
        let len = rsa.public_encrypt(&json, &mut encrypted, Padding::PKCS1).map_err(|error| {
            let why = format!(
                "a key file of {} bytes does not fit a modulus of {}, use a larger master key: {error}",
                json.len(),
                rsa.size()
            );
            FormatError::wrong_key(MASTER_KEY, why)
        })?;
        encrypted.truncate(len);
        DataBlob::encode_with_iv(&encrypted, None, false)
    }

    /// Decrypts what [`KeyConfig::encrypt_for_master`] made. `passphrase` is asked only if the
    /// private key is protected by one.
    pub fn decrypt_with_master(
        blob: &DataBlob,
        private_pem: &[u8],
        passphrase: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> Result<(Self, CryptConfig), FormatError> {
        let encrypted = blob
            .plain(None, MAX_CHUNK_PLAIN)
            .map_err(|error| error.with_object(ENCRYPTED_KEY))?;
        let rsa = private_key(private_pem, passphrase)?;
        let wrong = |why: String| FormatError::wrong_key(ENCRYPTED_KEY, why);
        let mut json = vec![0; buffer_len(rsa.size())];
        // The library refuses, with an error, input that is longer than the modulus.
        let len = rsa
            .private_decrypt(&encrypted, &mut json, Padding::PKCS1)
            .map_err(|error| wrong(format!("the master key does not decrypt it: {error}")))?;
        json.truncate(len);
        // A wrong key may also give noise instead of an error, lest an attacker learns from it.
        let key = Self::from_json(&json)
            .map_err(|_| wrong("what the master key decrypts is not a key file".into()))?;
        if key.kdf() != Kdf::None {
            return Err(FormatError::corrupt(
                ENCRYPTED_KEY,
                "its key has a passphrase",
            ));
        }
        let crypt = key.decrypt(|| Ok(Vec::new()))?;
        Ok((key, crypt))
    }
}

fn private_key(
    pem: &[u8],
    passphrase: impl FnOnce() -> io::Result<Vec<u8>>,
) -> Result<Rsa<Private>, FormatError> {
    // Both forms of encrypted PEM files say so in their text.
    let encrypted = pem
        .windows(ENCRYPTED_MARK.len())
        .any(|part| part == ENCRYPTED_MARK);
    if !encrypted {
        return Rsa::private_key_from_pem(pem).map_err(|error| {
            FormatError::corrupt(MASTER_KEY, format!("it is not a private RSA key: {error}"))
        });
    }
    let failed = FormatError::io("read the passphrase for", MASTER_KEY);
    let passphrase = passphrase().map_err(failed)?;
    if !(1..=MAX_PASSPHRASE_LEN).contains(&passphrase.len()) {
        return Err(FormatError::Passphrase {
            object: MASTER_KEY.into(),
            why: format!("it must have 1 to {MAX_PASSPHRASE_LEN} bytes"),
        });
    }
    Rsa::private_key_from_pem_passphrase(pem, &passphrase).map_err(|error| {
        FormatError::wrong_key(
            MASTER_KEY,
            format!("the passphrase does not open it: {error}"),
        )
    })
}

fn buffer_len(rsa_size: u32) -> usize {
    usize::try_from(rsa_size).unwrap_or(0)
}

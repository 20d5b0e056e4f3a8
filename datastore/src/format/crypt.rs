//! The encryption key of a backup: chunk digests, signatures, AES-256-GCM (formats.md §1.5, §1.7).

use std::fmt;

use api_types::digest::{Digest, Fingerprint};
use openssl::cipher::Cipher;
use openssl::cipher_ctx::CipherCtx;
use openssl::hash::MessageDigest;
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkey::PKey;
use openssl::sha::{Sha256, sha256};
use openssl::sign::Signer;

use super::FormatError;

/// Length of the IV: 128 bits, so that the counter block goes through GHASH.
pub const IV_LEN: usize = 16;
/// Length of the GCM tag.
pub const TAG_LEN: usize = 16;
/// Length of the key.
pub const KEY_LEN: usize = 32;

/// Text whose digest, taken with a key, identifies that key.
const FINGERPRINT_TEXT: &[u8] = b"Proxmox Backup Encryption Key Fingerprint";
const ID_KEY_SALT: &[u8] = b"_id_key";
const ID_KEY_ITERATIONS: usize = 10;

/// An encryption key with what derives from it. Never prints the key.
#[derive(Clone)]
pub struct CryptConfig {
    key: [u8; KEY_LEN],
    id_key: [u8; KEY_LEN],
    fingerprint: Fingerprint,
}

impl fmt::Debug for CryptConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CryptConfig")
            .field("key", &"<redacted>")
            .field("fingerprint", &self.fingerprint.to_string())
            .finish()
    }
}

impl CryptConfig {
    /// Derives everything from the key.
    pub fn new(key: [u8; KEY_LEN]) -> Result<Self, FormatError> {
        let mut id_key = [0; KEY_LEN];
        pbkdf2_hmac(
            &key,
            ID_KEY_SALT,
            ID_KEY_ITERATIONS,
            MessageDigest::sha256(),
            &mut id_key,
        )
        .map_err(FormatError::crypto("derive the identifying key"))?;
        let fingerprint = keyed_digest(&id_key, &sha256(FINGERPRINT_TEXT));
        Ok(Self {
            key,
            id_key,
            fingerprint: Fingerprint::from_bytes(fingerprint),
        })
    }

    /// The digest of a chunk that is encrypted with this key.
    #[must_use]
    pub fn compute_digest(&self, data: &[u8]) -> Digest {
        Digest::from_bytes(keyed_digest(&self.id_key, data))
    }

    /// HMAC-SHA256 of `data` under the identifying key: the signature of manifests.
    pub fn compute_auth_tag(&self, data: &[u8]) -> Result<[u8; 32], FormatError> {
        let action = "compute a signature";
        let key = PKey::hmac(&self.id_key).map_err(FormatError::crypto(action))?;
        let mut signer =
            Signer::new(MessageDigest::sha256(), &key).map_err(FormatError::crypto(action))?;
        let mut tag = [0; 32];
        signer.update(data).map_err(FormatError::crypto(action))?;
        signer.sign(&mut tag).map_err(FormatError::crypto(action))?;
        Ok(tag)
    }

    /// Which key this is.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The raw key, for key files only.
    pub(crate) fn key(&self) -> &[u8; KEY_LEN] {
        &self.key
    }

    /// Encrypts `plain`, appending the ciphertext to `out`; gives the tag.
    pub fn encrypt(
        &self,
        iv: &[u8; IV_LEN],
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<[u8; TAG_LEN], FormatError> {
        seal(&self.key, iv, plain, out)
    }

    /// Decrypts `cipher`; an error if key, IV, tag and data do not belong together.
    pub fn decrypt(
        &self,
        iv: &[u8; IV_LEN],
        tag: &[u8; TAG_LEN],
        cipher: &[u8],
    ) -> Result<Vec<u8>, FormatError> {
        open(&self.key, iv, tag, cipher)
    }
}

fn keyed_digest(id_key: &[u8; KEY_LEN], data: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(data);
    hasher.update(id_key);
    hasher.finish()
}

/// AES-256-GCM with a 16-byte IV and no additional data; appends to `out`.
pub(crate) fn seal(
    key: &[u8; KEY_LEN],
    iv: &[u8; IV_LEN],
    plain: &[u8],
    out: &mut Vec<u8>,
) -> Result<[u8; TAG_LEN], FormatError> {
    let mut run = || {
        let mut ctx = CipherCtx::new()?;
        ctx.encrypt_init(Some(Cipher::aes_256_gcm()), None, None)?;
        ctx.set_iv_length(IV_LEN)?;
        ctx.encrypt_init(None, Some(key), Some(iv))?;
        ctx.cipher_update_vec(plain, out)?;
        ctx.cipher_final_vec(out)?;
        let mut tag = [0; TAG_LEN];
        ctx.tag(&mut tag)?;
        Ok(tag)
    };
    run().map_err(FormatError::crypto("encrypt"))
}

/// The reverse of [`seal`].
pub(crate) fn open(
    key: &[u8; KEY_LEN],
    iv: &[u8; IV_LEN],
    tag: &[u8; TAG_LEN],
    cipher: &[u8],
) -> Result<Vec<u8>, FormatError> {
    let mut plain = Vec::with_capacity(cipher.len());
    let mut ctx = CipherCtx::new().map_err(FormatError::crypto("decrypt"))?;
    let prepared = (|| {
        ctx.decrypt_init(Some(Cipher::aes_256_gcm()), None, None)?;
        ctx.set_iv_length(IV_LEN)?;
        ctx.decrypt_init(None, Some(key), Some(iv))?;
        ctx.set_tag(tag)?;
        ctx.cipher_update_vec(cipher, &mut plain)
    })();
    prepared.map_err(FormatError::crypto("decrypt"))?;
    match ctx.cipher_final_vec(&mut plain) {
        Ok(_) => Ok(plain),
        // The final step only compares the tag. Nothing tells a wrong key from damaged data here.
        Err(_) => Err(FormatError::wrong_key(
            "encrypted data",
            "the authentication tag does not match, so the key is not the right one or the data is damaged",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::test_vectors;

    fn key() -> [u8; 32] {
        std::array::from_fn(|i| u8::try_from(i).unwrap())
    }

    #[test]
    fn derivations_match_the_vectors() {
        let Some(vectors) = test_vectors::load() else {
            return;
        };
        let crypt = CryptConfig::new(key()).unwrap();
        assert_eq!(crypt.key.to_vec(), vectors.bytes("key"));
        assert_eq!(crypt.id_key.to_vec(), vectors.bytes("id_key"));
        assert_eq!(
            crypt.fingerprint().as_bytes().to_vec(),
            vectors.bytes("key_fingerprint")
        );
        assert_eq!(
            crypt.compute_digest(b"hello").as_bytes().to_vec(),
            vectors.bytes("keyed_digest_hello")
        );
        assert_eq!(sha256(b"hello").to_vec(), vectors.bytes("sha256_hello"));
        assert_eq!(
            sha256(&vec![0; 4 << 20]).to_vec(),
            vectors.bytes("zero4m_digest")
        );
    }

    #[test]
    fn debug_output_hides_the_key() {
        let shown = format!("{:?}", CryptConfig::new([0xab; 32]).unwrap());
        assert!(shown.contains("redacted"));
        assert!(
            !shown.contains("ab, ab") && !shown.contains("171, 171"),
            "{shown}"
        );
    }

    #[test]
    fn a_changed_tag_or_key_does_not_decrypt() {
        let crypt = CryptConfig::new(key()).unwrap();
        let mut cipher = Vec::new();
        let tag = crypt
            .encrypt(&[7; 16], b"secret data", &mut cipher)
            .unwrap();
        assert_eq!(
            crypt.decrypt(&[7; 16], &tag, &cipher).unwrap(),
            b"secret data"
        );
        let other = CryptConfig::new([9; 32]).unwrap();
        assert!(matches!(
            other.decrypt(&[7; 16], &tag, &cipher),
            Err(FormatError::WrongKey { .. })
        ));
        let mut bad_tag = tag;
        bad_tag[0] ^= 1;
        assert!(crypt.decrypt(&[7; 16], &bad_tag, &cipher).is_err());
    }
}

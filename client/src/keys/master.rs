//! The master key: an RSA key pair. Each encrypted backup holds its key for the private half, which
//! can be kept far from the machine.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use api_types::digest::Fingerprint;
use datastore::format::{CryptConfig, DataBlob, KeyConfig};
use openssl::pkey::{PKey, Public};
use openssl::rsa::Rsa;
use openssl::sha::sha256;
use openssl::symm::Cipher;

use super::file::Source;
use crate::remote::dirs::Dirs;

const BITS: u32 = 4096;

/// Where the public half lies that is used when none is named.
#[must_use]
pub fn default_path(dirs: &Dirs) -> Option<PathBuf> {
    let dir = dirs.config.as_ref();
    dir.map(|dir| dir.join("master-public.pem"))
}

/// The public half.
#[derive(Clone, Debug)]
pub struct MasterKey {
    source: Source,
    pem: Vec<u8>,
    rsa: Rsa<Public>,
}

impl MasterKey {
    /// Reads a public key.
    pub fn read(source: Source) -> Result<Self> {
        let pem = source.read()?;
        let rsa = Rsa::public_key_from_pem(&pem)
            .map_err(|_| anyhow::anyhow!("{source} is no public RSA key in PEM form"))?;
        Ok(Self { source, pem, rsa })
    }

    /// Where it was found.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// As it was read.
    #[must_use]
    pub fn pem(&self) -> &[u8] {
        &self.pem
    }

    /// Length of the modulus.
    #[must_use]
    pub fn bits(&self) -> u32 {
        self.rsa.size() * 8
    }

    /// SHA-256 of the key as SubjectPublicKeyInfo.
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        let der = self.rsa.public_key_to_der()?;
        Ok(Fingerprint::from_bytes(sha256(&der)))
    }

    /// The encryption key, for the holder of the private half alone.
    pub fn encrypt(&self, key: &KeyConfig, crypt: &CryptConfig) -> Result<DataBlob> {
        let blob = key.encrypt_for_master(crypt, &self.pem);
        blob.with_context(|| format!("failed to encrypt the key with {}", self.source))
    }
}

/// A new pair, as PEM: the public half, and the private one behind a passphrase.
pub fn create(passphrase: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let rsa = Rsa::generate(BITS).context("failed to make an RSA key")?;
    let public = rsa.public_key_to_pem()?;
    let private = PKey::from_rsa(rsa)?
        .private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), passphrase)?;
    Ok((public, private))
}

/// The encryption key that a backup holds for the master.
pub fn recover(
    encrypted: &Source,
    private: &Source,
    passphrase: impl FnOnce() -> Result<Vec<u8>>,
) -> Result<(KeyConfig, CryptConfig)> {
    let content = encrypted.read()?;
    let pem = private.read()?;
    ensure!(!content.is_empty(), "{encrypted} is empty");
    let blob = match DataBlob::from_bytes(content.clone().into()) {
        Ok(blob) => blob,
        // `restore` writes what is in the blob.
        Err(_) => DataBlob::encode_with_iv(&content, None, false)?,
    };
    let passphrase = || passphrase().map_err(std::io::Error::other);
    KeyConfig::decrypt_with_master(&blob, &pem, passphrase)
        .with_context(|| format!("failed to decrypt {encrypted} with the master key {private}"))
}

#[cfg(test)]
mod tests {
    use datastore::env::Env;
    use datastore::format::Kdf;

    use super::*;

    /// An encrypted key comes back, from the blob of a snapshot and from what `restore` makes of it.
    #[test]
    fn a_key_is_recovered() {
        let dir = tempfile::tempdir().unwrap();
        let source = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            Source::Path(path)
        };
        let (public, private) = create(b"a passphrase").unwrap();
        let public = MasterKey::read(source("public", &public)).unwrap();
        assert_eq!(public.bits(), 4096);
        let private = source("private", &private);
        let crypt = CryptConfig::new([7; 32]).unwrap();
        let config = KeyConfig::new(&crypt, Kdf::None, b"", None, &Env::system()).unwrap();
        let blob = public.encrypt(&config, &crypt).unwrap();
        let plain = blob.decode(None, 1 << 20).unwrap();
        for content in [&blob.raw()[..], &plain] {
            let encrypted = source("encrypted", content);
            let pass = || Ok(b"a passphrase".to_vec());
            let (_, found) = recover(&encrypted, &private, pass).unwrap();
            assert_eq!(found.fingerprint(), crypt.fingerprint());
            let wrong = || Ok(b"another".to_vec());
            let error = format!("{:#}", recover(&encrypted, &private, wrong).unwrap_err());
            assert!(error.contains("passphrase"), "{error}");
        }
    }

    #[test]
    fn what_is_no_key_is_named() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let error = MasterKey::read(Source::Path(path.path().to_owned())).unwrap_err();
        assert!(error.to_string().contains("no public RSA key"), "{error}");
        let missing = Source::Path("/nowhere".into());
        let error = format!("{:#}", MasterKey::read(missing).unwrap_err());
        assert!(error.contains("'/nowhere'"), "{error}");
    }
}

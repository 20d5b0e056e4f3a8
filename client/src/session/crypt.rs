//! How what is backed up is protected.

use std::sync::Arc;

use anyhow::{Result, bail};
use api_types::digest::Digest;
use api_types::status::CryptMode;
use datastore::env::Env;
use datastore::format::{CryptConfig, DataBlob};
use openssl::sha::sha256;

/// A crypt mode with the key that it needs.
#[derive(Clone, Debug)]
pub struct Crypt {
    mode: CryptMode,
    key: Option<Arc<CryptConfig>>,
}

impl Default for Crypt {
    fn default() -> Self {
        Self {
            mode: CryptMode::None,
            key: None,
        }
    }
}

impl Crypt {
    /// A mode with a key; without one there is only `none`, which uses none.
    pub fn new(mode: CryptMode, key: Option<Arc<CryptConfig>>) -> Result<Self> {
        match (mode, key) {
            (CryptMode::None, _) => Ok(Self::default()),
            (mode, Some(key)) => Ok(Self {
                mode,
                key: Some(key),
            }),
            (mode, None) => bail!("crypt mode '{mode}' needs a key; give one by --keyfile"),
        }
    }

    /// What the manifest says of the files.
    #[must_use]
    pub fn mode(&self) -> CryptMode {
        self.mode
    }

    /// The key, if one is used.
    #[must_use]
    pub fn key(&self) -> Option<Arc<CryptConfig>> {
        self.key.clone()
    }

    /// What signs the manifest.
    #[must_use]
    pub fn signer(&self) -> Option<&CryptConfig> {
        self.key.as_deref()
    }

    /// What encrypts chunks and blobs.
    #[must_use]
    pub fn cipher(&self) -> Option<&CryptConfig> {
        self.signer().filter(|_| self.mode == CryptMode::Encrypt)
    }

    /// The digest of a chunk.
    #[must_use]
    pub fn digest(&self, data: &[u8]) -> Digest {
        chunk_digest(self.cipher(), data)
    }

    /// A chunk or a blob as it is stored.
    pub fn encode(&self, data: &[u8], env: &Env) -> Result<DataBlob> {
        Ok(DataBlob::encode(data, self.cipher(), true, env)?)
    }
}

/// The digest of a chunk that is encrypted with this key, if there is one.
#[must_use]
pub fn chunk_digest(cipher: Option<&CryptConfig>, data: &[u8]) -> Digest {
    match cipher {
        Some(key) => key.compute_digest(data),
        None => Digest::from_bytes(sha256(data)),
    }
}

//! A key file that was found, and opening it.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use datastore::format::{CryptConfig, Kdf, KeyConfig};

use super::passphrase;
use crate::remote::dirs::Dirs;

/// No key file has so much.
const MAX_LEN: u64 = 64 << 10;

/// Where something secret was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a file that was named.
    Path(PathBuf),
    /// In an open file descriptor.
    Fd(u32),
    /// Where it lies by default.
    Default(PathBuf),
}

impl Source {
    /// All that is in it.
    pub fn read(&self) -> Result<Vec<u8>> {
        let path = match self {
            Self::Path(path) | Self::Default(path) => path.clone(),
            Self::Fd(number) => PathBuf::from(format!("/dev/fd/{number}")),
        };
        let mut content = Vec::new();
        let read = std::fs::File::open(path)
            .and_then(|file| file.take(MAX_LEN + 1).read_to_end(&mut content));
        let len = read.with_context(|| format!("failed to read {self}"))?;
        ensure!(len as u64 <= MAX_LEN, "{self} is too long to be a key");
        Ok(content)
    }
}

impl Source {
    /// How a message names it, without quotes.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Path(path) | Self::Default(path) => path.display().to_string(),
            Self::Fd(number) => format!("file descriptor {number}"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) | Self::Default(path) => write!(f, "'{}'", path.display()),
            Self::Fd(number) => write!(f, "file descriptor {number}"),
        }
    }
}

/// Where the key lies that is used when none is named.
#[must_use]
pub fn default_path(dirs: &Dirs) -> Option<PathBuf> {
    let dir = dirs.config.as_ref();
    dir.map(|dir| dir.join("encryption-key.json"))
}

/// The path, or else the default one.
pub fn path_or_default(path: Option<PathBuf>, dirs: &Dirs) -> Result<PathBuf> {
    path.or_else(|| default_path(dirs))
        .context("there is no home directory where a key could lie: name a file")
}

/// A key file. Its key may still be closed.
#[derive(Clone, Debug)]
pub struct KeyFile {
    source: Source,
    config: KeyConfig,
}

impl KeyFile {
    /// Reads a key file; also one that was typed from paper, with its two frame lines.
    pub fn read(source: Source) -> Result<Self> {
        let content = source.read()?;
        let lines = content.split(|byte| *byte == b'\n');
        let json: Vec<u8> = lines
            .filter(|line| !line.starts_with(b"-----"))
            .flatten()
            .copied()
            .collect();
        let config =
            KeyConfig::from_json(&json).with_context(|| format!("{source} is no key file"))?;
        Ok(Self { source, config })
    }

    /// Reads the key file at a path.
    pub fn at(path: &Path) -> Result<Self> {
        Self::read(Source::Path(path.to_owned()))
    }

    /// Where it was found.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// What is in it.
    #[must_use]
    pub const fn config(&self) -> &KeyConfig {
        &self.config
    }

    /// The key. Takes the passphrase from `PBS_ENCRYPTION_PASSWORD` and its like, or asks for it.
    pub fn open(&self) -> Result<Arc<CryptConfig>> {
        let passphrase = match self.config.kdf() {
            Kdf::None => Vec::new(),
            Kdf::Scrypt | Kdf::Pbkdf2 => passphrase::of_key(&self.config)?,
        };
        let crypt = self.config.decrypt(|| Ok(passphrase));
        let crypt = crypt.with_context(|| format!("failed to open the key in {}", self.source))?;
        Ok(Arc::new(crypt))
    }
}

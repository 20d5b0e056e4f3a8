//! One section-config file: read with its digest, changed under its lock.

use std::fs::File;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use openssl::sha::sha256;
use s3_client::env::Env;

use super::lock::ConfigLock;
use super::replace::replace_file;
use super::section::{Section, SectionConfig};
use super::{ConfigError, Entity};

/// No configuration comes near it; keeps a wrong file from filling the memory.
const MAX_FILE_SIZE: u64 = 16 * 1024 * 1024;

/// The file of the entity `T`.
#[derive(Clone, Debug)]
pub struct ConfigFile<T> {
    path: PathBuf,
    lock_path: PathBuf,
    env: Env,
    entity: PhantomData<fn() -> T>,
}

/// The content of a file: entries in the order of the file, and the digest of its bytes.
#[derive(Clone, Debug)]
pub struct Entries<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// SHA-256 of the file in hex; empty when there is no file.
    pub digest: String,
}

impl<T: Entity> ConfigFile<T> {
    /// The entity's file in the directory `config`.
    #[must_use]
    pub fn new(config: &Path, env: Env) -> Self {
        Self {
            path: config.join(format!("{}.cfg", T::FILE)),
            lock_path: config.join(format!(".{}.lck", T::FILE)),
            env,
            entity: PhantomData,
        }
    }

    /// Reads the file. A missing file is an empty one.
    pub fn load(&self) -> Result<Entries<T>, ConfigError> {
        let Some(bytes) = read_bounded(&self.path)? else {
            return Ok(Entries {
                entries: Vec::new(),
                digest: String::new(),
            });
        };
        let config = SectionConfig::parse(&bytes).map_err(|source| ConfigError::Syntax {
            path: self.path.clone(),
            source,
        })?;
        let entries = config
            .sections
            .iter()
            .map(|section| self.entry(section))
            .collect::<Result<_, _>>()?;
        Ok(Entries {
            entries,
            digest: hex::encode(sha256(&bytes)),
        })
    }

    fn entry(&self, section: &Section) -> Result<T, ConfigError> {
        let error = |reason| ConfigError::Section {
            path: self.path.clone(),
            line: section.line,
            section_type: section.section_type.clone(),
            id: section.id.clone(),
            reason,
        };
        if !T::TYPES.contains(&section.section_type.as_str()) {
            return Err(error(format!(
                "unknown section type (expected '{}')",
                T::TYPES.join("' or '")
            )));
        }
        T::from_section(&section.section_type, &section.id, &section.properties).map_err(error)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps others from changing the file while the lock is held.
    pub async fn lock(&self) -> Result<ConfigLock, ConfigError> {
        ConfigLock::acquire(self.lock_path.clone(), &self.env).await
    }

    /// Changes the file under its lock: `change` gets the entries and what it leaves is written,
    /// unless it fails or the file is not the one that the caller saw (`expected_digest`).
    pub async fn update<R, E: From<ConfigError>>(
        &self,
        expected_digest: Option<&str>,
        change: impl FnOnce(&mut Entries<T>) -> Result<R, E>,
    ) -> Result<R, E> {
        let lock = self.lock().await?;
        self.update_locked(&lock, expected_digest, change)
    }

    /// The same for a caller that holds the lock already, because it has to check another file too.
    pub fn update_locked<R, E: From<ConfigError>>(
        &self,
        _lock: &ConfigLock,
        expected_digest: Option<&str>,
        change: impl FnOnce(&mut Entries<T>) -> Result<R, E>,
    ) -> Result<R, E> {
        let mut content = self.load()?;
        if expected_digest.is_some_and(|expected| expected != content.digest) {
            return Err(ConfigError::Modified.into());
        }
        let result = change(&mut content)?;
        let sections = content
            .entries
            .iter()
            .map(|entry| Section {
                section_type: entry.section_type().to_owned(),
                id: entry.id().to_owned(),
                properties: entry.to_section(),
                line: 0,
            })
            .collect();
        let text = SectionConfig { sections }.write()?;
        let mode = if T::SECRET { 0o600 } else { 0o640 };
        replace_file(&self.path, text.as_bytes(), mode)
            .map_err(|source| ConfigError::io("write", &self.path, source))?;
        Ok(result)
    }
}

impl<T: Entity> Entries<T> {
    /// The entry `id`, or the error "no such ...".
    pub fn get(&self, id: &str) -> Result<&T, ConfigError> {
        self.entries
            .iter()
            .find(|entry| entry.id() == id)
            .ok_or_else(|| no_such::<T>(id))
    }

    /// The entry `id` to be changed, or the error "no such ...".
    pub fn get_mut(&mut self, id: &str) -> Result<&mut T, ConfigError> {
        self.entries
            .iter_mut()
            .find(|entry| entry.id() == id)
            .ok_or_else(|| no_such::<T>(id))
    }

    /// Appends an entry with a new name.
    pub fn insert(&mut self, entry: T) -> Result<(), ConfigError> {
        if self.entries.iter().any(|other| other.id() == entry.id()) {
            return Err(ConfigError::Exists {
                section_type: entry.section_type(),
                id: entry.id().to_owned(),
            });
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Takes the entry `id` out.
    pub fn remove(&mut self, id: &str) -> Result<T, ConfigError> {
        let position = self.entries.iter().position(|entry| entry.id() == id);
        position
            .map(|position| self.entries.remove(position))
            .ok_or_else(|| ConfigError::NothingToRemove(T::nothing_to_remove(id)))
    }
}

fn no_such<T: Entity>(id: &str) -> ConfigError {
    ConfigError::NoSuch(T::no_such(id))
}

/// The content of a file, if it exists; one that is absurdly large is refused.
pub(crate) fn read_bounded(path: &Path) -> Result<Option<Vec<u8>>, ConfigError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ConfigError::io("read", path, error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE_SIZE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| ConfigError::io("read", path, error))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE_SIZE {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
            limit: MAX_FILE_SIZE,
        });
    }
    Ok(Some(bytes))
}

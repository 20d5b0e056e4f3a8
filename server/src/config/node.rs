//! `node.cfg`: what concerns the machine as a whole. A line `key: value` each; lines with `#` at the
//! top are the description.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use openssl::sha::sha256;
use s3_client::env::Env;
use s3_client::transport::HttpProxy;

use super::lock::ConfigLock;
use super::{ConfigError, read_bounded, replace_file};

const MODE: u32 = 0o640;
/// The proxy through which others are reached.
pub const HTTP_PROXY: &str = "http-proxy";
/// Where the description lives, in the form of the API.
pub const DESCRIPTION: &str = "description";

/// The keys of the file.
pub const KEYS: &[&str] = &[
    "acme",
    "acmedomain0",
    "acmedomain1",
    "acmedomain2",
    "acmedomain3",
    "acmedomain4",
    "ciphers-tls-1.2",
    "ciphers-tls-1.3",
    "consent-text",
    "default-lang",
    DESCRIPTION,
    "email-from",
    HTTP_PROXY,
    "location",
    "task-log-max-days",
];

/// The file.
#[derive(Clone, Debug)]
pub struct NodeFile {
    path: PathBuf,
    lock_path: PathBuf,
    env: Env,
}

/// What is in it, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeConfig {
    values: BTreeMap<String, String>,
}

impl NodeConfig {
    /// Reads the text of the file, or says what is wrong with it.
    ///
    /// # Errors
    /// For lines that are not `key: value`, unknown keys and keys that come twice.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut config = Self::default();
        let mut description: Vec<&str> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let error = |reason: &str| Err(format!("line {}: {reason}", number + 1));
            if let Some(comment) = line.strip_prefix('#') {
                if !config.values.is_empty() {
                    return error("a comment must stand at the top");
                }
                description.push(comment);
                continue;
            }
            if line.trim().is_empty() {
                continue;
            }
            let Some((key, value)) = line.split_once(':') else {
                return error("expected 'key: value'");
            };
            if !KEYS.contains(&key) || key == DESCRIPTION {
                return error(&format!("unknown key '{key}'"));
            }
            if config
                .values
                .insert(key.to_owned(), value.trim().to_owned())
                .is_some()
            {
                return error(&format!("key '{key}' comes twice"));
            }
        }
        if !description.is_empty() {
            let text = description.join("\n");
            config.values.insert(DESCRIPTION.to_owned(), text);
        }
        Ok(config)
    }

    /// The text of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for line in self.get(DESCRIPTION).into_iter().flat_map(str::lines) {
            text += &format!("#{line}\n");
        }
        for (key, value) in &self.values {
            if key != DESCRIPTION {
                text += &format!("{key}: {value}\n");
            }
        }
        text
    }

    /// One value.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// All values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// Sets a value. One with a line feed that the file cannot hold is refused.
    ///
    /// # Errors
    /// Says which.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let is_text = key == DESCRIPTION;
        if value
            .chars()
            .any(|c| c.is_control() && !(is_text && c == '\n'))
        {
            return Err(format!(
                "property '{key}': control characters are not allowed"
            ));
        }
        self.values.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// Removes a value.
    pub fn unset(&mut self, key: &str) {
        self.values.remove(key);
    }
}

impl NodeFile {
    /// The file in the directory `config`.
    #[must_use]
    pub fn new(config: &Path, env: Env) -> Self {
        Self {
            path: config.join("node.cfg"),
            lock_path: config.join(".node.lck"),
            env,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file, and the digest of its bytes. A missing file is an empty one.
    pub fn load(&self) -> Result<(NodeConfig, String), ConfigError> {
        let bytes = read_bounded(&self.path)?.unwrap_or_default();
        let error = |reason: String| ConfigError::Content {
            path: self.path.clone(),
            reason,
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| error("it is not UTF-8".into()))?;
        let config = NodeConfig::parse(text).map_err(error)?;
        Ok((config, hex::encode(sha256(&bytes))))
    }

    /// The proxy through which the machine reaches others, if there is one.
    pub fn http_proxy(&self) -> Result<Option<HttpProxy>, ConfigError> {
        let (config, _) = self.load()?;
        // It may hold a password: what is wrong with it is said, not what it is.
        let proxy = config.get(HTTP_PROXY).map(str::parse).transpose();
        proxy.map_err(|reason| ConfigError::Content {
            path: self.path.clone(),
            reason: format!("{HTTP_PROXY}: {reason}"),
        })
    }

    /// Changes the file under its lock, unless it is not the one that the caller saw.
    pub async fn update<E: From<ConfigError>>(
        &self,
        expected_digest: Option<&str>,
        change: impl FnOnce(&mut NodeConfig) -> Result<(), E>,
    ) -> Result<(), E> {
        let _lock = ConfigLock::acquire(self.lock_path.clone(), &self.env).await?;
        let (mut config, digest) = self.load()?;
        if expected_digest.is_some_and(|expected| expected != digest) {
            return Err(ConfigError::Modified.into());
        }
        change(&mut config)?;
        replace_file(&self.path, config.to_text().as_bytes(), MODE)
            .map_err(|source| ConfigError::io("write", &self.path, source))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_reads_back_what_it_writes() {
        let text = "#first line\n# second\nemail-from: a@example.org\ntask-log-max-days: 7\n";
        let config = NodeConfig::parse(text).unwrap();
        assert_eq!(config.get(DESCRIPTION), Some("first line\n second"));
        assert_eq!(config.to_text(), text);
        for bad in [
            "x: y\n",
            "acme\n",
            "acme: 1\nacme: 2\n",
            "description: x\n",
            "acme: 1\n#late\n",
        ] {
            assert!(NodeConfig::parse(bad).is_err(), "{bad}");
        }
        let mut config = NodeConfig::default();
        assert!(config.set("email-from", "a\nacme: b").is_err());
        assert!(config.set(DESCRIPTION, "a\nb").is_ok());
    }
}

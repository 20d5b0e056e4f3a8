//! Files of hashes: `shadow.json` of passwords and `token.shadow` of token secrets
//! (`auth.md` §7.1, §7.2). One JSON object, a name to a hash.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use s3_client::env::Env;

use super::cached::Cached;
use crate::config::{ConfigError, ConfigLock, read_bounded, replace_file};

/// Nobody but the daemon reads them; upstream's are read by it as root.
const MODE: u32 = 0o600;

/// Hashes by name.
pub type Hashes = BTreeMap<String, String>;

/// A file of hashes.
pub struct SecretFile {
    path: PathBuf,
    lock_path: PathBuf,
    env: Env,
    cached: Cached<Hashes>,
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretFile").field(&self.path).finish()
    }
}

impl SecretFile {
    /// The passwords of the realm `pbs`, in the directory `config`.
    #[must_use]
    pub fn passwords(config: &Path, env: Env) -> Self {
        Self::new(config, "shadow.json", ".shadow.lck", env)
    }

    /// The secrets of tokens, in the directory `config`.
    #[must_use]
    pub fn tokens(config: &Path, env: Env) -> Self {
        Self::new(config, "token.shadow", ".token.shadow.lck", env)
    }

    fn new(config: &Path, name: &str, lock: &str, env: Env) -> Self {
        let path = config.join(name);
        Self {
            lock_path: config.join(lock),
            cached: Cached::new(path.clone()),
            path,
            env,
        }
    }

    /// The hash of `name`.
    pub fn get(&self, name: &str) -> Result<Option<String>, ConfigError> {
        let hashes = self.cached.get(|| self.load())?;
        Ok(hashes.get(name).cloned())
    }

    /// Sets the hash of `name`.
    pub async fn set(&self, name: &str, hash: String) -> Result<(), ConfigError> {
        self.update(|hashes| {
            hashes.insert(name.to_owned(), hash);
        })
        .await
    }

    /// Forgets some; names that are not there are no error.
    pub async fn remove(&self, names: &[String]) -> Result<(), ConfigError> {
        self.update(|hashes| hashes.retain(|name, _| !names.contains(name)))
            .await
    }

    async fn update(&self, change: impl FnOnce(&mut Hashes)) -> Result<(), ConfigError> {
        let _lock = ConfigLock::acquire(self.lock_path.clone(), &self.env).await?;
        let before = self.load()?;
        let mut hashes = before.clone();
        change(&mut hashes);
        if hashes == before {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(&hashes).map_err(|error| self.unreadable(&error))?;
        replace_file(&self.path, &text, MODE)
            .map_err(|source| ConfigError::io("write", &self.path, source))
    }

    fn load(&self) -> Result<Hashes, ConfigError> {
        match read_bounded(&self.path)? {
            None => Ok(Hashes::new()),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| self.unreadable(&error)),
        }
    }

    fn unreadable(&self, error: &serde_json::Error) -> ConfigError {
        ConfigError::Content {
            path: self.path.clone(),
            // Where, not what: the text would hold a hash.
            reason: format!(
                "not a JSON object of texts (line {}, column {})",
                error.line(),
                error.column()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn hashes_are_kept_in_a_file_for_nobody_else() {
        let dir = support::scratch().unwrap();
        let file = SecretFile::passwords(dir.path(), Env::system());
        assert_eq!(file.get("a").unwrap(), None);
        file.set("a", "$y$x".into()).await.unwrap();
        file.set("b", "$y$y".into()).await.unwrap();
        assert_eq!(file.get("a").unwrap().as_deref(), Some("$y$x"));
        let path = dir.path().join("shadow.json");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        file.remove(&["a".to_owned(), "c".to_owned()])
            .await
            .unwrap();
        assert_eq!(file.get("a").unwrap(), None);
        let text: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(text, serde_json::json!({ "b": "$y$y" }));
    }

    #[tokio::test]
    async fn a_damaged_file_is_an_error_that_shows_nothing_of_it() {
        let dir = support::scratch().unwrap();
        std::fs::write(
            dir.path().join("token.shadow"),
            r#"{"a@pbs!t": {"$y$j9T$": 1}}"#,
        )
        .unwrap();
        let file = SecretFile::tokens(dir.path(), Env::system());
        let error = file.get("a@pbs!t").unwrap_err().to_string();
        assert!(
            error.contains("token.shadow") && !error.contains("j9T"),
            "{error}"
        );
        assert!(file.set("x", "y".into()).await.is_err());
    }
}

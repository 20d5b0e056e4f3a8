//! `acl.cfg` on disk: read with its digest, changed under its lock.

use std::path::{Path, PathBuf};

use openssl::sha::sha256;
use s3_client::env::Env;

use super::acl::AclTree;
use crate::config::{ConfigError, ConfigLock, read_bounded, replace_file};

const MODE: u32 = 0o640;

/// The file of access rights.
#[derive(Clone, Debug)]
pub struct AclFile {
    path: PathBuf,
    lock_path: PathBuf,
    env: Env,
}

/// The content of the file.
#[derive(Clone, Debug, Default)]
pub struct Acl {
    /// The rights.
    pub tree: AclTree,
    /// SHA-256 of the file in hex; empty when there is no file.
    pub digest: String,
}

impl AclFile {
    /// The file in the directory `config`.
    #[must_use]
    pub fn new(config: &Path, env: Env) -> Self {
        Self {
            path: config.join("acl.cfg"),
            lock_path: config.join(".acl.lck"),
            env,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file. A missing one grants nothing to anybody.
    pub fn load(&self) -> Result<Acl, ConfigError> {
        let Some(bytes) = read_bounded(&self.path)? else {
            return Ok(Acl::default());
        };
        let unreadable = |reason: String| ConfigError::Content {
            path: self.path.clone(),
            reason,
        };
        let text = std::str::from_utf8(&bytes).map_err(|error| unreadable(error.to_string()))?;
        Ok(Acl {
            tree: AclTree::parse(text).map_err(|error| unreadable(error.to_string()))?,
            digest: hex::encode(sha256(&bytes)),
        })
    }

    /// Changes the file under its lock, unless `change` fails or the file is not the one that the
    /// caller saw (`expected_digest`).
    pub async fn update<R, E: From<ConfigError>>(
        &self,
        expected_digest: Option<&str>,
        change: impl FnOnce(&mut AclTree) -> Result<R, E>,
    ) -> Result<R, E> {
        let _lock = ConfigLock::acquire(self.lock_path.clone(), &self.env).await?;
        let mut content = self.load()?;
        if expected_digest.is_some_and(|expected| expected != content.digest) {
            return Err(ConfigError::Modified.into());
        }
        let result = change(&mut content.tree)?;
        replace_file(&self.path, content.tree.write().as_bytes(), MODE)
            .map_err(|source| ConfigError::io("write", &self.path, source))?;
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use api_types::access::Role;

    use super::*;

    #[tokio::test]
    async fn changes_are_written_and_digests_compared() {
        let dir = support::scratch().unwrap();
        let file = AclFile::new(dir.path(), Env::system());
        let before = file.load().unwrap();
        assert_eq!(before.digest, "");
        let add = |tree: &mut AclTree| -> Result<(), ConfigError> {
            let who = "a@pbs".parse().unwrap();
            tree.insert(&"/datastore".parse().unwrap(), who, Role::Audit, true);
            Ok(())
        };
        file.update(Some(""), add).await.unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(text, "acl:1:/datastore:a@pbs:Audit\n");
        let error = file.update(Some(""), add).await.unwrap_err();
        assert!(matches!(error, ConfigError::Modified), "{error}");
        std::fs::write(file.path(), "oops\n").unwrap();
        let error = file.load().unwrap_err().to_string();
        assert!(
            error.contains("acl.cfg") && error.contains("line 1"),
            "{error}"
        );
    }
}

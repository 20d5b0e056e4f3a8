//! Options that several commands have.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use api_types::ParseError;
use api_types::names::{ArchiveName, BackupDir, BackupGroup, BackupNamespace};
use api_types::status::{BackupContent, CryptMode, SnapshotListItem};
use clap::Args;
use datastore::env::Env;
use datastore::format::CryptConfig;
use serde_json::{Map, Value};

use super::output::parsed;
use crate::dialogue::tell;
use crate::keys::{KeyOptions, Source};
use crate::remote::dirs::Dirs;
use crate::remote::{ConnectOptions, Remote, Repository};
use crate::session::{CACHE, ReaderSession};

/// Which server and which datastore.
#[derive(Clone, Debug, Args)]
pub struct RepositoryOptions {
    /// The datastore: [[USER@]SERVER[:PORT]:]DATASTORE
    #[arg(long, env = "PBS_REPOSITORY", hide_env_values = true)]
    pub repository: Option<String>,
}

impl RepositoryOptions {
    /// The repository, wherever it is given.
    pub fn repository(&self) -> Result<Repository> {
        let text = self.repository.as_ref().filter(|text| !text.is_empty());
        let text = text.context("no repository is given: use --repository or PBS_REPOSITORY")?;
        text.parse()
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.repository
            .as_ref()
            .is_some_and(|text| !text.is_empty())
    }

    /// The server, logged in to.
    pub async fn connect(&self) -> Result<Remote> {
        Remote::connect(&self.repository()?, &ConnectOptions::from_environment()?).await
    }
}

/// The path of a call on the datastore.
#[must_use]
pub fn store_path(remote: &Remote, call: &str) -> String {
    format!("/admin/datastore/{}/{call}", remote.repository().store())
}

/// A namespace.
#[derive(Clone, Debug, Default, Args)]
pub struct NamespaceOptions {
    /// Namespace of the datastore
    #[arg(long, default_value = "", hide_default_value = true)]
    pub ns: BackupNamespace,
}

impl NamespaceOptions {
    /// As a parameter, which the root is not.
    pub fn add_to(&self, parameters: &mut Map<String, Value>) {
        if !self.ns.is_root() {
            parameters.insert("ns".to_owned(), self.ns.to_string().into());
        }
    }

    /// The parameters of a call on a group.
    #[must_use]
    pub fn of_group(&self, group: &BackupGroup) -> Map<String, Value> {
        let mut parameters = Map::new();
        self.add_to(&mut parameters);
        parameters.insert("backup-type".to_owned(), group.ty.to_string().into());
        parameters.insert("backup-id".to_owned(), group.id.to_string().into());
        parameters
    }

    /// The parameters of a call on a snapshot.
    #[must_use]
    pub fn of_snapshot(&self, snapshot: &BackupDir) -> Map<String, Value> {
        let mut parameters = self.of_group(&snapshot.group);
        parameters.insert("backup-time".to_owned(), snapshot.time.secs().into());
        parameters
    }
}

/// `GET` with parameters that are put together one by one.
pub async fn get(remote: &Remote, call: &str, parameters: &Map<String, Value>) -> Result<Value> {
    let texts: Vec<_> = parameters
        .iter()
        .map(|(name, value)| match value {
            Value::String(text) => (name.as_str(), text.clone()),
            other => (name.as_str(), other.to_string()),
        })
        .collect();
    let query: Vec<_> = texts
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    remote.get(&store_path(remote, call), &query).await
}

/// A snapshot, or a group, which stands for its newest finished one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotOrGroup {
    /// This one.
    Snapshot(BackupDir),
    /// The newest of it.
    Group(BackupGroup),
}

impl std::str::FromStr for SnapshotOrGroup {
    type Err = api_types::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.matches('/').count() {
            0 | 1 => text.parse().map(Self::Group),
            _ => text.parse().map(Self::Snapshot),
        }
    }
}

impl SnapshotOrGroup {
    /// The snapshot that is meant.
    pub async fn resolve(&self, remote: &Remote, ns: &NamespaceOptions) -> Result<BackupDir> {
        let group = match self {
            Self::Snapshot(snapshot) => return Ok(snapshot.clone()),
            Self::Group(group) => group,
        };
        let list = get(remote, "snapshots", &ns.of_group(group)).await?;
        let list: Vec<SnapshotListItem> = parsed(&list)?;
        let finished = list.iter().filter(|item| item.size.is_some());
        let newest = finished.max_by_key(|item| item.backup_time);
        newest
            .map(SnapshotListItem::dir)
            .with_context(|| format!("{group} has no finished snapshot"))
    }
}

/// A snapshot, for the command line.
pub fn snapshot(text: &str) -> Result<BackupDir, ParseError> {
    match text.parse() {
        Ok(SnapshotOrGroup::Snapshot(snapshot)) => Ok(snapshot),
        Ok(SnapshotOrGroup::Group(_)) => Err(ParseError::new(
            "snapshot",
            text,
            "this is a group; expected the form TYPE/ID/TIME, like vm/100/2022-05-02T08:11:33Z",
        )),
        Err(error) => Err(error),
    }
}

/// An archive by the name that users have for it.
pub fn archive_name(text: &str) -> Result<ArchiveName, ParseError> {
    ArchiveName::from_client_name(text)
}

/// A key that was opened.
#[derive(Clone, Debug)]
pub struct OpenKey {
    /// The key.
    pub crypt: Arc<CryptConfig>,
    /// Where it is from.
    pub source: String,
}

/// The key for a snapshot. One that is not named is not opened, and no password asked for, if
/// nothing is encrypted.
pub async fn key_for(
    options: &KeyOptions,
    remote: &Remote,
    ns: &NamespaceOptions,
    snapshot: &BackupDir,
) -> Result<Option<OpenKey>> {
    let Some(key) = options.for_restore(&Dirs::of_user()?)? else {
        return Ok(None);
    };
    // Who names a key wants its signature checked, and believes no list without one.
    if let Source::Default(_) = key.source() {
        let files = get(remote, "files", &ns.of_snapshot(snapshot)).await?;
        let files: Vec<BackupContent> = parsed(&files)?;
        let encrypted = Some(CryptMode::Encrypt);
        if !files.iter().any(|file| file.crypt_mode == encrypted) {
            return Ok(None);
        }
    }
    // It may ask for a password, and derive a key from it.
    let open = move || {
        Ok(OpenKey {
            crypt: key.open()?,
            source: key.source().label(),
        })
    };
    Env::system().blocking(open).await.map(Some)
}

/// A snapshot to be read.
#[derive(Clone, Debug, Args)]
pub struct ReadArguments {
    /// The snapshot, TYPE/ID/TIME, or a group, TYPE/ID, for its newest one
    pub snapshot: SnapshotOrGroup,
    /// Which key.
    #[command(flatten)]
    pub key: KeyArguments,
    /// Where.
    #[command(flatten)]
    pub repository: RepositoryOptions,
    /// In which namespace.
    #[command(flatten)]
    pub ns: NamespaceOptions,
}

impl ReadArguments {
    /// Opens it.
    pub async fn open(&self) -> Result<ReaderSession> {
        let remote = self.repository.connect().await?;
        let dir = self.snapshot.resolve(&remote, &self.ns).await?;
        self.open_other(&remote, &dir, CACHE).await
    }

    /// Opens another snapshot that is in the same place.
    pub async fn open_other(
        &self,
        remote: &Remote,
        dir: &BackupDir,
        cache: u64,
    ) -> Result<ReaderSession> {
        let key = key_for(&KeyOptions::from(&self.key), remote, &self.ns, dir).await?;
        let key = key.map(|key| key.crypt);
        let env = Env::system();
        let session = ReaderSession::open(remote, &self.ns.ns, dir, key, None, cache, &env).await?;
        if let Some(warning) = session.warning() {
            tell(format_args!("Warning: {warning}"));
        }
        Ok(session)
    }
}

/// Which key opens what is encrypted.
#[derive(Clone, Debug, Default, Args)]
pub struct KeyArguments {
    /// File with the encryption key
    #[arg(long, value_name = "FILE")]
    pub keyfile: Option<PathBuf>,
    /// File descriptor with the encryption key
    #[arg(long, value_name = "NUMBER")]
    pub keyfd: Option<u32>,
}

/// And how it is used.
#[derive(Clone, Debug, Default, Args)]
pub struct CryptArguments {
    /// Which key.
    #[command(flatten)]
    pub key: KeyArguments,
    /// How data is protected: none, encrypt or sign-only [default: encrypt if there is a key]
    #[arg(long, value_name = "MODE")]
    pub crypt_mode: Option<CryptMode>,
}

impl From<&KeyArguments> for KeyOptions {
    fn from(arguments: &KeyArguments) -> Self {
        Self {
            keyfile: arguments.keyfile.clone(),
            keyfd: arguments.keyfd,
            ..Self::default()
        }
    }
}

impl From<&CryptArguments> for KeyOptions {
    fn from(arguments: &CryptArguments) -> Self {
        Self {
            crypt_mode: arguments.crypt_mode,
            ..Self::from(&arguments.key)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_stands_for_its_newest_snapshot() {
        let group: SnapshotOrGroup = "vm/100".parse().unwrap();
        assert_eq!(group, SnapshotOrGroup::Group("vm/100".parse().unwrap()));
        let text = "vm/100/2026-11-22T08:34:18Z";
        let snapshot: SnapshotOrGroup = text.parse().unwrap();
        assert_eq!(snapshot, SnapshotOrGroup::Snapshot(text.parse().unwrap()));
        let error = "vm/100/yesterday".parse::<SnapshotOrGroup>().unwrap_err();
        assert!(error.to_string().contains("snapshot"), "{error}");
        assert!("vm".parse::<SnapshotOrGroup>().is_err());
        let error = super::snapshot("vm/100").unwrap_err();
        assert!(error.to_string().contains("TYPE/ID/TIME"), "{error}");
    }

    #[test]
    fn the_root_is_no_parameter() {
        let snapshot = "vm/100/2026-11-22T08:34:18Z".parse().unwrap();
        let parameters = NamespaceOptions::default().of_snapshot(&snapshot);
        let expected = serde_json::json!({
            "backup-type": "vm", "backup-id": "100", "backup-time": 1_795_336_458,
        });
        assert_eq!(Value::Object(parameters), expected);
        let ns = NamespaceOptions {
            ns: "a/b".parse().unwrap(),
        };
        assert_eq!(ns.of_group(&snapshot.group)["ns"], "a/b");
    }
}

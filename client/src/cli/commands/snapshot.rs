//! Snapshots.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use api_types::names::{BackupDir, BackupGroup};
use api_types::status::{BackupContent, CryptMode, SnapshotListItem};
use clap::{Args, Subcommand};
use datastore::env::Env;
use datastore::format::{DataBlob, MAX_BLOB_PLAIN, MAX_CHUNK_ENCODED};
use serde_json::{Map, Value};

use crate::cli::flags::boolean;
use crate::cli::options::{
    CryptArguments, NamespaceOptions, RepositoryOptions, get, snapshot, store_path,
};
use crate::cli::output::{OutputOptions, parsed};
use crate::cli::show::bytes;
use crate::cli::table::{Align, Table};
use crate::keys::KeyOptions;
use crate::remote::dirs::Dirs;

/// What to do with snapshots.
#[derive(Clone, Debug, Subcommand)]
pub enum SnapshotCommand {
    /// List the files of a snapshot
    Files(FilesArguments),
    /// Remove a snapshot
    #[command(alias = "remove")]
    Forget(SnapshotArguments),
    /// List snapshots
    List(ListArguments),
    /// The notes of a snapshot
    #[command(subcommand)]
    Notes(NotesCommand),
    /// Whether a snapshot is protected from removal
    #[command(subcommand)]
    Protected(ProtectedCommand),
    /// Add the log of a backup to its snapshot
    UploadLog(UploadLogArguments),
}

impl SnapshotCommand {
    pub(crate) async fn run(&self) -> Result<()> {
        match self {
            Self::Files(arguments) => arguments.run().await,
            Self::Forget(arguments) => arguments.forget().await,
            Self::List(arguments) => arguments.run().await,
            Self::Notes(command) => command.run().await,
            Self::Protected(command) => command.run().await,
            Self::UploadLog(arguments) => arguments.run().await,
        }
    }
}

/// A snapshot and where it is.
#[derive(Clone, Debug, Args)]
pub struct SnapshotArguments {
    /// The snapshot: TYPE/ID/TIME
    #[arg(value_parser = snapshot)]
    pub snapshot: BackupDir,
    /// Where.
    #[command(flatten)]
    pub repository: RepositoryOptions,
    /// In which namespace.
    #[command(flatten)]
    pub ns: NamespaceOptions,
}

impl SnapshotArguments {
    async fn get(&self, call: &str) -> Result<Value> {
        let remote = self.repository.connect().await?;
        get(&remote, call, &self.ns.of_snapshot(&self.snapshot)).await
    }

    async fn put(&self, call: &str, name: &str, value: Value) -> Result<()> {
        let remote = self.repository.connect().await?;
        let mut parameters = self.ns.of_snapshot(&self.snapshot);
        parameters.insert(name.to_owned(), value);
        let path = store_path(&remote, call);
        remote.put(&path, &Value::Object(parameters)).await?;
        Ok(())
    }

    /// Removes it.
    pub(crate) async fn forget(&self) -> Result<()> {
        let remote = self.repository.connect().await?;
        let parameters = Value::Object(self.ns.of_snapshot(&self.snapshot));
        let path = store_path(&remote, "snapshots");
        let removed = remote.delete(&path, &parameters).await;
        removed.with_context(|| format!("failed to remove {}", self.snapshot))?;
        Ok(())
    }
}

/// Which snapshots are listed.
#[derive(Clone, Debug, Args)]
pub struct ListArguments {
    /// Only those of a group: TYPE/ID
    pub group: Option<BackupGroup>,
    /// Where.
    #[command(flatten)]
    pub repository: RepositoryOptions,
    /// In which namespace.
    #[command(flatten)]
    pub ns: NamespaceOptions,
    /// In which form.
    #[command(flatten)]
    pub output: OutputOptions,
}

impl ListArguments {
    pub(crate) async fn run(&self) -> Result<()> {
        let remote = self.repository.connect().await?;
        let mut parameters = Map::new();
        match &self.group {
            Some(group) => parameters = self.ns.of_group(group),
            None => self.ns.add_to(&mut parameters),
        }
        let list = get(&remote, "snapshots", &parameters).await?;
        self.output
            .print(&list, || Ok(of_snapshots(parsed(&list)?)))
    }
}

fn of_snapshots(mut snapshots: Vec<SnapshotListItem>) -> String {
    snapshots.sort_by_cached_key(SnapshotListItem::dir);
    let mut table = Table::new(&[
        ("snapshot", Align::Left),
        ("size", Align::Right),
        ("files", Align::Left),
        ("protected", Align::Left),
        ("verified", Align::Left),
        ("comment", Align::Left),
    ]);
    for item in snapshots {
        let files = item.files.iter().map(|file| file.filename.client_name());
        let mut files: Vec<_> = files.collect();
        files.sort_unstable();
        let protected = if item.protected { "yes" } else { "" };
        let verified = item
            .verification
            .as_ref()
            .map(|last| last.state.to_string());
        table.row([
            item.dir().to_string(),
            item.size.map(bytes).unwrap_or_default(),
            files.join(" "),
            protected.to_owned(),
            verified.unwrap_or_default(),
            item.comment.clone().unwrap_or_default(),
        ]);
    }
    table.render()
}

/// Which snapshot's files are listed.
#[derive(Clone, Debug, Args)]
pub struct FilesArguments {
    /// Which.
    #[command(flatten)]
    pub snapshot: SnapshotArguments,
    /// In which form.
    #[command(flatten)]
    pub output: OutputOptions,
}

impl FilesArguments {
    pub(crate) async fn run(&self) -> Result<()> {
        let files = self.snapshot.get("files").await?;
        self.output.print(&files, || Ok(of_files(parsed(&files)?)))
    }
}

fn of_files(mut files: Vec<BackupContent>) -> String {
    files.sort_by(|a, b| a.filename.as_str().cmp(b.filename.as_str()));
    let mut table = Table::new(&[
        ("filename", Align::Left),
        ("crypt-mode", Align::Left),
        ("size", Align::Right),
    ]);
    for file in files {
        table.row([
            file.filename.to_string(),
            file.crypt_mode
                .map(|mode| mode.to_string())
                .unwrap_or_default(),
            file.size.map(|size| size.to_string()).unwrap_or_default(),
        ]);
    }
    table.render()
}

/// What to do with notes.
#[derive(Clone, Debug, Subcommand)]
pub enum NotesCommand {
    /// Show them
    Show(FilesArguments),
    /// Replace them
    Update {
        /// Which.
        #[command(flatten)]
        snapshot: SnapshotArguments,
        /// The new notes
        notes: String,
    },
}

impl NotesCommand {
    async fn run(&self) -> Result<()> {
        match self {
            Self::Show(FilesArguments { snapshot, output }) => {
                let notes = snapshot.get("notes").await?;
                output.print(&notes, || Ok(notes.as_str().unwrap_or_default().to_owned()))
            }
            Self::Update { snapshot, notes } => {
                snapshot.put("notes", "notes", notes.clone().into()).await
            }
        }
    }
}

/// What to do with the protection.
#[derive(Clone, Debug, Subcommand)]
pub enum ProtectedCommand {
    /// Show it
    Show(FilesArguments),
    /// Change it
    Update {
        /// Which.
        #[command(flatten)]
        snapshot: SnapshotArguments,
        /// Whether it is protected: true or false
        #[arg(value_parser = parse_boolean, action = clap::ArgAction::Set)]
        protected: bool,
    },
}

impl ProtectedCommand {
    async fn run(&self) -> Result<()> {
        match self {
            Self::Show(FilesArguments { snapshot, output }) => {
                let protected = snapshot.get("protected").await?;
                output.print(&protected, || Ok(protected.to_string()))
            }
            Self::Update {
                snapshot,
                protected,
            } => {
                let value = (*protected).into();
                snapshot.put("protected", "protected", value).await
            }
        }
    }
}

fn parse_boolean(text: &str) -> Result<bool, String> {
    boolean(text).ok_or_else(|| "expected true or false".to_owned())
}

/// Which log is added to which snapshot.
#[derive(Clone, Debug, Args)]
pub struct UploadLogArguments {
    /// Which.
    #[command(flatten)]
    pub snapshot: SnapshotArguments,
    /// The file with the log
    pub logfile: PathBuf,
    /// How it is protected.
    #[command(flatten)]
    pub crypt: CryptArguments,
    /// In which form.
    #[command(flatten)]
    pub output: OutputOptions,
}

impl UploadLogArguments {
    pub(crate) async fn run(&self) -> Result<()> {
        // It may ask for a password, and derive a key from it: signals are seen meanwhile.
        let arguments = self.clone();
        let blob = Env::system().blocking(move || arguments.blob()).await?;
        let size = blob.raw_size();
        ensure!(
            size <= MAX_CHUNK_ENCODED,
            "the log {:?} has {size} bytes as it is stored; {MAX_CHUNK_ENCODED} are possible",
            self.logfile
        );
        let SnapshotArguments {
            snapshot,
            repository,
            ns,
        } = &self.snapshot;
        let remote = repository.connect().await?;
        let time = snapshot.time.secs().to_string();
        let (ty, id) = (snapshot.group.ty.to_string(), snapshot.group.id.to_string());
        let ns = ns.ns.to_string();
        let mut query = vec![
            ("backup-type", ty.as_str()),
            ("backup-id", &id),
            ("backup-time", &time),
        ];
        if !ns.is_empty() {
            query.push(("ns", &ns));
        }
        let path = store_path(&remote, "upload-backup-log");
        let data = remote.upload(&path, &query, blob.into_raw()).await;
        let data = data.with_context(|| format!("failed to add the log to {snapshot}"))?;
        let answer = serde_json::json!({ "data": data });
        self.output.print(&answer, || {
            Ok(format!(
                "Result: {}",
                serde_json::to_string_pretty(&answer)?
            ))
        })
    }

    fn blob(&self) -> Result<DataBlob> {
        let log = read_log(&self.logfile)?;
        let keys = KeyOptions::from(&self.crypt).for_backup(&Dirs::of_user()?)?;
        let crypt = match &keys.key {
            Some(key) if keys.mode == CryptMode::Encrypt => Some(key.open()?),
            _ => None,
        };
        Ok(DataBlob::encode(
            &log,
            crypt.as_deref(),
            true,
            &Env::system(),
        )?)
    }
}

fn read_log(path: &Path) -> Result<Vec<u8>> {
    let read = || {
        let size = std::fs::metadata(path)?.len();
        if size > MAX_BLOB_PLAIN {
            bail!("it has {size} bytes; a log can have {MAX_BLOB_PLAIN} at most");
        }
        Ok(std::fs::read(path)?)
    };
    read().with_context(|| format!("failed to read the log {path:?}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn snapshots_and_files_are_sorted() {
        let list = json!([
            { "backup-type": "vm", "backup-id": "100", "backup-time": 1_795_336_458, "size": 2048,
              "comment": "a note", "protected": true, "owner": "test@pbs",
              "files": [{ "filename": "b.img.fidx" }, { "filename": "a.conf.blob" }] },
            { "backup-type": "ct", "backup-id": "1", "backup-time": 1, "files": [] },
        ]);
        let text = of_snapshots(parsed(&list).unwrap());
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[3].starts_with("│ ct/1/1970-01-01T00:00:01Z"),
            "{text}"
        );
        assert!(lines[5].contains("│ 2 KiB │ a.conf b.img │ yes "), "{text}");
        assert!(lines[5].contains("a note"), "{text}");
        let files = of_files(parsed(&list[0]["files"]).unwrap());
        assert!(
            files.find("a.conf.blob") < files.find("b.img.fidx"),
            "{files}"
        );
    }
}

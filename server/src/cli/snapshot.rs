//! `snapshot list | forget`.

use anyhow::{Result, bail};
use api_types::datastore::Operation;
use api_types::human::ByteSize;
use api_types::names::{BackupDir, BackupGroup, BackupNamespace, DatastoreName, SnapshotPath};
use api_types::status::SnapshotListItem;
use clap::Subcommand;
use datastore::gc::history::RemovalKind;
use datastore::manage::Forgotten;
use s3_client::TaskKind;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::Session;
use super::table::{Column, Table};
use crate::console;

/// Look at snapshots and remove them.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// List the snapshots of a namespace or of a group.
    List {
        /// Name of the datastore.
        store: DatastoreName,
        /// Only this group, for example 'vm/100'.
        group: Option<BackupGroup>,
        /// Namespace [default: the root].
        #[arg(long)]
        ns: Option<BackupNamespace>,
    },
    /// Remove snapshots; their chunks go with the next garbage collection.
    Forget {
        /// Name of the datastore.
        store: DatastoreName,
        /// The snapshots, for example 'vm/100/2026-01-31T12:00:00Z'.
        #[arg(required = true)]
        snapshots: Vec<BackupDir>,
        /// Namespace [default: the root].
        #[arg(long)]
        ns: Option<BackupNamespace>,
    },
}

impl SnapshotCommand {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<()> {
        match self {
            Self::List { store, group, ns } => {
                list(session, &store, group.as_ref(), &ns.unwrap_or_default()).await
            }
            Self::Forget {
                store,
                snapshots,
                ns,
            } => forget(session, &store, snapshots, &ns.unwrap_or_default()).await,
        }
    }
}

/// A snapshot as people see it.
#[derive(Debug, Serialize)]
struct Row {
    snapshot: String,
    size: Option<String>,
    files: String,
    owner: Option<String>,
    protected: &'static str,
    verification: Option<String>,
    comment: Option<String>,
}

impl Row {
    fn of(item: &SnapshotListItem) -> Self {
        let files: Vec<&str> = item
            .files
            .iter()
            .map(|file| file.filename.client_name())
            .collect();
        Self {
            snapshot: item.dir().to_string(),
            size: item.size.map(|size| ByteSize::from_bytes(size).to_string()),
            files: files.join(" "),
            owner: item.owner.as_ref().map(ToString::to_string),
            protected: if item.protected { "yes" } else { "" },
            verification: item
                .verification
                .as_ref()
                .map(|state| state.state.to_string()),
            comment: item.comment.clone(),
        }
    }
}

async fn list(
    session: &Session,
    store: &DatastoreName,
    group: Option<&BackupGroup>,
    ns: &BackupNamespace,
) -> Result<()> {
    let opened = session.datastores.open(store, Operation::Read).await?;
    let items = opened
        .list_snapshots(
            ns,
            group.map(|group| group.ty),
            group.map(|group| &group.id),
        )
        .await?;
    let columns = [
        "snapshot",
        "size",
        "files",
        "owner",
        "protected",
        "verification",
        "comment",
    ];
    session.format.print(&items, || {
        let rows: Vec<Row> = items.iter().map(Row::of).collect();
        Table::of_items(&columns.map(Column::plain), &rows).to_string()
    })
}

async fn forget(
    session: &Session,
    store: &DatastoreName,
    snapshots: Vec<BackupDir>,
    ns: &BackupNamespace,
) -> Result<()> {
    let opened = session.datastores.open(store, Operation::Write).await?;
    let cancel = CancellationToken::new();
    let client = opened.client(TaskKind::Prune, &cancel);
    let paths: Vec<SnapshotPath> = snapshots
        .into_iter()
        .map(|dir| SnapshotPath::new(ns.clone(), dir))
        .collect();
    let forgotten = opened
        .forget_snapshots(client.as_ref(), &paths, RemovalKind::Forget, &cancel)
        .await;
    report(session, forgotten)
}

/// The names of the snapshots removed are the result; the first that resisted is the error.
fn report(session: &Session, forgotten: Forgotten) -> Result<()> {
    let removed: Vec<String> = forgotten.removed.iter().map(ToString::to_string).collect();
    if !removed.is_empty() {
        session.format.print(&removed, || {
            let lines: Vec<String> = removed
                .iter()
                .map(|path| format!("removed {path}"))
                .collect();
            lines.join("\n")
        })?;
    }
    let protected = forgotten
        .protected
        .iter()
        .map(|path| format!("{path}: cannot remove protected snapshot"));
    let failed = forgotten
        .failed
        .iter()
        .map(|(path, error)| format!("{path}: {error}"));
    let mut failures: Vec<String> = protected.chain(failed).collect();
    failures.extend(forgotten.stopped.map(|error| error.to_string()));
    if forgotten.left_in_bucket > 0 {
        console::error_line(&format!(
            "{} objects of removed snapshots are still in the bucket; they are removed by the next \
             garbage collection",
            forgotten.left_in_bucket
        ));
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!("failed to delete snapshot - {}", failures.join("; "))
}

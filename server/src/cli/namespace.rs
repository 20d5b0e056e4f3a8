//! `namespace create | move`.

use anyhow::Result;
use api_types::datastore::Operation;
use api_types::names::{BackupNamespace, DatastoreName};
use clap::Subcommand;
use datastore::manage::relocate::NamespaceMove;

use tokio_util::sync::CancellationToken;

use super::Session;
use crate::operations::counted_client;
use crate::operations::relocate::MoveNamespace;

/// Namespaces.
#[derive(Debug, Subcommand)]
pub enum NamespaceCommand {
    /// Create a namespace; its parent must exist.
    Create {
        /// Name of the datastore.
        store: DatastoreName,
        /// The namespace.
        ns: BackupNamespace,
    },
    /// Move a namespace with all that is in it.
    Move {
        /// Name of the datastore.
        store: DatastoreName,
        /// The namespace.
        ns: BackupNamespace,
        /// What it is to be called.
        target_ns: BackupNamespace,
        /// How many levels of namespaces below it to move [default: all].
        #[arg(long, value_name = "LEVELS")]
        max_depth: Option<usize>,
        /// Remove the namespaces that become empty.
        #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
        delete_source: bool,
        /// Join groups of the same owner with older snapshots that are there already.
        #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
        merge_groups: bool,
    },
}

impl NamespaceCommand {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<()> {
        match self {
            Self::Create { store, ns } => {
                let opened = session.datastores.open(&store, Operation::Write).await?;
                let cancel = CancellationToken::new();
                opened.create_namespace(None, &ns, &cancel).await?;
                Ok(())
            }
            Self::Move {
                store,
                ns,
                target_ns,
                max_depth,
                delete_source,
                merge_groups,
            } => {
                let options = NamespaceMove {
                    from: ns,
                    to: target_ns,
                    max_depth,
                    delete_source,
                    merge_groups,
                };
                relocate(session, MoveNamespace { store, options }).await
            }
        }
    }
}

async fn relocate(session: &Session, work: MoveNamespace) -> Result<()> {
    work.options.check()?;
    let opened = session
        .datastores
        .open(&work.store, Operation::Write)
        .await?;
    let (client, id) = (counted_client(&opened), work.worker_id());
    session
        .work(MoveNamespace::WORKER_TYPE, id, client, |task| async move {
            work.run(&*task, &opened).await
        })
        .await
}

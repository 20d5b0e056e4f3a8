//! `group move`.

use anyhow::Result;
use api_types::datastore::Operation;
use api_types::names::{BackupGroup, BackupNamespace, DatastoreName};
use clap::Subcommand;

use super::Session;
use crate::operations::counted_client;
use crate::operations::relocate::MoveGroup;

/// Groups of snapshots.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Move a group with its snapshots to another namespace.
    Move {
        /// Name of the datastore.
        store: DatastoreName,
        /// The group, for example 'vm/100'.
        group: BackupGroup,
        /// Namespace where it is [default: the root].
        #[arg(long)]
        ns: Option<BackupNamespace>,
        /// Namespace where it is to be [default: the root].
        #[arg(long)]
        target_ns: Option<BackupNamespace>,
        /// Join a group of the same owner with older snapshots that is there already.
        #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
        merge_group: bool,
    },
}

impl GroupCommand {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<()> {
        let Self::Move {
            store,
            group,
            ns,
            target_ns,
            merge_group,
        } = self;
        let work = MoveGroup {
            store,
            group,
            ns: ns.unwrap_or_default(),
            target_ns: target_ns.unwrap_or_default(),
            merge: merge_group,
        };
        let opened = session
            .datastores
            .open(&work.store, Operation::Write)
            .await?;
        let (client, id) = (counted_client(&opened), work.worker_id());
        session
            .work(MoveGroup::WORKER_TYPE, id, client, |task| async move {
                work.run(&*task, &opened).await
            })
            .await
    }
}

//! Groups of snapshots.

use anyhow::{Context as _, Result, ensure};
use api_types::auth::Authid;
use api_types::names::{BackupGroup, BackupNamespace};
use clap::{Args, Subcommand};
use datastore::env::Env;
use serde_json::{Value, json};

use crate::cli::options::{NamespaceOptions, RepositoryOptions, get, store_path};
use crate::cli::task_log::{Lines, follow};
use crate::dialogue::confirm;

/// What to do with groups.
#[derive(Clone, Debug, Subcommand)]
pub enum GroupCommand {
    /// Give a group to another owner
    ChangeOwner(ChangeOwnerArguments),
    /// Remove a group with all its snapshots
    Forget(ForgetArguments),
    /// Move a group to another namespace
    Move(MoveArguments),
}

impl GroupCommand {
    pub(crate) async fn run(&self) -> Result<()> {
        match self {
            Self::ChangeOwner(arguments) => arguments.run().await,
            Self::Forget(arguments) => arguments.run().await,
            Self::Move(arguments) => arguments.run().await,
        }
    }
}

/// A group and where it is.
#[derive(Clone, Debug, Args)]
pub struct GroupArguments {
    /// The group: TYPE/ID
    pub group: BackupGroup,
    /// Where.
    #[command(flatten)]
    pub repository: RepositoryOptions,
    /// In which namespace.
    #[command(flatten)]
    pub ns: NamespaceOptions,
}

/// Give a group to another owner
#[derive(Clone, Debug, Args)]
pub struct ChangeOwnerArguments {
    /// Which.
    #[command(flatten)]
    pub group: GroupArguments,
    /// The user or API token that owns it from now on
    pub new_owner: Authid,
}

impl ChangeOwnerArguments {
    pub(crate) async fn run(&self) -> Result<()> {
        let GroupArguments {
            group,
            repository,
            ns,
        } = &self.group;
        let remote = repository.connect().await?;
        let mut parameters = ns.of_group(group);
        parameters.insert("new-owner".to_owned(), self.new_owner.to_string().into());
        let path = store_path(&remote, "change-owner");
        let changed = remote.post(&path, &Value::Object(parameters)).await;
        changed.with_context(|| format!("failed to change the owner of {group}"))?;
        Ok(())
    }
}

/// Remove a group with all its snapshots
#[derive(Clone, Debug, Args)]
pub struct ForgetArguments {
    /// Which.
    #[command(flatten)]
    pub group: GroupArguments,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

impl ForgetArguments {
    async fn run(&self) -> Result<()> {
        let GroupArguments {
            group,
            repository,
            ns,
        } = &self.group;
        let remote = repository.connect().await?;
        let parameters = ns.of_group(group);
        if !self.yes {
            let snapshots = get(&remote, "snapshots", &parameters).await?;
            let count = snapshots.as_array().map_or(0, Vec::len);
            let question = format!("Delete group \"{group}\" with {count} snapshot(s)? [y/N]: ");
            // Signals are seen meanwhile.
            let confirmed = Env::system().blocking(move || confirm(&question)).await;
            ensure!(
                confirmed.context("failed to ask")?,
                "it was not confirmed, nothing is removed; --yes does not ask"
            );
        }
        let path = store_path(&remote, "groups");
        let removed = remote.delete(&path, &Value::Object(parameters)).await;
        removed.with_context(|| format!("failed to remove group {group}"))?;
        Ok(())
    }
}

/// Move a group to another namespace
#[derive(Clone, Debug, Args)]
pub struct MoveArguments {
    /// Which.
    #[command(flatten)]
    pub group: GroupArguments,
    /// The namespace to move it to
    #[arg(long, default_value = "", hide_default_value = true)]
    pub target_ns: BackupNamespace,
    /// Fail if there is such a group already, instead of adding to it
    #[arg(long)]
    pub no_merge: bool,
}

impl MoveArguments {
    async fn run(&self) -> Result<()> {
        let GroupArguments {
            group,
            repository,
            ns,
        } = &self.group;
        let remote = repository.connect().await?;
        let mut parameters = ns.of_group(group);
        parameters.insert("target-ns".to_owned(), self.target_ns.to_string().into());
        if self.no_merge {
            parameters.insert("merge-group".to_owned(), json!(false));
        }
        let path = store_path(&remote, "move-group");
        let upid = remote.post(&path, &Value::Object(parameters)).await?;
        let upid = upid.as_str().context("the server has started no task")?;
        follow(&remote, upid, Lines::Text, &Env::system()).await
    }
}

//! Namespaces.

use anyhow::{Context as _, Result, bail};
use api_types::names::BackupNamespace;
use api_types::status::NamespaceListItem;
use clap::{Args, Subcommand};
use datastore::env::Env;
use serde_json::{Map, json};

use crate::cli::options::{RepositoryOptions, get, store_path};
use crate::cli::output::{OutputOptions, parsed};
use crate::cli::task_log::{Lines, follow};

/// What to do with namespaces.
#[derive(Clone, Debug, Subcommand)]
pub enum NamespaceCommand {
    /// Make a namespace
    Create(NamespaceArguments),
    /// Remove a namespace
    #[command(alias = "remove")]
    Delete(DeleteArguments),
    /// List namespaces
    List(ListArguments),
    /// Move a namespace with all that is in it
    Move(MoveArguments),
}

impl NamespaceCommand {
    pub(crate) async fn run(&self) -> Result<()> {
        match self {
            Self::Create(arguments) => arguments.create().await,
            Self::Delete(arguments) => arguments.run().await,
            Self::List(arguments) => arguments.run().await,
            Self::Move(arguments) => arguments.run().await,
        }
    }
}

/// A namespace and where it is.
#[derive(Clone, Debug, Args)]
pub struct NamespaceArguments {
    /// The namespace, like a/b
    pub ns: BackupNamespace,
    /// Where.
    #[command(flatten)]
    pub repository: RepositoryOptions,
}

impl NamespaceArguments {
    async fn create(&self) -> Result<()> {
        let (Some(parent), Some(name)) = (self.ns.parent(), self.ns.components().last()) else {
            bail!("the root is always there: name a namespace below it");
        };
        let remote = self.repository.connect().await?;
        let parameters = json!({ "parent": parent.to_string(), "name": name.as_str() });
        let created = remote
            .post(&store_path(&remote, "namespace"), &parameters)
            .await;
        created.with_context(|| format!("failed to make namespace {}", self.ns))?;
        Ok(())
    }
}

/// Which namespaces are listed.
#[derive(Clone, Debug, Args)]
pub struct ListArguments {
    /// The namespace to begin at
    #[arg(default_value = "", hide_default_value = true)]
    pub parent: BackupNamespace,
    /// How far down
    #[arg(long)]
    pub max_depth: Option<u8>,
    /// Where.
    #[command(flatten)]
    pub repository: RepositoryOptions,
    /// In which form.
    #[command(flatten)]
    pub output: OutputOptions,
}

impl ListArguments {
    async fn run(&self) -> Result<()> {
        let remote = self.repository.connect().await?;
        let mut parameters = Map::new();
        if !self.parent.is_root() {
            parameters.insert("parent".to_owned(), self.parent.to_string().into());
        }
        if let Some(depth) = self.max_depth {
            parameters.insert("max-depth".to_owned(), depth.into());
        }
        let list = get(&remote, "namespace", &parameters).await?;
        self.output.print(&list, || {
            let list: Vec<NamespaceListItem> = parsed(&list)?;
            let names = list.iter().map(|item| item.ns.to_string());
            let names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
            Ok(names.join("\n"))
        })
    }
}

/// Which namespace is removed, and with what.
#[derive(Clone, Debug, Args)]
pub struct DeleteArguments {
    /// Which.
    #[command(flatten)]
    pub ns: NamespaceArguments,
    /// Remove the groups in it too
    #[arg(long)]
    pub delete_groups: bool,
}

impl DeleteArguments {
    async fn run(&self) -> Result<()> {
        let NamespaceArguments { ns, repository } = &self.ns;
        let remote = repository.connect().await?;
        let mut parameters = json!({ "ns": ns.to_string() });
        if self.delete_groups {
            parameters["delete-groups"] = true.into();
        }
        let removed = remote
            .delete(&store_path(&remote, "namespace"), &parameters)
            .await;
        removed.with_context(|| format!("failed to remove namespace {ns}"))?;
        Ok(())
    }
}

/// Which namespace is moved, and where.
#[derive(Clone, Debug, Args)]
pub struct MoveArguments {
    /// Which.
    #[command(flatten)]
    pub ns: NamespaceArguments,
    /// Its new name
    #[arg(long)]
    pub target_ns: BackupNamespace,
    /// How far down groups are moved
    #[arg(long)]
    pub max_depth: Option<u8>,
    /// Leave the emptied namespaces where they are
    #[arg(long)]
    pub keep_source: bool,
    /// Fail if there is such a group already, instead of adding to it
    #[arg(long)]
    pub no_merge: bool,
}

impl MoveArguments {
    async fn run(&self) -> Result<()> {
        let NamespaceArguments { ns, repository } = &self.ns;
        let remote = repository.connect().await?;
        let mut parameters = json!({
            "ns": ns.to_string(),
            "target-ns": self.target_ns.to_string(),
        });
        if let Some(depth) = self.max_depth {
            parameters["max-depth"] = depth.into();
        }
        if self.keep_source {
            parameters["delete-source"] = false.into();
        }
        if self.no_merge {
            parameters["merge-groups"] = false.into();
        }
        let upid = remote
            .post(&store_path(&remote, "move-namespace"), &parameters)
            .await?;
        let upid = upid.as_str().context("the server has started no task")?;
        follow(&remote, upid, Lines::Text, &Env::system()).await
    }
}

//! Who the server is.

use anyhow::Result;
use clap::Args;

use crate::cli::options::RepositoryOptions;
use crate::cli::output::OutputOptions;

/// Show what tells this server from all others
#[derive(Clone, Debug, Args)]
pub struct IdentityArguments {
    /// Where.
    #[command(flatten)]
    pub repository: RepositoryOptions,
    /// In which form.
    #[command(flatten)]
    pub output: OutputOptions,
}

impl IdentityArguments {
    pub(crate) async fn run(&self) -> Result<()> {
        let remote = self.repository.connect().await?;
        let identity = remote.get("/nodes/localhost/identity", &[]).await?;
        self.output
            .print(&identity, || Ok(serde_json::to_string_pretty(&identity)?))
    }
}

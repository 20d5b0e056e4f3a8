//! `s3 ...`: endpoints, their buckets, and what a provider can do.

mod endpoint;

use anyhow::Result;
use clap::Subcommand;

use super::Session;

/// S3 endpoints and buckets.
#[derive(Debug, Subcommand)]
pub enum S3Command {
    /// Manage S3 endpoints.
    #[command(subcommand)]
    Endpoint(endpoint::EndpointCommand),
}

impl S3Command {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<()> {
        match self {
            Self::Endpoint(command) => command.run(session).await,
        }
    }
}

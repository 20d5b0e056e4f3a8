//! `s3 ...`: endpoints, their buckets, and what a provider can do.

mod check;
mod endpoint;

use anyhow::{Context, Result};
use api_types::names::EndpointId;
use clap::Subcommand;
use serde::Serialize;

use super::Session;
use super::table::Column;

/// S3 endpoints and buckets.
#[derive(Debug, Subcommand)]
pub enum S3Command {
    /// Manage S3 endpoints.
    #[command(subcommand)]
    Endpoint(endpoint::EndpointCommand),
    /// List the buckets of an endpoint's account.
    ListBuckets {
        /// Name of the endpoint.
        endpoint: EndpointId,
    },
    /// Check whether a bucket can be used, by writing a test object.
    Check(check::CheckOptions),
}

/// A bucket as the API lists it.
#[derive(Debug, Serialize)]
struct Bucket {
    name: String,
}

impl S3Command {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<()> {
        match self {
            Self::Endpoint(command) => command.run(session).await,
            Self::ListBuckets { endpoint } => list_buckets(session, &endpoint).await,
            Self::Check(options) => options.run(session).await,
        }
    }
}

async fn list_buckets(session: &Session, id: &EndpointId) -> Result<()> {
    let endpoints = session.config.s3_endpoints().load()?;
    let client = session.s3.client(endpoints.get(id.as_str())?, None)?;
    let buckets = client
        .list_buckets()
        .await
        .context("failed to list the buckets")?;
    let buckets: Vec<Bucket> = buckets
        .into_iter()
        .map(|bucket| Bucket { name: bucket.name })
        .collect();
    session
        .format
        .print_list(&buckets, &[Column::plain("name")])
}

//! An S3 server with TLS on loopback, for demonstrations and manual tests.
//!
//! ```text
//! s3-server --server s3s-fs|minio --bucket NAME
//! ```
//! Prints one line of JSON that says how to reach it, and serves until its standard input ends or
//! it gets SIGINT or SIGTERM. So it never outlives the script that started it. All data is in a
//! temporary directory (`TMPDIR`) that goes with it.

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use serde_json::json;
use support::{Endpoint, MinioServer, S3sServer};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
struct Arguments {
    /// Which server.
    #[arg(long, value_enum, default_value = "s3s-fs")]
    server: Kind,
    /// Bucket to make in it.
    #[arg(long)]
    bucket: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// `s3s-fs` in this process.
    S3sFs,
    /// A MinIO process: `MINIO_BIN`, from `PATH`, or from `~/go/bin`.
    Minio,
}

enum Server {
    S3sFs(S3sServer),
    Minio(MinioServer),
}

impl Server {
    async fn start(kind: Kind) -> Result<Self> {
        Ok(match kind {
            Kind::S3sFs => Self::S3sFs(S3sServer::start().await?),
            Kind::Minio => Self::Minio(MinioServer::start().await?),
        })
    }

    fn with_bucket(&self, bucket: &str) -> Result<Endpoint> {
        match self {
            Self::S3sFs(server) => {
                server.create_bucket(bucket)?;
                Ok(server.endpoint(bucket))
            }
            Self::Minio(server) => {
                server.create_bucket(bucket)?;
                Ok(server.endpoint(bucket))
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let server = Server::start(arguments.server).await?;
    println!("{}", describe(&server.with_bucket(&arguments.bucket)?));
    tokio::select! {
        ended = input_ended() => ended.context("cannot read standard input")?,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    drop(server);
    // A read of standard input cannot be cancelled: do not wait for it.
    std::process::exit(0);
}

/// The endpoint in the words of `coffer-manager s3 endpoint create`.
fn describe(endpoint: &Endpoint) -> serde_json::Value {
    json!({
        "server": endpoint.name,
        "endpoint": endpoint.host,
        "port": endpoint.port,
        "region": endpoint.region,
        "access-key": endpoint.access_key,
        "secret-key": endpoint.secret_key,
        "fingerprint": endpoint.fingerprint,
        "path-style": true,
        "bucket": endpoint.bucket,
    })
}

async fn input_ended() -> std::io::Result<()> {
    let mut input = tokio::io::stdin();
    let mut buffer = [0; 64];
    while input.read(&mut buffer).await? > 0 {}
    Ok(())
}

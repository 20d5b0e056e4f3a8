#![allow(clippy::disallowed_methods, reason = "a client makes files of its own")]
//! A small backup program over the session API, as `make demo` uses it.
//!
//! ```text
//! demo_backup generate --generation 1 --into DIR
//! demo_backup --config FILE backup --group host/demo --time 2026-01-01T00:00:00Z \
//!     --archive tree.tar.didx=- --archive disk.img.fidx=DIR/disk.img --digests FILE
//! demo_backup --config FILE restore --snapshot host/demo/TIME --archive tree.tar.didx --to -
//! demo_backup --config FILE objects
//! ```
//! `generate` makes test data; `backup` saves files as a snapshot, reusing the chunks of the last
//! one, and writes down which chunks it refers to; `restore` gets one archive back; `objects` lists
//! what is in the bucket.

mod chunker;
mod config;
mod data;
mod restore;
mod save;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use api_types::names::{ArchiveName, BackupGroup, BackupTime, SnapshotPath};
use clap::{Parser, Subcommand};
use datastore::env::Env;
use s3_client::{DirPrefix, ListOptions, S3Client};

use config::Config;

#[derive(Parser)]
struct Arguments {
    /// File that says where the datastore is.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a tree and an image.
    Generate {
        /// Which generation of them.
        #[arg(long)]
        generation: u64,
        /// Directory for `tree/` and `disk.img`.
        #[arg(long, value_name = "DIR")]
        into: PathBuf,
    },
    /// Save files as a snapshot.
    Backup {
        /// Backup group, for example host/demo.
        #[arg(long)]
        group: BackupGroup,
        /// Time of the snapshot [default: now].
        #[arg(long)]
        time: Option<BackupTime>,
        /// Name in the snapshot (ending in .didx, .fidx or .blob) and file; '-' is standard input.
        #[arg(long = "archive", value_name = "NAME=FILE", required = true)]
        archives: Vec<save::Source>,
        /// Write the digests of all chunks that the snapshot refers to into this file.
        #[arg(long, value_name = "FILE")]
        digests: Option<PathBuf>,
    },
    /// Write an archive of a snapshot to a file.
    Restore {
        /// The snapshot, for example host/demo/2026-01-01T00:00:00Z.
        #[arg(long)]
        snapshot: SnapshotPath,
        /// Name of the archive.
        #[arg(long)]
        archive: ArchiveName,
        /// The file; '-' is standard output.
        #[arg(long, value_name = "FILE")]
        to: String,
    },
    /// List the objects below the datastore's prefix.
    Objects,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Command::Generate { generation, into } = arguments.command {
        return data::generate(&into, generation);
    }
    let config = Config::load(&arguments.config.context("--config is missing")?)?;
    let env = Env::system();
    let client = config.client(&env)?;
    match arguments.command {
        Command::Generate { .. } => {}
        Command::Backup {
            group,
            time,
            archives,
            digests,
        } => {
            let store = config.open(client.clone(), &env)?;
            let time = match time {
                Some(time) => time,
                None => BackupTime::from_secs(env.unix_secs())?,
            };
            let report = save::save(&store, group, time, &archives).await?;
            if let Some(path) = &digests {
                write_digests(path, &report)
                    .with_context(|| format!("failed to write {}", path.display()))?;
            }
            println!("{}", serde_json::to_string(&report)?);
        }
        Command::Restore {
            snapshot,
            archive,
            to,
        } => {
            let store = config.open(client.clone(), &env)?;
            restore::restore(&store, &snapshot, &archive, &to).await?;
        }
        Command::Objects => list_objects(&client, config.store()).await?,
    }
    eprintln!("requests: {}", client.counters());
    Ok(())
}

fn write_digests(path: &Path, report: &save::Report) -> std::io::Result<()> {
    let mut digests: Vec<_> = report.digests.iter().collect();
    digests.sort_unstable();
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for digest in digests {
        writeln!(file, "{digest}")?;
    }
    file.flush()
}

/// Keys and sizes, straight from the bucket.
async fn list_objects(client: &S3Client, store: &str) -> Result<()> {
    let mut listing = client.list(&DirPrefix::new(store)?, ListOptions::default());
    while let Some(page) = listing.next_page().await {
        for object in page?.objects {
            println!("{} {}", object.size, object.key);
        }
    }
    Ok(())
}

//! A garbage collection, for its memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use api_types::digest::Digest;
use api_types::s3::S3EndpointConfig;
use datastore::gc::GcOptions;
use datastore::task::SilentTask;
use s3_client::env::Env;
use s3_client::{ListOptions, ListPrefix, PutMode, S3Client, S3ClientOptions, Scheme};
use serde::{Deserialize, Serialize};

use crate::baseline::lru::DEFAULT_CAPACITY;
use crate::baseline::mark::{Touch, mark};
use crate::world::bucket::create_store;
use crate::world::process;
use crate::world::synthetic::{APPEAR, BUCKET};

/// The datastore of the synthetic server.
pub const STORE: &str = "store1";
/// Pages that the baseline lists: it keeps none of them, so that more would not show.
const BASELINE_PAGES: usize = 500;

/// A collection of chunks that exist only by rule.
#[derive(Debug, Deserialize, Serialize)]
pub struct Task {
    /// The baseline's way instead of ours.
    pub baseline: bool,
    /// The server's port on 127.0.0.1.
    pub port: u16,
    /// The store's directory, to be made.
    pub base: PathBuf,
    /// Its snapshots, to be moved there.
    pub indexes: PathBuf,
    /// Where its locks go.
    pub run: PathBuf,
}

/// What a collection needed.
#[derive(Debug, Deserialize, Serialize)]
pub struct Needed {
    /// Most memory at any time above that at the start.
    pub bytes: u64,
    /// Different digests marked, or references for the baseline.
    pub marked: u64,
    /// Keys listed.
    pub listed: u64,
    /// Objects deleted.
    pub deleted: u64,
}

/// Does the task; writes what it needed to standard output.
pub async fn run(task: &Task) -> Result<()> {
    let env = Env::system();
    let client = client(task.port, &env)?;
    let start = process::peak_memory("self")?;
    let mut needed = if task.baseline {
        baseline(task, &client).await?
    } else {
        ours(task, client, &env).await?
    };
    needed.bytes = process::peak_memory("self")?.saturating_sub(start);
    println!("{}", serde_json::to_string(&needed)?);
    Ok(())
}

fn client(port: u16, env: &Env) -> Result<S3Client> {
    let mut endpoint = S3EndpointConfig::new(
        "synthetic".parse()?,
        "127.0.0.1".parse()?,
        "access".parse()?,
        "secret".parse()?,
    );
    endpoint.port = Some(port);
    endpoint.path_style = Some(true);
    let mut options = S3ClientOptions::new(endpoint, Some(BUCKET.parse()?));
    options.scheme = Scheme::Http;
    Ok(S3Client::new(options, env.clone())?)
}

/// The whole collection: mark, merge with the listing, decisions, deletes.
async fn ours(task: &Task, client: S3Client, env: &Env) -> Result<Needed> {
    let store = create_store(env, STORE, &task.base, &task.run, client.clone()).await?;
    move_in(task)?;
    let appear = s3_client::ObjectKey::new(APPEAR)?;
    let body = bytes::Bytes::new();
    client.put_object(&appear, body, PutMode::Replace).await?;
    let options = GcOptions {
        grace: Some(Duration::ZERO),
        ..GcOptions::default()
    };
    let report = store
        .garbage_collection(Arc::new(SilentTask::new()), options)
        .await?;
    ensure!(report.adds_up(), "the report does not add up: {report:?}");
    Ok(Needed {
        bytes: 0,
        marked: report.listing.live + report.missing,
        listed: report.listing.listed,
        deleted: report.deleted.count,
    })
}

/// Moves the snapshots into the store: it must be empty while it is created.
fn move_in(task: &Task) -> Result<()> {
    for entry in std::fs::read_dir(&task.indexes)? {
        let entry = entry?;
        std::fs::rename(entry.path(), task.base.join(entry.file_name()))?;
    }
    Ok(())
}

/// Only what the baseline keeps in memory: its cache of digests, a page, a batch. Its marks are
/// access times of files, which cannot be made by the million here.
async fn baseline(task: &Task, client: &S3Client) -> Result<Needed> {
    let appear = s3_client::ObjectKey::new(APPEAR)?;
    let body = bytes::Bytes::new();
    client.put_object(&appear, body, PutMode::Replace).await?;
    let marked = mark(&task.indexes, &mut NoFiles, DEFAULT_CAPACITY)?;
    let options = ListOptions {
        prefetch: false,
        ..ListOptions::default()
    };
    let prefix = ListPrefix::new(format!("{STORE}/.chunks/"));
    let mut listing = client.list(prefix, options);
    let mut listed = 0;
    for _ in 0..BASELINE_PAGES {
        let Some(page) = listing.next_page().await else {
            break;
        };
        listed += u64::try_from(page?.objects.len())?;
    }
    Ok(Needed {
        bytes: 0,
        marked: marked.references,
        listed,
        deleted: 0,
    })
}

struct NoFiles;

impl Touch for NoFiles {
    fn touch(&mut self, _digest: &Digest) -> Result<bool> {
        Ok(true)
    }
}

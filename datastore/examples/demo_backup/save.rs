//! Saves files as a snapshot.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use api_types::digest::Digest;
use api_types::names::{ArchiveName, ArchiveType, BackupGroup, BackupTime};
use api_types::status::CryptMode;
use bytes::Bytes;
use datastore::env::Env;
use datastore::format::blob::DataBlob;
use datastore::format::index::IndexFile as _;
use datastore::format::manifest::Manifest;
use datastore::session::{ExpectedIndex, SessionOptions, WriterSession};
use datastore::store::DataStore;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use openssl::sha::sha256;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::chunker::{Chunker, Cut};

/// Chunks being hashed, compressed or uploaded at once.
const CONCURRENCY: usize = 8;
/// A line of progress whenever this much more is done.
const REPORT_EVERY: u64 = 16 << 20;

/// An archive to save: its name in the snapshot, and the file; `-` is standard input.
#[derive(Clone, Debug)]
pub struct Source {
    name: ArchiveName,
    path: String,
}

impl std::str::FromStr for Source {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, path) = text.split_once('=').context("expected NAME=FILE")?;
        Ok(Self {
            name: name.parse()?,
            path: path.to_owned(),
        })
    }
}

/// What became of the chunks of an archive.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Saved {
    archive: String,
    size: u64,
    chunks: u64,
    /// Known from the last snapshot: not sent at all.
    reused: u64,
    /// Sent, but the datastore had them.
    duplicate: u64,
    uploaded: u64,
    uploaded_bytes: u64,
}

impl Saved {
    fn progress(&self) {
        eprintln!(
            "  {}: {:.1} MiB in {} chunks: {} reused, {} duplicate, {} uploaded ({:.1} MiB)",
            self.archive,
            mebibytes(self.size),
            self.chunks,
            self.reused,
            self.duplicate,
            self.uploaded,
            mebibytes(self.uploaded_bytes),
        );
    }
}

/// The result of a backup.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    snapshot: String,
    archives: Vec<Saved>,
    /// Every chunk that the snapshot's indexes name.
    #[serde(skip)]
    pub digests: HashSet<Digest>,
}

fn mebibytes(bytes: u64) -> f64 {
    // Exact up to 2^32 KiB, and only shown.
    f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) / 1024.0
}

/// Saves the sources as the group's next snapshot; after an error nothing of it stays.
pub async fn save(
    store: &Arc<DataStore>,
    group: BackupGroup,
    time: BackupTime,
    sources: &[Source],
) -> Result<Report> {
    let options = SessionOptions::new(group, time, "root@pam".parse()?);
    let session = WriterSession::start(store, options, &CancellationToken::new()).await?;
    let mut report = Report {
        snapshot: session.dir().to_string(),
        archives: Vec::new(),
        digests: HashSet::new(),
    };
    let saved = save_all(&session, store.env(), sources, &mut report).await;
    match saved {
        Ok(()) => Ok(report),
        Err(error) => {
            session.abort().await.context("failed to clean up")?;
            Err(error)
        }
    }
}

async fn save_all(
    session: &WriterSession,
    env: &Env,
    sources: &[Source],
    report: &mut Report,
) -> Result<()> {
    for source in sources {
        let failed = || format!("failed to save {} from {}", source.name, source.path);
        let saved = match source.name.archive_type() {
            Some(ArchiveType::Blob) => save_blob(session, env, source).await,
            Some(ArchiveType::FixedIndex) => {
                save_index(session, env, source, Cut::Fixed, &mut report.digests).await
            }
            Some(ArchiveType::DynamicIndex) => {
                save_index(session, env, source, Cut::ByContent, &mut report.digests).await
            }
            None => bail!("{}: an archive ends in .didx, .fidx or .blob", source.name),
        };
        let saved = saved.with_context(failed)?;
        saved.progress();
        report.archives.push(saved);
    }
    let mut manifest = Manifest::new(session.dir());
    for file in session.files() {
        manifest.add_file(WriterSession::file_info(&file, CryptMode::None))?;
    }
    Ok(session.commit(manifest).await?)
}

async fn save_blob(session: &WriterSession, env: &Env, source: &Source) -> Result<Saved> {
    let data = std::fs::read(&source.path)?;
    let blob = DataBlob::encode(&data, None, true, env)?;
    session.add_blob(&source.name, blob.into_raw()).await?;
    Ok(Saved {
        archive: source.name.to_string(),
        size: u64::try_from(data.len())?,
        ..Saved::default()
    })
}

/// What was done with a chunk.
enum Fate {
    Reused,
    Duplicate,
    Uploaded(u64),
}

async fn save_index(
    session: &WriterSession,
    env: &Env,
    source: &Source,
    cut: Cut,
    digests: &mut HashSet<Digest>,
) -> Result<Saved> {
    let known = base_chunks(session, &source.name).await?;
    let writer = match cut {
        Cut::Fixed => {
            let size = std::fs::metadata(&source.path)?.len();
            session.open_fixed_index(&source.name, Some(size)).await?
        }
        Cut::ByContent => session.open_dynamic_index(&source.name).await?,
    };
    let mut saved = Saved {
        archive: source.name.to_string(),
        ..Saved::default()
    };
    let mut next_report = REPORT_EVERY;
    let mut done = chunks_of(open(&source.path)?, cut)
        .map(|chunk| save_chunk(session, env, &known, chunk))
        .buffered(CONCURRENCY);
    while let Some((digest, length, fate)) = done.try_next().await? {
        session.append(writer, vec![(saved.size, digest)]).await?;
        digests.insert(digest);
        saved.size += u64::from(length);
        saved.chunks += 1;
        match fate {
            Fate::Reused => saved.reused += 1,
            Fate::Duplicate => saved.duplicate += 1,
            Fate::Uploaded(bytes) => {
                saved.uploaded += 1;
                saved.uploaded_bytes += bytes;
            }
        }
        if saved.size >= next_report {
            saved.progress();
            next_report = saved.size + REPORT_EVERY;
        }
    }
    let expected = ExpectedIndex {
        chunk_count: Some(saved.chunks),
        size: Some(saved.size),
        csum: None,
    };
    session.close_index(writer, expected).await?;
    Ok(saved)
}

/// The chunks of the same archive in the group's last snapshot.
async fn base_chunks(session: &WriterSession, name: &ArchiveName) -> Result<HashSet<Digest>> {
    let mut known = HashSet::new();
    let Some(base) = session.base() else {
        return Ok(known);
    };
    if base.manifest().lookup_file(name.as_str()).is_some() {
        let index = session.load_base_index(name).await?;
        index.for_each_digest(&mut |digest| {
            known.insert(*digest);
        })?;
    }
    Ok(known)
}

async fn save_chunk(
    session: &WriterSession,
    env: &Env,
    known: &HashSet<Digest>,
    chunk: std::io::Result<Bytes>,
) -> Result<(Digest, u32, Fate)> {
    let data = chunk?;
    let length = u32::try_from(data.len())?;
    let digest = Digest::from_bytes(sha256(&data));
    if known.contains(&digest) {
        return Ok((digest, length, Fate::Reused));
    }
    let rng = env.clone();
    let blob = env
        .blocking(move || DataBlob::encode(&data, None, true, &rng))
        .await?;
    let outcome = session.insert_chunk(digest, length, blob).await?;
    let fate = if outcome.duplicate {
        Fate::Duplicate
    } else {
        Fate::Uploaded(outcome.stored_size)
    };
    Ok((digest, length, fate))
}

fn open(path: &str) -> Result<Box<dyn Read + Send>> {
    if path == "-" {
        return Ok(Box::new(std::io::stdin()));
    }
    Ok(Box::new(File::open(Path::new(path))?))
}

/// Reads and cuts on a thread of its own, a little ahead of the uploads.
fn chunks_of(
    input: Box<dyn Read + Send>,
    cut: Cut,
) -> impl stream::Stream<Item = std::io::Result<Bytes>> {
    let (sender, mut receiver) = mpsc::channel(CONCURRENCY);
    tokio::task::spawn_blocking(move || {
        for chunk in Chunker::new(input, cut) {
            if sender.blocking_send(chunk).is_err() {
                return;
            }
        }
    });
    stream::poll_fn(move |context| receiver.poll_recv(context))
}

//! Restores an archive of a snapshot, checking every byte on the way.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use api_types::names::{ArchiveName, ArchiveType, SnapshotPath};
use bytes::Bytes;
use datastore::backend::s3::insert::Payload;
use datastore::format::blob::{DataBlob, MAX_BLOB_PLAIN, MAX_CHUNK_PLAIN};
use datastore::format::index::{AnyIndexReader, ChunkReadInfo, IndexFile as _};
use datastore::store::DataStore;
use futures_util::stream::{self, TryStreamExt as _};
use openssl::sha::sha256;
use s3_client::{S3Client, TaskKind};
use tokio_util::sync::CancellationToken;

/// Chunks being fetched at once.
const CONCURRENCY: usize = 8;

/// Writes the archive to `target`, a file or `-` for standard output.
pub async fn restore(
    store: &Arc<DataStore>,
    snapshot: &SnapshotPath,
    name: &ArchiveName,
    target: &str,
) -> Result<()> {
    let failed = || format!("failed to restore {name} of {snapshot}");
    let mut output: Box<dyn Write> = if target == "-" {
        Box::new(std::io::stdout())
    } else {
        Box::new(File::create(target).with_context(|| format!("failed to create {target}"))?)
    };
    let written = write_archive(store, snapshot, name, &mut output)
        .await
        .with_context(failed)?;
    output.flush()?;
    eprintln!("  {name} of {snapshot}: {written} bytes, all checksums as in the manifest");
    Ok(())
}

async fn write_archive(
    store: &Arc<DataStore>,
    snapshot: &SnapshotPath,
    name: &ArchiveName,
    output: &mut dyn Write,
) -> Result<u64> {
    let manifest = store.load_manifest(&snapshot.ns, &snapshot.dir).await?;
    let file = manifest
        .lookup_file(name.as_str())
        .context("the manifest does not list it")?;
    let path = store
        .snapshots()
        .snapshot_path(&snapshot.ns, &snapshot.dir)
        .join(name.as_str());
    let archive_type = name.archive_type().context("not an archive's name")?;
    if archive_type == ArchiveType::Blob {
        let blob = DataBlob::from_bytes(Bytes::from(std::fs::read(&path)?))?;
        ensure!(blob.raw_csum() == *file.csum.as_bytes(), "wrong checksum");
        let data = blob.decode(None, MAX_BLOB_PLAIN)?;
        output.write_all(&data)?;
        return Ok(u64::try_from(data.len())?);
    }
    let index = AnyIndexReader::open(&path, archive_type)?;
    let (csum, size) = index.compute_csum()?;
    ensure!(csum == *file.csum.as_bytes(), "wrong checksum of the index");
    ensure!(size == file.size, "wrong length of the index");
    let client = store.client(TaskKind::Restore, &CancellationToken::new());
    let mut entries = index.entries();
    let chunks = stream::poll_fn(move |_| {
        std::task::Poll::Ready(
            entries
                .next_entry()
                .map_err(anyhow::Error::from)
                .transpose(),
        )
    });
    let mut fetched = chunks
        .map_ok(|chunk| fetch(store, client.as_ref(), chunk))
        .try_buffered(CONCURRENCY);
    let mut written = 0;
    while let Some(data) = fetched.try_next().await? {
        output.write_all(&data)?;
        written += u64::try_from(data.len())?;
    }
    ensure!(written == size, "{written} bytes instead of {size}");
    Ok(written)
}

async fn fetch(
    store: &Arc<DataStore>,
    client: Option<&S3Client>,
    chunk: ChunkReadInfo,
) -> Result<Vec<u8>> {
    let blob = store
        .read_chunk(client, chunk.digest, Payload::Discard)
        .await?;
    let expected = chunk.size();
    let data = store
        .env()
        .blocking(move || blob.decode(None, MAX_CHUNK_PLAIN))
        .await?;
    ensure!(
        u64::try_from(data.len())? == expected && sha256(&data) == *chunk.digest.as_bytes(),
        "chunk {} holds other data",
        chunk.digest
    );
    Ok(data)
}

//! What the clients of these rows do: backups and restores through the protocol, and the same
//! transfers with the ceiling's server.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use api_types::digest::Digest;
use api_types::names::{ArchiveType, BackupDir};
use bytes::Bytes;
use datastore::format::index::AnyIndexReader;
use datastore::format::{DataBlob, FIXED_CHUNK_SIZE};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use hyper::Method;
use hyper_util::rt::TokioIo;
use protocol_client::Rest;
use protocol_client::backup::fixed_csum;
use protocol_client::connection::{Body, Connection};
use protocol_client::rest::connect_tls;
use s3_client::env::Env;

use crate::world::load::{CHUNK, Load};

/// The archive.
const IMAGE: &str = "drive-scsi0.img.fidx";
/// Uploads under way; the official client has 64 and more.
const UPLOADS: usize = 64;
/// Downloads under way, as many as QEMU has.
const DOWNLOADS: usize = 16;
/// Chunks that are named in one request.
const APPENDED: usize = 128;

/// How long a backup took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    /// Until every chunk was stored and the index closed.
    pub upload: Duration,
    /// The end: on a filesystem datastore everything is synced to disk then.
    pub finish: Duration,
}

/// A snapshot to write or to read.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// The server.
    pub rest: &'a Rest,
    /// The datastore.
    pub store: &'a str,
    /// The snapshot.
    pub dir: &'a BackupDir,
    /// Chunks are not to be kept in the cache.
    pub no_cache: bool,
}

impl Target<'_> {
    fn query(&self) -> String {
        let BackupDir { group, time } = self.dir;
        format!(
            "store={}&backup-type={}&backup-id={}&backup-time={}",
            self.store,
            group.ty,
            group.id,
            time.secs()
        )
    }
}

/// Backs these chunks up as one image.
pub async fn back_up(
    target: &Target<'_>,
    load: &Load,
    chunks: std::ops::Range<usize>,
) -> Result<Took> {
    let env = Env::system();
    let mut query = target.query();
    if target.no_cache {
        query.push_str("&no-cache=true");
    }
    let begun = env.now();
    let backup = target.rest.backup(&query).await?;
    let size = chunks.len() as u64 * FIXED_CHUNK_SIZE;
    let wid = backup
        .index("fixed", IMAGE, &format!("&size={size}"))
        .await?;
    let upload = async |number: usize| {
        let chunk = load.chunk(number)?;
        let answer =
            backup.encoded_chunk("fixed", wid, &chunk.digest, FIXED_CHUNK_SIZE, chunk.encoded);
        answer.await?.data()?;
        Ok::<_, anyhow::Error>(chunk.digest)
    };
    let digests: Vec<Digest> = stream::iter(chunks)
        .map(upload)
        .buffered(UPLOADS)
        .try_collect()
        .await?;
    let mut offset = 0;
    for part in digests.chunks(APPENDED) {
        let placed: Vec<_> = part
            .iter()
            .zip((offset..).step_by(CHUNK))
            .map(|(digest, offset)| (offset, *digest))
            .collect();
        offset += placed.len() as u64 * FIXED_CHUNK_SIZE;
        backup.append("fixed", wid, &placed).await?.data()?;
    }
    let csum = fixed_csum(&digests);
    let count = digests.len() as u64;
    backup
        .close("fixed", wid, count, size, csum)
        .await?
        .data()?;
    let upload = env.now() - begun;
    let archive = backup.archive(IMAGE, size, csum);
    backup.manifest(target.dir, &[archive]).await?;
    backup.finish().await?.data()?;
    Ok(Took {
        upload,
        finish: env.now() - begun - upload,
    })
}

/// Reads all chunks of the image, each checked against its digest.
pub async fn restore(target: &Target<'_>) -> Result<Duration> {
    let env = Env::system();
    let begun = env.now();
    let reader = target.rest.reader(&target.query()).await?;
    let raw = reader.download(IMAGE).await?.ok()?;
    let index = AnyIndexReader::from_bytes(raw, IMAGE, ArchiveType::FixedIndex)?;
    let mut digests = Vec::new();
    for entry in datastore::format::index::IndexFile::entries(&index) {
        digests.push(entry?.digest);
    }
    stream::iter(digests)
        .map(Ok)
        .try_for_each_concurrent(DOWNLOADS, async |digest| {
            let raw = reader.chunk(&digest).await?.ok()?;
            let found = digest_of(raw).await?;
            ensure!(found == digest, "chunk {digest} came as {found}");
            Ok(())
        })
        .await?;
    Ok(env.now() - begun)
}

/// SHA-256 of what is in a blob.
async fn digest_of(raw: Bytes) -> Result<Digest> {
    let digest = tokio::task::spawn_blocking(move || {
        let blob = DataBlob::from_bytes(raw)?;
        let plain = blob.plain(None, FIXED_CHUNK_SIZE)?;
        Ok::<_, anyhow::Error>(Digest::from_bytes(openssl::sha::sha256(&plain)))
    });
    digest.await.context("a hash failed")?
}

/// A connection to the ceiling's server.
async fn connect(port: u16) -> Result<Connection> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Connection::over(TokioIo::new(connect_tls(address).await?)).await
}

/// The transfer of a backup, nothing else.
pub async fn send_all(port: u16, load: &Load) -> Result<Duration> {
    let env = Env::system();
    let begun = env.now();
    let connection = connect(port).await?;
    stream::iter(0..load.count())
        .map(Ok)
        .try_for_each_concurrent(UPLOADS, async |number| {
            let body = Body::Raw(load.chunk(number)?.encoded);
            let answer = connection.request(Method::POST, "chunk", body).await?;
            answer.ok().map(drop)
        })
        .await?;
    Ok(env.now() - begun)
}

/// The transfer of a restore, nothing else; the client computes its digests.
pub async fn receive_all(port: u16, count: usize) -> Result<Duration> {
    let env = Env::system();
    let begun = env.now();
    let connection = connect(port).await?;
    stream::iter(0..count)
        .map(Ok)
        .try_for_each_concurrent(DOWNLOADS, async |number| {
            let raw = connection.get(&format!("chunk?{number}")).await?.ok()?;
            digest_of(raw).await.map(drop)
        })
        .await?;
    Ok(env.now() - begun)
}

//! The local record of what is in the bucket is lost or older than the bucket (`s3-backend.md` §13,
//! R-R4).

use anyhow::{Context, Result};
use datastore::Error;
use datastore::refresh::RefreshOptions;
use datastore::task::SilentTask;
use scenarios::running::reason;
use scenarios::{World, chunks, insert, no_grace};

/// Only the chunk directory is gone: its disk was exchanged, or is not mounted.
#[tokio::test(start_paused = true)]
async fn a_collection_beside_an_empty_chunk_directory_is_refused() -> Result<()> {
    let (world, server) = World::new().await?;
    let live = server.backup("a", 0, &chunks("a", 20)).await?;
    world.remember_run(&server, 20_000, 0)?;
    let directory = server.store.chunks().chunk_dir().to_owned();
    for entry in std::fs::read_dir(&directory)? {
        std::fs::remove_dir_all(entry?.path())?;
    }
    let mark = world.mock.journal_mark();
    let error = server.gc_with(no_grace()).await.0.expect_err("no markers");
    let Some(Error::NeedsRefresh { reason }) = reason(&error) else {
        panic!("{error}");
    };
    assert!(reason.contains("is empty"), "{reason}");
    assert_eq!(world.delete_requests(mark), 0);

    let options = RefreshOptions::default();
    let report = server.store.s3_refresh(&SilentTask::new(), options).await?;
    assert_eq!(report.presence.created, 20);
    server.gc_now().await?;
    world.check_safe(&server, &[&live]).await
}

/// An old copy of the disk has payloads of chunks that were collected since: they do not come back
/// unless a snapshot needs them.
#[tokio::test(start_paused = true)]
async fn a_refresh_uploads_no_payload_that_nothing_references() -> Result<()> {
    let (world, server) = World::new().await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    let dead = server.backup("dead", 0, &chunks("dead", 3)).await?;
    let local = server.store.chunks();
    let mut payloads = Vec::new();
    for chunk in &dead.chunks {
        payloads.push(local.read_chunk(&chunk.digest)?.context("a payload")?);
    }
    server.forget(&dead).await?;
    let report = server.gc_now().await?;
    assert_eq!(report.deleted.count, 3, "{:?}", report.pending);
    // The disk as it was.
    for (chunk, payload) in dead.chunks.iter().zip(payloads) {
        std::fs::write(local.chunk_path(&chunk.digest), payload)?;
    }
    // What a snapshot needs is put back.
    world
        .mock
        .delete("scenarios", &scenarios::chunk_key(&live.chunks[0].digest));

    let mark = world.mock.journal_mark();
    let options = RefreshOptions::default();
    let report = server.store.s3_refresh(&SilentTask::new(), options).await?;
    assert_eq!((report.presence.healed, report.presence.removed), (1, 3));
    assert_eq!(world.written_chunks(mark).len(), 1);
    assert_eq!(world.chunk_objects(), 3);
    let session = server.session("again", 10).await?;
    assert!(
        !insert(&session, &dead.chunks[0]).await?.duplicate,
        "a phantom"
    );
    session.abort().await?;
    world.check_safe(&server, &[&live]).await
}

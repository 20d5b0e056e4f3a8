//! Objects that are longer than anything that belongs under their key: damage, not trouble
//! (`s3-backend.md` §5, §6, §15). They are asked for once, and not read to their end.

use anyhow::Result;
use datastore::Error;
use datastore::backend::s3::insert::Payload;
use s3_client::TaskKind;
use s3_mock::Op;
use scenarios::running::reason;
use scenarios::{BUCKET, STORE, World, chunk_key, chunks, finish, insert};

const TOO_LONG: usize = (16 << 20) + 45;

#[tokio::test(start_paused = true)]
async fn a_read_finds_an_oversized_chunk_corrupt() -> Result<()> {
    let (world, server) = World::new().await?;
    let data = chunks("a", 2);
    let session = server.session_with("a", 0, Payload::Discard).await?;
    for chunk in &data {
        insert(&session, chunk).await?;
    }
    finish(session, &data).await?;
    world
        .mock
        .put(BUCKET, &chunk_key(&data[0].digest), vec![0; TOO_LONG]);
    let client = server.store.client(TaskKind::Restore, &server.cancel);
    let mark = world.mock.journal_mark();
    let read = server
        .store
        .read_chunk(client.as_ref(), data[0].digest, Payload::Cache)
        .await;
    let error = read.expect_err("it is no chunk");
    assert!(matches!(error, Error::CorruptChunk { .. }), "{error}");
    assert!(
        error.to_string().contains("larger than any chunk"),
        "{error}"
    );
    assert!(!error.is_transient());
    let gets = world.mock.journal().since(mark).requests_of(Op::GetObject);
    assert_eq!(gets.len(), 1, "asked once");
    Ok(())
}

/// The 412 of an upload meets an oversized object: it is replaced.
#[tokio::test(start_paused = true)]
async fn an_upload_replaces_an_oversized_object() -> Result<()> {
    let (world, server) = World::new().await?;
    let data = chunks("a", 2);
    world
        .mock
        .put(BUCKET, &chunk_key(&data[0].digest), vec![0; TOO_LONG]);
    let snapshot = server.backup("a", 0, &data).await?;
    assert_eq!(
        server.store.backend().s3().map(|s3| s3.healed_objects()),
        Some(1)
    );
    world.check_safe(&server, &[&snapshot]).await
}

/// A marker that is no marker is somebody else's: nothing is committed or deleted.
#[tokio::test(start_paused = true)]
async fn an_oversized_in_use_marker_fences() -> Result<()> {
    let (world, server) = World::new().await?;
    server.backup("a", 0, &chunks("a", 2)).await?;
    world
        .mock
        .put(BUCKET, &format!("{STORE}/.in-use"), vec![b' '; 1 << 20]);
    let server = world.restart(server)?;
    let error = server.gc().await.expect_err("not ours");
    assert!(
        matches!(reason(&error), Some(Error::Fenced { .. })),
        "{error}"
    );
    Ok(())
}

//! Readers in the way of a collection (`gc.md` §9, T51).

use std::sync::Arc;

use anyhow::Result;
use datastore::Error;
use datastore::backend::s3::insert::Payload;
use datastore::format::blob::DataBlob;
use datastore::store::lease::WriterLease;
use s3_client::TaskKind;
use s3_mock::{Action, Fault, Gate, Op};
use scenarios::facts::{check_report, keys_of};
use scenarios::running::reason;
use scenarios::{
    AFTER_GRACE, Chunk, Server, Snapshot, World, chunk_key, chunks, finish, insert, no_grace,
};
use tokio::task::JoinHandle;

/// Garbage with markers only, so that a reader has to fetch.
async fn with_bare_garbage() -> Result<(World, Server, Vec<Chunk>, Snapshot)> {
    let (world, server) = World::new().await?;
    let data = chunks("dead", 2);
    let session = server.session_with("dead", 0, Payload::Discard).await?;
    for chunk in &data {
        insert(&session, chunk).await?;
    }
    let dead = finish(session, &data).await?;
    let live = server.backup("live", 0, &chunks("live", 2)).await?;
    server.forget(&dead).await?;
    world.pass(AFTER_GRACE).await;
    Ok((world, server, data, live))
}

/// A restore in this process, with the right to fill the cache.
async fn read(server: &Server, chunk: &Chunk) -> Result<JoinHandle<Result<DataBlob>>> {
    let lease: WriterLease = server.store.writer_lease(&server.cancel).await?;
    let client = server.store.client(TaskKind::Restore, &server.cancel);
    let (store, digest) = (Arc::clone(&server.store), chunk.digest);
    Ok(tokio::spawn(async move {
        let result = store
            .read_chunk(client.as_ref(), digest, Payload::Cache)
            .await;
        drop(lease);
        result.map_err(Into::into)
    }))
}

fn gate_get(world: &World, chunk: &Chunk, action: impl Fn(Gate) -> Action) -> Gate {
    let gate = Gate::new();
    let fault = Fault::on(Op::GetObject, action(gate.clone()));
    world.mock.script(fault.keys(chunk_key(&chunk.digest)));
    gate
}

fn has_file(server: &Server, chunk: &Chunk) -> bool {
    server.store.chunks().chunk_path(&chunk.digest).exists()
}

/// T51: the data has left the server when D is condemned and deleted; it arrives afterwards.
#[tokio::test(start_paused = true)]
async fn t51_a_fetch_that_is_older_than_a_delete_creates_no_presence() -> Result<()> {
    let (world, server, dead, live) = with_bare_garbage().await?;
    let gate = gate_get(&world, &dead[0], Action::ApplyThenPause);
    let reader = read(&server, &dead[0]).await?;
    gate.arrived().await;
    check_report(&server.gc_with(no_grace()).await.0?, 2)?;
    server.check_settled()?;
    gate.release();
    let blob = reader.await??;
    assert_eq!(blob.decode(None, 1 << 20)?, dead[0].data);
    assert!(!has_file(&server, &dead[0]), "a phantom");
    // So it is uploaded again.
    let session = server.session("again", 10).await?;
    assert!(!insert(&session, &dead[0]).await?.duplicate);
    let again = finish(session, &dead[..1]).await?;
    world.check_safe(&server, &[&live, &again]).await?;
    server.check_settled()
}

/// T51: the read reaches the server after the delete.
#[tokio::test(start_paused = true)]
async fn t51_a_fetch_after_the_delete_fails_cleanly() -> Result<()> {
    let (world, server, dead, live) = with_bare_garbage().await?;
    let gate = gate_get(&world, &dead[0], Action::Pause);
    let reader = read(&server, &dead[0]).await?;
    gate.arrived().await;
    check_report(&server.gc_with(no_grace()).await.0?, 2)?;
    gate.release();
    let error = reader.await?.expect_err("gone");
    let Some(Error::MissingChunk { digest }) = reason(&error) else {
        panic!("{error}");
    };
    assert_eq!(*digest, dead[0].digest);
    assert!(!has_file(&server, &dead[0]));
    world.check_objects(&live.chunks)?;
    world.check_safe(&server, &[&live]).await?;
    server.check_settled()
}

/// T51: the data arrives while the delete is on its way.
#[tokio::test(start_paused = true)]
async fn t51_a_fetch_during_the_delete_leaves_the_digest_alone() -> Result<()> {
    let (world, server, dead, live) = with_bare_garbage().await?;
    let sending = world.gate_delete();
    let collection = server.start_gc(no_grace());
    sending.arrived().await;
    server.check_announced(&keys_of(&dead))?;
    let blob = read(&server, &dead[0]).await?.await??;
    assert_eq!(blob.decode(None, 1 << 20)?, dead[0].data);
    assert!(!has_file(&server, &dead[0]), "presence during a delete");
    sending.release();
    check_report(&collection.end().await?, 2)?;
    assert!(!has_file(&server, &dead[0]));
    world.check_objects(&live.chunks)?;
    world.check_safe(&server, &[&live]).await?;
    server.check_settled()
}

/// T51: the object answers 404 while its digest is suspect and has a payload here: the payload
/// stays, it may be the only copy.
#[tokio::test(start_paused = true)]
async fn t51_a_404_drops_no_payload_of_a_suspect_chunk() -> Result<()> {
    let (world, server, dead, live) = with_bare_garbage().await?;
    world.spoil_delete(Action::late());
    server.gc_with(no_grace()).await.0?;
    let session = server.session("again", 10).await?;
    for chunk in &dead {
        insert(&session, chunk).await?;
    }
    let again = finish(session, &dead).await?;
    let late = world.mock.late();
    world.mock.release_late(late[0].id);
    // A reader past the payload, as with a damaged one: only the bucket is asked.
    let path = server.store.chunks().chunk_path(&dead[0].digest);
    let payload = std::fs::read(&path)?;
    std::fs::write(&path, &payload[..payload.len() - 1])?;
    assert!(read(&server, &dead[0]).await?.await?.is_err());
    assert!(path.exists(), "dropped");
    std::fs::write(&path, &payload)?;
    world.pass(scenarios::AFTER_QUARANTINE).await;
    server.gc_with(no_grace()).await.0?;
    world.check_safe(&server, &[&live, &again]).await?;
    server.check_settled()
}

//! An encrypted chunk under the digest of plain bytes: nobody can have it by accident, and the digest
//! of an encrypted chunk cannot be checked. Whoever brings the plain bytes replaces it
//! (`datastore-layout.md` §6, ADR 16).

use anyhow::{Result, ensure};
use bytes::Bytes;
use datastore::backend::s3::insert::{InsertOutcome, Payload};
use datastore::file_time::FileTime;
use datastore::format::blob::DataBlob;
use datastore::format::crypt::CryptConfig;
use datastore::session::WriterSession;
use s3_client::env::Env;
use scenarios::{BUCKET, Chunk, Server, World, chunk_key, chunks, finish, insert};

async fn insert_encrypted(
    session: &WriterSession,
    chunk: &Chunk,
    data: &[u8],
) -> Result<InsertOutcome> {
    let key = CryptConfig::new([7; 32])?;
    let blob = DataBlob::encode(data, Some(&key), true, &Env::system())?;
    let size = u32::try_from(data.len())?;
    Ok(session.insert_chunk(chunk.digest, size, blob).await?)
}

fn object(world: &World, chunk: &Chunk) -> Option<Bytes> {
    world.mock.get(BUCKET, &chunk_key(&chunk.digest))
}

/// Requests that the work made.
async fn requests<T>(world: &World, work: impl Future<Output = Result<T>>) -> Result<(T, u64)> {
    world.mock.reset_counters();
    let result = work.await?;
    Ok((result, world.mock.counters().total()))
}

async fn squatted(attacker: Payload, honest: Payload) -> Result<()> {
    let (world, server) = World::new().await?;
    let data = chunks("plain", 3);
    let squatter = server.session_with("squatter", 0, attacker).await?;
    // Of another length, of the same, and with nothing in it.
    for (chunk, forged) in data.iter().zip([&b"short"[..], &data[1].data, b""]) {
        assert!(!insert_encrypted(&squatter, chunk, forged).await?.duplicate);
    }
    let session = server.session_with("a", 0, honest).await?;
    for chunk in &data {
        assert!(!insert(&session, chunk).await?.duplicate, "believed");
        let (outcome, made) = requests(&world, insert(&session, chunk)).await?;
        assert!(outcome.duplicate);
        assert_eq!(made, 0, "what this process uploaded is known to be plain");
        assert!(insert_encrypted(&squatter, chunk, b"again").await.is_err());
    }
    let snapshot = finish(session, &data).await?;
    world.check_safe(&server, &[&snapshot]).await?;
    for chunk in &data {
        let blob = server
            .store
            .read_chunk(None, chunk.digest, Payload::Cache)
            .await?;
        ensure!(!blob.is_encrypted(), "the cache still has the forged one");
    }
    drop(squatter);
    server.check_settled()
}

#[tokio::test(start_paused = true)]
async fn a_plain_chunk_replaces_a_forged_one() -> Result<()> {
    for attacker in [Payload::Cache, Payload::Discard] {
        for honest in [Payload::Cache, Payload::Discard] {
            squatted(attacker, honest).await?;
        }
    }
    Ok(())
}

/// The object is looked at once where nothing is known of it; the marker remembers what was found,
/// also in the next process and after an eviction.
#[tokio::test(start_paused = true)]
async fn the_kind_of_an_object_is_asked_for_once() -> Result<()> {
    let (world, server) = World::new().await?;
    let data = chunks("plain", 2);
    let known = server.backup("a", 0, &data[..1]).await?;
    server.store.chunks().replace_with_marker(&data[0].digest)?;
    // As a refresh makes markers, or an earlier version made them.
    let blob = DataBlob::encode(&data[1].data, None, true, &Env::system())?;
    let key = chunk_key(&data[1].digest);
    world.mock.put_at(BUCKET, &key, blob.into_raw(), 0);
    let now = FileTime::now(&world.env);
    server.store.chunks().create_marker(&data[1].digest, now)?;
    let server: Server = world.restart(server)?;

    let session = server.session("b", 0).await?;
    for (chunk, expected) in [(&data[0], 0), (&data[1], 1), (&data[1], 0)] {
        let (outcome, made) = requests(&world, insert(&session, chunk)).await?;
        assert!(outcome.duplicate);
        assert_eq!(made, expected);
    }
    let snapshot = finish(session, &data).await?;
    world.check_safe(&server, &[&known, &snapshot]).await
}

/// A marker whose object turns out to be gone, or to be none of a chunk, is made true.
#[tokio::test(start_paused = true)]
async fn what_a_look_does_not_find_is_uploaded() -> Result<()> {
    let (world, server) = World::new().await?;
    let data = chunks("plain", 3);
    let now = FileTime::now(&world.env);
    for (chunk, stored) in data.iter().zip([None, Some(""), Some("rubbish!")]) {
        server.store.chunks().create_marker(&chunk.digest, now)?;
        if let Some(stored) = stored {
            let key = chunk_key(&chunk.digest);
            world.mock.put_at(BUCKET, &key, stored, 0);
        }
    }
    let session = server.session("a", 0).await?;
    for chunk in &data {
        assert!(!insert(&session, chunk).await?.duplicate);
        ensure!(object(&world, chunk).is_some(), "not uploaded");
    }
    let snapshot = finish(session, &data).await?;
    world.check_safe(&server, &[&snapshot]).await
}

/// Nobody can tell one encrypted chunk from another: they stay duplicates, and cost no request.
#[tokio::test(start_paused = true)]
async fn encrypted_chunks_are_not_looked_at() -> Result<()> {
    let (world, server) = World::new().await?;
    let data = chunks("secret", 1);
    let session = server.session_with("a", 0, Payload::Discard).await?;
    insert_encrypted(&session, &data[0], b"secret").await?;
    let again = insert_encrypted(&session, &data[0], b"secret");
    let (outcome, made) = requests(&world, again).await?;
    assert!(outcome.duplicate);
    assert_eq!(made, 0);
    Ok(())
}

//! The bucket does not answer while the datastore is taken into use.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use datastore::Error;
use datastore::backend::s3::insert::Payload;
use s3_client::TaskKind;
use s3_mock::{Action, Fault, Op};
use scenarios::{BUCKET, Server, World, chunk_key, chunks};
use tokio_util::sync::CancellationToken;

const IN_USE: &str = "store1/.in-use";
/// What one may take.
const PATIENCE: Duration = Duration::from_secs(160);

/// Nothing comes back from a look at the marker.
fn cut_off(world: &World) {
    let fault = Fault::on(Op::GetObject, Action::Hang);
    world.mock.script(fault.keys(IN_USE).always());
}

/// As many as ask for a lease at once.
fn ask(server: &Server, count: usize) -> Vec<tokio::task::JoinHandle<Result<(), Error>>> {
    let one = || {
        let server = server.clone();
        tokio::spawn(async move { server.store.writer_lease(&server.cancel).await.map(drop) })
    };
    (0..count).map(|_| one()).collect()
}

/// Twenty wait no longer than one, who says what is the matter; the bucket is asked by one of them.
#[tokio::test(start_paused = true)]
async fn a_bucket_that_does_not_answer_is_asked_by_one_for_all() -> Result<()> {
    let (world, server) = World::new().await?;
    server.backup("a", 0, &chunks("a", 2)).await?;
    let server = world.restart(server)?;
    cut_off(&world);
    let begun = world.env.now();
    let mark = world.mock.journal_mark();
    for asking in ask(&server, 20) {
        let error = asking.await?.expect_err("without an answer");
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        assert!(error.is_transient());
        let text = error.to_string();
        assert!(
            text.contains("store1") && text.contains("S3 endpoint"),
            "{text}"
        );
    }
    let passed = world.env.now().saturating_duration_since(begun);
    assert!(passed < PATIENCE, "{passed:?}");
    let journal = world.mock.journal().since(mark);
    let asked = journal.requests_of(Op::GetObject).len();
    assert!((1..=6).contains(&asked), "{asked} requests");

    // Nothing is remembered against it.
    world.mock.clear_faults();
    for asking in ask(&server, 20) {
        asking.await??;
    }
    server.backup("a", 60, &chunks("b", 2)).await?;
    Ok(())
}

/// Who gives up leaves the question to the next one.
#[tokio::test(start_paused = true)]
async fn an_aborted_question_is_asked_again() -> Result<()> {
    let (world, server) = World::new().await?;
    let server = world.restart(server)?;
    let gate = world.mock.gate(Op::GetObject, IN_USE);
    let aborted = CancellationToken::new();
    let first = tokio::spawn({
        let (server, cancel) = (server.clone(), aborted.clone());
        async move { server.store.writer_lease(&cancel).await.map(drop) }
    });
    gate.arrived().await;
    let others = ask(&server, 5);
    tokio::task::yield_now().await;
    aborted.cancel();
    assert!(matches!(first.await?, Err(Error::Aborted)));
    gate.release();
    for other in others {
        other.await??;
    }
    Ok(())
}

/// What is cached is read at once, while others wait for the bucket.
#[tokio::test(start_paused = true)]
async fn cached_chunks_are_read_while_the_bucket_does_not_answer() -> Result<()> {
    let (world, server) = World::new().await?;
    let data = chunks("a", 3);
    server.backup("a", 0, &data).await?;
    let server = world.restart(server)?;
    cut_off(&world);
    // Only the cache has them.
    for chunk in &data {
        world.mock.delete(BUCKET, &chunk_key(&chunk.digest));
    }
    let waiting = ask(&server, 3);
    tokio::task::yield_now().await;
    let begun = world.env.now();
    let client = server.store.client(TaskKind::Restore, &server.cancel);
    let store = Arc::clone(&server.store);
    for chunk in &data {
        let blob = store
            .read_chunk(client.as_ref(), chunk.digest, Payload::Cache)
            .await?;
        assert_eq!(blob.decode(None, 1 << 20)?, chunk.data);
    }
    assert_eq!(world.env.now(), begun);
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    Ok(())
}

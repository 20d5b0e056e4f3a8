//! Collections of a datastore in a directory: what stops them, what they say.

use std::time::Duration;

use anyhow::Result;
use datastore::chunk_store::LocalChunk;
use datastore::gc::GcOptions;
use scenarios::{Server, World, chunks, no_grace};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn files(server: &Server) -> Result<usize> {
    let local = server.store.chunks();
    let all: Result<Vec<_>, _> = local.iterate_chunks().collect();
    Ok(all?.len())
}

/// Snapshots that vanish without a prune: their chunks are not deleted just because of that.
#[tokio::test(start_paused = true)]
async fn mostly_garbage_that_nothing_explains_stops_a_directory_collection() -> Result<()> {
    let (world, server) = World::directory().await?;
    let live = server.backup("live", 0, &chunks("live", 100)).await?;
    let gone = server.backup("gone", 0, &chunks("gone", 1500)).await?;
    server.gc().await?;
    world.pass(DAY).await;
    std::fs::remove_dir_all(server.snapshot_path(&gone))?;
    let error = server.gc_now().await.expect_err("a catastrophe");
    assert!(error.to_string().contains("are not referenced"), "{error}");
    assert_eq!(files(&server)?, 1600, "nothing is removed");

    let forced = GcOptions {
        force: true,
        ..no_grace()
    };
    let report = server.gc_with(forced).await.0?;
    assert_eq!(report.deleted.count, 1500);
    assert_eq!(files(&server)?, live.chunks.len());
    Ok(())
}

/// What was removed on purpose is explained, also if it stays pending for a run.
#[tokio::test(start_paused = true)]
async fn a_prune_explains_the_garbage_of_this_run_and_the_next() -> Result<()> {
    let (world, server) = World::directory().await?;
    server.backup("live", 0, &chunks("live", 100)).await?;
    let gone = server.backup("gone", 0, &chunks("gone", 1500)).await?;
    server.forget(&gone).await?;
    let report = server.gc().await?;
    assert_eq!(
        (report.deleted.count, report.unmarked_left),
        (0, 1500),
        "too young"
    );
    world.pass(2 * DAY).await;
    let report = server.gc().await?;
    assert_eq!(report.deleted.count, 1500);
    Ok(())
}

/// A disk full of missing chunks does not fill the log.
#[tokio::test(start_paused = true)]
async fn missing_chunks_are_named_up_to_a_limit() -> Result<()> {
    let (_world, server) = World::directory().await?;
    let data = chunks("a", 70);
    server.backup("a", 0, &data).await?;
    for chunk in &data[..60] {
        server.store.chunks().remove_chunk(&chunk.digest)?;
    }
    let (report, task) = server.gc_with(GcOptions::default()).await;
    assert_eq!(report?.missing_confirmed.len(), 60);
    let about = |text: &str| {
        let lines = task.lines();
        lines
            .iter()
            .filter(|line| line.text().contains(text))
            .count()
    };
    assert_eq!(about("unable to access non-existent chunk"), 50);
    assert_eq!(about("unable to access 10 more non-existent chunks"), 1);
    Ok(())
}

/// The evidence of a missing chunk stays; a dry run must not say that it would go.
#[tokio::test(start_paused = true)]
async fn a_dry_run_keeps_the_evidence_of_missing_chunks() -> Result<()> {
    let (world, server) = World::directory().await?;
    let data = chunks("a", 3);
    server.backup("a", 0, &data).await?;
    let local = server.store.chunks();
    local.rename_bad(&data[0].digest, 0)?;
    world.pass(30 * DAY).await;
    let dry = GcOptions {
        dry_run: true,
        ..no_grace()
    };
    let report = server.gc_with(dry).await.0?;
    assert_eq!((report.deleted.count, report.deleted.bytes), (0, 0));
    assert_eq!(
        (report.status.still_bad, report.status.pending_bytes),
        (0, 0)
    );
    // And so it is.
    let report = server.gc_now().await?;
    assert_eq!(report.deleted.bytes, 0);
    assert!(local.bad_path(&data[0].digest, 0).exists());
    let stat: Option<LocalChunk> = local.stat_chunk(&data[1].digest)?;
    assert!(stat.is_some());
    Ok(())
}

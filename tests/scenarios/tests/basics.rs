//! Collections without any trouble (`gc.md` §9, T01–T05).

use anyhow::Result;
use s3_mock::Op;
use scenarios::{AFTER_GRACE, World, chunks};

/// T01: empty store.
#[tokio::test(start_paused = true)]
async fn t01_an_empty_store_costs_almost_nothing() -> Result<()> {
    let (world, server) = World::new().await?;
    world.pass(std::time::Duration::from_secs(3600)).await;
    world.mock.reset_counters();
    let report = server.gc().await?;
    let counters = world.mock.counters();
    assert_eq!(report.deleted.count, 0);
    assert_eq!(counters.of(Op::HeadBucket), 1);
    assert_eq!(counters.of(Op::GetObject), 1, "the in-use marker");
    assert!(counters.of(Op::ListObjects) <= 2);
    assert_eq!(counters.total(), 2 + counters.of(Op::ListObjects));
    Ok(())
}

/// T02: ten snapshots, all live.
#[tokio::test(start_paused = true)]
async fn t02_live_snapshots_stay_and_are_counted_exactly() -> Result<()> {
    let (world, server) = World::new().await?;
    let mut snapshots = Vec::new();
    for index in 0..10 {
        let name = format!("g{index}");
        snapshots.push(server.backup(&name, 0, &chunks(&name, 5)).await?);
    }
    world.pass(AFTER_GRACE).await;
    let report = server.gc().await?;
    assert_eq!(report.deleted.count, 0);
    assert_eq!(report.status.index_file_count, 10);
    assert_eq!(report.status.disk_chunks, 50);
    assert_eq!(report.listing.listed, 50);
    assert!(report.adds_up());
    for snapshot in &snapshots {
        server.restore(snapshot).await?;
    }
    Ok(())
}

/// T03: garbage younger than the grace period.
#[tokio::test(start_paused = true)]
async fn t03_young_garbage_is_pending() -> Result<()> {
    let (world, server) = World::new().await?;
    let snapshot = server.backup("a", 0, &chunks("a", 7)).await?;
    server.backup("b", 0, &chunks("b", 3)).await?;
    server.forget(&snapshot).await?;
    let report = server.gc().await?;
    assert_eq!(report.deleted.count, 0);
    assert_eq!(report.status.pending_chunks, 7);
    assert_eq!(world.chunk_objects(), 10);
    Ok(())
}

/// T04: the same, older than the grace period; batches of at most a thousand.
#[tokio::test(start_paused = true)]
async fn t04_old_garbage_goes_in_batches_and_nothing_else_does() -> Result<()> {
    let (world, server) = World::new().await?;
    let dead = server.backup("a", 0, &chunks("a", 1500)).await?;
    let live = server.backup("b", 0, &chunks("b", 20)).await?;
    server.forget(&dead).await?;
    world.pass(AFTER_GRACE).await;
    let mark = world.mock.journal_mark();
    let report = server.gc().await?;
    assert_eq!(report.deleted.count, 1500);
    assert!(report.adds_up());
    assert_eq!(world.chunk_objects(), 20);
    let batches = world
        .mock
        .journal()
        .since(mark)
        .requests_of(Op::DeleteObjects);
    assert_eq!(batches.len(), 2);
    assert!(batches.iter().all(|keys| keys.len() <= 1000));
    server.restore(&live).await?;
    assert_eq!(server.store.digests().exceptional_count(), 0);
    Ok(())
}

/// T05: chunks shared between pruned and kept snapshots.
#[tokio::test(start_paused = true)]
async fn t05_shared_chunks_stay() -> Result<()> {
    let (world, server) = World::new().await?;
    let shared = chunks("shared", 4);
    let with = |name: &str| [shared.clone(), chunks(name, 3)].concat();
    let pruned = server.backup("a", 0, &with("old")).await?;
    let kept = server.backup("b", 0, &with("new")).await?;
    server.forget(&pruned).await?;
    world.pass(AFTER_GRACE).await;
    let report = server.gc().await?;
    assert_eq!(report.deleted.count, 3);
    assert_eq!(world.chunk_objects(), 7);
    server.restore(&kept).await
}

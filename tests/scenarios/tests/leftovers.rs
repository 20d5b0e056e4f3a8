//! What a session that died leaves behind, and that it goes (`gc.md` G11).

use std::time::{Duration, SystemTime};

use anyhow::Result;
use scenarios::{STORE, World, chunks, insert, no_grace, write_index};

fn make_old(path: &std::path::Path) -> Result<()> {
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for entry in std::fs::read_dir(path)? {
        std::fs::File::open(entry?.path())?.set_modified(then)?;
    }
    Ok(std::fs::File::open(path)?.set_modified(then)?)
}

/// An unfinished snapshot keeps its chunks as long as it exists; abandoned, it goes, and its
/// chunks with the next collection.
#[tokio::test(start_paused = true)]
async fn an_abandoned_snapshot_goes_and_then_its_chunks() -> Result<()> {
    let (world, server) = World::new().await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    let dead = chunks("dead", 4);
    let session = server.session("dead", 0).await?;
    for chunk in &dead {
        insert(&session, chunk).await?;
    }
    write_index(&session, &dead).await?;
    let dir = server
        .store
        .snapshots()
        .snapshot_path(&"".parse()?, session.dir());

    // Still running: neither its chunks nor its directory go, however old.
    make_old(&dir)?;
    server.gc_with(no_grace()).await.0?;
    assert!(dir.is_dir());
    assert_eq!(world.chunk_objects(), 7);

    drop(session); // as a crash does: no abort
    make_old(&dir)?;
    let report = server.gc_now().await?;
    assert_eq!(report.deleted.count, 0, "its index was still marked");
    assert!(!dir.exists());
    assert!(
        world
            .mock
            .keys(scenarios::BUCKET, &format!("{STORE}/.cnt/host/dead/"))
            .is_empty()
    );

    let report = server.gc_now().await?;
    assert_eq!(report.deleted.count, 4);
    server.restore(&live).await
}

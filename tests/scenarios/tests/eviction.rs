//! The payload cache is too small while garbage is collected (`gc.md` §9, T52; R10).

use anyhow::{Context, Result};
use datastore::digests::Generation;
use datastore::file_time::FileTime;
use datastore::gc::GcOptions;
use scenarios::facts::{check_report, keys_of};
use scenarios::{AFTER_GRACE, Chunk, Server, World, chunks, finish, insert};

fn stamp(server: &Server, chunk: &Chunk) -> Option<Generation> {
    let table = server.store.digests();
    table.with(&chunk.digest, |slot| slot.stamp())
}

/// Access time and length of the local file.
fn local(server: &Server, chunk: &Chunk) -> Result<(FileTime, u64)> {
    let found = server.store.chunks().stat_chunk(&chunk.digest)?;
    let found = found.with_context(|| format!("{} has no local file", chunk.digest))?;
    Ok((found.atime, found.size))
}

/// T52: payloads of live chunks, of garbage, and of what a session uses are evicted before the
/// sweep and while a delete is under way. Neither age nor stamp changes, and nothing that is being
/// deleted becomes present.
#[tokio::test(start_paused = true)]
async fn t52_an_eviction_changes_neither_stamps_nor_ages_nor_presence() -> Result<()> {
    let (mut world, server) = World::new().await?;
    // Enough for a handful of chunks.
    world.max_cache_bytes = Some(200);
    drop(server);
    let server = world.open("cache")?;
    let old = server.backup("old", 0, &chunks("old", 3)).await?;
    let live = server.backup("live", 0, &chunks("live", 2)).await?;
    server.forget(&old).await?;
    check_report(&server.gc().await?, 0)?;
    world.pass(AFTER_GRACE).await;
    let session = server.session("new", 90_000).await?;
    let used = &old.chunks[0];
    assert!(insert(&session, used).await?.duplicate);
    let all = [&old.chunks[..], &live.chunks].concat();
    let mut before = Vec::new();
    for chunk in &all {
        let (atime, size) = local(&server, chunk)?;
        assert!(size > 0, "not cached");
        before.push((atime, stamp(&server, chunk)));
    }

    let mark = world.mock.journal_mark();
    let listing = world.gate_listing();
    let sending = world.gate_delete();
    let gc = world
        .collect_until(&server, GcOptions::default(), &listing)
        .await?;
    let (early, late) = (chunks("early", 30), chunks("late", 30));
    for chunk in &early {
        assert!(!insert(&session, chunk).await?.duplicate);
    }
    for (chunk, (atime, stamped)) in all.iter().zip(&before) {
        let (now, size) = local(&server, chunk)?;
        assert_eq!(size, 0, "not evicted");
        assert_eq!((now, stamp(&server, chunk)), (*atime, *stamped));
    }
    listing.release();
    sending.arrived().await;
    for chunk in &late {
        assert!(!insert(&session, chunk).await?.duplicate);
    }
    server.check_announced(&keys_of(&old.chunks[1..]))?;
    sending.release();
    let report = gc.end().await?;
    check_report(&report, 2)?;
    assert_eq!(world.deleted_chunks(mark), keys_of(&old.chunks[1..]));
    server.check_presence(&world)?;

    let mine = [&[used.clone()][..], &early, &late].concat();
    let new = finish(session, &mine).await?;
    check_report(&server.gc_now().await?, 0)?;
    world.check_objects(&[&mine[..], &live.chunks].concat())?;
    world.check_safe(&server, &[&live, &new]).await?;
    server.check_settled()
}

/// T52: garbage is evicted before it is condemned, and others while its delete is under way: no
/// file of it appears, and the next backup uploads it.
#[tokio::test(start_paused = true)]
async fn t52_an_eviction_creates_no_file_of_what_is_being_deleted() -> Result<()> {
    let (mut world, server) = World::new().await?;
    world.max_cache_bytes = Some(60);
    drop(server);
    let server = world.open("cache")?;
    let old = server.backup("old", 0, &chunks("old", 2)).await?;
    server.forget(&old).await?;
    check_report(&server.gc().await?, 0)?;
    world.pass(AFTER_GRACE).await;
    let live = server.backup("live", 90_000, &chunks("live", 9)).await?;
    assert!(old.chunks.iter().all(|c| server.is_present(c)));
    let mark = world.mock.journal_mark();
    let sending = world.gate_delete();
    let gc = world
        .collect_until(&server, GcOptions::default(), &sending)
        .await?;
    for chunk in &old.chunks {
        assert!(!server.store.chunks().chunk_path(&chunk.digest).exists());
    }
    let filler = server
        .backup("filler", 90_000, &chunks("filler", 9))
        .await?;
    for chunk in &old.chunks {
        let path = server.store.chunks().chunk_path(&chunk.digest);
        assert!(!path.exists(), "a phantom by eviction");
    }
    sending.release();
    check_report(&gc.end().await?, 2)?;
    assert_eq!(world.deleted_chunks(mark), keys_of(&old.chunks));
    server.check_presence(&world)?;
    let again = server.backup("again", 100_000, &old.chunks).await?;
    world.check_safe(&server, &[&live, &filler, &again]).await?;
    server.check_settled()
}

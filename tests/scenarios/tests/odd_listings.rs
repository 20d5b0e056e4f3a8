//! Listings that are old, out of order, or without dates (`gc.md` §9, T39, T40, T44).

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use datastore::backend::s3::insert::Payload;
use datastore::gc::GcOptions;
use datastore::gc::candidate::PendingReason;
use s3_mock::Op;
use s3_mock::behaviour::{ListField, ListOrder};
use scenarios::facts::{check_report, keys_of};
use scenarios::{
    AFTER_GRACE, BUCKET, START, Server, Snapshot, World, chunk_key, chunks, finish, insert,
};

/// A backup that leaves markers only.
async fn bare(server: &Server, id: &str, at: i64, count: usize) -> Result<Snapshot> {
    let data = chunks(id, count);
    let session = server.session_with(id, at, Payload::Discard).await?;
    for chunk in &data {
        insert(&session, chunk).await?;
    }
    finish(session, &data).await
}

/// The chunks that were asked for by HEAD since the mark.
fn looked_at(world: &World, mark: u64) -> BTreeSet<String> {
    let heads = world.mock.journal().since(mark).requests_of(Op::HeadObject);
    heads.into_iter().flatten().collect()
}

/// T39: listings show writes and deletes only a minute later.
#[tokio::test(start_paused = true)]
async fn t39_a_stale_listing_makes_nothing_missing() -> Result<()> {
    let (world, server) = World::new().await?;
    let dead = server.backup("dead", 0, &chunks("dead", 3)).await?;
    let old = bare(&server, "old", 0, 2).await?;
    server.forget(&dead).await?;
    // One is gone for long, another only since a moment ago.
    world.mock.delete(BUCKET, &chunk_key(&old.chunks[0].digest));
    world.pass(AFTER_GRACE).await;
    world
        .mock
        .configure(|behaviour| behaviour.list.stale = Duration::from_secs(60));
    world.mock.delete(BUCKET, &chunk_key(&old.chunks[1].digest));
    let fresh = bare(&server, "fresh", 90_000, 4).await?;
    let mark = world.mock.journal_mark();
    let report = server.gc_now().await?;
    check_report(&report, 3)?;
    // Neither the old one nor the fresh ones are listed, so each of them is looked at.
    let unlisted = [&old.chunks[..1], &fresh.chunks].concat();
    assert_eq!(report.listing.marked_absent, 5);
    assert_eq!(looked_at(&world, mark), keys_of(&unlisted));
    assert_eq!(report.missing_confirmed, [old.chunks[0].digest]);
    assert_eq!((report.missing, report.healed), (1, 0));
    assert!(fresh.chunks.iter().all(|chunk| server.is_present(chunk)));
    assert!(!server.is_present(&old.chunks[0]));
    assert_eq!(world.deleted_chunks(mark), keys_of(&dead.chunks));

    // The deletes are not seen either: those keys are candidates again, and cost nothing.
    let report = server.gc_now().await?;
    assert!(report.adds_up());
    assert_eq!(report.missing, 1, "no more than before");
    world.pass(Duration::from_secs(61)).await;
    let report = server.gc_now().await?;
    assert_eq!(report.missing, 2, "{:?}", report.missing_confirmed);
    world.check_objects(&fresh.chunks)?;
    world.check_safe(&server, &[&fresh]).await?;
    server.check_settled()
}

/// T40: pages out of order, and a listing in no order at all.
#[tokio::test(start_paused = true)]
async fn t40_an_unsorted_listing_gives_the_same_result() -> Result<()> {
    for order in [ListOrder::ReversedPages, ListOrder::Hashed] {
        for page_size in [1, 3, 1000] {
            let (world, server) = World::new().await?;
            let dead = server.backup("dead", 0, &chunks("dead", 7)).await?;
            let live = bare(&server, "live", 0, 12).await?;
            let phantom = server.backup("phantom", 0, &chunks("phantom", 1)).await?;
            server.forget(&dead).await?;
            server.forget(&phantom).await?;
            world.pass(AFTER_GRACE).await;
            // Missing, without a marker, and a marker of nothing.
            let (missing, unknown) = (&live.chunks[3], &live.chunks[4]);
            for chunk in [missing, &phantom.chunks[0]] {
                world.mock.delete(BUCKET, &chunk_key(&chunk.digest));
            }
            let path = server.store.chunks().chunk_path(&unknown.digest);
            std::fs::remove_file(path)?;
            world.mock.configure(|behaviour| {
                behaviour.list.order = order;
                behaviour.list.page_size = page_size;
            });
            let mark = world.mock.journal_mark();
            let report = server.gc().await?;
            check_report(&report, 7)?;
            assert_eq!(world.deleted_chunks(mark), keys_of(&dead.chunks));
            assert_eq!((report.listing.listed, report.listing.live), (18, 11));
            assert_eq!(report.missing_confirmed, [missing.digest]);
            assert_eq!((report.presence_created, report.local_removed), (1, 1));
            assert!(
                page_size == 1 || report.listing.disordered == 1,
                "{order:?} {page_size}: {:?}",
                report.listing
            );
            let left = [&live.chunks[..3], &live.chunks[4..]].concat();
            world.check_objects(&left)?;
            assert!(left.iter().all(|chunk| server.is_present(chunk)));
            server.check_presence(&world)?;
            server.check_settled()?;
        }
    }
    Ok(())
}

/// T44: no `LastModified`. With a local file its access time tells the age; without one the object
/// is only noted by the run that first sees it, and goes with the next.
#[tokio::test(start_paused = true)]
async fn t44_without_dates_the_first_sighting_counts() -> Result<()> {
    let (world, server) = World::new().await?;
    let old = server.backup("old", 0, &chunks("old", 2)).await?;
    let live = server.backup("live", 0, &chunks("live", 2)).await?;
    server.forget(&old).await?;
    let foreign = chunks("foreign", 3);
    for chunk in &foreign {
        let key = chunk_key(&chunk.digest);
        world.mock.put_at(BUCKET, &key, "x", START * 1000);
    }
    world.mock.configure(|behaviour| {
        behaviour.list.omit = [ListField::LastModified].into();
    });
    let first_seen = |report: &datastore::gc::GcReport| {
        let tally = report.pending.get(&PendingReason::FirstSeen);
        tally.map_or(0, |tally| tally.count)
    };
    // A dry run is no sighting.
    let dry = GcOptions {
        dry_run: true,
        ..GcOptions::default()
    };
    assert_eq!(first_seen(&server.gc_with(dry).await.0?), 3);
    // Touched lately: young.
    let report = server.gc().await?;
    check_report(&report, 0)?;
    assert_eq!(first_seen(&report), 3);
    assert_eq!(report.status.pending_chunks, 5);

    // A sighting is remembered by the next process. One that a backup takes up is no garbage.
    let server = world.restart(server)?;
    world.pass(AFTER_GRACE).await;
    let taken = server.backup("taken", 90_000, &foreign[..1]).await?;
    let mark = world.mock.journal_mark();
    let report = server.gc().await?;
    check_report(&report, 4)?;
    assert_eq!(first_seen(&report), 0);
    let gone = [&old.chunks[..], &foreign[1..]].concat();
    assert_eq!(world.deleted_chunks(mark), keys_of(&gone));
    world.check_objects(&[&live.chunks[..], &taken.chunks].concat())?;

    // What vanished and came back is seen for the first time again.
    let again = &foreign[1];
    assert_eq!(first_seen(&server.gc().await?), 0);
    let key = chunk_key(&again.digest);
    world.mock.put_at(BUCKET, &key, "x", START * 1000);
    let report = server.gc_now().await?;
    check_report(&report, 0)?;
    assert_eq!(first_seen(&report), 1);
    check_report(&server.gc_now().await?, 1)?;
    world.check_safe(&server, &[&live, &taken]).await?;
    server.check_settled()
}

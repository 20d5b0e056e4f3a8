//! Slow, throttling and busy providers (`gc.md` §9, T58, T59, T61).

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use datastore::file_time::FileTime;
use datastore::format::blob::DataBlob;
use datastore::gc::GcOptions;
use s3_client::env::Env;
use s3_mock::behaviour::Throttle;
use s3_mock::{Op, Reply};
use scenarios::facts::{check_report, keys_of};
use scenarios::{
    AFTER_GRACE, AFTER_QUARANTINE, BUCKET, Chunk, START, Server, Snapshot, World, chunk_key,
    chunks, finish, insert,
};

/// Puts chunks into the bucket and the local directory, past the store.
fn plant(world: &World, server: &Server, data: &[Chunk]) -> Result<()> {
    for chunk in data {
        let blob = DataBlob::encode(&chunk.data, None, true, &Env::system())?;
        let body: Bytes = blob.into_raw();
        let key = chunk_key(&chunk.digest);
        world.mock.put_at(BUCKET, &key, body, START * 1000);
        let old = FileTime::from_secs(START);
        server.store.chunks().create_marker(&chunk.digest, old)?;
    }
    Ok(())
}

/// A store of so many chunks, that many of them garbage, to be listed in sixteen shards.
async fn large(count: usize, garbage: usize) -> Result<(World, Server, Snapshot, Vec<Chunk>)> {
    let (world, server) = World::new().await?;
    let mut live = chunks("c", count);
    plant(&world, &server, &live)?;
    let garbage = live.split_off(count - garbage);
    let session = server.session("live", 0).await?;
    for chunk in &live {
        assert!(
            session
                .touch_known(chunk.digest, u32::try_from(chunk.data.len())?)
                .await?
        );
    }
    let live = finish(session, &live).await?;
    world.remember_run(&server, 30_000, u64::try_from(garbage.len())?)?;
    world.pass(AFTER_GRACE).await;
    Ok((world, server, live, garbage))
}

/// T58: a provider that lets few requests a second through and answers SlowDown to the rest.
#[tokio::test(start_paused = true)]
async fn t58_a_storm_of_refusals_slows_the_run_down_and_no_more() -> Result<()> {
    let mut ideal = 0;
    for limit in [None, Some(12)] {
        let (world, server, live, garbage) = large(5000, 3000).await?;
        world.mock.configure(|behaviour| {
            behaviour.list.page_size = 17;
            behaviour.set_latency_of_all(Duration::from_millis(20));
            behaviour.throttle = limit.map(|per_second| Throttle {
                ops: Vec::new(),
                per_second,
                reply: Reply::slow_down(),
            });
        });
        world.mock.reset_counters();
        let mark = world.mock.journal_mark();
        let report = server.gc().await?;
        check_report(&report, 3000)?;
        assert_eq!((report.missing, report.suspect.count), (0, 0));
        assert_eq!(world.deleted_chunks(mark), keys_of(&garbage));
        let counters = world.mock.counters();
        let total = counters.total();
        match limit {
            None => {
                assert_eq!(counters.statuses.get(&503), None);
                assert!(counters.most_in_flight[&Op::ListObjects] >= 8);
                ideal = total;
            }
            Some(_) => {
                let refused = counters.statuses.get(&503).copied().unwrap_or(0);
                assert!(refused > 0, "no storm");
                ensure!(
                    total * 10 <= ideal * 13,
                    "{total} requests in place of {ideal}, {refused} refused"
                );
            }
        }
        world.mock.configure(|behaviour| behaviour.throttle = None);
        world.check_objects(&live.chunks)?;
        // A delete that was refused with 503 before it was answered may still be applied.
        world.pass(AFTER_QUARANTINE).await;
        server.gc().await?;
        server.check_settled()?;
    }
    Ok(())
}

/// T59, the suite's form: 100 ms a page and 1 s a batch of deletes. What can go side by side does;
/// `make bench` has the million and a half.
#[tokio::test(start_paused = true)]
async fn t59_pages_and_batches_go_side_by_side() -> Result<()> {
    let (world, server, live, garbage) = large(7000, 6000).await?;
    world.mock.configure(|behaviour| {
        behaviour.list.page_size = 117;
        behaviour.set_latency(Op::ListObjects, Duration::from_millis(100));
        behaviour.set_latency(Op::DeleteObjects, Duration::from_secs(1));
    });
    world.mock.reset_counters();
    let mark = world.mock.journal_mark();
    let start = world.env.now();
    let report = server.gc().await?;
    let took = world.env.now() - start;
    check_report(&report, 6000)?;
    assert_eq!(world.deleted_chunks(mark), keys_of(&garbage));
    let counters = world.mock.counters();
    let (lists, deletes) = (counters.of(Op::ListObjects), counters.of(Op::DeleteObjects));
    // 16 shards of four pages, one of the metadata; six batches.
    assert!((60..=60 + 16 + 1).contains(&lists), "{lists}");
    assert_eq!(deletes, 6);
    // The metadata's page, four rounds of pages, one round of deletes, and the check of access
    // times, which lasts a second.
    let bound = Duration::from_millis(100 + 5 * 100 + 1000 + 1000 + 500);
    ensure!(took <= bound, "{took:?}");
    world.check_objects(&live.chunks)?;
    server.check_settled()
}

/// Backs up so many chunks of its own, one after the other.
async fn upload(server: Server, which: usize, count: usize) -> Result<Snapshot> {
    let data = chunks(&format!("session-{which}"), count);
    let session = server.session(&format!("s{which}"), 90_000).await?;
    for chunk in &data {
        assert!(!insert(&session, chunk).await?.duplicate);
    }
    finish(session, &data).await
}

/// Eight sessions at once; how long the slowest took.
async fn eight_sessions(world: &World, server: &Server) -> Result<(Duration, Vec<Snapshot>)> {
    let start = world.env.now();
    let tasks: Vec<_> = (0..8)
        .map(|which| tokio::spawn(upload(server.clone(), which, 60)))
        .collect();
    let mut made = Vec::new();
    for task in tasks {
        made.push(task.await??);
    }
    Ok((world.env.now() - start, made))
}

/// T61, the suite's form: eight sessions upload while a collection lists and deletes. All of it is
/// right, and no request of theirs waits for one of the collection's.
#[tokio::test(start_paused = true)]
async fn t61_eight_sessions_are_not_held_up_by_a_collection() -> Result<()> {
    let mut without = Duration::ZERO;
    for collect in [false, true] {
        let (world, server, live, garbage) = large(3000, 2000).await?;
        world.mock.configure(|behaviour| {
            behaviour.list.page_size = 10;
            behaviour.set_latency(Op::ListObjects, Duration::from_millis(100));
            behaviour.set_latency(Op::DeleteObjects, Duration::from_secs(1));
            behaviour.set_latency(Op::PutObject, Duration::from_millis(50));
        });
        let gc = collect.then(|| server.start_gc(GcOptions::default()));
        let mark = world.mock.journal_mark();
        let (took, made) = eight_sessions(&world, &server).await?;
        if let Some(gc) = gc {
            assert!(
                world.delete_requests(mark) > 0 || !gc.is_over(),
                "they have not met"
            );
            check_report(&gc.end().await?, 2000)?;
            assert_eq!(world.deleted_chunks(mark), keys_of(&garbage));
            ensure!(
                took.as_millis() * 95 <= without.as_millis() * 100,
                "{took:?} in place of {without:?}"
            );
            let mut all: Vec<&Snapshot> = made.iter().collect();
            let new: Vec<Chunk> = made.iter().flat_map(|s| s.chunks.clone()).collect();
            world.check_objects(&[&new[..], &live.chunks].concat())?;
            check_report(&server.gc_now().await?, 0)?;
            world.mock.configure(|behaviour| behaviour.latency.clear());
            all.truncate(8);
            world.check_safe(&server, &all).await?;
            server.check_settled()?;
        } else {
            without = took;
        }
    }
    Ok(())
}

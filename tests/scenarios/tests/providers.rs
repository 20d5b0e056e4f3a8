//! Providers that refuse some deletes, or know single deletes only (`gc.md` §9, T31, T62).

use std::collections::BTreeSet;

use anyhow::Result;
use api_types::s3::ProviderQuirk;
use datastore::gc::GcOptions;
use datastore::store::create::CreateOptions;
use s3_mock::Op;
use s3_mock::behaviour::KeyError;
use scenarios::facts::{check_report, keys_of};
use scenarios::{
    AFTER_GRACE, AFTER_QUARANTINE, World, chunk_key, chunks, finish, insert, no_grace,
};

/// T31: of 1000 keys, three meet an internal error once, two are denied.
#[tokio::test(start_paused = true)]
async fn t31_partial_errors_concern_their_keys_only() -> Result<()> {
    let (world, server) = World::new().await?;
    let dead = server.backup("dead", 0, &chunks("dead", 1000)).await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    server.forget(&dead).await?;
    world.pass(AFTER_GRACE).await;
    let (shaky, denied, rest) = (&dead.chunks[..3], &dead.chunks[3..5], &dead.chunks[5..]);
    world.mock.configure(|behaviour| {
        let once = |chunk: &scenarios::Chunk| {
            KeyError::first(chunk_key(&chunk.digest), "InternalError", 1)
        };
        let never =
            |chunk: &scenarios::Chunk| KeyError::always(chunk_key(&chunk.digest), "AccessDenied");
        behaviour.delete_key_errors = shaky
            .iter()
            .map(once)
            .chain(denied.iter().map(never))
            .collect();
    });
    let mark = world.mock.journal_mark();
    let gate = world.gate_delete();
    let collection = server.start_gc(GcOptions::default());
    gate.arrived().await;
    server.check_announced(&keys_of(&dead.chunks))?;
    gate.release();
    let task = std::sync::Arc::clone(&collection.task);
    let report = collection.end().await?;

    check_report(&report, 998)?;
    assert_eq!(report.retained.count, 2);
    assert_eq!((report.suspect.count, report.failed.count), (0, 0));
    let requests = world
        .mock
        .journal()
        .since(mark)
        .requests_of(Op::DeleteObjects);
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].len(), 1000);
    assert_eq!(
        requests[1].iter().cloned().collect::<BTreeSet<_>>(),
        keys_of(shaky),
        "only the shaky ones are tried again"
    );
    let warnings = task.warning_texts();
    for chunk in denied {
        let named =
            |text: &&String| text.contains(&chunk.digest.to_hex()) && text.contains("AccessDenied");
        assert_eq!(warnings.iter().filter(named).count(), 1, "{warnings:?}");
        assert!(server.is_present(chunk) && world.has_object(chunk));
    }
    assert!(rest.iter().all(|chunk| !server.is_present(chunk)));
    world.check_objects(&[denied, &live.chunks].concat())?;

    // An internal error may still be carried out: those three alone are suspect.
    assert_eq!(server.store.digests().exceptional_count(), 3);
    let session = server.session("again", 10).await?;
    assert!(!insert(&session, &shaky[0]).await?.duplicate);
    assert!(insert(&session, &denied[0]).await?.duplicate);
    assert!(!insert(&session, &rest[0]).await?.duplicate);
    let mine = [&shaky[..1], &denied[..1], &rest[..1]].concat();
    let snapshot = finish(session, &mine).await?;
    world.mock.configure(|b| b.delete_key_errors.clear());
    world.pass(AFTER_QUARANTINE).await;
    check_report(&server.gc_now().await?, 1)?;
    world.check_objects(&[&mine, &live.chunks[..]].concat())?;
    world.check_safe(&server, &[&live, &snapshot]).await?;
    server.check_settled()
}

/// T62: a provider without DeleteObjects, ten thousand garbage chunks.
#[tokio::test(start_paused = true)]
async fn t62_single_deletes_run_in_bounded_parallel() -> Result<()> {
    let mut world = World::empty(1).await?;
    world.quirks = vec![ProviderQuirk::DeleteObjectsViaDeleteObject];
    world.mock.configure(|behaviour| {
        behaviour.delete_objects = false;
        behaviour.set_latency(Op::DeleteObject, std::time::Duration::from_millis(50));
    });
    let server = world.create("cache", CreateOptions::default()).await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    let garbage = world.known_garbage(&server, 10_000)?;
    world.pass(AFTER_GRACE).await;
    // One that is denied, as a whole answer in place of an error of a batch.
    let denied = &garbage[17];
    world.mock.configure(|behaviour| {
        behaviour.locked = vec![chunk_key(&denied.digest).into()];
    });
    world.mock.reset_counters();
    let mark = world.mock.journal_mark();
    let start = world.env.now();
    let report = server.gc().await?;
    let took = world.env.now() - start;

    check_report(&report, 9_999)?;
    assert_eq!((report.retained.count, report.suspect.count), (1, 0));
    let counters = world.mock.counters();
    assert_eq!(counters.of(Op::DeleteObject), 10_000);
    assert_eq!(counters.of(Op::DeleteObjects), 0);
    let most = counters.most_in_flight[&Op::DeleteObject];
    assert!((8..=32).contains(&most), "{most} at once");
    // 10 000 × 50 ms one after the other would be more than eight minutes.
    assert!(took.as_secs() < 60, "{took:?}");
    assert_eq!(world.deleted_chunks(mark).len(), 9_999);
    assert!(server.is_present(denied));
    world.check_objects(&[&live.chunks[..], std::slice::from_ref(denied)].concat())?;
    world.check_safe(&server, &[&live]).await?;
    server.check_settled()?;

    world.mock.configure(|behaviour| behaviour.locked.clear());
    check_report(&server.gc_with(no_grace()).await.0?, 1)?;
    world.check_objects(&live.chunks)?;
    server.check_settled()
}

//! Answers that get lost, and deletes that come late, in a running process (`gc.md` §9, T29, T30,
//! T57).

use std::time::Duration;

use anyhow::Result;
use datastore::backend::s3::insert::Payload;
use datastore::gc::GcOptions;
use s3_mock::behaviour::KeyError;
use s3_mock::{Action, Fault, Op};
use scenarios::facts::{check_report, keys_of};
use scenarios::running::any_chunk;
use scenarios::{
    AFTER_GRACE, AFTER_QUARANTINE, Server, Snapshot, World, chunk_key, chunks, finish, insert,
    no_grace,
};

async fn with_garbage() -> Result<(World, Server, Snapshot, Snapshot)> {
    let (world, server) = World::new().await?;
    let dead = server.backup("dead", 0, &chunks("dead", 3)).await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    server.forget(&dead).await?;
    world.pass(AFTER_GRACE).await;
    Ok((world, server, dead, live))
}

/// T29: the answer is lost, the delete was applied, the retry succeeds.
#[tokio::test(start_paused = true)]
async fn t29_a_retried_delete_is_counted_once() -> Result<()> {
    let (world, server, dead, live) = with_garbage().await?;
    world.spoil_delete(Action::ApplyThenDrop);
    let mark = world.mock.journal_mark();
    let report = server.gc().await?;
    check_report(&report, 3)?;
    assert_eq!(report.suspect.count, 0);
    assert_eq!(world.delete_requests(mark), 2);
    assert_eq!(world.deleted_chunks(mark), keys_of(&dead.chunks));
    world.check_objects(&live.chunks)?;
    world.pass(AFTER_QUARANTINE).await;
    let report = server.gc().await?;
    check_report(&report, 0)?;
    assert_eq!(report.listing.listed, 3);
    world.check_safe(&server, &[&live]).await?;
    server.check_settled()
}

/// T30: the answer is lost, the retry gets its 200, the first attempt is applied later.
#[tokio::test(start_paused = true)]
async fn t30_a_later_200_does_not_resolve_a_lost_attempt() -> Result<()> {
    let (world, server, dead, live) = with_garbage().await?;
    world.spoil_delete(Action::late());
    let mark = world.mock.journal_mark();
    check_report(&server.gc().await?, 3)?;
    assert_eq!(world.delete_requests(mark), 2);
    let late = world.mock.late();
    assert!(!server.delete_journal()?.is_empty(), "closed by the 200");

    let session = server.session_with("again", 10, Payload::Discard).await?;
    for chunk in &dead.chunks {
        assert!(!insert(&session, chunk).await?.duplicate);
    }
    let snapshot = finish(session, &dead.chunks).await?;
    assert_eq!(world.mock.release_late(late[0].id), Some(200));
    world.check_objects(&live.chunks)?;
    assert_eq!(server.gc_now().await?.missing, 0);
    world.pass(AFTER_QUARANTINE).await;
    assert_eq!(server.gc_now().await?.missing, 0);
    world.check_safe(&server, &[&live, &snapshot]).await?;
    server.check_settled()
}

/// T30 (§8.1 "nor does a denial"): the retry is denied, so the object was there a moment ago.
#[tokio::test(start_paused = true)]
async fn t30_a_denial_does_not_resolve_a_lost_attempt() -> Result<()> {
    let (world, server, dead, live) = with_garbage().await?;
    world.spoil_delete(Action::late());
    world.mock.configure(|behaviour| {
        behaviour.delete_key_errors = vec![KeyError::always(any_chunk(), "AccessDenied")];
    });
    let report = server.gc().await?;
    check_report(&report, 0)?;
    assert_eq!(report.suspect.count, 3);
    assert!(dead.chunks.iter().all(|chunk| !server.is_present(chunk)));
    world
        .mock
        .configure(|behaviour| behaviour.delete_key_errors.clear());
    let snapshot = server.backup("again", 10, &dead.chunks).await?;
    let late = world.mock.late();
    assert_eq!(world.mock.release_late(late[0].id), Some(200));
    world.check_objects(&live.chunks)?;
    world.pass(AFTER_QUARANTINE).await;
    server.gc_now().await?;
    world.check_safe(&server, &[&live, &snapshot]).await?;
    server.check_settled()
}

/// T30 (§8.1 "exceptional digests left alone"): a suspect chunk is garbage again meanwhile.
#[tokio::test(start_paused = true)]
async fn t30_a_suspect_chunk_is_not_condemned() -> Result<()> {
    let (world, server, dead, live) = with_garbage().await?;
    world.spoil_delete(Action::late());
    server.gc().await?;
    let session = server.session("again", 10).await?;
    for chunk in &dead.chunks {
        insert(&session, chunk).await?;
    }
    session.abort().await?;
    let mark = world.mock.journal_mark();
    let report = server.gc_now().await?;
    check_report(&report, 0)?;
    assert_eq!(report.status.pending_chunks, 3);
    assert_eq!(world.delete_requests(mark), 0);
    let late = world.mock.late();
    assert_eq!(world.mock.release_late(late[0].id), Some(200));
    world.pass(AFTER_QUARANTINE).await;
    // Restored first, since nobody can know that it is garbage; then collected.
    server.gc_now().await?;
    server.gc_now().await?;
    world.check_objects(&live.chunks)?;
    world.check_safe(&server, &[&live]).await?;
    server.check_settled()
}

/// T57: one delete hangs for ever.
#[tokio::test(start_paused = true)]
async fn t57_a_hanging_delete_holds_up_nothing_else() -> Result<()> {
    let (world, server) = World::new().await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    let garbage = world.known_garbage(&server, 2500)?;
    world.pass(AFTER_GRACE).await;
    let mark = world.mock.journal_mark();
    let stuck = chunk_key(&garbage[0].digest);
    let hang = Fault::on(Op::DeleteObjects, Action::Hang)
        .keys(&stuck)
        .always();
    let hang = world.mock.script(hang);
    let collection = server.start_gc(GcOptions::default());
    let hangs = || world.mock.fault_hits(hang) > 0;
    world.until("the delete hangs", hangs).await?;
    let start = world.env.now();
    let others = || world.chunk_objects() == 1003;
    world.until("the other batches are through", others).await?;
    assert!(world.env.now() - start < Duration::from_secs(1));
    assert!(!collection.is_over());
    let mut stuck_keys = world.chunk_keys();
    for key in keys_of(&live.chunks) {
        stuck_keys.remove(&key);
    }
    server.check_announced(&stuck_keys)?;

    // New chunks and those of other batches are stored at once.
    let session = server.session("new", 10).await?;
    let before = world.env.now();
    for chunk in chunks("new", 5) {
        assert!(!insert(&session, &chunk).await?.duplicate);
    }
    let gone = garbage
        .iter()
        .find(|chunk| !stuck_keys.contains(&chunk_key(&chunk.digest)))
        .cloned()
        .into_iter()
        .collect::<Vec<_>>();
    assert!(!insert(&session, &gone[0]).await?.duplicate);
    assert!(world.env.now() - before < Duration::from_secs(1));
    // One in the stuck batch waits for the end of it, then uploads.
    assert!(!insert(&session, &garbage[0]).await?.duplicate);
    assert!(world.env.now() - before <= Duration::from_secs(200));
    let mine = [chunks("new", 5), gone, garbage[..1].to_vec()].concat();
    let snapshot = finish(session, &mine).await?;

    let report = collection.end().await?;
    assert!(world.env.now() - start <= Duration::from_secs(200));
    check_report(&report, 1500)?;
    assert_eq!(report.suspect.count, 1000);
    // The tries of the stuck batch, one each of the others.
    let tries = usize::try_from(world.mock.fault_hits(hang))?;
    assert!((1..=3).contains(&tries));
    assert_eq!(world.delete_requests(mark), 2 + tries);
    world.check_safe(&server, &[&live]).await?;

    world.mock.remove_fault(hang);
    world.pass(AFTER_QUARANTINE).await;
    check_report(&server.gc_with(no_grace()).await.0?, 999)?;
    world.check_objects(&[live.chunks.clone(), mine].concat())?;
    world.check_safe(&server, &[&live, &snapshot]).await?;
    server.check_settled()
}

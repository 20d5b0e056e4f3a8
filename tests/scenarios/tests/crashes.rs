//! The end of a process between the steps of a delete (`gc.md` §9, T25–T28).

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use datastore::backend::s3::insert::Payload;
use datastore::gc::GcOptions;
use s3_mock::{Action, Change, ClientSees, Fault, Gate, LateRequest, Op};
use scenarios::facts::{check_report, keys_of};
use scenarios::running::any_chunk;
use scenarios::{
    AFTER_GRACE, AFTER_QUARANTINE, BUCKET, STORE, Server, Snapshot, World, chunk_key, chunks,
    chunks_in, finish, insert, no_grace,
};

/// A store with a live snapshot and a removed one whose chunks are old.
async fn with_garbage() -> Result<(World, Server, Snapshot, Snapshot)> {
    let (world, server) = World::new().await?;
    let dead = server.backup("dead", 0, &chunks("dead", 3)).await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    server.forget(&dead).await?;
    world.pass(AFTER_GRACE).await;
    Ok((world, server, dead, live))
}

fn all(snapshots: &[&Snapshot]) -> Vec<scenarios::Chunk> {
    snapshots.iter().flat_map(|s| s.chunks.clone()).collect()
}

/// A collection whose process ends while its delete is on the way; which one that is, to be released.
async fn crash_before_a_late_delete(world: &World, server: &Server) -> Vec<LateRequest> {
    world.spoil_delete(Action::Late {
        after: None,
        client: ClientSees::Hang,
    });
    let collection = server.start_gc(GcOptions::default());
    let late = world.mock.wait_late(1).await;
    collection.crash().await;
    late
}

/// The shards of a run that condemns what it finds in one while another is still being listed.
fn eager() -> GcOptions {
    GcOptions {
        force: true,
        ..GcOptions::default()
    }
}

/// T25: after presence is removed, before the journal record.
#[tokio::test(start_paused = true)]
async fn t25_a_crash_before_the_record_leaves_plain_garbage() -> Result<()> {
    for again in [false, true] {
        let (world, server) = World::new().await?;
        let dead = server.backup("dead", 0, &chunks_in("0", "dead", 2)).await?;
        let live = server.backup("live", 0, &chunks("live", 3)).await?;
        server.forget(&dead).await?;
        world.pass(AFTER_GRACE).await;
        world.expect_sixteen_shards(&server)?;
        let last = world
            .mock
            .gate(Op::ListObjects, format!("{STORE}/.chunks/f*"));
        let mark = world.mock.journal_mark();
        let collection = server.start_gc(eager());
        last.arrived().await;
        // Waiting for the last shard, it has condemned what it found in the others.
        let condemned = || dead.chunks.iter().all(|chunk| !server.is_present(chunk));
        world.until("presence is removed", condemned).await?;
        assert!(server.delete_journal()?.is_empty());
        collection.crash().await;
        let server = world.restart(server)?;
        last.release();

        assert_eq!(world.delete_requests(mark), 0);
        for chunk in &dead.chunks {
            assert!(world.has_object(chunk) && !server.is_present(chunk));
        }
        if again {
            let mark = world.mock.journal_mark();
            let session = server.session("again", 10).await?;
            for chunk in &dead.chunks {
                assert!(!insert(&session, chunk).await?.duplicate);
            }
            let snapshot = finish(session, &dead.chunks).await?;
            // 412 and a look at the object: nothing was transferred again.
            assert!(world.written_chunks(mark).is_empty());
            assert_eq!(server.gc().await?.deleted.count, 0);
            world.check_safe(&server, &[&live, &snapshot]).await?;
        } else {
            check_report(&server.gc().await?, 2)?;
            world.check_objects(&live.chunks)?;
            world.check_safe(&server, &[&live]).await?;
        }
        server.check_settled()?;
    }
    Ok(())
}

/// T26: after the record, before the request.
#[tokio::test(start_paused = true)]
async fn t26_a_crash_before_the_request_is_resolved() -> Result<()> {
    let (world, server, dead, live) = with_garbage().await?;
    // Recording the epoch takes so long that the owner is looked at again right before the request.
    let slow = Fault::on(Op::PutObject, Action::Hang).keys(format!("{STORE}/*/epoch"));
    world.mock.script(slow);
    let looking = Gate::new();
    let look = Fault::on(Op::GetObject, Action::Pause(looking.clone()))
        .keys(format!("{STORE}/.in-use"))
        .nth(2);
    world.mock.script(look);
    let mark = world.mock.journal_mark();
    let collection = server.start_gc(GcOptions::default());
    looking.arrived().await;
    server.check_announced(&keys_of(&dead.chunks))?;
    collection.crash().await;
    let server = world.restart(server)?;
    looking.release();
    assert_eq!(world.delete_requests(mark), 0);

    // The record says that a request may be under way: nothing is answered "duplicate", nothing
    // is deleted, for a whole quarantine.
    let report = server.gc().await?;
    check_report(&report, 0)?;
    assert_eq!(report.status.pending_chunks, 3);
    assert!(!server.delete_journal()?.is_empty());
    let session = server.session("again", 10).await?;
    for chunk in &dead.chunks {
        assert!(!insert(&session, chunk).await?.duplicate);
    }
    let snapshot = finish(session, &dead.chunks).await?;
    world.pass(AFTER_QUARANTINE).await;
    check_report(&server.gc().await?, 0)?;
    world.check_objects(&all(&[&live, &snapshot]))?;
    world.check_safe(&server, &[&live, &snapshot]).await?;
    server.check_settled()
}

/// T26 without a backup in between: the objects go with the run after the quarantine.
#[tokio::test(start_paused = true)]
async fn t26_unsent_garbage_goes_after_the_quarantine() -> Result<()> {
    let (world, server, dead, live) = with_garbage().await?;
    let unsent = world.mock.script(
        Fault::on(Op::DeleteObjects, Action::Hang)
            .keys(any_chunk())
            .always(),
    );
    let collection = server.start_gc(GcOptions::default());
    let sent = || world.mock.fault_hits(unsent) > 0;
    world.until("the delete is sent", sent).await?;
    collection.crash().await;
    world.mock.remove_fault(unsent);
    let server = world.restart(server)?;
    assert_eq!(server.gc().await?.deleted.count, 0);
    world.pass(AFTER_QUARANTINE).await;
    check_report(&server.gc().await?, dead.chunks.len())?;
    world.check_objects(&live.chunks)?;
    world.check_safe(&server, &[&live]).await?;
    server.check_settled()
}

/// T27: after the request was applied, before its answer.
#[tokio::test(start_paused = true)]
async fn t27_a_crash_after_the_delete_leaves_no_phantom() -> Result<()> {
    let (world, server, dead, live) = with_garbage().await?;
    let applied = world.gate_deleted();
    let collection = server.start_gc(GcOptions::default());
    applied.arrived().await;
    collection.crash().await;
    let server = world.restart(server)?;
    world.check_objects(&live.chunks)?;
    for chunk in &dead.chunks {
        assert!(!server.is_present(chunk));
    }
    let session = server.session("again", 10).await?;
    for chunk in &dead.chunks {
        assert!(!insert(&session, chunk).await?.duplicate);
    }
    let snapshot = finish(session, &dead.chunks).await?;
    world.check_safe(&server, &[&live, &snapshot]).await?;
    world.pass(AFTER_QUARANTINE).await;
    check_report(&server.gc().await?, 0)?;
    world.check_objects(&all(&[&live, &snapshot]))?;
    world.check_safe(&server, &[&live, &snapshot]).await?;
    server.check_settled()
}

/// How the re-upload of T28 is made.
struct Reupload {
    payload: Payload,
    max_cache: Option<u64>,
}

/// T28: the request is applied two minutes after the restart, a minute after D was uploaded again.
async fn zombie(reupload: Reupload) -> Result<()> {
    let (mut world, server, dead, live) = with_garbage().await?;
    world.max_cache_bytes = reupload.max_cache;
    let late = crash_before_a_late_delete(&world, &server).await;
    let server = world.restart(server)?;

    world.pass(Duration::from_secs(60)).await;
    let mark = world.mock.journal_mark();
    let session = server.session_with("again", 10, reupload.payload).await?;
    for chunk in &dead.chunks {
        assert!(!insert(&session, chunk).await?.duplicate);
        // Still suspect: the second answer is no "duplicate" either.
        assert!(!insert(&session, chunk).await?.duplicate);
        assert!(!session.touch_known(chunk.digest, 8).await?);
    }
    let replaced = world.mock.journal().since(mark);
    let replaced = replaced.changes().filter(|(_, change)| {
        matches!(change, Change::Put { key, replaced: true } if key.contains("/.chunks/"))
    });
    assert_eq!(replaced.count(), 2 * dead.chunks.len());
    let snapshot = finish(session, &dead.chunks).await?;
    // Fills the cache, if it is to be too small.
    server.backup("filler", 10, &chunks("filler", 3)).await?;

    world.pass(Duration::from_secs(60)).await;
    assert_eq!(world.mock.release_late(late[0].id), Some(200));
    assert!(dead.chunks.iter().all(|chunk| !world.has_object(chunk)));
    // A collection meanwhile neither calls the chunks missing nor touches them.
    let report = server.gc_now().await?;
    assert_eq!((report.missing, report.deleted.count), (0, 0));
    for chunk in &dead.chunks {
        let client = server
            .store
            .client(s3_client::TaskKind::Restore, &server.cancel);
        let blob = server
            .store
            .read_chunk(client.as_ref(), chunk.digest, Payload::Discard)
            .await?;
        assert_eq!(blob.decode(None, 1 << 20)?, chunk.data);
    }

    world.pass(AFTER_QUARANTINE).await;
    let mark = world.mock.journal_mark();
    let (report, task) = server.gc_with(no_grace()).await;
    assert_eq!(report?.missing, 0);
    assert!(task.contains("uploaded again that a late delete took"));
    let restored: BTreeSet<_> = world.written_chunks(mark).into_iter().collect();
    assert_eq!(restored, keys_of(&dead.chunks));
    world.check_safe(&server, &[&live, &snapshot]).await?;
    server.check_settled()
}

#[tokio::test(start_paused = true)]
async fn t28_the_end_of_the_quarantine_restores_what_a_late_delete_took() -> Result<()> {
    zombie(Reupload {
        payload: Payload::Cache,
        max_cache: None,
    })
    .await
}

/// T28: the payload is kept although the client asked for no caching.
#[tokio::test(start_paused = true)]
async fn t28_a_no_cache_upload_of_a_suspect_chunk_is_kept_all_the_same() -> Result<()> {
    zombie(Reupload {
        payload: Payload::Discard,
        max_cache: None,
    })
    .await
}

/// T28: nor does a full cache evict it.
#[tokio::test(start_paused = true)]
async fn t28_a_suspect_payload_is_not_evicted() -> Result<()> {
    zombie(Reupload {
        payload: Payload::Cache,
        max_cache: Some(1),
    })
    .await
}

/// T28 (§8.1 "full quarantine after restart"): the machine was down for longer than a quarantine.
#[tokio::test(start_paused = true)]
async fn t28_a_long_downtime_does_not_shorten_the_quarantine() -> Result<()> {
    let (world, server, dead, live) = with_garbage().await?;
    let late = crash_before_a_late_delete(&world, &server).await;
    let server = world.restart(server)?;
    let snapshot = server.backup("again", 10, &dead.chunks).await?;
    assert_eq!(world.mock.release_late(late[0].id), Some(200));
    // The committed snapshot's only copies are in the cache now.
    let server = world.restart(server)?;
    world.pass(Duration::from_secs(7 * 24 * 3600)).await;
    assert_eq!(server.gc_now().await?.missing, 0);
    assert!(!server.delete_journal()?.is_empty());
    world.pass(AFTER_QUARANTINE).await;
    server.gc_now().await?;
    world.check_safe(&server, &[&live, &snapshot]).await?;
    server.check_settled()
}

/// T28: a power failure has brought the file of a deleted chunk back without all of its payload. It is
/// worth no more than a marker.
#[tokio::test(start_paused = true)]
async fn t28_a_damaged_payload_is_no_presence() -> Result<()> {
    let (world, server, dead, live) = with_garbage().await?;
    let late = crash_before_a_late_delete(&world, &server).await;
    assert_eq!(world.mock.release_late(late[0].id), Some(200));
    for chunk in &dead.chunks {
        std::fs::write(server.store.chunks().chunk_path(&chunk.digest), b"half")?;
    }
    let server = world.restart(server)?;
    server.store.tend(&server.cancel).await?;
    world.pass(AFTER_QUARANTINE).await;
    server.store.tend(&server.cancel).await?;
    server.check_settled()?;
    server.check_presence(&world)?;
    let session = server.session("again", 10).await?;
    for chunk in &dead.chunks {
        assert!(!insert(&session, chunk).await?.duplicate);
    }
    let snapshot = finish(session, &dead.chunks).await?;
    world.check_safe(&server, &[&live, &snapshot]).await
}

/// T28 (§8.1 "not under an upload"): the quarantine is over while D is being uploaded.
#[tokio::test(start_paused = true)]
async fn t28_a_quarantine_does_not_end_under_an_upload() -> Result<()> {
    let (world, server, dead, live) = with_garbage().await?;
    let late = crash_before_a_late_delete(&world, &server).await;
    let server = world.restart(server)?;
    let session = server.session("again", 10).await?;
    world.pass(Duration::from_secs(30 * 60 - 20)).await;
    let written = Gate::new();
    let key = chunk_key(&dead.chunks[0].digest);
    let pause = Action::ApplyThenPause(written.clone());
    world
        .mock
        .script(Fault::on(Op::PutObject, pause).keys(&key));
    let data = dead.chunks.clone();
    let upload = tokio::spawn(async move {
        for chunk in &data {
            insert(&session, chunk).await?;
        }
        finish(session, &data).await
    });
    written.arrived().await;
    assert_eq!(world.mock.release_late(late[0].id), Some(200));
    world.pass(Duration::from_secs(30)).await;
    server.gc_now().await?;
    assert!(world.mock.get(BUCKET, &key).is_none());
    written.release();
    let snapshot = upload.await??;
    // Nobody is told "duplicate" of what is not there, though a collection would heal it later.
    server.check_presence(&world)?;
    assert!(!server.is_present(&dead.chunks[0]));
    world.pass(AFTER_QUARANTINE).await;
    assert_eq!(server.gc_now().await?.missing, 0);
    world.check_safe(&server, &[&live, &snapshot]).await?;
    server.check_settled()
}

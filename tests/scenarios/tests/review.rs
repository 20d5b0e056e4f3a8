//! Interleavings and mishaps found by a review of the core; each lost something, hung or lied.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use datastore::Error;
use datastore::gc::GcOptions;
use datastore::refresh::RefreshOptions;
use datastore::task::{RecordingTask, SilentTask};
use s3_mock::{Action, Fault, Gate, Op, Reply};
use scenarios::{
    AFTER_GRACE, AFTER_QUARANTINE, BUCKET, STORE, Server, World, chunk_key, chunks, insert,
    no_grace,
};

const EPOCH: &str = "store1/.x-coffer/epoch";
const IN_USE: &str = "store1/.in-use";

async fn refresh(server: &Server) -> Result<(), Error> {
    let task = SilentTask::new();
    let done = server.store.s3_refresh(&task, RefreshOptions::default());
    done.await.map(|_| ())
}

/// Garbage that is old enough to go.
async fn garbage(world: &World, server: &Server, count: usize) -> Result<Vec<scenarios::Chunk>> {
    let garbage = chunks("garbage", count);
    let snapshot = server.backup("garbage", 0, &garbage).await?;
    server.backup("kept", 0, &chunks("kept", 3)).await?;
    server.forget(&snapshot).await?;
    world.pass(AFTER_GRACE).await;
    Ok(garbage)
}

/// A guard made under the shard's lock and dropped there by the error would wait for ever.
#[tokio::test(start_paused = true)]
async fn an_unreadable_payload_ends_in_an_error_not_in_a_deadlock() -> Result<()> {
    let (world, server) = World::new().await?;
    let snapshot = server.backup("a", 0, &chunks("a", 2)).await?;
    let lost = &snapshot.chunks[0];
    world.mock.delete(BUCKET, &chunk_key(&lost.digest));
    let path = server.store.chunks().chunk_path(&lost.digest);
    std::fs::remove_file(&path)?;
    std::fs::create_dir(&path)?;
    assert!(server.gc().await.is_err());
    assert_eq!(server.store.digests().exceptional_count(), 0);
    std::fs::remove_dir(&path)?;
    assert_eq!(server.gc().await?.missing, 1);
    Ok(())
}

/// An insert that waits for a delete that hangs ends with its own task.
#[tokio::test(start_paused = true)]
async fn a_waiting_insert_observes_its_abort() -> Result<()> {
    let (world, server) = World::new().await?;
    let garbage = garbage(&world, &server, 1).await?;
    let gate = Gate::new();
    world
        .mock
        .script(Fault::on(Op::DeleteObjects, Action::Pause(gate.clone())));
    let collector = server.clone();
    let gc = tokio::spawn(async move { collector.gc_now().await });
    gate.arrived().await;
    let session = Arc::new(server.session("b", 200_000).await?);
    let (writer, wanted) = (Arc::clone(&session), garbage[0].clone());
    let waiting = tokio::spawn(async move { insert(&writer, &wanted).await });
    world.pass(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    server.cancel.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(2), waiting).await??;
    let error = ended.expect_err("aborted").downcast::<Error>()?;
    assert!(matches!(error, Error::Aborted), "{error}");
    gate.release();
    gc.await??;
    Ok(())
}

/// A rolled-back disk is not believed because a refresh was tried; and the refresh waits.
#[tokio::test(start_paused = true)]
async fn a_failed_refresh_leaves_a_rolled_back_disk_distrusted() -> Result<()> {
    let (world, server) = World::new().await?;
    server.backup("a", 0, &chunks("a", 2)).await?;
    world.mock.put(BUCKET, EPOCH, "99\n");
    let server = world.restart(server)?;
    let denied = Action::Reply(Reply::access_denied());
    let fault = world
        .mock
        .script(Fault::on(Op::ListObjects, denied).always());
    assert!(refresh(&server).await.is_err());
    let refused = server.session("a", 100).await.expect_err("not trusted");
    let refused = refused.downcast::<Error>()?;
    assert!(matches!(refused, Error::NeedsRefresh { .. }), "{refused}");
    world.mock.remove_fault(fault);

    // The disk knows nothing of what was sent last: as after a takeover, all of that passes first.
    let server = world.restart(server)?;
    assert!(server.session("a", 100).await.is_err());
    world.mock.set_clock_offset_millis(0);
    refresh(&server).await?;
    server.backup("a", 100, &chunks("a", 3)).await?;
    ensure!(server.store.digests().generation() >= 99);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_rolled_back_disk_waits_out_a_quarantine() -> Result<()> {
    let (world, server) = World::new().await?;
    world.mock.put(BUCKET, EPOCH, "99\n");
    let server = world.restart(server)?;
    let start = world.env.now();
    refresh(&server).await?;
    assert!(world.env.now() - start >= Duration::from_secs(30 * 60));
    Ok(())
}

/// The refresh that an unreadable journal asks for must be able to repair it.
#[tokio::test(start_paused = true)]
async fn a_damaged_journal_is_repaired_by_a_refresh() -> Result<()> {
    let (world, server) = World::new().await?;
    let kept = server.backup("a", 0, &chunks("a", 2)).await?;
    std::fs::write(
        world.cache("cache").join(".x-coffer/delete-journal"),
        "rubbish\nmore rubbish\n",
    )?;
    let server = world.restart(server)?;
    assert!(server.session("a", 100).await.is_err());
    let start = world.env.now();
    refresh(&server).await?;
    assert!(world.env.now() - start >= Duration::from_secs(30 * 60));
    let again = server.backup("a", 4000, &chunks("a", 2)).await?;
    server.restore(&kept).await?;
    server.restore(&again).await?;
    Ok(())
}

/// The exclusive process lock does not keep writers of the same process out; the refresh must.
#[tokio::test(start_paused = true)]
async fn nobody_writes_while_the_store_is_refreshed() -> Result<()> {
    let (world, server) = World::new().await?;
    world.mock.put(BUCKET, EPOCH, "99\n");
    let server = world.restart(server)?;
    let other = server.clone();
    let refreshing = tokio::spawn(async move { refresh(&other).await });
    world.pass(Duration::from_secs(60)).await;
    let refused = server.session("a", 100).await.expect_err("refreshing");
    let refused = refused.downcast::<Error>()?;
    assert!(matches!(refused, Error::Locked { .. }), "{refused}");
    refreshing.await??;
    server.backup("a", 4000, &chunks("a", 2)).await?;
    Ok(())
}

/// A second attempt is made only after another look at who owns the prefix.
#[tokio::test(start_paused = true)]
async fn a_delete_is_not_repeated_for_a_successor() -> Result<()> {
    let (world, server) = World::new().await?;
    let garbage = garbage(&world, &server, 2).await?;
    world
        .mock
        .script(Fault::on(Op::DeleteObjects, Action::Hang));
    world.mock.reset_counters();
    let collector = server.clone();
    let gc = tokio::spawn(async move { collector.gc_now().await });
    world.pass(Duration::from_secs(30)).await;
    assert_eq!(world.mock.counters().of(Op::DeleteObjects), 1);
    world.mock.put(
        BUCKET,
        IN_USE,
        r#"{"hostname":"b","instance-id":"somebody-else"}"#,
    );
    let _ = gc.await?;
    assert_eq!(world.mock.counters().of(Op::DeleteObjects), 1);
    assert!(garbage.iter().all(|chunk| world.has_object(chunk)));
    Ok(())
}

/// A dry run sends nothing that changes a bucket, whatever earlier runs left to do.
#[tokio::test(start_paused = true)]
async fn a_dry_run_changes_nothing_not_even_leftovers() -> Result<()> {
    let (world, server) = World::new().await?;
    let garbage = garbage(&world, &server, 2).await?;
    // A suspect digest whose quarantine is over, with its payload here and its object gone.
    let late = world
        .mock
        .script(Fault::on(Op::DeleteObjects, Action::Hang).always());
    server.gc_now().await?;
    server.backup("b", 200_000, &garbage).await?;
    world.mock.remove_fault(late);
    world.mock.delete(BUCKET, &chunk_key(&garbage[0].digest));
    world.pass(AFTER_QUARANTINE).await;
    let mark = world.mock.journal_mark();
    let options = GcOptions {
        dry_run: true,
        ..no_grace()
    };
    server.gc_with(options).await.0?;
    let since = world.mock.journal().since(mark);
    assert_eq!(since.changes().count(), 0);
    Ok(())
}

/// A suspect chunk is seen to when its quarantine is over, not when the next collection comes.
#[tokio::test(start_paused = true)]
async fn quarantines_end_without_a_collection() -> Result<()> {
    let (world, server) = World::new().await?;
    let garbage = garbage(&world, &server, 2).await?;
    let lost = world
        .mock
        .script(Fault::on(Op::DeleteObjects, Action::Hang).always());
    server.gc_now().await?;
    world.mock.remove_fault(lost);
    let snapshot = server.backup("b", 200_000, &garbage).await?;
    world.mock.delete(BUCKET, &chunk_key(&garbage[0].digest));
    assert_eq!(server.store.tend(&server.cancel).await?, None);
    // Also by the next process, which has to read the journal first.
    let server = world.restart(server)?;
    assert!(server.store.tend(&server.cancel).await?.is_some());
    world.pass(AFTER_QUARANTINE).await;
    let tended = server.store.tend(&server.cancel).await?;
    assert_eq!(tended.map(|tended| tended.quarantines.restored), Some(1));
    assert_eq!(server.store.digests().exceptional_count(), 0);
    server.restore(&snapshot).await?;
    assert_eq!(server.store.tend(&server.cancel).await?, None);
    Ok(())
}

/// The first backup of a store is all garbage until its index is there.
#[tokio::test(start_paused = true)]
async fn a_running_first_backup_trips_nothing() -> Result<()> {
    let (_world, server) = World::new().await?;
    let session = server.session("a", 0).await?;
    let all = chunks("a", 1100);
    for chunk in &all {
        insert(&session, chunk).await?;
    }
    let report = server.gc().await?;
    assert_eq!(report.status.pending_chunks, 1100);
    scenarios::finish(session, &all).await?;
    Ok(())
}

/// Nothing to delete: nothing is written, the epoch neither.
#[tokio::test(start_paused = true)]
async fn a_collection_without_garbage_writes_nothing() -> Result<()> {
    let (world, server) = World::new().await?;
    server.backup("a", 0, &chunks("a", 3)).await?;
    world.pass(AFTER_GRACE).await;
    let mark = world.mock.journal_mark();
    server.gc().await?;
    assert_eq!(world.mock.journal().since(mark).changes().count(), 0);
    let garbage = garbage(&world, &server, 1).await?;
    server.gc().await?;
    assert!(!world.has_object(&garbage[0]));
    assert!(world.mock.get(BUCKET, EPOCH).is_some());
    Ok(())
}

/// A fenced session's cleanup does not delete below the successor's prefix, then or later.
#[tokio::test(start_paused = true)]
async fn a_fenced_server_deletes_no_metadata() -> Result<()> {
    let (world, server) = World::new().await?;
    let all = chunks("a", 2);
    let session = server.session("a", 0).await?;
    for chunk in &all {
        insert(&session, chunk).await?;
    }
    scenarios::write_index(&session, &all).await?;
    world.mock.put(
        BUCKET,
        IN_USE,
        r#"{"hostname":"b","instance-id":"somebody-else"}"#,
    );
    world.pass(Duration::from_secs(61)).await;
    let content = format!("{STORE}/.cnt/");
    let before = world.mock.keys(BUCKET, &content);
    let _ = session.abort().await;
    let task = Arc::new(RecordingTask::new());
    let gc = server.store.garbage_collection(task, no_grace()).await;
    assert!(matches!(gc, Err(Error::Fenced { .. })));
    assert_eq!(world.mock.keys(BUCKET, &content), before);
    Ok(())
}

/// The manifest in the bucket is the commit: without the local one, the snapshot still is none of
/// those that nobody will finish.
#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_finished_in_the_bucket_is_not_cleared_away() -> Result<()> {
    let (world, server) = World::new().await?;
    let snapshot = server.backup("a", 0, &chunks("a", 2)).await?;
    let dir = server.snapshot_path(&snapshot);
    std::fs::remove_file(dir.join("index.json.blob"))?;
    for entry in std::fs::read_dir(&dir)? {
        let file = std::fs::File::options().write(true).open(entry?.path())?;
        file.set_modified(std::time::UNIX_EPOCH)?;
    }
    std::fs::File::open(&dir)?.set_modified(std::time::UNIX_EPOCH)?;
    world.pass(AFTER_GRACE).await;
    let report = server.gc_now().await?;
    assert_eq!(report.incomplete_snapshots.len(), 1);
    let manifest = format!("{STORE}/.cnt/{}/index.json.blob", snapshot.dir.path());
    assert!(world.mock.get(BUCKET, &manifest).is_some());
    refresh(&server).await?;
    server.restore(&snapshot).await?;
    Ok(())
}

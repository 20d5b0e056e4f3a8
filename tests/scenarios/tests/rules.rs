//! Load-bearing rules of `gc.md` §8.1 that no scenario of §9 has by itself: the traces of the model
//! played with the real code.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use datastore::Error;
use datastore::backend::s3::insert::Payload;
use datastore::disk::{self, Observer, Operation};
use datastore::gc::GcOptions;
use datastore::gc::mark::MarkStep;
use datastore::refresh::RefreshOptions;
use datastore::session::WriterSession;
use datastore::store::create::CreateOptions;
use datastore::store::state_dir::StateDir;
use datastore::task::SilentTask;
use s3_client::TaskKind;
use s3_mock::{Action, ClientSees, Fault, Gate, Op};
use scenarios::facts::{check_report, keys_of};
use scenarios::meanwhile::{AtStep, gate_old_listing, meanwhile};
use scenarios::running::{crash, reason};
use scenarios::{
    AFTER_GRACE, AFTER_QUARANTINE, BUCKET, Chunk, STORE, Server, Snapshot, World, chunk_key,
    chunks, commit, finish, insert, no_grace, write_index,
};

/// Garbage that only a session's use could protect, and something live.
async fn with_garbage(payload: Payload) -> Result<(World, Server, Snapshot, Snapshot)> {
    let (world, server) = World::new().await?;
    let data = chunks("dead", 3);
    let dead = backup(&server, "dead", 0, &data, payload).await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    server.forget(&dead).await?;
    check_report(&server.gc().await?, 0)?;
    world.pass(AFTER_GRACE).await;
    Ok((world, server, dead, live))
}

async fn backup(
    server: &Server,
    id: &str,
    at: i64,
    data: &[Chunk],
    payload: Payload,
) -> Result<Snapshot> {
    let session = server.session_with(id, at, payload).await?;
    for chunk in data {
        insert(&session, chunk).await?;
    }
    finish(session, data).await
}

fn lost_delete() -> Action {
    Action::Late {
        after: None,
        client: ClientSees::Hang,
    }
}

/// "deregister after the index is visible": the whole collection runs while the index, or the
/// manifest, is on its way.
#[tokio::test(start_paused = true)]
async fn a_session_is_registered_until_it_has_committed() -> Result<()> {
    for file in ["tree.didx", "index.json.blob"] {
        let (world, server, dead, live) = with_garbage(Payload::Cache).await?;
        let session = server.session("new", 90_000).await?;
        let data = dead.chunks[..2].to_vec();
        for chunk in &data {
            assert!(insert(&session, chunk).await?.duplicate);
        }
        let gate = world
            .mock
            .gate(Op::PutObject, format!("{STORE}/.cnt/*/{file}"));
        let ending = tokio::spawn(async move { finish(session, &data).await });
        gate.arrived().await;
        assert_eq!(server.gc_now().await?.deleted.count, 1, "{file}");
        gate.release();
        let new = ending.await??;
        check_report(&server.gc_now().await?, 0)?;
        world.check_safe(&server, &[&live, &new]).await?;
        server.check_settled()?;
    }
    Ok(())
}

/// "pins read with each listing pass": a session takes its base when the mark has begun, and the
/// base is removed by hand. In a directory, where nothing else knows it.
#[tokio::test(start_paused = true)]
async fn pins_are_read_in_every_pass() -> Result<()> {
    let (world, server) = World::directory().await?;
    let old = server.backup("a", 0, &chunks("old", 2)).await?;
    world.pass(AFTER_GRACE).await;
    let taken: Arc<Mutex<Option<Result<WriterSession>>>> = Arc::default();
    let (slot, env, other) = (Arc::clone(&taken), world.env.clone(), server.clone());
    let (path, chunks) = (server.snapshot_path(&old), old.chunks.clone());
    let base = old.clone();
    let at = move |step: MarkStep<'_>| {
        if step != MarkStep::PassStarted(1) {
            return;
        }
        let work = async {
            let session = other.session("a", 90_000).await?;
            session.load_base_index(&"tree.didx".parse()?).await?;
            // The ordinary ways of removing it are barred by its lock.
            ensure!(other.forget(&base).await.is_err(), "the base is not locked");
            std::fs::remove_dir_all(&path)?;
            // Nothing of it is visible yet when the walk comes by.
            Ok(session)
        };
        let session = meanwhile(&env, work);
        if let Ok(mut slot) = slot.lock() {
            *slot = Some(session);
        }
    };
    let options = GcOptions {
        observer: Some(Arc::new(AtStep(at))),
        force: true,
        ..no_grace()
    };
    let report = server.gc_with(options).await.0?;
    assert_eq!(report.deleted.count, 0);
    let session = taken.lock().ok().and_then(|mut slot| slot.take());
    let session = session.context("no session")??;
    write_index(&session, &chunks).await?;
    for chunk in &chunks {
        ensure!(server.can_read(chunk).await?, "a chunk of the base is gone");
    }
    // Its base is gone, so it must not commit; what it has written keeps the chunks meanwhile.
    assert!(commit(session, &chunks).await.is_err());
    Ok(())
}

/// "manifest-less indexes marked": in a directory, where nothing else knows them.
#[tokio::test(start_paused = true)]
async fn unfinished_indexes_are_marked() -> Result<()> {
    let (_world, server) = World::directory().await?;
    let data = chunks("data", 3);
    let session = server.session("a", 0).await?;
    for chunk in &data {
        insert(&session, chunk).await?;
    }
    write_index(&session, &data).await?;
    drop(session); // as a crash does; its stamps are of no use any more after two runs
    for _ in 0..2 {
        let report = server.gc().await?;
        assert_eq!(report.status.index_file_count, 1);
        assert!(report.missing == 0 && report.deleted.count == 0);
    }
    Ok(())
}

/// "orphan indexes age out": an index is in the bucket and nowhere else, its session dead.
#[tokio::test(start_paused = true)]
async fn an_index_that_only_the_bucket_has_ages_out() -> Result<()> {
    let (world, server) = World::new().await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    let written = Gate::new();
    let pause = Action::ApplyThenPause(written.clone());
    let fault = Fault::on(Op::PutObject, pause).keys(format!("{STORE}/.cnt/*/tree.didx"));
    world.mock.script(fault);
    let (other, data) = (server.clone(), chunks("dead", 2));
    let dying = tokio::spawn(async move { other.backup("dead", 0, &data).await });
    written.arrived().await;
    crash(dying).await;
    let server = world.restart(server)?;
    let index = world.mock.keys(BUCKET, &format!("{STORE}/.cnt/host/dead/"));
    assert!(index.iter().any(|key| key.ends_with("tree.didx")));
    // Young: it may be another process's, and its chunks stay.
    std::fs::remove_dir_all(server.store.base().join("host/dead"))?;
    let young = GcOptions {
        grace: Some(Duration::from_secs(3600)),
        ..GcOptions::default()
    };
    world.pass(Duration::from_secs(60)).await;
    let report = server.gc_with(young).await.0?;
    assert_eq!(report.orphan_metadata, [] as [String; 0]);
    world.pass(AFTER_GRACE).await;
    let report = server.gc().await?;
    assert_eq!(report.orphan_metadata.len(), 1);
    server.gc().await?;
    world.check_objects(&live.chunks)?;
    let left = world.mock.keys(BUCKET, &format!("{STORE}/.cnt/host/dead/"));
    assert!(!left.iter().any(|key| key.ends_with("tree.didx")));
    world.check_safe(&server, &[&live]).await?;
    server.check_settled()
}

/// "HEAD before the merge creates presence": a marked chunk without a local file is in a listing
/// that is older than its end.
#[tokio::test(start_paused = true)]
async fn a_listing_alone_creates_no_presence() -> Result<()> {
    let (world, server) = World::new().await?;
    let live = backup(&server, "live", 0, &chunks("live", 3), Payload::Discard).await?;
    let [gone, there, _] = &live.chunks[..] else {
        anyhow::bail!("three chunks")
    };
    for chunk in [gone, there] {
        std::fs::remove_file(server.store.chunks().chunk_path(&chunk.digest))?;
    }
    let gate = gate_old_listing(&world);
    let gc = world.collect_until(&server, no_grace(), &gate).await?;
    world.mock.delete(BUCKET, &chunk_key(&gone.digest));
    gate.release();
    let report = gc.end().await?;
    assert_eq!(report.presence_created, 1);
    assert!(!server.is_present(gone) && server.is_present(there));
    server.check_presence(&world)?;
    assert_eq!(server.gc_now().await?.missing, 1);
    server.check_settled()
}

async fn refresh(server: &Server) -> Result<()> {
    let task = SilentTask::new();
    let done = server.store.s3_refresh(&task, RefreshOptions::default());
    done.await?;
    Ok(())
}

/// "rebuild waits for an empty journal": a delete is under way when its process dies, and is
/// applied when a refresh has begun.
#[tokio::test(start_paused = true)]
async fn a_rebuild_waits_until_no_delete_is_unresolved() -> Result<()> {
    let (world, server, dead, live) = with_garbage(Payload::Cache).await?;
    world.spoil_delete(lost_delete());
    let gc = server.start_gc(no_grace());
    let late = world.mock.wait_late(1).await;
    gc.crash().await;
    let server = world.restart(server)?;
    let other = server.clone();
    let refreshing = tokio::spawn(async move { refresh(&other).await });
    world.pass(Duration::from_secs(600)).await;
    assert_eq!(world.mock.release_late(late[0].id), Some(200));
    refreshing.await??;
    assert!(dead.chunks.iter().all(|chunk| !world.has_object(chunk)));
    server.check_presence(&world)?;
    server.check_settled()?;
    let again = server.backup("again", 100_000, &dead.chunks).await?;
    world.check_safe(&server, &[&live, &again]).await
}

/// "takeover waits, then lists": the owner's delete is on its way when another server takes the
/// prefix over.
#[tokio::test(start_paused = true)]
async fn a_takeover_waits_before_it_believes_a_listing() -> Result<()> {
    let (world, server, dead, live) = with_garbage(Payload::Cache).await?;
    world.spoil_delete(lost_delete());
    let gc = server.start_gc(no_grace());
    let late = world.mock.wait_late(1).await;
    gc.crash().await;
    drop(server);
    let (done, other) = (Gate::new(), Arc::new(world));
    let takeover = {
        let (world, done) = (Arc::clone(&other), done.clone());
        async move {
            let create = CreateOptions {
                reuse: true,
                overwrite_in_use: true,
                ..CreateOptions::default()
            };
            let created = world.create("second", create).await;
            done.release();
            created
        }
    };
    let late_delete = async {
        other.pass(Duration::from_secs(15 * 60)).await;
        other.mock.release_late(late[0].id)
    };
    let (created, status) = tokio::join!(takeover, late_delete);
    assert_eq!(status, Some(200));
    let second = created?;
    assert!(dead.chunks.iter().all(|chunk| !second.is_present(chunk)));
    second.check_presence(&other)?;
    let again = second.backup("again", 100_000, &dead.chunks).await?;
    other.check_safe(&second, &[&live, &again]).await?;
    second.check_settled()
}

/// "no chunk file touched before that" and "draining process writes no cache": a process without a
/// lease serves reads, and neither fills nor evicts nor drops anything.
#[tokio::test(start_paused = true)]
async fn a_process_without_a_lease_touches_no_chunk_file() -> Result<()> {
    let (mut world, old, dead, live) = with_garbage(Payload::Cache).await?;
    // The old process leaves suspects with payloads, which are in danger by an eviction.
    world.spoil_delete(lost_delete());
    let gc = old.start_gc(no_grace());
    let late = world.mock.wait_late(1).await;
    gc.crash().await;
    let old = world.restart(old)?;
    let session = old.session_with("again", 90_000, Payload::Discard).await?;
    for chunk in &dead.chunks {
        assert!(!insert(&session, chunk).await?.duplicate);
    }
    let again = finish(session, &dead.chunks).await?;
    let bare = backup(&old, "bare", 90_000, &chunks("bare", 3), Payload::Discard).await?;
    let vanished = &bare.chunks[2];
    world.mock.delete(BUCKET, &chunk_key(&vanished.digest));
    world.max_cache_bytes = Some(40);
    let new = world.open("cache")?;
    let files = files_of(&new)?;
    let client = new.store.client(TaskKind::Restore, &new.cancel);
    for chunk in bare.chunks.iter().chain(&dead.chunks) {
        let read = new
            .store
            .read_chunk(client.as_ref(), chunk.digest, Payload::Cache);
        assert_eq!(read.await.is_ok(), chunk.digest != vanished.digest);
    }
    assert_eq!(files_of(&new)?, files, "a chunk file was changed");
    assert_eq!(world.mock.release_late(late[0].id), Some(200));
    // It reads the journal when it takes the lock; from then on it is a full quarantine.
    new.gc_now().await?;
    world.pass(AFTER_QUARANTINE).await;
    new.gc_now().await?;
    world.check_safe(&new, &[&live, &again]).await?;
    new.check_settled()
}

/// Names and lengths of all chunk files.
fn files_of(server: &Server) -> Result<Vec<(PathBuf, u64)>> {
    let dir = server.store.chunks().chunk_dir();
    let mut files = Vec::new();
    for path in scenarios::tree(dir)? {
        let length = std::fs::metadata(dir.join(&path))?.len();
        files.push((path, length));
    }
    Ok(files)
}

/// "draining process writes no cache": its read is older than the new process's delete.
#[tokio::test(start_paused = true)]
async fn a_draining_process_fills_no_cache() -> Result<()> {
    let (world, old, dead, live) = with_garbage(Payload::Discard).await?;
    let chunk = &dead.chunks[0];
    let fetched = Gate::new();
    let pause = Action::ApplyThenPause(fetched.clone());
    let fault = Fault::on(Op::GetObject, pause).keys(chunk_key(&chunk.digest));
    world.mock.script(fault);
    let client = old.store.client(TaskKind::Restore, &old.cancel);
    let (store, digest) = (Arc::clone(&old.store), chunk.digest);
    let reader = tokio::spawn(async move {
        let read = store.read_chunk(client.as_ref(), digest, Payload::Cache);
        read.await
    });
    fetched.arrived().await;
    let new = world.open("cache")?;
    check_report(&new.gc_now().await?, 3)?;
    fetched.release();
    assert_eq!(reader.await??.decode(None, 1 << 20)?, chunk.data);
    assert!(!new.store.chunks().chunk_path(&digest).exists());
    new.check_presence(&world)?;
    world.check_safe(&new, &[&live]).await
}

/// "records resolved only when alone": another process uploads a suspect chunk when its quarantine
/// is over; the first one neither ends it nor drops the record.
#[tokio::test(start_paused = true)]
async fn a_quarantine_ends_only_for_a_process_that_is_alone() -> Result<()> {
    let (world, old, dead, live) = with_garbage(Payload::Cache).await?;
    world.spoil_delete(lost_delete());
    let gc = old.start_gc(no_grace());
    let late = world.mock.wait_late(1).await;
    gc.crash().await;
    let old = world.restart(old)?;
    assert!(
        old.store.tend(&old.cancel).await?.is_some(),
        "reads the journal"
    );
    let new = world.open("cache")?;
    let session = new.session_with("again", 90_000, Payload::Discard).await?;
    world.pass(AFTER_QUARANTINE).await;
    assert!(!old.delete_journal()?.is_empty());
    for attempt in 0..2 {
        let tended = old.store.tend(&old.cancel).await;
        let ended = tended.as_ref().is_ok_and(Option::is_some);
        assert!(!ended, "{attempt}: {tended:?}");
        let error = old.gc_now().await.expect_err("not alone");
        assert!(
            matches!(reason(&error), Some(Error::Locked { .. })),
            "{error}"
        );
        assert!(!old.delete_journal()?.is_empty());
    }
    for chunk in &dead.chunks {
        assert!(!insert(&session, chunk).await?.duplicate);
    }
    assert_eq!(world.mock.release_late(late[0].id), Some(200));
    let again = finish(session, &dead.chunks).await?;
    world.pass(AFTER_QUARANTINE).await;
    new.gc_now().await?;
    world.check_safe(&new, &[&live, &again]).await?;
    new.check_settled()
}

/// What happens to the disk, in short.
#[derive(Default)]
struct Order {
    seen: Mutex<Vec<&'static str>>,
    chunks: PathBuf,
    journal: PathBuf,
}

impl Observer for Order {
    fn before(&self, operation: &Operation<'_>) -> std::io::Result<()> {
        let of_journal = |path: &Path| path == self.journal;
        let what = match operation {
            Operation::RemoveFile { path } if path.starts_with(&self.chunks) => "unlink",
            Operation::Write { file, .. } if of_journal(file.path) => "record",
            Operation::SyncFile { file } if of_journal(file.path) => "record synced",
            Operation::SyncFileSystem { .. } => "unlinks synced",
            Operation::Rename { to, .. } if of_journal(to) => "record dropped",
            _ => return Ok(()),
        };
        if let Ok(mut seen) = self.seen.lock()
            && seen.last() != Some(&what)
        {
            seen.push(what);
        }
        Ok(())
    }
}

/// "presence removed before sending", "journal fsync", "durable unlink before the record goes": the
/// order on the disk, with the request in its place (G5).
#[tokio::test(start_paused = true)]
async fn unlinks_records_and_requests_have_their_order() -> Result<()> {
    let (world, server, dead, live) = with_garbage(Payload::Cache).await?;
    let order = Arc::new(Order {
        seen: Mutex::default(),
        chunks: server.store.chunks().chunk_dir().to_owned(),
        journal: StateDir::of(server.store.base()).delete_journal(),
    });
    let sending = world.gate_delete();
    let observed = disk::observe(order.clone());
    let gc = world.collect_until(&server, no_grace(), &sending).await?;
    let steps = || {
        order
            .seen
            .lock()
            .map(|seen| seen.clone())
            .unwrap_or_default()
    };
    let before: Vec<_> = steps()
        .into_iter()
        .skip_while(|step| *step != "unlink")
        .filter(|step| *step != "unlinks synced")
        .collect();
    // The first unlink is that of the scratch file of the check of access times.
    assert!(
        before.ends_with(&["unlink", "record", "record synced"]),
        "{before:?}"
    );
    let sent = steps().len();
    server.check_announced(&keys_of(&dead.chunks))?;
    sending.release();
    check_report(&gc.end().await?, 3)?;
    drop(observed);
    let after = steps().split_off(sent);
    assert_eq!(after, ["unlinks synced", "record dropped"]);
    world.check_safe(&server, &[&live]).await?;
    server.check_settled()
}

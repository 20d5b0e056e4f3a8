//! The ends of a session: finish, abort, and the task that is cancelled in between
//! (`s3-backend.md` §7, `gc.md` G3, G11, G13).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api_types::digest::Digest;
use api_types::names::{ArchiveName, SnapshotPath};
use api_types::status::VerifyState;
use bytes::Bytes;
use datastore::Error;
use datastore::format::blob::DataBlob;
use datastore::session::{ExpectedIndex, WriterSession};
use datastore::task::RecordingTask;
use s3_client::TaskKind;
use s3_client::env::Env;
use s3_mock::{Action, Change, Fault, Gate, Op, Reply};
use scenarios::meanwhile::let_others_work;
use scenarios::running::crash;
use scenarios::{
    AFTER_QUARANTINE, BUCKET, STORE, Server, World, chunk, chunk_key, chunks, commit, insert,
    manifest, no_grace, write_index,
};

const MANIFEST: &str = "*/index.json.blob";

fn metadata(world: &World) -> Vec<String> {
    let mut keys = world.mock.keys(BUCKET, &format!("{STORE}/.cnt/"));
    keys.retain(|key| !key.ends_with("/owner"));
    keys
}

fn blob(text: &str) -> Result<Bytes> {
    Ok(DataBlob::encode(text.as_bytes(), None, true, &Env::system())?.into_raw())
}

fn name(text: &str) -> Result<ArchiveName> {
    Ok(text.parse()?)
}

async fn session_with_index(server: &Server, id: &str, at: i64) -> Result<WriterSession> {
    let session = server.session(id, at).await?;
    let data = chunks(id, 2);
    for chunk in &data {
        insert(&session, chunk).await?;
    }
    write_index(&session, &data).await?;
    Ok(session)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: &datastore::Result<T>, why: &str) {
    let text = match result {
        Err(Error::Refused(text)) => text.as_str(),
        _ => "",
    };
    assert!(
        text.contains(why),
        "expected a refusal with {why:?}, got {result:?}"
    );
}

async fn every_call_is_refused(session: &WriterSession, why: &str) -> Result<()> {
    let chunk = chunk("late");
    let data = DataBlob::encode(&chunk.data, None, true, &Env::system())?;
    refused(&session.insert_chunk(chunk.digest, 4, data).await, why);
    refused(&session.touch_known(chunk.digest, 4).await, why);
    refused(
        &session.add_blob(&name("late.blob")?, blob("x")?).await,
        why,
    );
    refused(&session.open_dynamic_index(&name("b.didx")?).await, why);
    refused(&session.open_fixed_index(&name("b.fidx")?, None).await, why);
    refused(&session.load_base_index(&name("tree.didx")?).await, why);
    let writer = datastore::session::WriterId(1);
    refused(&session.append(writer, Vec::new()).await, why);
    let closed = session.close_index(writer, ExpectedIndex::default()).await;
    refused(&closed, why);
    refused(&session.commit(manifest(session)?).await, why);
    Ok(())
}

/// What is stored while the manifest is on its way would be in no manifest.
#[tokio::test(start_paused = true)]
async fn a_session_that_finishes_takes_no_other_call() -> Result<()> {
    let (world, server) = World::new().await?;
    let session = Arc::new(session_with_index(&server, "a", 0).await?);
    let gate = world.mock.gate(Op::PutObject, MANIFEST);
    let committing = {
        let session = Arc::clone(&session);
        tokio::spawn(async move { session.commit(manifest(&session).unwrap()).await })
    };
    world
        .until("the manifest is on its way", || gate.arrivals() > 0)
        .await?;
    every_call_is_refused(&session, "it is being finished").await?;
    gate.release();
    committing.await??;
    every_call_is_refused(&session, "it is finished").await
}

/// A finish that comes too early changes nothing: the session goes on.
#[tokio::test(start_paused = true)]
async fn a_finish_beside_another_call_is_refused_and_can_be_repeated() -> Result<()> {
    let (world, server) = World::new().await?;
    let session = Arc::new(session_with_index(&server, "a", 0).await?);
    let gate = world.mock.gate(Op::PutObject, "*/extra.blob");
    let storing = {
        let session = Arc::clone(&session);
        let raw = blob("extra")?;
        tokio::spawn(async move { session.add_blob(&"extra.blob".parse().unwrap(), raw).await })
    };
    world
        .until("the blob is on its way", || gate.arrivals() > 0)
        .await?;
    refused(
        &session.commit(manifest(&session)?).await,
        "1 calls are still under way",
    );
    // The same name a second time, at the same time.
    let again = session.add_blob(&name("extra.blob")?, blob("other")?).await;
    assert!(matches!(again, Err(Error::Exists { .. })), "{again:?}");
    gate.release();
    storing.await??;
    let writer = session.open_dynamic_index(&name("b.didx")?).await?;
    refused(
        &session.commit(manifest(&session)?).await,
        "index writers are still open",
    );
    session
        .append(writer, vec![(0, chunk("a-0").digest)])
        .await?;
    session
        .close_index(writer, ExpectedIndex::default())
        .await?;
    session.commit(manifest(&session)?).await?;
    let stored = server
        .store
        .load_manifest(&"".parse()?, session.dir())
        .await?;
    assert!(stored.lookup_file("extra.blob").is_some());
    Ok(())
}

/// G13: a chunk that a collection finds missing between the look at it and the end of the finish.
#[tokio::test(start_paused = true)]
async fn a_chunk_lost_while_the_manifest_is_on_its_way_stops_the_finish() -> Result<()> {
    for applied in [false, true] {
        let (world, server) = World::new().await?;
        let session = Arc::new(session_with_index(&server, "a", 0).await?);
        let gate = Gate::new();
        let pause = match applied {
            true => Action::ApplyThenPause(gate.clone()),
            false => Action::Pause(gate.clone()),
        };
        world
            .mock
            .script(Fault::on(Op::PutObject, pause).keys(MANIFEST));
        let committing = {
            let session = Arc::clone(&session);
            tokio::spawn(async move { session.commit(manifest(&session).unwrap()).await })
        };
        world
            .until("the manifest is on its way", || gate.arrivals() > 0)
            .await?;
        let lost = chunk("a-1").digest;
        server.store.digests().with(&lost, |slot| {
            slot.set_lost(true);
            server.store.chunks().remove_chunk(&lost)
        })?;
        gate.release();
        refused(&committing.await?, "was found missing meanwhile");

        let ns = "".parse()?;
        let dir = session.dir().clone();
        assert!(!server.store.snapshots().has_manifest(&ns, &dir)?);
        every_call_is_refused(&session, "it can only be aborted").await?;
        let session = Arc::into_inner(session).context("the only handle")?;
        session.abort().await?;
        assert_eq!(metadata(&world), Vec::<String>::new());
        assert!(!server.store.snapshots().snapshot_exists(&ns, &dir)?);
    }
    Ok(())
}

/// The other order: the snapshot is committed after the mark has passed it by, the chunk is found
/// missing afterwards. The collection fails it like those that it has marked.
#[tokio::test(start_paused = true)]
async fn a_snapshot_committed_behind_the_mark_is_failed_too() -> Result<()> {
    let (world, server) = World::new().await?;
    let shared = chunks("shared", 3);
    server.backup("old", 0, &shared).await?;
    world.pass(Duration::from_secs(3600)).await;
    let session = server.session("new", 3600).await?;
    for chunk in &shared {
        assert!(insert(&session, chunk).await?.duplicate);
    }
    world.mock.delete(BUCKET, &chunk_key(&shared[1].digest));
    // Cached payloads would heal it.
    let local = server.store.chunks();
    local.replace_with_marker(&shared[1].digest)?;

    let gate = world.gate_listing();
    let gc = world.collect_until(&server, no_grace(), &gate).await?;
    write_index(&session, &shared).await?;
    let new = commit(session, &shared).await?;
    gate.release();
    let report = gc.end().await?;
    assert_eq!(report.missing_confirmed, [shared[1].digest]);
    assert_eq!(report.affected.len(), 2);

    let stored = server.store.load_manifest(&new.ns, &new.dir).await?;
    let state = stored.verify_state()?.context("a verify state")?;
    assert_eq!(state.state, VerifyState::Failed);
    // So it is no base.
    let next = server.session("new", 7200).await?;
    assert!(next.base().is_none());
    next.abort().await.map_err(Into::into)
}

/// And so is one that was moved behind the mark, which knows it at its old place.
#[tokio::test(start_paused = true)]
async fn a_snapshot_moved_behind_the_mark_is_failed_too() -> Result<()> {
    let (world, server) = World::new().await?;
    let to = server.create_namespace("a").await?;
    let mut moved = server.backup("g", 0, &chunks("data", 3)).await?;
    world.pass(Duration::from_secs(3600)).await;
    let lost = moved.chunks[1].digest;
    world.mock.delete(BUCKET, &chunk_key(&lost));
    server.store.chunks().replace_with_marker(&lost)?;

    let gate = world.gate_listing();
    let gc = world.collect_until(&server, no_grace(), &gate).await?;
    let task = RecordingTask::new();
    let moving = server
        .store
        .move_group(&task, &moved.ns, &moved.dir.group, &to, false);
    assert_eq!(moving.await?.snapshots, 1);
    gate.release();
    let report = gc.end().await?;
    assert_eq!(report.missing_confirmed, [lost]);
    moved.ns = to;
    let stored = server.store.load_manifest(&moved.ns, &moved.dir).await?;
    let state = stored.verify_state()?.context("a verify state")?;
    assert_eq!(state.state, VerifyState::Failed);
    Ok(())
}

/// The order in the bucket when a backup is given up whose manifest was sent.
#[tokio::test(start_paused = true)]
async fn an_abort_deletes_the_manifest_before_anything_else() -> Result<()> {
    let (world, server) = World::new().await?;
    let session = session_with_index(&server, "a", 0).await?;
    session.add_blob(&name("x.blob")?, blob("x")?).await?;
    // Stored, but the answer says that it was not.
    let denied = Action::ApplyThenReply(Reply::access_denied());
    world
        .mock
        .script(Fault::on(Op::PutObject, denied).keys(MANIFEST));
    ensure!(session.commit(manifest(&session)?).await.is_err());
    assert_eq!(metadata(&world).len(), 3);
    let mark = world.mock.journal_mark();
    session.abort().await?;
    let deleted = world.mock.journal().since(mark).deleted_keys();
    assert_eq!(
        deleted.len(),
        4,
        "with the owner of the new group: {deleted:?}"
    );
    assert!(deleted[0].ends_with("index.json.blob"), "{deleted:?}");
    assert_eq!(metadata(&world), Vec::<String>::new());
    Ok(())
}

/// A manifest that may not be deleted keeps everything that it names, until it may.
#[tokio::test(start_paused = true)]
async fn nothing_goes_before_a_manifest_that_resists() -> Result<()> {
    let (world, server) = World::new().await?;
    let session = session_with_index(&server, "a", 0).await?;
    let denied = Action::ApplyThenReply(Reply::access_denied());
    world
        .mock
        .script(Fault::on(Op::PutObject, denied).keys(MANIFEST));
    ensure!(session.commit(manifest(&session)?).await.is_err());
    let ops = [Op::DeleteObject, Op::DeleteObjects];
    let denied = Action::Reply(Reply::access_denied());
    let fault = world
        .mock
        .script(Fault::on_ops(&ops, denied).keys(MANIFEST).always());
    session.abort().await?;
    for _ in 0..2 {
        assert_eq!(metadata(&world).len(), 2, "{:?}", metadata(&world));
        server.store.tend(&server.cancel).await?;
        world.pass(AFTER_QUARANTINE).await;
    }
    world.mock.remove_fault(fault);
    let mark = world.mock.journal_mark();
    server.store.tend(&server.cancel).await?;
    let deleted = world.mock.journal().since(mark).deleted_keys();
    assert!(deleted[0].ends_with("index.json.blob"), "{deleted:?}");
    assert_eq!(metadata(&world), Vec::<String>::new());
    Ok(())
}

/// A backup whose task is cancelled while its manifest is on its way, even if the manifest arrives
/// much later: nothing of it stays, in the bucket or locally.
#[tokio::test(start_paused = true)]
async fn what_a_cancelled_finish_leaves_is_cleared_away() -> Result<()> {
    for late in [Duration::from_secs(1), Duration::from_secs(600)] {
        let (world, server) = World::new().await?;
        let live = server.backup("live", 0, &chunks("live", 2)).await?;
        let before = metadata(&world);
        let session = session_with_index(&server, "a", 0).await?;
        let dir = session.dir().clone();
        let gate = world.mock.gate(Op::PutObject, MANIFEST);
        let task = tokio::spawn(async move {
            let manifest = manifest(&session).unwrap();
            session.commit(manifest).await
        });
        world
            .until("the manifest is on its way", || gate.arrivals() > 0)
            .await?;
        crash(task).await;
        if late < Duration::from_secs(60) {
            gate.release();
            let_others_work().await;
        }
        let tended = server
            .store
            .tend(&server.cancel)
            .await?
            .context("something to do")?;
        assert_eq!(tended.abandoned, 1);
        assert!(
            !server
                .store
                .snapshots()
                .snapshot_exists(&"".parse()?, &dir)?
        );
        world.pass(late).await;
        gate.release();
        let_others_work().await;
        world.pass(AFTER_QUARANTINE).await;
        server.store.tend(&server.cancel).await?;
        assert_eq!(metadata(&world), before);
        assert!(
            server.store.tend(&server.cancel).await?.is_none(),
            "nothing is left to do"
        );
        world.check_safe(&server, &[&live]).await?;
    }
    Ok(())
}

/// The same for a blob whose object may be there though its file is not.
#[tokio::test(start_paused = true)]
async fn what_a_cancelled_upload_leaves_is_cleared_away() -> Result<()> {
    let (world, server) = World::new().await?;
    let session = Arc::new(session_with_index(&server, "a", 0).await?);
    let gate = world.mock.gate(Op::PutObject, "*/x.blob");
    let storing = {
        let session = Arc::clone(&session);
        let raw = blob("x")?;
        tokio::spawn(async move { session.add_blob(&"x.blob".parse().unwrap(), raw).await })
    };
    world
        .until("the blob is on its way", || gate.arrivals() > 0)
        .await?;
    crash(storing).await;
    // Nobody knows whether it is there: the backup cannot be finished any more.
    refused(
        &session.commit(manifest(&session)?).await,
        "x.blob was not stored completely",
    );
    Arc::into_inner(session)
        .context("the only handle")?
        .abort()
        .await?;
    gate.release();
    let_others_work().await;
    assert_eq!(metadata(&world).len(), 1, "the late upload");
    server.store.tend(&server.cancel).await?;
    assert_eq!(metadata(&world), Vec::<String>::new());
    Ok(())
}

/// The bucket takes a blob that the local disk does not.
#[tokio::test(start_paused = true)]
async fn an_object_without_its_file_goes_again() -> Result<()> {
    let (world, server) = World::new().await?;
    let session = session_with_index(&server, "a", 0).await?;
    let dir = server
        .store
        .snapshots()
        .snapshot_path(&"".parse()?, session.dir());
    std::fs::create_dir(dir.join("x.blob"))?; // in the way of the file
    assert!(
        session
            .add_blob(&name("x.blob")?, blob("x")?)
            .await
            .is_err()
    );
    assert_eq!(metadata(&world).len(), 2);
    std::fs::remove_dir(dir.join("x.blob"))?;
    // Nobody interferes with a session; it cannot end well any more.
    server.store.tend(&server.cancel).await?;
    assert_eq!(metadata(&world).len(), 2, "{:?}", metadata(&world));
    refused(
        &session.commit(manifest(&session)?).await,
        "was not stored completely",
    );
    drop(session);
    server.store.tend(&server.cancel).await?;
    assert_eq!(metadata(&world), Vec::<String>::new());
    Ok(())
}

/// A late request of a backup that was given up must not meet a new one of the same name.
#[tokio::test(start_paused = true)]
async fn a_name_that_was_given_up_is_not_used_again_at_once() -> Result<()> {
    let (world, server) = World::new().await?;
    session_with_index(&server, "a", 0).await?.abort().await?;
    let again = server.session("a", 0).await;
    ensure!(again.is_err_and(|error| error.to_string().contains("another backup time")));
    server.backup("a", 1, &chunks("a", 2)).await?;
    server.store.tend(&server.cancel).await?;
    world.pass(AFTER_QUARANTINE).await;
    server.store.tend(&server.cancel).await?;
    server.session("b", 0).await?.abort().await?;
    Ok(())
}

/// A filesystem collection tells running backups of missing chunks as well.
#[tokio::test(start_paused = true)]
async fn a_directory_store_refuses_a_lost_chunk_too() -> Result<()> {
    let (_world, server) = World::directory().await?;
    let data = chunks("a", 3);
    server.backup("a", 0, &data).await?;
    let session = server.session("b", 0).await?;
    for chunk in &data {
        assert!(insert(&session, chunk).await?.duplicate);
    }
    let lost: Digest = data[1].digest;
    server.store.chunks().remove_chunk(&lost)?;
    write_index(&session, &data).await?;
    server.gc().await?;
    refused(
        &session.commit(manifest(&session)?).await,
        "was found missing meanwhile",
    );
    session.abort().await?;
    // Uploaded again, it is there.
    let session = server.session("b", 1).await?;
    assert!(!insert(&session, &data[1]).await?.duplicate);
    write_index(&session, &data[1..2]).await?;
    commit(session, &data[1..2]).await?;
    Ok(())
}

/// The same for what it knows from its base: the collection has ended before the session does, and
/// has failed nothing but the base.
#[tokio::test(start_paused = true)]
async fn a_directory_store_refuses_a_lost_chunk_of_a_base() -> Result<()> {
    let (_world, server) = World::directory().await?;
    let data = chunks("a", 3);
    server.backup("a", 0, &data).await?;
    let session = server.session("a", 100).await?;
    session.load_base_index(&"tree.didx".parse()?).await?;
    let directory = server.store.chunks().chunk_path(&data[1].digest);
    std::fs::remove_dir_all(directory.parent().context("a directory")?)?;
    assert_eq!(server.gc().await?.missing_confirmed, [data[1].digest]);
    write_index(&session, &data).await?;
    refused(
        &session.commit(manifest(&session)?).await,
        "was found missing meanwhile",
    );
    session.abort().await?;
    let session = server.session("a", 200).await?;
    assert!(session.base().is_none());
    assert!(!insert(&session, &data[1]).await?.duplicate);
    Ok(session.abort().await?)
}

/// The journal says what was changed in the bucket: never the manifest after the abort.
#[tokio::test(start_paused = true)]
async fn an_aborted_backup_puts_nothing_back() -> Result<()> {
    let (world, server) = World::new().await?;
    let session = session_with_index(&server, "a", 0).await?;
    let mark = world.mock.journal_mark();
    session.abort().await?;
    server.store.tend(&server.cancel).await?;
    world.pass(AFTER_QUARANTINE).await;
    server.store.tend(&server.cancel).await?;
    let journal = world.mock.journal().since(mark);
    let written = journal
        .changes()
        .filter(|(_, change)| matches!(change, Change::Put { .. }))
        .count();
    assert_eq!(written, 0);
    Ok(())
}

/// What an abandoned backup has left is removed by somebody, and the name is used again (found by the
/// simulation): the new snapshot is not cleared away in the place of the old one.
#[tokio::test(start_paused = true)]
async fn a_name_that_awaits_clearing_is_not_used_again() -> Result<()> {
    for (world, server) in [World::new().await?, World::directory().await?] {
        let session = session_with_index(&server, "a", 0).await?;
        let path = SnapshotPath::new("".parse()?, session.dir().clone());
        drop(session);
        let (store, cancel) = (&server.store, &server.cancel);
        let client = store.client(TaskKind::Prune, cancel);
        store
            .forget_snapshot(client.as_ref(), &path, cancel)
            .await?;
        let again = server.session("a", 0).await;
        ensure!(again.is_err_and(|error| error.to_string().contains("cleared away")));
        store.tend(cancel).await?;
        let other = server.backup("b", 1, &chunks("a", 2)).await?;
        world.pass(AFTER_QUARANTINE).await;
        store.tend(cancel).await?;
        assert!(
            server
                .snapshot_path(&other)
                .join("index.json.blob")
                .exists()
        );
        let again = server.backup("a", 0, &chunks("a", 2)).await?;
        store.tend(cancel).await?;
        assert!(
            server
                .snapshot_path(&again)
                .join("index.json.blob")
                .exists()
        );
    }
    Ok(())
}

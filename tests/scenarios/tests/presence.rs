//! A lost or rebuilt cache, and objects that are gone behind our back (`gc.md` §9, T45–T48).

use std::time::Duration;

use anyhow::{Context, Result};
use api_types::status::VerifyState;
use datastore::Error;
use datastore::backend::s3::confirm::Look;
use datastore::backend::s3::insert::Payload;
use datastore::store::create::CreateOptions;
use datastore::store::state_dir::StateDir;
use scenarios::facts::{check_report, copy_tree, keys_of};
use scenarios::running::reason;
use scenarios::{
    AFTER_GRACE, BUCKET, Chunk, Server, Snapshot, World, chunk_key, chunks, finish, insert,
    no_grace,
};

async fn with_garbage() -> Result<(World, Server, Snapshot, Snapshot)> {
    let (world, server) = World::new().await?;
    let dead = server.backup("dead", 0, &chunks("dead", 3)).await?;
    let live = server.backup("live", 0, &chunks("live", 5)).await?;
    server.forget(&dead).await?;
    world.pass(AFTER_GRACE).await;
    Ok((world, server, dead, live))
}

/// A committed snapshot without cached payloads.
async fn bare(server: &Server, id: &str, at: i64, data: &[Chunk]) -> Result<Snapshot> {
    let session = server.session_with(id, at, Payload::Discard).await?;
    for chunk in data {
        insert(&session, chunk).await?;
    }
    finish(session, data).await
}

fn is_refused(error: &anyhow::Error) -> bool {
    matches!(reason(error), Some(Error::NeedsRefresh { .. }))
}

/// T45: the cache disk was replaced by an empty one.
#[tokio::test(start_paused = true)]
async fn t45_an_empty_cache_disk_is_refused() -> Result<()> {
    let (world, server, dead, live) = with_garbage().await?;
    drop(server);
    std::fs::remove_dir_all(world.cache("cache"))?;
    std::fs::create_dir(world.cache("cache"))?;
    let mark = world.mock.journal_mark();
    assert!(world.open("cache").is_err(), "there is no store");
    // The same with the skeleton that an administrator might make.
    std::fs::create_dir(world.cache("cache").join(".chunks"))?;
    let server = world.open("cache")?;
    for _ in 0..2 {
        let error = server.gc_now().await.expect_err("nothing is known");
        assert!(is_refused(&error), "{error}");
        assert!(error.to_string().contains("s3-refresh"), "{error}");
        let error = server.session("new", 10).await.expect_err("no presence");
        assert!(is_refused(&error), "{error}");
    }
    assert_eq!(world.delete_requests(mark), 0);
    assert!(world.mock.journal().since(mark).changes().next().is_none());
    world.check_objects(&[&dead.chunks[..], &live.chunks].concat())
}

/// T45: the disk is last week's copy: its markers name objects deleted since.
#[tokio::test(start_paused = true)]
async fn t45_a_disk_rolled_back_is_refused() -> Result<()> {
    let (world, server) = World::new().await?;
    let dead = bare(&server, "dead", 0, &chunks("dead", 3)).await?;
    let live = server.backup("live", 0, &chunks("live", 5)).await?;
    server.forget(&dead).await?;
    world.pass(AFTER_GRACE).await;
    copy_tree(&world.cache("cache"), &world.cache("copy"))?;
    check_report(&server.gc().await?, 3)?;
    drop(server);
    std::fs::remove_dir_all(world.cache("cache"))?;
    std::fs::rename(world.cache("copy"), world.cache("cache"))?;
    let server = world.open("cache")?;
    assert!(
        server
            .store
            .chunks()
            .chunk_path(&dead.chunks[0].digest)
            .exists()
    );
    let mark = world.mock.journal_mark();
    let error = server.gc_now().await.expect_err("rolled back");
    assert!(is_refused(&error), "{error}");
    let error = server.session("new", 10).await.expect_err("rolled back");
    assert!(is_refused(&error), "{error}");
    assert_eq!(world.delete_requests(mark), 0);

    let task = datastore::task::SilentTask::new();
    server.store.s3_refresh(&task, Default::default()).await?;
    let session = server.session("new", 10).await?;
    assert!(!insert(&session, &dead.chunks[0]).await?.duplicate);
    let snapshot = finish(session, &dead.chunks[..1]).await?;
    check_report(&server.gc_now().await?, 0)?;
    world.check_safe(&server, &[&live, &snapshot]).await?;
    server.check_settled()
}

/// T45: the copy of the disk was made in the middle of the collection that deleted.
#[tokio::test(start_paused = true)]
async fn t45_a_disk_copied_in_the_middle_of_a_collection() -> Result<()> {
    let (world, server) = World::new().await?;
    let dead = bare(&server, "dead", 0, &chunks("dead", 3)).await?;
    let live = server.backup("live", 0, &chunks("live", 5)).await?;
    server.forget(&dead).await?;
    world.pass(AFTER_GRACE).await;
    let gate = world.gate_listing();
    let gc = server.start_gc(Default::default());
    gate.arrived().await;
    copy_tree(&world.cache("cache"), &world.cache("copy"))?;
    gate.release();
    check_report(&gc.end().await?, 3)?;
    drop(server);
    std::fs::remove_dir_all(world.cache("cache"))?;
    std::fs::rename(world.cache("copy"), world.cache("cache"))?;
    let server = world.open("cache")?;
    let marker = server.store.chunks().chunk_path(&dead.chunks[0].digest);
    assert!(marker.exists());
    let error = server.session("new", 10).await.expect_err("rolled back");
    assert!(is_refused(&error), "{error}");

    let task = datastore::task::SilentTask::new();
    server.store.s3_refresh(&task, Default::default()).await?;
    let session = server.session("new", 10).await?;
    assert!(!insert(&session, &dead.chunks[0]).await?.duplicate);
    let snapshot = finish(session, &dead.chunks[..1]).await?;
    world.check_safe(&server, &[&live, &snapshot]).await
}

/// G13: the process ends after it has found that a chunk is missing, before it has marked the
/// snapshots.
#[tokio::test(start_paused = true)]
async fn after_a_loss_there_is_no_base_until_a_collection_has_looked() -> Result<()> {
    let (world, server) = World::new().await?;
    let data = chunks("data", 4);
    bare(&server, "a", 0, &data).await?;
    bare(&server, "c", 0, &data[2..]).await?;
    let hit = &data[0];
    assert!(world.mock.delete(BUCKET, &chunk_key(&hit.digest)));
    {
        let _lease = server.store.writer_lease(&Default::default()).await?;
        let backend = server.store.backend().s3().context("it is in a bucket")?;
        let look = backend.heal_or_confirm_missing(backend.client(), hit.digest);
        assert_eq!(look.await?, Look::Missing);
    }
    drop(server);
    let server = world.open("cache")?;
    for id in ["a", "c"] {
        let session = server.session(id, 10).await?;
        assert!(session.base().is_none(), "{id}");
    }
    assert_eq!(server.gc().await?.missing, 1);
    let session = server.session("c", 20).await?;
    assert!(session.base().is_some(), "it is sound");
    drop(session);
    let session = server.session("a", 20).await?;
    assert!(session.base().is_none(), "it has failed");
    assert!(!insert(&session, hit).await?.duplicate);
    Ok(())
}

/// G10: a refresh right after a collection sees a listing that still has what was deleted.
#[tokio::test(start_paused = true)]
async fn a_refresh_makes_no_marker_of_a_deleted_chunk() -> Result<()> {
    let (world, server, dead, live) = with_garbage().await?;
    world
        .mock
        .configure(|behaviour| behaviour.remember_deleted = true);
    check_report(&server.gc().await?, 3)?;
    let before = Duration::from_secs(600);
    world
        .mock
        .configure(|behaviour| behaviour.list.stale = before);
    let task = datastore::task::SilentTask::new();
    let report = server.store.s3_refresh(&task, Default::default()).await?;
    assert_eq!(report.presence.objects, 8, "the listing is older than that");
    assert_eq!(report.presence.created, 0);
    world
        .mock
        .configure(|behaviour| behaviour.list.stale = Duration::ZERO);
    let session = server.session("new", 10).await?;
    assert!(!insert(&session, &dead.chunks[0]).await?.duplicate);
    let snapshot = finish(session, &dead.chunks[..1]).await?;
    world.check_safe(&server, &[&live, &snapshot]).await
}

/// T45: only the chunk files are lost. The listing alone is no proof, a HEAD of each is.
#[tokio::test(start_paused = true)]
async fn t45_lost_markers_cost_no_data() -> Result<()> {
    let (world, server, dead, live) = with_garbage().await?;
    std::fs::remove_dir_all(server.store.chunks().chunk_dir())?;
    std::fs::create_dir(server.store.chunks().chunk_dir())?;
    let mark = world.mock.journal_mark();
    let report = server.gc().await?;
    check_report(&report, 3)?;
    assert_eq!((report.missing, report.presence_created), (0, 5));
    assert_eq!(world.deleted_chunks(mark), keys_of(&dead.chunks));
    assert!(live.chunks.iter().all(|chunk| server.is_present(chunk)));
    assert!(world.written_chunks(mark).is_empty());
    world.check_safe(&server, &[&live]).await?;
    server.check_settled()
}

/// T46: presence is rebuilt, then garbage collected.
#[tokio::test(start_paused = true)]
async fn t46_a_rebuilt_cache_is_as_good_as_the_old_one() -> Result<()> {
    let (world, server, dead, live) = with_garbage().await?;
    drop(server);
    std::fs::remove_dir_all(world.cache("cache"))?;
    let mark = world.mock.journal_mark();
    let reuse = CreateOptions {
        reuse: true,
        ..CreateOptions::default()
    };
    let server = world.create("cache", reuse).await?;
    assert!(
        server
            .store
            .snapshots()
            .snapshot_exists(&live.ns, &live.dir)?
    );
    let known = server.local_digests()?;
    assert_eq!(known.len(), 8);
    world.check_safe(&server, &[&live]).await?;

    let report = server.gc_with(no_grace()).await.0?;
    check_report(&report, 3)?;
    assert_eq!((report.missing, report.healed), (0, 0));
    assert_eq!((report.presence_created, report.presence_unknown), (0, 0));
    assert_eq!(world.deleted_chunks(mark), keys_of(&dead.chunks));
    let session = server.session("live", 10).await?;
    for chunk in &live.chunks {
        assert!(insert(&session, chunk).await?.duplicate);
    }
    let next = finish(session, &live.chunks).await?;
    assert!(world.written_chunks(mark).is_empty(), "uploads");
    world.check_objects(&live.chunks)?;
    world.check_safe(&server, &[&live, &next]).await?;
    server.check_settled()
}

/// T47: an object was removed by hand, snapshots reference it, nothing is cached.
#[tokio::test(start_paused = true)]
async fn t47_a_missing_chunk_is_reported_and_uploaded_again() -> Result<()> {
    let (world, server) = World::new().await?;
    let data = chunks("data", 4);
    let old = bare(&server, "a", 0, &data).await?;
    let other = bare(&server, "b", 0, &data[..1]).await?;
    let healthy = bare(&server, "c", 0, &data[2..]).await?;
    let hit = &data[0];
    assert!(world.mock.delete(BUCKET, &chunk_key(&hit.digest)));
    // One that is running does not commit with it.
    let doomed = server.session("d", 0).await?;
    assert!(insert(&doomed, hit).await?.duplicate);

    let (report, task) = server.gc_with(datastore::gc::GcOptions::default()).await;
    let report = report?;
    check_report(&report, 0)?;
    assert_eq!(report.missing, 1);
    assert_eq!(report.missing_confirmed, [hit.digest]);
    let affected: Vec<String> = report
        .affected
        .iter()
        .filter_map(|affected| Some(affected.snapshot.as_ref()?.dir.to_string()))
        .collect();
    assert_eq!(affected, [old.dir.to_string(), other.dir.to_string()]);
    for snapshot in &affected {
        let named = |text: &&String| text.contains(snapshot.as_str());
        assert_eq!(task.warning_texts().iter().filter(named).count(), 1);
    }
    assert!(!server.is_present(hit));
    let error = finish(doomed, &data[..1]).await.expect_err("lost");
    assert!(error.to_string().contains("missing"), "{error}");

    // Its snapshots are no base any more, so that the next backup has to upload it.
    for snapshot in [&old, &other] {
        let manifest = server
            .store
            .load_manifest(&snapshot.ns, &snapshot.dir)
            .await?;
        let state = manifest.verify_state()?.context("a verify state")?;
        assert_eq!(state.state, VerifyState::Failed);
    }
    let session = server.session("c", 10).await?;
    assert!(session.base().is_some(), "{} is sound", healthy.dir);
    drop(session);
    let session = server.session("a", 10).await?;
    assert!(session.base().is_none());
    let mark = world.mock.journal_mark();
    for chunk in &data {
        let outcome = insert(&session, chunk).await?;
        assert_eq!(outcome.duplicate, chunk.digest != hit.digest);
    }
    let new = finish(session, &data).await?;
    assert_eq!(world.written_chunks(mark), [chunk_key(&hit.digest)]);

    let report = server.gc().await?;
    assert_eq!((report.missing, report.healed), (0, 0));
    world
        .check_safe(&server, &[&old, &other, &healthy, &new])
        .await?;
    server.check_settled()
}

/// T47 with the payload in the cache: the collection puts it back.
#[tokio::test(start_paused = true)]
async fn t47_a_cached_chunk_is_healed() -> Result<()> {
    let (world, server, dead, live) = with_garbage().await?;
    let hit = &live.chunks[1];
    assert!(world.mock.delete(BUCKET, &chunk_key(&hit.digest)));
    let mark = world.mock.journal_mark();
    let (report, task) = server.gc_with(datastore::gc::GcOptions::default()).await;
    let report = report?;
    check_report(&report, dead.chunks.len())?;
    assert_eq!((report.missing, report.healed), (0, 1));
    assert!(
        task.warning_texts()
            .iter()
            .any(|text| text.contains("uploaded again"))
    );
    assert_eq!(world.written_chunks(mark), [chunk_key(&hit.digest)]);
    let manifest = server.store.load_manifest(&live.ns, &live.dir).await?;
    assert!(manifest.verify_state()?.is_none());
    world.check_objects(&live.chunks)?;
    world.check_safe(&server, &[&live]).await?;
    server.check_settled()
}

/// T48: a marker without object that nothing references.
#[tokio::test(start_paused = true)]
async fn t48_an_unreferenced_phantom_goes_silently() -> Result<()> {
    let (world, server, dead, live) = with_garbage().await?;
    for chunk in &dead.chunks {
        assert!(world.mock.delete(BUCKET, &chunk_key(&chunk.digest)));
    }
    // One of them is in use by a session that was told it is there: its stamp protects it. (The
    // stamps of the backup that is gone have died with its process.)
    let server = world.restart(server)?;
    let session = server.session("running", 10).await?;
    assert!(insert(&session, &dead.chunks[0]).await?.duplicate);
    let mark = world.mock.journal_mark();
    let (report, task) = server.gc_with(datastore::gc::GcOptions::default()).await;
    let report = report?;
    check_report(&report, 0)?;
    assert_eq!((report.missing, report.local_removed), (0, 2));
    assert!(task.warning_texts().is_empty(), "{:?}", task.lines());
    assert_eq!(world.delete_requests(mark), 0);
    assert!(server.is_present(&dead.chunks[0]));
    session.abort().await?;
    assert_eq!(server.gc().await?.local_removed, 1);
    assert!(dead.chunks.iter().all(|chunk| !server.is_present(chunk)));
    let again = server.backup("again", 20, &dead.chunks).await?;
    world.check_safe(&server, &[&live, &again]).await?;
    server.check_settled()
}

/// §6.6: without its delete journal a store is not trusted, whatever else is there.
#[tokio::test(start_paused = true)]
async fn t45_a_lost_delete_journal_is_refused() -> Result<()> {
    let (world, server, _, live) = with_garbage().await?;
    let journal = StateDir::of(server.store.base()).delete_journal();
    let server = world.restart(server)?;
    std::fs::remove_file(journal)?;
    let mark = world.mock.journal_mark();
    let error = server.gc_now().await.expect_err("no journal");
    assert!(is_refused(&error), "{error}");
    assert_eq!(world.delete_requests(mark), 0);
    let task = datastore::task::SilentTask::new();
    let start = world.env.now();
    server.store.s3_refresh(&task, Default::default()).await?;
    // Nobody knows what was sent before: a whole quarantine passes first.
    assert!(world.env.now() - start >= std::time::Duration::from_secs(30 * 60));
    check_report(&server.gc_now().await?, 3)?;
    world.check_safe(&server, &[&live]).await?;
    server.check_settled()
}

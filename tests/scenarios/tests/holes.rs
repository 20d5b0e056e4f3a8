//! The holes of `s3-backend.md` §12, H1–H16: each test fails if the hole is put into our code
//! (`docs/adr/`, the list of mutations).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api_types::names::ArchiveName;
use datastore::backend::s3::insert::Payload;
use datastore::digests::Generation;
use datastore::format::blob::DataBlob;
use datastore::gc::GcOptions;
use datastore::refresh::RefreshOptions;
use datastore::store::Stores;
use datastore::store::create::CreateOptions;
use datastore::store::lease::WriterLease;
use datastore::task::{RecordingTask, SilentTask};
use datastore::verify::{VerifyOptions, VerifyScope};
use s3_client::TaskKind;
use s3_client::env::Env;
use s3_mock::{Action, Fault, Gate, Op, Reply, What};
use scenarios::facts::{check_report, keys_of};
use scenarios::running::crash;
use scenarios::{
    AFTER_GRACE, BUCKET, Chunk, START, STORE, Server, Snapshot, World, chunk_key, chunks, commit,
    finish, group, insert, no_grace, time, write_index,
};
use tokio_util::sync::CancellationToken;

/// Garbage that nothing but its age would protect, and something live.
async fn with_garbage(payload: Payload) -> Result<(World, Server, Snapshot, Snapshot)> {
    let (world, server) = World::new().await?;
    let dead = backup(&server, "dead", 0, &chunks("dead", 3), payload).await?;
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

fn stamp(server: &Server, chunk: &Chunk) -> Option<Generation> {
    let table = server.store.digests();
    table.with(&chunk.digest, |slot| slot.stamp())
}

async fn refresh(server: &Server) -> Result<()> {
    let task = SilentTask::new();
    let done = server.store.s3_refresh(&task, RefreshOptions::default());
    done.await?;
    Ok(())
}

/// H1: a duplicate decided by what this process has in hand (the cached payload) renews the
/// protection of the chunk like any other.
#[tokio::test(start_paused = true)]
async fn h01_a_duplicate_from_the_cache_protects_the_chunk() -> Result<()> {
    let (world, server, dead, live) = with_garbage(Payload::Cache).await?;
    let session = server.session("new", 90_000).await?;
    let hit = &dead.chunks[0];
    let before = stamp(&server, hit);
    assert!(insert(&session, hit).await?.duplicate);
    assert!(stamp(&server, hit) > before);
    check_report(&server.gc_now().await?, 2)?;
    // Again, after another collection, without the time having moved.
    assert!(insert(&session, hit).await?.duplicate);
    check_report(&server.gc_now().await?, 0)?;
    let new = finish(session, &dead.chunks[..1]).await?;
    world.check_safe(&server, &[&live, &new]).await?;
    server.check_settled()
}

/// H2: an upload that caches nothing leaves a marker and a stamp all the same.
#[tokio::test(start_paused = true)]
async fn h02_an_upload_without_caching_leaves_its_marker() -> Result<()> {
    let (world, server) = World::new().await?;
    let session = server.session_with("new", 0, Payload::Discard).await?;
    let data = chunks("data", 3);
    for chunk in &data {
        assert!(!insert(&session, chunk).await?.duplicate);
        assert!(server.is_present(chunk) && stamp(&server, chunk).is_some());
    }
    let report = server.gc_now().await?;
    check_report(&report, 0)?;
    assert!(insert(&session, &data[0]).await?.duplicate);
    let new = finish(session, &data).await?;
    world.check_safe(&server, &[&new]).await?;
    server.check_settled()
}

/// H3: a changed configuration gives no second memory to the same datastore.
#[tokio::test(start_paused = true)]
async fn h03_a_changed_configuration_gives_no_second_memory() -> Result<()> {
    let (world, creator, dead, live) = with_garbage(Payload::Cache).await?;
    drop(creator);
    let stores = Stores::default();
    let open = async |stores: &Stores| -> Result<Server> {
        Ok(Server {
            store: stores.open(world.options("cache")?).await?,
            cancel: CancellationToken::new(),
        })
    };
    let old = open(&stores).await?;
    let session = old.session("new", 90_000).await?;
    assert!(insert(&session, &dead.chunks[0]).await?.duplicate);
    let new = open(&stores).await?;
    check_report(&new.gc_now().await?, 2)?;
    // What the one has deleted the other does not take for present.
    assert!(!insert(&session, &dead.chunks[1]).await?.duplicate);
    assert!(insert(&session, &dead.chunks[0]).await?.duplicate);
    let kept = finish(session, &dead.chunks[..2]).await?;
    world.check_safe(&new, &[&live, &kept]).await
}

/// H4: what is removed by a prefix ends where its name ends.
#[tokio::test(start_paused = true)]
async fn h04_a_longer_name_with_the_same_beginning_is_not_touched() -> Result<()> {
    let (world, server) = World::new().await?;
    let short_ns = server.create_namespace("n").await?;
    let long_ns = server.create_namespace("n1").await?;
    let data = chunks("data", 2);
    let mut kept = Vec::new();
    for id in ["a1", "ab", "a.b"] {
        kept.push(server.backup(id, 0, &data).await?);
    }
    server.backup("a", 0, &data).await?;
    server.backup_in(&short_ns, "g", 0, &data).await?;
    kept.push(server.backup_in(&long_ns, "g", 0, &data).await?);
    let client = server.store.client(TaskKind::Prune, &server.cancel);
    let (root, cancel) = ("".parse()?, &server.cancel);
    let removed = server
        .store
        .destroy_group(client.as_ref(), &root, &group("a"), cancel)
        .await?;
    assert_eq!(removed.removed_snapshots, 1);
    server
        .store
        .destroy_namespace(client.as_ref(), &short_ns, true, cancel)
        .await?;
    let gone = |prefix: &str| world.mock.keys(BUCKET, &format!("{STORE}/.cnt/{prefix}"));
    assert_eq!(gone("host/a/"), [] as [String; 0]);
    assert_eq!(gone("ns/n/"), [] as [String; 0]);
    for snapshot in &kept {
        let dir = match snapshot.ns.is_root() {
            true => snapshot.dir.path(),
            false => format!("ns/n1/{}", snapshot.dir.path()),
        };
        assert_eq!(gone(&format!("{dir}/")).len(), 2, "{dir}");
    }
    // The bucket alone has it all.
    refresh(&server).await?;
    for snapshot in &kept {
        assert!(
            server
                .store
                .snapshots()
                .snapshot_exists(&snapshot.ns, &snapshot.dir)?
        );
    }
    world
        .check_safe(&server, &kept[..3].iter().collect::<Vec<_>>())
        .await
}

/// H5: evidence of a damaged chunk, with local evidence beside it and upstream's mark of an
/// expected chunk: no collection fails, the evidence stays its time, nothing becomes present.
#[tokio::test(start_paused = true)]
async fn h05_local_evidence_neither_stops_a_run_nor_creates_presence() -> Result<()> {
    let (world, server) = World::new().await?;
    let live = backup(&server, "live", 0, &chunks("live", 2), Payload::Discard).await?;
    world.pass(AFTER_GRACE).await;
    let lost = &live.chunks[0];
    let key = chunk_key(&lost.digest);
    world.mock.delete(BUCKET, &key);
    let evidence = format!("{key}.0.bad");
    world.mock.put(BUCKET, &evidence, "damaged");
    let path = server.store.chunks().chunk_path(&lost.digest);
    std::fs::remove_file(&path)?;
    std::fs::write(server.store.chunks().bad_path(&lost.digest, 0), b"damaged")?;
    std::fs::write(path.with_extension("using"), b"")?;
    for _ in 0..2 {
        let report = server.gc_now().await?;
        check_report(&report, 0)?;
        assert_eq!((report.missing, report.kept_bad.count), (1, 1));
        assert!(world.mock.get(BUCKET, &evidence).is_some());
        assert!(!path.exists() && !path.with_extension("using").exists());
    }
    server.check_presence(&world)?;
    server.check_settled()
}

/// H6: a cache fill whose data is older than the removal of the marker.
#[tokio::test(start_paused = true)]
async fn h06_a_cache_fill_creates_no_marker_behind_its_removal() -> Result<()> {
    let (world, server, dead, live) = with_garbage(Payload::Discard).await?;
    let chunk = dead.chunks[0].clone();
    let fetched = Gate::new();
    let pause = Action::ApplyThenPause(fetched.clone());
    let fault = Fault::on(Op::GetObject, pause).keys(chunk_key(&chunk.digest));
    world.mock.script(fault);
    let lease: WriterLease = server.store.writer_lease(&server.cancel).await?;
    let client = server.store.client(TaskKind::Restore, &server.cancel);
    let (store, digest) = (Arc::clone(&server.store), chunk.digest);
    let reader = tokio::spawn(async move {
        let read = store.read_chunk(client.as_ref(), digest, Payload::Cache);
        let blob = read.await;
        drop(lease);
        blob
    });
    fetched.arrived().await;
    // The marker is removed, the request not yet applied: when the fill comes.
    let sending = world.gate_delete();
    let gc = world.collect_until(&server, no_grace(), &sending).await?;
    fetched.release();
    assert_eq!(reader.await??.decode(None, 1 << 20)?, chunk.data);
    server.check_announced(&keys_of(&dead.chunks))?;
    sending.release();
    check_report(&gc.end().await?, 3)?;
    world.check_safe(&server, &[&live]).await?;
    server.check_settled()
}

/// H7: "it exists already" is checked: an object that is cut off, or damaged at the same length,
/// or rubbish, is replaced by the upload.
#[tokio::test(start_paused = true)]
async fn h07_an_existing_object_is_checked_before_it_is_believed() -> Result<()> {
    type Damage = fn(&[u8]) -> Vec<u8>;
    let damages: [Damage; 4] = [
        |raw| raw[..raw.len() - 1].to_vec(),
        |raw| [&raw[..raw.len() - 1], &[raw[raw.len() - 1] ^ 1]].concat(),
        |_| Vec::new(),
        |_| b"<html>a proxy's page</html>".to_vec(),
    ];
    for damage in damages {
        let (world, server) = World::new().await?;
        let data = chunks("data", 1);
        let raw = DataBlob::encode(&data[0].data, None, true, &Env::system())?.into_raw();
        let key = chunk_key(&data[0].digest);
        world.mock.put_at(BUCKET, &key, damage(&raw), START * 1000);
        let session = server.session("a", 0).await?;
        assert!(!insert(&session, &data[0]).await?.duplicate);
        assert_eq!(world.mock.get(BUCKET, &key), Some(raw));
        let snapshot = finish(session, &data).await?;
        world.check_safe(&server, &[&snapshot]).await?;
    }
    Ok(())
}

async fn verify(server: &Server) -> Result<u64> {
    let everything = |_: &_, _: &_| true;
    let scope = VerifyScope {
        ns: "".parse()?,
        max_depth: None,
        may_verify: &everything,
    };
    let upid = "UPID:vm:00000B5D:00032AF6:00000094:68E79C00:verify:store1:root@pam:";
    let task = RecordingTask::with_upid(upid);
    let options = VerifyOptions {
        ignore_verified: false,
        ..VerifyOptions::default()
    };
    let report = server.store.verify_datastore(&task, &scope, options);
    Ok(report.await?.corrupt_chunks)
}

/// H8: the process dies between the copy of a damaged chunk and its delete, or the delete is
/// applied after the chunk was uploaded again: the chunk is whole in the end.
#[tokio::test(start_paused = true)]
async fn h08_a_move_of_a_damaged_chunk_may_die_anywhere() -> Result<()> {
    for late in [false, true] {
        let (world, server) = World::new().await?;
        let live = backup(&server, "live", 0, &chunks("live", 2), Payload::Discard).await?;
        let bad = &live.chunks[0];
        let key = chunk_key(&bad.digest);
        let mut raw = world.mock.get(BUCKET, &key).context("an object")?.to_vec();
        let last = raw.len() - 1;
        raw[last] ^= 1;
        world.mock.put(BUCKET, &key, raw);
        let copied = Gate::new();
        if late {
            world.spoil_delete(Action::Late {
                after: None,
                client: s3_mock::ClientSees::Hang,
            });
        } else {
            let pause = Action::ApplyThenPause(copied.clone());
            world.mock.script(Fault::on(Op::CopyObject, pause));
        }
        let other = server.clone();
        let verifying = tokio::spawn(async move { verify(&other).await });
        if late {
            world.mock.wait_late(1).await;
        } else {
            copied.arrived().await;
        }
        crash(verifying).await;
        let server = world.restart(server)?;
        assert!(!server.is_present(bad), "the damaged one is believed");
        // Nothing is kept here but by the rules about deletes that may still come.
        let session = server
            .session_with("again", 90_000, Payload::Discard)
            .await?;
        assert!(!insert(&session, bad).await?.duplicate);
        let again = finish(session, std::slice::from_ref(bad)).await?;
        for request in world.mock.late() {
            assert_eq!(world.mock.release_late(request.id), Some(200));
            assert!(!world.has_object(bad));
        }
        world.pass(Duration::from_secs(31 * 60)).await;
        server.gc_now().await?;
        world.check_safe(&server, &[&live, &again]).await?;
        server.check_settled()?;
    }
    Ok(())
}

/// H9: nothing of a snapshot is visible here before it is in the bucket.
#[tokio::test(start_paused = true)]
async fn h09_nothing_is_visible_before_it_is_in_the_bucket() -> Result<()> {
    for file in ["tree.didx", "index.json.blob", "x.conf.blob"] {
        let (world, server) = World::new().await?;
        let denied = Action::Reply(Reply::access_denied());
        let fault = Fault::on(Op::PutObject, denied).keys(format!("{STORE}/.cnt/*/{file}"));
        world.mock.script(fault.always());
        let data = chunks("data", 2);
        let session = server.session("a", 0).await?;
        for chunk in &data {
            insert(&session, chunk).await?;
        }
        let dir = session.dir().clone();
        let name: ArchiveName = "x.conf.blob".parse()?;
        let blob = DataBlob::encode(b"text", None, true, &Env::system())?.into_raw();
        let outcome: Result<Snapshot> = async {
            session.add_blob(&name, blob).await?;
            write_index(&session, &data).await?;
            commit(session, &data).await
        }
        .await;
        assert!(outcome.is_err(), "{file}");
        let path = server.store.snapshots().snapshot_path(&"".parse()?, &dir);
        assert!(!path.join(file).exists(), "{file} is visible");
        let finished = server
            .store
            .snapshots()
            .last_finished(&"".parse()?, &dir.group)?;
        assert!(finished.is_none(), "{file}");
        world.mock.clear_faults();
        let again = server.backup("a", 60, &data).await?;
        world.check_safe(&server, &[&again]).await?;
    }
    Ok(())
}

/// H10: what is removed here is removed from the bucket, also what no manifest names: notes, the
/// client's log, upstream's or others' files. A refresh brings nothing back.
#[tokio::test(start_paused = true)]
async fn h10_removals_leave_no_junk_for_a_refresh() -> Result<()> {
    let (world, server) = World::new().await?;
    let root = "".parse()?;
    let data = chunks("data", 1);
    let keep = server.backup("keep", 0, &data).await?;
    let doomed = server.backup("a", 0, &data).await?;
    let second = server.backup("a", 60, &data).await?;
    let client = server.store.client(TaskKind::Other, &server.cancel);
    let client = client.as_ref();
    let log = DataBlob::encode(b"log", None, true, &Env::system())?.into_raw();
    server
        .store
        .store_client_log(client, &root, &doomed.dir, log, &server.cancel)
        .await?;
    server
        .store
        .set_group_notes(client, &root, &group("a"), "notes")
        .await?;
    let dir = format!("{STORE}/.cnt/{}", doomed.dir.path());
    world.mock.put(BUCKET, &format!("{dir}/unlisted.blob"), "x");
    std::fs::write(server.snapshot_path(&doomed).join("unlisted.blob"), b"x")?;
    server.forget(&doomed).await?;
    assert_eq!(world.mock.keys(BUCKET, &dir), [] as [String; 0]);
    server
        .store
        .destroy_group(client, &root, &group("a"), &server.cancel)
        .await?;
    let left = world.mock.keys(BUCKET, &format!("{STORE}/.cnt/host/a/"));
    assert_eq!(left, [] as [String; 0]);
    // A session that is given up takes its files with it.
    let session = server.session("b", 0).await?;
    insert(&session, &data[0]).await?;
    write_index(&session, &data).await?;
    session.abort().await?;
    let left = world.mock.keys(BUCKET, &format!("{STORE}/.cnt/host/b/"));
    assert_eq!(left, [] as [String; 0]);
    refresh(&server).await?;
    assert!(!server.snapshot_path(&second).exists());
    let groups = server.store.snapshots().list_groups(&root)?;
    assert_eq!(groups, std::slice::from_ref(&keep.dir.group));
    world.check_safe(&server, &[&keep]).await
}

/// H11: who owns the prefix is asked again and again, not only at creation.
#[tokio::test(start_paused = true)]
async fn h11_a_prefix_that_was_taken_over_is_left_alone() -> Result<()> {
    let (world, server, _, _) = with_garbage(Payload::Cache).await?;
    let data = chunks("data", 1);
    let session = server.session("new", 90_000).await?;
    insert(&session, &data[0]).await?;
    write_index(&session, &data).await?;
    let theirs = r#"{"hostname":"elsewhere","instance-id":"another"}"#;
    world.mock.put(BUCKET, &format!("{STORE}/.in-use"), theirs);
    world.pass(Duration::from_secs(61)).await;
    let mark = world.mock.journal_mark();
    assert!(commit(session, &data).await.is_err());
    assert!(server.gc_now().await.is_err());
    assert!(server.session("late", 100_000).await.is_err());
    let changes = world.mock.journal().since(mark).changes().count();
    assert_eq!(changes, 0, "something was written or deleted");
    Ok(())
}

/// H12: the local trees are gone, as between the renames of upstream's refresh: whatever is missing
/// here, what the bucket has is kept.
#[tokio::test(start_paused = true)]
async fn h12_missing_local_trees_cost_no_chunk() -> Result<()> {
    for all in [false, true] {
        let (world, server, _, live) = with_garbage(Payload::Cache).await?;
        let ns = server.create_namespace("n").await?;
        let deep = server
            .backup_in(&ns, "deep", 90_000, &chunks("deep", 3))
            .await?;
        world.pass(AFTER_GRACE).await;
        std::fs::remove_dir_all(server.store.base().join("host"))?;
        if all {
            std::fs::remove_dir_all(server.store.base().join("ns"))?;
        }
        let forced = GcOptions {
            force: true,
            ..no_grace()
        };
        let (report, task) = server.gc_with(forced).await;
        check_report(&report?, 3)?;
        assert!(!task.warning_texts().is_empty());
        refresh(&server).await?;
        assert!(server.can_restore(&deep).await?);
        world.check_safe(&server, &[&live]).await?;
        server.check_settled()?;
    }
    Ok(())
}

/// H13: a destruction begins with what makes backups of the data, and ends with the marker of who
/// owns it. Wherever it stops, nothing is left that looks like a backup and is none.
#[tokio::test(start_paused = true)]
async fn h13_a_destruction_removes_the_manifests_first() -> Result<()> {
    for stop_after in [None, Some(1), Some(2)] {
        let (world, server, _, live) = with_garbage(Payload::Cache).await?;
        let mark = world.mock.journal_mark();
        if let Some(batches) = stop_after {
            let denied = Action::Reply(Reply::access_denied());
            let fault = Fault::on_ops(&[Op::DeleteObjects, Op::DeleteObject], denied);
            world.mock.script(fault.skip(batches).always());
        }
        let result = server.store.destroy(&SilentTask::new()).await;
        assert_eq!(result.is_ok(), stop_after.is_none());
        let deleted = world.mock.journal().since(mark).deleted_keys();
        let rank = |key: &String| match key {
            key if key.ends_with("/index.json.blob") => 0,
            key if key.contains("/.cnt/") => 1,
            key if key.contains("/.chunks/") => 2,
            key if key.ends_with("/.in-use") => 4,
            _ => 3,
        };
        assert!(deleted.iter().is_sorted_by_key(rank), "{deleted:?}");
        let manifest = format!("{STORE}/.cnt/{}/index.json.blob", live.dir.path());
        assert!(world.mock.get(BUCKET, &manifest).is_none());
        if stop_after.is_none() {
            assert_eq!(
                world.mock.keys(BUCKET, &format!("{STORE}/")),
                [] as [String; 0]
            );
        }
    }
    Ok(())
}

/// H14: a referenced chunk with a marker and no object is found by the next collection.
#[tokio::test(start_paused = true)]
async fn h14_a_referenced_chunk_without_object_is_reported() -> Result<()> {
    let (world, server) = World::new().await?;
    let live = backup(&server, "live", 0, &chunks("live", 3), Payload::Discard).await?;
    world
        .mock
        .delete(BUCKET, &chunk_key(&live.chunks[1].digest));
    assert!(server.is_present(&live.chunks[1]), "nobody knows yet");
    let (report, task) = server.gc_with(no_grace()).await;
    let report = report?;
    assert_eq!(report.missing_confirmed, [live.chunks[1].digest]);
    let warnings = task.warning_texts();
    let named = |text: &String| text.contains(&live.dir.to_string());
    assert!(warnings.iter().any(named), "{warnings:?}");
    assert!(!server.is_present(&live.chunks[1]));
    Ok(())
}

/// Files that this process has open below the world's directory.
fn open_below(world: &World) -> Result<usize> {
    let below = world.cache("");
    let mut count = 0;
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let target = std::fs::read_link(entry?.path());
        count += usize::from(target.is_ok_and(|target| target.starts_with(&below)));
    }
    Ok(count)
}

/// H15: a delete costs neither a lock file nor an open file per chunk, and batches are full.
#[tokio::test(start_paused = true)]
async fn h15_deletes_cost_no_files_per_chunk() -> Result<()> {
    let (world, server) = World::new().await?;
    server.backup("live", 0, &chunks("live", 3)).await?;
    world.known_garbage(&server, 3500)?;
    world.pass(AFTER_GRACE).await;
    let lock_dir = world.options("cache")?.lock_dir;
    let locks = scenarios::tree(&lock_dir)?.len();
    let mark = world.mock.journal_mark();
    let gates: Vec<Gate> = (0..4).map(|_| world.gate_delete()).collect();
    let gc = server.start_gc(GcOptions::default());
    for gate in &gates {
        gate.arrived().await;
    }
    assert!(
        open_below(&world)? < 20,
        "{} open files",
        open_below(&world)?
    );
    // The journal of moves is one file, whatever is deleted.
    assert!(scenarios::tree(&lock_dir)?.len() <= locks + 1);
    for gate in gates {
        gate.release();
    }
    check_report(&gc.end().await?, 3500)?;
    assert!(scenarios::tree(&lock_dir)?.len() <= locks + 1);
    let journal = world.mock.journal().since(mark);
    let mut sizes: Vec<usize> = journal
        .requests()
        .filter_map(|event| match (&event.what, event.op) {
            (What::Arrived { keys }, Op::DeleteObjects) => Some(keys.len()),
            _ => None,
        })
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [500, 1000, 1000, 1000]);
    server.check_settled()
}

/// H16: a datastore that is created again on its data knows what is there: the next backup
/// transfers nothing.
#[tokio::test(start_paused = true)]
async fn h16_a_recreated_datastore_transfers_nothing_again() -> Result<()> {
    let (world, server) = World::new().await?;
    let data = chunks("data", 20);
    let live = server.backup("a", 0, &data).await?;
    drop(server);
    std::fs::remove_dir_all(world.cache("cache"))?;
    let reuse = CreateOptions {
        reuse: true,
        ..CreateOptions::default()
    };
    let server = world.create("cache", reuse).await?;
    let mark = world.mock.journal_mark();
    let session = server.session("b", 3600).await?;
    for chunk in &data {
        assert!(insert(&session, chunk).await?.duplicate);
    }
    let again = finish(session, &data).await?;
    let journal = world.mock.journal().since(mark);
    let puts = journal.requests_of(Op::PutObject);
    ensure!(
        puts.iter().all(|keys| !keys[0].contains("/.chunks/")),
        "chunks were sent: {puts:?}"
    );
    assert_eq!(puts.len(), 3, "owner, index, manifest");
    assert_eq!(time(3600), again.dir.time);
    world.check_safe(&server, &[&live, &again]).await
}

//! What each operation costs in requests: `s3-backend.md` §18, and the row `gc-requests` of the
//! table of speed. Exact, from the server's journal.

use std::collections::BTreeMap;

use anyhow::Result;
use bytes::Bytes;
use datastore::backend::s3::insert::Payload;
use datastore::format::blob::DataBlob;
use datastore::gc::GcOptions;
use datastore::refresh::RefreshOptions;
use datastore::task::{RecordingTask, SilentTask};
use datastore::verify::{VerifyMode, VerifyOptions, VerifyScope};
use s3_client::TaskKind;
use s3_client::env::Env;
use s3_mock::{Op, What};
use scenarios::facts::check_report;
use scenarios::{
    AFTER_GRACE, BUCKET, Chunk, START, STORE, Server, Snapshot, World, chunk_key, chunks, commit,
    group, insert, write_index,
};

/// Requests since the mark by operation and kind of key, without the looks at who owns the prefix:
/// at most one of those a minute.
fn requests(world: &World, mark: u64) -> BTreeMap<(Op, &'static str), usize> {
    let mut counts = BTreeMap::new();
    let mut looks = 0;
    for event in world.mock.journal().since(mark).requests() {
        let What::Arrived { keys } = &event.what else {
            continue;
        };
        let first = keys.first().map_or("", String::as_str);
        let kind = match first {
            key if key.ends_with("/.in-use") => {
                looks += 1;
                continue;
            }
            key if key.contains("/.chunks/") => "chunk",
            key if key.contains("/.cnt/") => "metadata",
            key if key.ends_with("/epoch") => "epoch",
            _ => "bucket",
        };
        *counts.entry((event.op, kind)).or_default() += 1;
    }
    assert!(looks <= 2, "{looks} looks at the owner");
    counts
}

fn exactly<const N: usize>(
    expected: [(Op, &'static str, usize); N],
) -> BTreeMap<(Op, &'static str), usize> {
    let expected = expected.into_iter();
    expected
        .map(|(op, kind, count)| ((op, kind), count))
        .collect()
}

fn blob(text: &str) -> Result<Bytes> {
    let blob = DataBlob::encode(text.as_bytes(), None, true, &Env::system())?;
    Ok(blob.into_raw())
}

/// A backup of these chunks with two blobs beside the archive.
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
    for name in ["x.conf.blob", "y.conf.blob"] {
        session.add_blob(&name.parse()?, blob(name)?).await?;
    }
    write_index(&session, data).await?;
    commit(session, data).await
}

/// n new chunks, k duplicates, one archive, three blobs with the manifest: n + 1 + 3 PUTs, and one
/// for the owner of a new group.
#[tokio::test(start_paused = true)]
async fn a_backup_costs_a_put_per_new_chunk_and_file() -> Result<()> {
    let (world, server) = World::new().await?;
    let data = chunks("data", 30);
    for (at, new, owner) in [(0, 20, 1), (60, 10, 0), (120, 0, 0)] {
        let mark = world.mock.journal_mark();
        let known = if at == 0 { &data[..20] } else { &data[..] };
        backup(&server, "a", at, known, Payload::Cache).await?;
        let metadata = 1 + 3 + owner;
        let mut expected = exactly([(Op::PutObject, "metadata", metadata)]);
        if new > 0 {
            expected.insert((Op::PutObject, "chunk"), new);
        }
        // The epoch is read once by a process.
        let mut counted = requests(&world, mark);
        counted.remove(&(Op::GetObject, "epoch"));
        assert_eq!(counted, expected);
    }
    Ok(())
}

/// One DELETE for the manifest, one POST for the rest, and before them the proof that the bucket
/// has no mark of protection (a HEAD, which a GET confirms); nothing for a look at what there is; one PUT
/// for a note.
#[tokio::test(start_paused = true)]
async fn small_operations_cost_what_they_change() -> Result<()> {
    let (world, server) = World::new().await?;
    let data = chunks("data", 3);
    let first = backup(&server, "a", 0, &data, Payload::Cache).await?;
    backup(&server, "a", 60, &data, Payload::Cache).await?;
    let client = server.store.client(TaskKind::Other, &server.cancel);
    let root = "".parse()?;
    let mark = world.mock.journal_mark();
    server.store.list_groups(&root).await?;
    server.store.list_namespaces(&root, None).await?;
    server.store.list_files(&root, &first.dir).await?;
    server.store.snapshot_notes(&root, &first.dir).await?;
    assert_eq!(requests(&world, mark), exactly([]));

    let mark = world.mock.journal_mark();
    server
        .store
        .set_group_notes(client.as_ref(), &root, &group("a"), "notes")
        .await?;
    assert_eq!(
        requests(&world, mark),
        exactly([(Op::PutObject, "metadata", 1)])
    );

    let mark = world.mock.journal_mark();
    server.forget(&first).await?;
    assert_eq!(
        requests(&world, mark),
        exactly([
            (Op::HeadObject, "metadata", 1),
            (Op::GetObject, "metadata", 1),
            (Op::DeleteObject, "metadata", 1),
            (Op::DeleteObjects, "metadata", 1)
        ])
    );
    Ok(())
}

async fn verify(server: &Server, mode: VerifyMode) -> Result<()> {
    let everything = |_: &_, _: &_| true;
    let scope = VerifyScope {
        ns: "".parse()?,
        max_depth: None,
        may_verify: &everything,
    };
    let upid = "UPID:vm:00000B5D:00032AF6:00000094:68E79C00:verify:store1:root@pam:";
    let task = RecordingTask::with_upid(upid);
    let options = VerifyOptions {
        mode,
        ignore_verified: false,
        ..VerifyOptions::default()
    };
    let report = server
        .store
        .verify_datastore(&task, &scope, options)
        .await?;
    assert_eq!(report.failed, [] as [String; 0]);
    Ok(())
}

/// A GET per chunk, whatever is cached, a PUT per snapshot, a listing per group; a quick run reads
/// no chunk.
#[tokio::test(start_paused = true)]
async fn a_verification_costs_a_get_per_chunk() -> Result<()> {
    let (world, server) = World::new().await?;
    let data = chunks("data", 25);
    backup(&server, "a", 0, &data, Payload::Cache).await?;
    backup(&server, "a", 60, &data, Payload::Cache).await?;
    let mark = world.mock.journal_mark();
    verify(&server, VerifyMode::Full).await?;
    assert_eq!(
        requests(&world, mark),
        exactly([
            (Op::GetObject, "chunk", 25),
            (Op::PutObject, "metadata", 2),
            (Op::ListObjects, "metadata", 1)
        ])
    );
    let mark = world.mock.journal_mark();
    verify(&server, VerifyMode::Quick).await?;
    let counted = requests(&world, mark);
    assert_eq!(counted.get(&(Op::GetObject, "chunk")), None);
    let lists = counted.get(&(Op::ListObjects, "chunk")).copied();
    assert!(lists.is_some_and(|lists| lists <= 1), "{counted:?}");
    Ok(())
}

/// Of an intact store nothing is fetched, of a changed one what has changed; a listing a shard.
#[tokio::test(start_paused = true)]
async fn a_refresh_fetches_what_differs() -> Result<()> {
    let (world, server) = World::new().await?;
    let data = chunks("data", 40);
    let first = backup(&server, "a", 0, &data, Payload::Cache).await?;
    backup(&server, "b", 0, &data, Payload::Cache).await?;
    for changed in [0, 1, 2] {
        for name in ["tree.didx", "x.conf.blob"].iter().take(changed) {
            std::fs::remove_file(server.snapshot_path(&first).join(name))?;
        }
        let mark = world.mock.journal_mark();
        let task = SilentTask::new();
        let refreshed = server.store.s3_refresh(&task, RefreshOptions::default());
        refreshed.await?;
        let counted = requests(&world, mark);
        let of = |op, kind| counted.get(&(op, kind)).copied().unwrap_or(0);
        assert_eq!(of(Op::GetObject, "metadata"), changed);
        assert_eq!(of(Op::ListObjects, "metadata"), 1);
        assert_eq!(of(Op::ListObjects, "chunk"), 256);
        assert_eq!(of(Op::GetObject, "chunk") + of(Op::HeadObject, "chunk"), 0);
        assert_eq!(world.mock.journal().since(mark).changes().count(), 0);
    }
    Ok(())
}

/// A restore fetches what is not cached, each chunk once.
#[tokio::test(start_paused = true)]
async fn a_restore_fetches_what_is_not_cached() -> Result<()> {
    let (world, server) = World::new().await?;
    let (cached, bare) = (chunks("cached", 7), chunks("bare", 5));
    backup(&server, "a", 0, &cached, Payload::Cache).await?;
    backup(&server, "b", 0, &bare, Payload::Discard).await?;
    let lease = server.store.writer_lease(&server.cancel).await?;
    let client = server.store.client(TaskKind::Restore, &server.cancel);
    for fetched in [5, 0] {
        let mark = world.mock.journal_mark();
        for chunk in cached.iter().chain(&bare) {
            let read = server
                .store
                .read_chunk(client.as_ref(), chunk.digest, Payload::Cache);
            assert_eq!(read.await?.decode(None, 1 << 20)?, chunk.data);
        }
        let gets = requests(&world, mark).remove(&(Op::GetObject, "chunk"));
        assert_eq!(gets.unwrap_or(0), fetched);
    }
    drop(lease);
    Ok(())
}

/// `gc-requests`: LIST ≤ N/1000 + shards + pages of metadata, POST ≤ D/1000 + batches in flight,
/// nothing for a live chunk.
#[tokio::test(start_paused = true)]
async fn a_collection_costs_no_request_per_live_chunk() -> Result<()> {
    for (shards, live, dead) in [
        (1, 2300, 2100),
        (16, 2300, 2100),
        (16, 2300, 0),
        (256, 700, 30),
    ] {
        let (world, server) = World::new().await?;
        let data = chunks("live", live);
        let session = server.session("live", 0).await?;
        for chunk in &data {
            let body = blob(&String::from_utf8_lossy(&chunk.data))?;
            let key = chunk_key(&chunk.digest);
            world.mock.put_at(BUCKET, &key, body, START * 1000);
            let now = datastore::file_time::FileTime::from_secs(START);
            server.store.chunks().create_marker(&chunk.digest, now)?;
            let size = u32::try_from(chunk.data.len())?;
            assert!(session.touch_known(chunk.digest, size).await?);
        }
        scenarios::finish(session, &data).await?;
        let garbage = world.known_garbage(&server, dead)?;
        let expected = match shards {
            1 => 4000,
            16 => 30_000,
            _ => 400_000,
        };
        world.remember_run(&server, expected, u64::try_from(garbage.len())?)?;
        world.pass(AFTER_GRACE).await;
        let metadata_pages = world.mock.keys(BUCKET, &format!("{STORE}/.cnt/")).len() / 1000 + 1;
        let mark = world.mock.journal_mark();
        check_report(&server.gc_with(GcOptions::default()).await.0?, dead)?;
        let counted = requests(&world, mark);
        let of = |op, kind| counted.get(&(op, kind)).copied().unwrap_or(0);
        let lists = of(Op::ListObjects, "chunk") + of(Op::ListObjects, "metadata");
        assert!(
            lists <= (live + dead) / 1000 + shards + metadata_pages,
            "{lists} listings, {shards} shards"
        );
        assert!(lists > shards, "another number of shards");
        let in_flight = world
            .mock
            .counters()
            .most_in_flight
            .get(&Op::DeleteObjects)
            .copied();
        let in_flight = usize::try_from(in_flight.unwrap_or(0))?;
        let deletes = of(Op::DeleteObjects, "chunk");
        assert!(
            deletes <= dead / 1000 + in_flight.max(1),
            "{deletes} deletes"
        );
        // One more look at the bucket, and the epoch for each request that deletes.
        let others = counted.values().sum::<usize>() - lists - deletes;
        assert_eq!(others, 1 + deletes, "{counted:?}");
        assert_eq!(of(Op::HeadBucket, "bucket"), 1);
        assert_eq!(of(Op::PutObject, "epoch"), deletes);
    }
    Ok(())
}

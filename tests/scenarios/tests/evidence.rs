//! Damaged chunks: verify beside a collection, and the evidence that it leaves (`gc.md` §9, T49,
//! T50).

use std::time::Duration;

use anyhow::{Context, Result};
use datastore::backend::s3::insert::Payload;
use datastore::gc::GcOptions;
use datastore::task::RecordingTask;
use datastore::verify::{VerifyOptions, VerifyReport, VerifyScope};
use s3_mock::behaviour::KeyError;
use s3_mock::{Action, Change, Fault, Gate, Op};
use scenarios::facts::{check_report, keys_of};
use scenarios::{
    AFTER_GRACE, BUCKET, Chunk, START, Server, Snapshot, World, chunk_key, chunks, finish, insert,
    no_grace,
};

/// Snapshots with markers only, so that nothing can be healed from here.
async fn bare(server: &Server, id: &str, at: i64, data: &[Chunk]) -> Result<Snapshot> {
    let session = server.session_with(id, at, Payload::Discard).await?;
    for chunk in data {
        insert(&session, chunk).await?;
    }
    finish(session, data).await
}

async fn verify(server: &Server) -> Result<VerifyReport> {
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
    Ok(report.await?)
}

fn damage(world: &World, chunk: &Chunk) -> Result<()> {
    let key = chunk_key(&chunk.digest);
    let mut raw = world.mock.get(BUCKET, &key).context("an object")?.to_vec();
    let last = raw.len() - 1;
    raw[last] ^= 1;
    world.mock.put(BUCKET, &key, raw);
    Ok(())
}

fn bad_key(chunk: &Chunk, number: u8) -> String {
    format!("{}.{number}.bad", chunk_key(&chunk.digest))
}

/// Whether the last write of the chunk's object was over an existing one.
fn replaced(world: &World, mark: u64, chunk: &Chunk) -> Vec<bool> {
    let key = chunk_key(&chunk.digest);
    let journal = world.mock.journal().since(mark);
    let puts = journal.changes().filter_map(|(_, change)| match change {
        Change::Put { key: put, replaced } if *put == key => Some(*replaced),
        _ => None,
    });
    puts.collect()
}

/// T49: while a collection runs, verify finds a damaged chunk. It is not alone, so the object is
/// only listed as bad; the collection keeps it, and the next upload replaces it.
#[tokio::test(start_paused = true)]
async fn t49_verify_beside_a_collection_only_lists_the_bad_chunk() -> Result<()> {
    let (world, server) = World::new().await?;
    let data = chunks("data", 3);
    let live = bare(&server, "live", 0, &data).await?;
    let dead = server.backup("dead", 0, &chunks("dead", 2)).await?;
    server.forget(&dead).await?;
    world.pass(AFTER_GRACE).await;
    damage(&world, &data[0])?;
    let mark = world.mock.journal_mark();
    let gate = world.gate_listing();
    let gc = world
        .collect_until(&server, GcOptions::default(), &gate)
        .await?;
    let found = verify(&server).await?;
    assert_eq!((found.corrupt_chunks, found.missing_chunks), (1, 0));
    let since = world.mock.journal().since(mark);
    assert!(since.requests_of(Op::CopyObject).is_empty());
    assert_eq!(world.delete_requests(mark), 0);
    gate.release();
    let report = gc.end().await?;
    check_report(&report, 2)?;
    assert_eq!(world.deleted_chunks(mark), keys_of(&dead.chunks));
    assert_eq!((report.missing, report.presence_created), (0, 0));
    check_next_upload_replaces(&world, &server, &live).await
}

/// T49: the copy of a damaged chunk succeeds, its delete is refused, and a collection begins in
/// between: it is refused, one sweeper at a time. A later one keeps the object, and does not make
/// the digest present again.
#[tokio::test(start_paused = true)]
async fn t49_a_bad_chunk_that_cannot_be_deleted_is_replaced_by_the_next_upload() -> Result<()> {
    let (world, server) = World::new().await?;
    let data = chunks("data", 3);
    let live = bare(&server, "live", 0, &data).await?;
    world.pass(AFTER_GRACE).await;
    damage(&world, &data[0])?;
    world.mock.configure(|behaviour| {
        let key = chunk_key(&data[0].digest);
        behaviour.delete_key_errors = vec![KeyError::always(key, "AccessDenied")];
    });
    let copied = Gate::new();
    let pause = Action::ApplyThenPause(copied.clone());
    world.mock.script(Fault::on(Op::CopyObject, pause));
    let other = server.clone();
    let verifying = tokio::spawn(async move { verify(&other).await });
    copied.arrived().await;
    let error = server.gc().await.expect_err("verify is deleting");
    assert!(error.to_string().contains("lock"), "{error}");
    copied.release();
    assert_eq!(verifying.await??.corrupt_chunks, 1);
    assert!(world.mock.get(BUCKET, &bad_key(&data[0], 0)).is_some());
    assert!(world.has_object(&data[0]));

    for _ in 0..2 {
        let report = server.gc_now().await?;
        check_report(&report, 0)?;
        assert_eq!((report.missing, report.presence_created), (0, 0));
        assert!(world.has_object(&data[0]));
        assert!(
            !server.is_present(&data[0]),
            "the damaged object is believed"
        );
    }
    check_next_upload_replaces(&world, &server, &live).await
}

/// The first chunk of the snapshot is on the bad list: uploaded by the next backup, over whatever
/// is there.
async fn check_next_upload_replaces(world: &World, server: &Server, live: &Snapshot) -> Result<()> {
    let bad = &live.chunks[0];
    let mark = world.mock.journal_mark();
    let session = server.session("again", 200_000).await?;
    assert!(!insert(&session, bad).await?.duplicate);
    assert_eq!(replaced(world, mark, bad), [true]);
    assert!(insert(&session, bad).await?.duplicate);
    for chunk in &live.chunks[1..] {
        assert!(insert(&session, chunk).await?.duplicate);
    }
    let again = finish(session, &live.chunks).await?;
    check_report(&server.gc_now().await?, 0)?;
    assert_eq!(verify(server).await?.corrupt_chunks, 0);
    world.check_safe(server, &[live, &again]).await?;
    server.check_settled()
}

/// One kind of evidence, and what becomes of it.
struct Case {
    chunk: Chunk,
    referenced: bool,
    good: bool,
    old: bool,
    local: bool,
}

impl Case {
    fn all() -> Vec<Self> {
        let flags = |case: usize, bit: usize| case & (1 << bit) != 0;
        chunks("bad", 16)
            .into_iter()
            .enumerate()
            .map(|(case, chunk)| Self {
                chunk,
                referenced: flags(case, 0),
                good: flags(case, 1),
                old: flags(case, 2),
                local: flags(case, 3),
            })
            .collect()
    }

    /// Evidence goes when it is old, and when nothing that is referenced has only it.
    fn stays(&self) -> bool {
        !self.old || (self.referenced && !self.good)
    }
}

/// T50 (H5): evidence of damaged chunks in every combination of referenced, good object there,
/// older than the retention, local evidence there. No collection fails because of it.
#[tokio::test(start_paused = true)]
async fn t50_evidence_is_kept_by_rule() -> Result<()> {
    let (world, server) = World::new().await?;
    let cases = Case::all();
    let referenced: Vec<Chunk> = cases
        .iter()
        .filter(|case| case.referenced)
        .map(|case| case.chunk.clone())
        .collect();
    bare(&server, "live", 0, &referenced).await?;
    world.pass(Duration::from_secs(40 * 24 * 3600)).await;
    let now = world.mock.now_millis();
    for case in &cases {
        let (digest, key) = (&case.chunk.digest, chunk_key(&case.chunk.digest));
        match (case.good, case.referenced) {
            (true, true) => {}
            (true, false) => world.mock.put_at(BUCKET, &key, "good", now),
            (false, _) => {
                world.mock.delete(BUCKET, &key);
                let _ = std::fs::remove_file(server.store.chunks().chunk_path(digest));
            }
        }
        let written = if case.old { START * 1000 } else { now };
        world
            .mock
            .put_at(BUCKET, &bad_key(&case.chunk, 0), "bad", written);
        if case.local {
            let path = server.store.chunks().bad_path(digest, 0);
            std::fs::create_dir_all(path.parent().context("a directory")?)?;
            std::fs::write(path, b"bad")?;
        }
    }
    let report = server.gc().await?;
    assert!(report.adds_up());
    let stay = cases.iter().filter(|case| case.stays()).count();
    assert_eq!(report.listing.bad, 16);
    assert_eq!(usize::try_from(report.kept_bad.count)?, stay);
    assert_eq!(usize::try_from(report.removed_bad.count)?, 16 - stay);
    for case in &cases {
        let what = format!(
            "referenced {} good {} old {} local {}",
            case.referenced, case.good, case.old, case.local
        );
        let there = world.mock.get(BUCKET, &bad_key(&case.chunk, 0)).is_some();
        assert_eq!(there, case.stays(), "{what}");
        let local = server.store.chunks().bad_path(&case.chunk.digest, 0);
        assert_eq!(local.exists(), case.local && case.stays(), "{what}");
        // What is not there is not taken for present because of its evidence.
        assert_eq!(
            server.is_present(&case.chunk),
            case.referenced && case.good,
            "{what}"
        );
    }
    server.check_presence(&world)?;
    // Nothing changes by itself; in time the rest goes, but for the only copies.
    let report = server.gc().await?;
    assert_eq!(report.removed_bad.count, 0);
    world.pass(Duration::from_secs(31 * 24 * 3600)).await;
    let report = server.gc().await?;
    assert_eq!(report.kept_bad.count, 4);
    assert_eq!(report.missing, 4);
    server.check_presence(&world)?;
    // And when a backup has brought the good ones back, so do those.
    let again = server.backup("again", 7_000_000, &referenced).await?;
    let report = server.gc_with(no_grace()).await.0?;
    assert_eq!((report.removed_bad.count, report.missing), (4, 0));
    world.check_safe(&server, &[&again]).await?;
    server.check_settled()
}

//! What keeps a collection from starting or from deleting (`gc.md` §9, T19–T24).

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use datastore::Error;
use datastore::gc::{GcError, GcOptions};
use datastore::task::TaskContext;
use s3_mock::{Action, Fault, Gate, Op};
use scenarios::facts::check_report;
use scenarios::running::{any_chunk, reason};
use scenarios::{
    AFTER_GRACE, AFTER_QUARANTINE, BUCKET, STORE, World, chunks, commit, insert, no_grace, tree,
    write_index,
};

/// T19: an index that is truncated, of another kind, or not a whole number of entries long.
#[tokio::test(start_paused = true)]
async fn t19_a_damaged_index_stops_the_run_and_is_named() -> Result<()> {
    type Damage = fn(Vec<u8>) -> Vec<u8>;
    let damages: [(&str, Damage); 4] = [
        ("entry cut off", |bytes| bytes[..bytes.len() - 40].to_vec()),
        ("no entry left", |bytes| bytes[..4096].to_vec()),
        ("header cut off", |bytes| bytes[..100].to_vec()),
        ("wrong magic", |mut bytes| {
            bytes[0] ^= 1;
            bytes
        }),
    ];
    let (world, server) = World::new().await?;
    let dead = server.backup("dead", 0, &chunks("dead", 3)).await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    // The digest lists are cached from here on, so a cache that is believed blindly shows, too.
    server.gc().await?;
    server.forget(&dead).await?;
    world.pass(AFTER_GRACE).await;
    let path = server.snapshot_path(&live).join("tree.didx");
    let whole = std::fs::read(&path)?;
    for (what, damage) in damages {
        std::fs::write(&path, damage(whole.clone()))?;
        let mark = world.mock.journal_mark();
        let error = server.gc().await.expect_err(what);
        let Some(Error::Gc(gc)) = reason(&error) else {
            panic!("{what}: {error}");
        };
        assert!(
            matches!(&**gc, GcError::BadIndex { path: named, .. } if *named == path),
            "{what}: {error}"
        );
        assert!(error.to_string().contains("tree.didx"), "{error}");
        assert_eq!(world.delete_requests(mark), 0, "{what}");
        assert_eq!(world.chunk_objects(), 6, "{what}");
        // Condemned nothing: all that was present still is.
        assert!(dead.chunks.iter().all(|chunk| server.is_present(chunk)));
    }
    std::fs::write(&path, &whole)?;
    let report = server.gc().await?;
    check_report(&report, 3)?;
    world.check_objects(&live.chunks)?;
    world.check_safe(&server, &[&live]).await?;
    server.check_settled()
}

/// T20: a group directory that must not be read.
#[tokio::test(start_paused = true)]
async fn t20_an_unreadable_group_stops_the_run() -> Result<()> {
    let (world, server) = World::new().await?;
    let dead = server.backup("dead", 0, &chunks("dead", 3)).await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    server.forget(&dead).await?;
    world.pass(AFTER_GRACE).await;
    let group = server
        .snapshot_path(&live)
        .parent()
        .context("a group")?
        .to_owned();
    let mark = world.mock.journal_mark();
    std::fs::set_permissions(&group, std::fs::Permissions::from_mode(0o000))?;
    let nobody = Nobody::become_one(&world.cache("cache"))?;
    let result = server.gc().await;
    drop(nobody);
    std::fs::set_permissions(&group, std::fs::Permissions::from_mode(0o755))?;
    let error = result.expect_err("the group cannot be read");
    let Some(Error::Gc(gc)) = reason(&error) else {
        panic!("{error}");
    };
    assert!(
        matches!(&**gc, GcError::Denied { path, .. } if path.starts_with(&group)),
        "{error}"
    );
    assert_eq!(world.delete_requests(mark), 0);
    let report = server.gc().await?;
    check_report(&report, 3)?;
    world.check_safe(&server, &[&live]).await
}

/// For root nothing is unreadable: this thread's file operations are somebody else's meanwhile.
struct Nobody {
    was: nix::unistd::Uid,
}

impl Nobody {
    fn become_one(base: &Path) -> Result<Self> {
        let nobody = nix::unistd::Uid::from_raw(65534);
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(base, Some(nobody.as_raw()), None)?;
            for path in tree(base)? {
                std::os::unix::fs::chown(base.join(path), Some(nobody.as_raw()), None)?;
            }
            let above = base.parent().context("a parent")?;
            std::fs::set_permissions(above, std::fs::Permissions::from_mode(0o755))?;
            return Ok(Self {
                was: nix::unistd::setfsuid(nobody),
            });
        }
        Ok(Self {
            was: nix::unistd::geteuid(),
        })
    }
}

impl Drop for Nobody {
    fn drop(&mut self) {
        nix::unistd::setfsuid(self.was);
    }
}

/// T21: an index in a place where none should be.
#[tokio::test(start_paused = true)]
async fn t21_an_index_in_an_odd_place_is_marked_with_a_warning() -> Result<()> {
    let (world, server) = World::new().await?;
    let copied = server.backup("a", 0, &chunks("copied", 3)).await?;
    let dead = server.backup("b", 0, &chunks("dead", 3)).await?;
    let odd = world.cache("cache").join("by-hand");
    std::fs::create_dir(&odd)?;
    std::fs::copy(
        server.snapshot_path(&copied).join("tree.didx"),
        odd.join("copy.didx"),
    )?;
    server.forget(&copied).await?;
    server.forget(&dead).await?;
    world.pass(AFTER_GRACE).await;
    let (report, task) = server.gc_with(GcOptions::default()).await;
    check_report(&report?, 3)?;
    assert!(
        task.warning_texts()
            .iter()
            .any(|text| text.contains("by-hand")),
        "{:?}",
        task.lines()
    );
    world.check_objects(&copied.chunks)?;
    server.check_presence(&world)?;
    server.check_settled()
}

/// T22: two collections at once, in one process and in two.
#[tokio::test(start_paused = true)]
async fn t22_the_second_collection_is_refused() -> Result<()> {
    let (world, server) = World::new().await?;
    let other = world.open("cache")?;
    let dead = server.backup("dead", 0, &chunks("dead", 3)).await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    server.forget(&dead).await?;
    world.pass(AFTER_GRACE).await;
    let gate = world.gate_listing();
    let mark = world.mock.journal_mark();
    let first = server.start_gc(GcOptions::default());
    gate.arrived().await;

    let error = server.gc().await.expect_err("same process");
    assert!(
        matches!(reason(&error), Some(Error::Locked { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("already running"), "{error}");
    let error = other.gc().await.expect_err("other process");
    assert!(
        matches!(reason(&error), Some(Error::Locked { .. })),
        "{error}"
    );
    // A backup of the other process waits for the collection, one of this process does not.
    let inside = server.session("inside", 10).await?;
    let mut outside = std::pin::pin!(other.session("outside", 10));
    assert!(futures_util::poll!(outside.as_mut()).is_pending());

    gate.release();
    check_report(&first.end().await?, 3)?;
    drop(inside);
    outside.await?.abort().await?;
    assert_eq!(world.deleted_chunks(mark).len(), 3);
    world.check_safe(&server, &[&live]).await?;
    server.check_settled()
}

/// T23: an old process still has a backup after a reload.
#[tokio::test(start_paused = true)]
async fn t23_a_new_process_waits_for_the_old_ones_backup() -> Result<()> {
    let (world, old) = World::new().await?;
    let reused = chunks("reused", 3);
    let dead = old.backup("dead", 0, &reused).await?;
    let garbage = old.backup("garbage", 0, &chunks("garbage", 2)).await?;
    old.forget(&dead).await?;
    old.forget(&garbage).await?;
    world.pass(AFTER_GRACE).await;
    let session = old.session("running", 10).await?;
    for chunk in &reused {
        assert!(insert(&session, chunk).await?.duplicate);
    }
    // Only the old process knows the stamps.
    let new = world.open("cache")?;
    let mark = world.mock.journal_mark();
    for _ in 0..2 {
        let error = new.gc_now().await.expect_err("the old process writes");
        assert!(
            matches!(reason(&error), Some(Error::Locked { .. })),
            "{error}"
        );
    }
    assert_eq!(world.delete_requests(mark), 0);
    write_index(&session, &reused).await?;
    let snapshot = commit(session, &reused).await?;

    let report = new.gc_now().await?;
    check_report(&report, 2)?;
    world.check_objects(&reused)?;
    world.check_safe(&new, &[&snapshot]).await?;
    new.check_settled()
}

/// T23, the other direction (§8.1 "journal read under the lock"): the new process was there before
/// the old one sent its last deletes.
#[tokio::test(start_paused = true)]
async fn t23_deletes_of_the_old_process_are_suspect_in_the_new_one() -> Result<()> {
    let (world, old) = World::new().await?;
    let data = chunks("data", 3);
    let dead = old.backup("dead", 0, &data).await?;
    old.forget(&dead).await?;
    world.pass(AFTER_GRACE).await;
    let new = world.open("cache")?;
    world.spoil_delete(Action::Late {
        after: None,
        client: s3_mock::ClientSees::Hang,
    });
    let collection = old.start_gc(no_grace());
    let late = world.mock.wait_late(1).await;
    collection.crash().await;
    drop(old);

    let session = new.session("again", 10).await?;
    for chunk in &data {
        assert!(!insert(&session, chunk).await?.duplicate);
    }
    write_index(&session, &data).await?;
    let snapshot = commit(session, &data).await?;
    assert_eq!(world.mock.release_late(late[0].id), Some(200));
    world.check_objects(&[])?;
    world.pass(AFTER_QUARANTINE).await;
    new.gc().await?;
    world.check_safe(&new, &[&snapshot]).await?;
    new.check_settled()
}

/// T24: another instance takes the prefix over between mark and sweep.
#[tokio::test(start_paused = true)]
async fn t24_a_foreign_marker_stops_the_deletes() -> Result<()> {
    let (world, server) = World::new().await?;
    let dead = server.backup("dead", 0, &chunks("dead", 3)).await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    server.forget(&dead).await?;
    world.pass(AFTER_GRACE).await;
    // Slow enough that the look at the beginning is too old when the batch is ready.
    let mirror = Gate::new();
    world.mock.script(
        Fault::on(Op::ListObjects, Action::Pause(mirror.clone())).keys(format!("{STORE}/.cnt/*")),
    );
    let sweep = world.gate_listing();
    let mark = world.mock.journal_mark();
    let collection = server.start_gc(GcOptions::default());
    mirror.arrived().await;
    world.pass(Duration::from_secs(50)).await;
    mirror.release();
    sweep.arrived().await;
    let theirs = r#"{"hostname":"elsewhere","instance-id":"another"}"#;
    world.mock.put(BUCKET, &format!("{STORE}/.in-use"), theirs);
    world.pass(Duration::from_secs(50)).await;
    sweep.release();

    let error = collection.end().await.expect_err("the prefix is lost");
    assert!(
        matches!(reason(&error), Some(Error::Fenced { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("elsewhere"), "{error}");
    assert_eq!(world.delete_requests(mark), 0);
    assert_eq!(world.chunk_objects(), 6);
    world.check_safe(&server, &[&live]).await?;
    assert_eq!(server.store.digests().exceptional_count(), 0);

    // Fenced: nothing starts any more, nothing was sent.
    let error = server.gc().await.expect_err("fenced");
    assert!(
        matches!(reason(&error), Some(Error::Fenced { .. })),
        "{error}"
    );
    let error = server.session("late", 10).await.expect_err("fenced");
    assert!(
        matches!(reason(&error), Some(Error::Fenced { .. })),
        "{error}"
    );
    assert_eq!(world.delete_requests(mark), 0);
    Ok(())
}

/// T24: the prefix changes hands while the epoch is being written, right before the request.
#[tokio::test(start_paused = true)]
async fn t24_the_owner_is_looked_at_right_before_the_request() -> Result<()> {
    let (world, server) = World::new().await?;
    let dead = server.backup("dead", 0, &chunks("dead", 3)).await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    server.forget(&dead).await?;
    world.pass(AFTER_GRACE).await;
    let slow = Fault::on(Op::PutObject, Action::Hang).keys(format!("{STORE}/*/epoch"));
    let slow = world.mock.script(slow);
    let mark = world.mock.journal_mark();
    let collection = server.start_gc(GcOptions::default());
    let written = || world.mock.fault_hits(slow) > 0;
    world.until("the epoch is being written", written).await?;
    let theirs = r#"{"hostname":"elsewhere","instance-id":"another"}"#;
    world.mock.put(BUCKET, &format!("{STORE}/.in-use"), theirs);
    let error = collection.end().await.expect_err("the prefix is lost");
    assert!(
        matches!(reason(&error), Some(Error::Fenced { .. })),
        "{error}"
    );
    assert_eq!(world.delete_requests(mark), 0);
    assert_eq!(world.chunk_objects(), 6);
    world.check_safe(&server, &[&live]).await?;
    assert_eq!(server.store.digests().exceptional_count(), 0);
    Ok(())
}

/// T24: the prefix changes hands while a request hangs: it is not sent again.
#[tokio::test(start_paused = true)]
async fn t24_a_delete_is_not_repeated_for_the_new_owner() -> Result<()> {
    let (world, server) = World::new().await?;
    let dead = server.backup("dead", 0, &chunks("dead", 3)).await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    server.forget(&dead).await?;
    world.pass(AFTER_GRACE).await;
    world.spoil_delete(Action::Hang);
    let mark = world.mock.journal_mark();
    let collection = server.start_gc(GcOptions::default());
    let sent = || world.delete_requests(mark) > 0;
    world.until("the delete is sent", sent).await?;
    let theirs = r#"{"hostname":"elsewhere","instance-id":"another"}"#;
    world.mock.put(BUCKET, &format!("{STORE}/.in-use"), theirs);
    // Whether the run calls it an error or reports suspects: nothing more is sent.
    if let Ok(report) = collection.end().await {
        assert_eq!((report.deleted.count, report.suspect.count), (0, 3));
    }
    assert_eq!(world.delete_requests(mark), 1);
    assert_eq!(world.chunk_objects(), 6);
    assert_eq!(server.store.digests().exceptional_count(), 3);
    assert!(!server.delete_journal()?.is_empty());
    world.check_safe(&server, &[&live]).await
}

/// T24 (§8.1 "check before the manifest"): a session of the old owner does not commit.
#[tokio::test(start_paused = true)]
async fn t24_a_fenced_session_does_not_commit() -> Result<()> {
    let (world, server) = World::new().await?;
    let data = chunks("data", 3);
    let session = server.session("a", 0).await?;
    for chunk in &data {
        insert(&session, chunk).await?;
    }
    write_index(&session, &data).await?;
    let theirs = r#"{"hostname":"elsewhere","instance-id":"another"}"#;
    world.mock.put(BUCKET, &format!("{STORE}/.in-use"), theirs);
    world.pass(Duration::from_secs(61)).await;
    let dir = session.dir().clone();
    let error = commit(session, &data).await.expect_err("fenced");
    assert!(
        matches!(reason(&error), Some(Error::Fenced { .. })),
        "{error}"
    );
    let manifests = world.mock.keys(BUCKET, &format!("{STORE}/.cnt/"));
    assert!(!manifests.iter().any(|key| key.ends_with("index.json.blob")));
    let root = api_types::names::BackupNamespace::root();
    assert!(!server.store.snapshots().has_manifest(&root, &dir)?);
    Ok(())
}

/// T24 (§8.1 "request signed by the check"): paused between its look and its delete, the old owner
/// wakes up after the new one has listed.
#[tokio::test(start_paused = true)]
async fn t24_a_delete_sent_too_late_is_refused_by_its_signature() -> Result<()> {
    let (world, server) = World::new().await?;
    let dead = server.backup("dead", 0, &chunks("dead", 3)).await?;
    server.forget(&dead).await?;
    world.pass(AFTER_GRACE).await;
    // Sent fifty seconds after the look, and signed with the time of the look: it is valid for so
    // much shorter.
    let slow = Action::Delay(Duration::from_secs(50));
    let mirror = Fault::on(Op::ListObjects, slow).keys(format!("{STORE}/.cnt/*"));
    world.mock.script(mirror);
    let gate = Gate::new();
    let on_the_way = Fault::on(Op::DeleteObjects, Action::Pause(gate.clone()))
        .keys(any_chunk())
        .in_network();
    world.mock.script(on_the_way);
    let mark = world.mock.journal_mark();
    let collection = server.start_gc(GcOptions::default());
    gate.arrived().await;
    collection.task.cancel().cancel();
    collection.end().await.expect_err("aborted");
    world.pass(Duration::from_secs(15 * 60 - 25)).await;
    gate.release();
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(world.delete_requests(mark), 1);
    assert!(world.deleted_chunks(mark).is_empty());
    Ok(())
}

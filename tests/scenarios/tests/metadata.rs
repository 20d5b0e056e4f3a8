//! Local metadata that is lost, half replaced, or removed on purpose (`gc.md` §9, T53–T55).

use anyhow::{Context, Result, ensure};
use datastore::Error;
use datastore::gc::GcOptions;
use datastore::refresh::swap::{self, TREE_DIRS};
use datastore::refresh::{RefreshOptions, RefreshReport};
use datastore::store::state_dir::StateDir;
use datastore::task::SilentTask;
use s3_mock::{Action, Fault, Gate, Op};
use scenarios::facts::{check_report, copy_tree};
use scenarios::running::{crash, reason};
use scenarios::{AFTER_GRACE, BUCKET, STORE, Server, Snapshot, World, chunks};

/// Snapshots of so many chunks each, and garbage.
struct Scene {
    world: World,
    server: Server,
    snapshots: Vec<Snapshot>,
    garbage: Snapshot,
}

impl Scene {
    async fn new(bucket: bool, snapshots: usize, size: usize) -> Result<Self> {
        let (world, server) = match bucket {
            true => World::new().await?,
            false => World::directory().await?,
        };
        let garbage = server.backup("garbage", 0, &chunks("garbage", 3)).await?;
        let mut made = Vec::new();
        for index in 0..snapshots {
            let name = format!("g{index}");
            made.push(server.backup(&name, 0, &chunks(&name, size)).await?);
        }
        server.gc().await?;
        server.forget(&garbage).await?;
        world.pass(AFTER_GRACE).await;
        Ok(Self {
            world,
            server,
            snapshots: made,
            garbage,
        })
    }

    /// `rm -r` of a snapshot's group, and of its objects if told.
    fn remove_by_hand(&self, snapshot: &Snapshot, objects: bool) -> Result<()> {
        let group = self.server.snapshot_path(snapshot);
        let group = group.parent().context("a group")?;
        std::fs::remove_dir_all(group)?;
        if objects {
            let prefix = format!("{STORE}/.cnt/{}/", snapshot.dir.group.path());
            for key in self.world.mock.keys(BUCKET, &prefix) {
                self.world.mock.delete(BUCKET, &key);
            }
        }
        Ok(())
    }

    fn live(&self) -> Vec<&Snapshot> {
        self.snapshots.iter().collect()
    }
}

async fn refresh(server: &Server) -> Result<RefreshReport> {
    let task = SilentTask::new();
    let report = server.store.s3_refresh(&task, RefreshOptions::default());
    Ok(report.await?)
}

async fn collect_forced(server: &Server) -> Result<datastore::gc::GcReport> {
    let options = GcOptions {
        force: true,
        ..GcOptions::default()
    };
    server.gc_with(options).await.0
}

/// T53: a refresh dies while it fetches: at every request of it. The old generation is in force.
#[tokio::test(start_paused = true)]
async fn t53_a_refresh_that_dies_before_its_exchange_leaves_the_old_generation() -> Result<()> {
    let mut requests = 0;
    loop {
        let scene = Scene::new(true, 3, 2).await?;
        let Scene { world, server, .. } = &scene;
        // Something to fetch: local files that differ.
        scene.remove_by_hand(&scene.snapshots[0], false)?;
        let gate = Gate::new();
        let pause = Action::ApplyThenPause(gate.clone());
        let stop = Fault::on_ops(&[Op::GetObject, Op::ListObjects], pause);
        let stop = world.mock.script(stop.nth(requests + 1));
        let mark = world.mock.journal_mark();
        let other = server.clone();
        let refreshing = tokio::spawn(async move { refresh(&other).await });
        while !refreshing.is_finished() && gate.arrivals() == 0 {
            world.pass(std::time::Duration::from_millis(10)).await;
        }
        if refreshing.is_finished() {
            // Every request has been the last one once.
            refreshing.await??;
            ensure!(world.mock.fault_hits(stop) == 0 && requests > 200);
            return Ok(());
        }
        crash(refreshing).await;
        world.mock.clear_faults();
        let Scene {
            world,
            server,
            snapshots,
            ..
        } = scene;
        let server = world.restart(server)?;
        let live: Vec<&Snapshot> = snapshots.iter().collect();
        let report = server.gc().await?;
        check_report(&report, 3).with_context(|| format!("request {requests}"))?;
        ensure!(world.deleted_chunks(mark).len() == 3);
        for snapshot in &live {
            for chunk in &snapshot.chunks {
                ensure!(world.has_object(chunk), "request {requests}");
            }
        }
        refresh(&server).await?;
        world.check_safe(&server, &live).await?;
        server.check_settled()?;
        // The listings of presence are many and alike.
        requests += if requests > 12 { 61 } else { 1 };
    }
}

/// The disk of a store whose refresh died in the middle of its exchange, as many of the four
/// directories moved as told, the next one half. Returns what was there before it.
fn die_in_exchange(base: &std::path::Path, moved: usize, half: bool) -> Result<()> {
    let state = StateDir::of(base);
    let new = swap::new_tree(&state);
    swap::prepare(&state)?;
    for dir in TREE_DIRS {
        if base.join(dir).exists() {
            copy_tree(&base.join(dir), &new.join(dir))?;
        }
    }
    std::fs::write(state.refresh().join("commit"), b"")?;
    let old = state.refresh().join("old");
    std::fs::create_dir_all(&old)?;
    for (index, dir) in TREE_DIRS.iter().enumerate() {
        let current = base.join(dir);
        if (index < moved || (half && index == moved)) && current.exists() {
            std::fs::rename(&current, old.join(dir))?;
        }
        if index < moved {
            std::fs::rename(new.join(dir), &current)?;
        }
    }
    Ok(())
}

/// T53 (H12): it dies in the exchange, with some of the trees gone. Whoever opens the store next
/// completes it before anybody looks at a snapshot; a process that had it open is refused.
#[tokio::test(start_paused = true)]
async fn t53_a_refresh_that_dies_in_its_exchange_is_completed_first() -> Result<()> {
    for moved in 0..=TREE_DIRS.len() {
        for half in [false, true] {
            let Scene {
                world,
                server,
                snapshots,
                ..
            } = Scene::new(true, 3, 2).await?;
            let base = server.store.base().to_owned();
            drop(server);
            die_in_exchange(&base, moved, half)?;
            let mark = world.mock.journal_mark();
            let server = world.open("cache")?;
            let report = server.gc().await?;
            check_report(&report, 3).with_context(|| format!("{moved} {half}"))?;
            assert_eq!(world.deleted_chunks(mark).len(), 3);
            assert_eq!(report.status.index_file_count, 3, "the local trees");
            let live: Vec<&Snapshot> = snapshots.iter().collect();
            world.check_safe(&server, &live).await?;
            server.check_settled()?;
        }
    }
    Ok(())
}

/// T54: three of ten snapshots are gone here, but not in the bucket: they are marked from there.
#[tokio::test(start_paused = true)]
async fn t54_snapshots_that_only_the_bucket_has_are_marked() -> Result<()> {
    let scene = Scene::new(true, 10, 3).await?;
    for snapshot in &scene.snapshots[..3] {
        scene.remove_by_hand(snapshot, false)?;
    }
    let mark = scene.world.mock.journal_mark();
    let (report, task) = scene.server.gc_with(GcOptions::default()).await;
    check_report(&report?, 3)?;
    assert!(task.contains("3 index files are in the bucket but not"));
    assert_eq!(scene.world.deleted_chunks(mark).len(), 3);
    // Forced, too.
    check_report(&collect_forced(&scene.server).await?, 0)?;
    refresh(&scene.server).await?;
    scene.world.check_safe(&scene.server, &scene.live()).await?;
    scene.server.check_settled()
}

/// T54: all of them are gone here: a run says so and stops, forced it marks from the bucket.
#[tokio::test(start_paused = true)]
async fn t54_an_empty_local_tree_stops_the_run() -> Result<()> {
    let scene = Scene::new(true, 4, 3).await?;
    for snapshot in &scene.snapshots {
        scene.remove_by_hand(snapshot, false)?;
    }
    let mark = scene.world.mock.journal_mark();
    let error = scene.server.gc().await.expect_err("nothing left");
    assert!(error.to_string().contains("refresh"), "{error}");
    assert_eq!(scene.world.delete_requests(mark), 0);
    assert_eq!(collect_forced(&scene.server).await?.deleted.count, 3);
    refresh(&scene.server).await?;
    scene.world.check_safe(&scene.server, &scene.live()).await?;
    scene.server.check_settled()
}

/// T54: 30 % of the snapshots are gone everywhere, and nobody removed them: nothing is deleted
/// unless it is forced.
#[tokio::test(start_paused = true)]
async fn t54_snapshots_that_vanished_without_a_record_stop_the_run() -> Result<()> {
    for bucket in [true, false] {
        let scene = Scene::new(bucket, 40, 2).await?;
        for snapshot in &scene.snapshots[..12] {
            scene.remove_by_hand(snapshot, bucket)?;
        }
        let before = scene.server.local_digests()?;
        let mark = scene.world.mock.journal_mark();
        for _ in 0..2 {
            let error = scene.server.gc().await.expect_err("12 of 40");
            assert!(matches!(reason(&error), Some(Error::Refused(_))), "{error}");
            let text = error.to_string();
            assert!(text.contains("only 28 index files"), "{text}");
            assert_eq!(scene.server.local_digests()?, before);
            assert_eq!(scene.world.delete_requests(mark), 0);
        }
        let report = collect_forced(&scene.server).await?;
        assert_eq!(report.deleted.count, 3 + 24);
        for snapshot in &scene.snapshots[12..] {
            assert!(scene.server.can_restore(snapshot).await?);
        }
        for snapshot in &scene.snapshots[..12] {
            assert!(!scene.server.can_restore(snapshot).await?);
        }
    }
    Ok(())
}

/// T55: everything is removed, by the operations meant for it: the tripwires know.
#[tokio::test(start_paused = true)]
async fn t55_a_store_that_was_emptied_on_purpose_is_swept_clean() -> Result<()> {
    for bucket in [true, false] {
        // More than a tripwire lets pass without a reason, of both kinds.
        let scene = Scene::new(bucket, 25, 50).await?;
        for snapshot in &scene.snapshots {
            scene.server.forget(snapshot).await?;
        }
        // A restart in between: the records are on disk.
        let Scene {
            world,
            server,
            garbage,
            ..
        } = scene;
        let server = if bucket {
            world.restart(server)?
        } else {
            server
        };
        world.pass(AFTER_GRACE).await;
        let report = server.gc().await?;
        assert_eq!(report.deleted.count, 25 * 50 + 3);
        assert_eq!(server.local_digests()?, []);
        assert_eq!(world.chunk_objects(), 0);
        assert!(!server.can_restore(&garbage).await?);
        // The records are used up: what vanishes next has no excuse.
        let again = server.gc().await?;
        assert_eq!(again.deleted.count, 0);
        if bucket {
            server.check_settled()?;
        }
    }
    Ok(())
}

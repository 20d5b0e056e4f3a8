//! Clocks that are wrong or jump (`gc.md` §9, T42, T43; G9).

use std::time::Duration;

use anyhow::{Result, bail};
use datastore::gc::GcOptions;
use datastore::gc::candidate::PendingReason;
use s3_mock::{Action, ClientSees};
use scenarios::facts::{check_report, keys_of};
use scenarios::{AFTER_GRACE, AFTER_QUARANTINE, Server, Snapshot, World, chunks, finish, insert};

const DAY: i64 = 24 * 3600 * 1000;
const HOUR: Duration = Duration::from_secs(3600);

/// Old garbage, young garbage, something live.
struct Scene {
    world: World,
    server: Server,
    old: Snapshot,
    young: Snapshot,
    live: Snapshot,
}

impl Scene {
    async fn new() -> Result<Self> {
        let (world, server) = World::new().await?;
        let old = server.backup("old", 0, &chunks("old", 3)).await?;
        let live = server.backup("live", 0, &chunks("live", 3)).await?;
        server.forget(&old).await?;
        // So that no stamp protects it any more.
        check_report(&server.gc().await?, 0)?;
        world.pass(AFTER_GRACE).await;
        let young = server.backup("young", 90_000, &chunks("young", 2)).await?;
        server.forget(&young).await?;
        // The same for the young one; dry, so that the old one is left.
        let server = world.restart(server)?;
        world.pass(HOUR).await;
        Ok(Self {
            world,
            server,
            old,
            young,
            live,
        })
    }

    /// Nothing but the old garbage may go; whether it did is another matter.
    async fn check(&self, mark: u64) -> Result<()> {
        let allowed = keys_of(&self.old.chunks);
        let deleted = self.world.deleted_chunks(mark);
        anyhow::ensure!(deleted.is_subset(&allowed), "too much: {deleted:?}");
        self.world.check_safe(&self.server, &[&self.live]).await
    }
}

/// A run that may be stopped because of the clocks, nothing else.
async fn collect(server: &Server, force: bool) -> Result<u64> {
    let options = GcOptions {
        force,
        ..GcOptions::default()
    };
    match server.gc_with(options).await.0 {
        Ok(report) => Ok(report.deleted.count),
        Err(error) if !force && error.to_string().contains("clock") => Ok(0),
        Err(error) => Err(error),
    }
}

/// T42: the local clock jumps two days, back or ahead, before a run or in the middle of one.
#[tokio::test(start_paused = true)]
async fn t42_a_jump_of_the_local_clock_deletes_nothing_more() -> Result<()> {
    for jump in [-2 * DAY, 2 * DAY] {
        for force in [false, true] {
            let scene = Scene::new().await?;
            scene.world.env.jump_wall_clock(jump);
            let mark = scene.world.mock.journal_mark();
            let deleted = collect(&scene.server, force).await?;
            scene.check(mark).await?;
            // Ahead of the server's, the local clock makes nothing older than it is; behind, it
            // makes local files younger.
            let expected = if force && jump > 0 { 3 } else { 0 };
            assert_eq!(deleted, expected, "{jump} {force}");
            scene.world.env.jump_wall_clock(-jump);
            let report = scene.server.gc().await?;
            assert_eq!(deleted + report.deleted.count, 3, "{jump} {force}");
            scene.check(mark).await?;
            scene.server.check_settled()?;
        }
    }
    Ok(())
}

/// T42: the same while the listing is on its way.
#[tokio::test(start_paused = true)]
async fn t42_a_jump_in_the_middle_of_a_run_deletes_nothing_more() -> Result<()> {
    for jump in [-2 * DAY, 2 * DAY] {
        let scene = Scene::new().await?;
        let mark = scene.world.mock.journal_mark();
        let gate = scene.world.gate_listing();
        let gc = scene
            .world
            .collect_until(&scene.server, GcOptions::default(), &gate)
            .await?;
        scene.world.env.jump_wall_clock(jump);
        // A running session uses one of the young ones: its file is touched at a strange time.
        let session = scene.server.session("new", 100_000).await?;
        assert!(insert(&session, &scene.young.chunks[0]).await?.duplicate);
        gate.release();
        let task = std::sync::Arc::clone(&gc.task);
        gc.end().await?;
        scene.check(mark).await?;
        assert!(
            task.warning_texts().iter().any(|t| t.contains("clock")),
            "{:?}",
            task.lines()
        );
        scene.world.env.jump_wall_clock(-jump);
        let new = finish(session, &scene.young.chunks[..1]).await?;
        scene.server.gc().await?;
        scene.check(mark).await?;
        scene.world.check_safe(&scene.server, &[&new]).await?;
        scene.server.check_settled()?;
    }
    Ok(())
}

/// G9: a quarantine lasts as long as it must on the monotonic clock, whatever the wall clock says.
#[tokio::test(start_paused = true)]
async fn t42_a_jump_shortens_no_quarantine() -> Result<()> {
    let scene = Scene::new().await?;
    let (world, server) = (&scene.world, &scene.server);
    world.spoil_delete(Action::Late {
        after: None,
        client: ClientSees::Drop,
    });
    assert_eq!(server.gc().await?.deleted.count, 3);
    let again = server.backup("again", 100_000, &scene.old.chunks).await?;
    world.env.jump_wall_clock(2 * DAY);
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(server.store.tend(&server.cancel).await?, None);
    assert_eq!(server.store.digests().suspects().len(), 3);
    let late = world.mock.late();
    assert_eq!(world.mock.release_late(late[0].id), Some(200));
    world.pass(AFTER_QUARANTINE).await;
    let Some(tended) = server.store.tend(&server.cancel).await? else {
        bail!("the quarantine has not ended");
    };
    assert_eq!(tended.quarantines.restored, 3);
    world.check_safe(server, &[&scene.live, &again]).await?;
    server.check_settled()
}

/// T43: the server's clock is ahead. Ages are differences of its own times, so that nothing is
/// older than it is; beyond ten minutes a run is not begun unless it is forced.
#[tokio::test(start_paused = true)]
async fn t43_ages_are_those_of_the_servers_clock() -> Result<()> {
    for minutes in [9, 60, -9, -60] {
        let scene = Scene::new().await?;
        let (world, server) = (&scene.world, &scene.server);
        world.mock.set_clock_offset_millis(minutes * 60_000);
        let mark = world.mock.journal_mark();
        let far = minutes.abs() > 10;
        if far {
            let error = server.gc().await.expect_err("an hour");
            assert!(error.to_string().contains("clock"), "{error}");
            assert_eq!(world.delete_requests(mark), 0);
        }
        let forced = GcOptions {
            force: far,
            ..GcOptions::default()
        };
        let report = server.gc_with(forced).await.0?;
        check_report(&report, 3)?;
        let young = report.pending.get(&PendingReason::Young);
        assert_eq!(young.map(|tally| tally.count), Some(2));
        assert_eq!(world.deleted_chunks(mark), keys_of(&scene.old.chunks));
        // An object of an hour ago by the server's clock is not older because ours is behind.
        let grace = GcOptions {
            grace: Some(HOUR + Duration::from_secs(600)),
            force: far,
            ..GcOptions::default()
        };
        check_report(&server.gc_with(grace).await.0?, 0)?;
        scene.check(mark).await?;
        server.check_settled()?;
    }
    Ok(())
}

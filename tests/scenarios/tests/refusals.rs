//! Providers that do not delete, or delete without freeing anything (`gc.md` §9, T32, T33).

use anyhow::Result;
use datastore::gc::GcOptions;
use s3_mock::{Action, Fault, Op, Reply};
use scenarios::facts::check_report;
use scenarios::running::any_chunk;
use scenarios::{AFTER_GRACE, BUCKET, Server, World, chunks, finish, insert};

const GARBAGE: usize = 1500;

/// How everything is refused.
#[derive(Clone, Copy, Debug)]
enum Denial {
    /// Each key by itself: retention, legal hold.
    EachKey,
    /// The request as a whole: a policy.
    Requests,
}

impl Denial {
    fn impose(self, world: &World) {
        match self {
            Self::EachKey => world
                .mock
                .configure(|behaviour| behaviour.locked = vec![any_chunk().into()]),
            Self::Requests => {
                let denied = Action::Reply(Reply::access_denied());
                world
                    .mock
                    .script(Fault::on(Op::DeleteObjects, denied).always());
            }
        }
    }

    fn lift(world: &World) {
        world.mock.configure(|behaviour| behaviour.locked.clear());
        world.mock.clear_faults();
    }
}

async fn denied(denial: Denial) -> Result<()> {
    let (world, server) = World::new().await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    let garbage = world.known_garbage(&server, GARBAGE)?;
    denial.impose(&world);
    for run in 0..2 {
        // What is put back counts as just used.
        world.pass(AFTER_GRACE).await;
        world.mock.reset_counters();
        let mark = world.mock.journal_mark();
        let (report, task) = server.gc_with(GcOptions::default()).await;
        let report = report?;
        check_report(&report, 0)?;
        assert_eq!(report.retained.count, 1500, "{denial:?}, run {run}");
        assert_eq!((report.suspect.count, report.failed.count), (0, 0));
        // A refusal is an answer: no key is asked for twice.
        assert_eq!(world.delete_requests(mark), 2);
        assert!(world.mock.counters().total() < 20);
        let warnings = task.warning_texts();
        let told = |text: &&String| text.contains("AccessDenied");
        let told = warnings.iter().filter(told).count();
        assert!((1..100).contains(&told), "{told} warnings");
        assert!(task.contains("Retained: "), "{:?}", task.lines());
        world.check_objects(&[&garbage[..], &live.chunks].concat())?;
        assert!(garbage.iter().all(|chunk| server.is_present(chunk)));
        world.check_safe(&server, &[&live]).await?;
        server.check_settled()?;
    }
    // It is all still usable.
    let mark = world.mock.journal_mark();
    let session = server.session("again", 90_000).await?;
    for chunk in &garbage[..2] {
        assert!(insert(&session, chunk).await?.duplicate);
    }
    finish(session, &garbage[..2]).await?;
    assert!(world.written_chunks(mark).is_empty());

    Denial::lift(&world);
    world.pass(AFTER_GRACE).await;
    check_report(&server.gc().await?, GARBAGE - 2)?;
    world.check_objects(&[&garbage[..2], &live.chunks].concat())?;
    world.check_safe(&server, &[&live]).await?;
    server.check_settled()
}

/// T32: every key is under retention.
#[tokio::test(start_paused = true)]
async fn t32_retention_of_everything_costs_no_presence() -> Result<()> {
    denied(Denial::EachKey).await
}

/// T32: deleting is forbidden altogether.
#[tokio::test(start_paused = true)]
async fn t32_forbidden_deletes_cost_no_presence() -> Result<()> {
    denied(Denial::Requests).await
}

/// The warning that nothing was freed.
fn warned(lines: &[String]) -> bool {
    lines.iter().any(|text| text.contains("is not freed"))
}

async fn collect(server: &Server) -> Result<(u64, Vec<String>)> {
    let (report, task) = server.gc_with(GcOptions::default()).await;
    let report = report?;
    assert!(report.adds_up());
    Ok((report.deleted.count, task.warning_texts()))
}

/// T33: a versioned bucket: what is deleted is out of sight, and still costs.
#[tokio::test(start_paused = true)]
async fn t33_a_versioned_bucket_frees_nothing_and_the_report_says_so() -> Result<()> {
    let (world, server) = World::new().await?;
    let dead = server.backup("dead", 0, &chunks("dead", 3)).await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    let plain = server.backup("plain", 0, &chunks("plain", 2)).await?;
    server.forget(&plain).await?;
    world.pass(AFTER_GRACE).await;
    let (deleted, warnings) = collect(&server).await?;
    assert_eq!((deleted, warned(&warnings)), (2, false));

    // Switched on when the store was long in use.
    world.mock.set_versioning(BUCKET, true);
    let (deleted, warnings) = collect(&server).await?;
    assert_eq!((deleted, warned(&warnings)), (0, false), "nothing to free");
    server.forget(&dead).await?;
    let hidden = world.mock.hidden_version_count(BUCKET);
    world.pass(AFTER_GRACE).await;
    let (deleted, warnings) = collect(&server).await?;
    assert_eq!((deleted, warned(&warnings)), (3, true), "{warnings:?}");
    assert!(world.mock.hidden_version_count(BUCKET) >= hidden + 3);
    world.check_objects(&live.chunks)?;
    assert!(dead.chunks.iter().all(|chunk| !server.is_present(chunk)));
    // Listings do not show them, uploads bring them back.
    let (deleted, _) = collect(&server).await?;
    assert_eq!(deleted, 0);
    let again = server.backup("again", 10, &dead.chunks).await?;
    world.check_safe(&server, &[&live, &again]).await?;
    server.check_settled()
}

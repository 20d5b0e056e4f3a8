//! Collections that are stopped where they are (`gc.md` §9, T56; G8).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use datastore::Error;
use datastore::digests::State;
use datastore::gc::GcOptions;
use datastore::gc::mark::MarkStep;
use datastore::task::TaskContext;
use s3_mock::{Action, ClientSees, Fault, Op};
use scenarios::facts::{check_report, keys_of};
use scenarios::meanwhile::{AtStep, until};
use scenarios::running::{Collection, reason};
use scenarios::{
    AFTER_GRACE, AFTER_QUARANTINE, Server, Snapshot, World, chunks, chunks_in, insert, no_grace,
};

async fn with_garbage(count: usize) -> Result<(World, Server, Snapshot, Snapshot)> {
    let (world, server) = World::new().await?;
    let dead = server
        .backup("dead", 0, &chunks_in("3", "d", count))
        .await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    server.forget(&dead).await?;
    check_report(&server.gc().await?, 0)?;
    world.pass(AFTER_GRACE).await;
    Ok((world, server, dead, live))
}

/// Asks the collection to stop; it must within two seconds.
async fn abort(world: &World, gc: Collection) -> Result<()> {
    let start = world.env.now();
    gc.task.cancel().cancel();
    let Err(error) = gc.end().await else {
        bail!("the collection ended as if nobody had asked it to stop");
    };
    ensure!(
        matches!(reason(&error), Some(Error::Aborted)),
        "another error: {error}"
    );
    let took = world.env.now() - start;
    ensure!(took < Duration::from_secs(2), "{took:?}");
    Ok(())
}

/// The next run does what the aborted one did not.
async fn converges(world: &World, server: &Server, dead: u64, live: &Snapshot) -> Result<()> {
    let report = server.gc().await?;
    ensure!(report.adds_up() && report.deleted.count == dead);
    world.check_objects(&live.chunks)?;
    world.check_safe(server, &[live]).await?;
    server.check_settled()
}

/// T56: in the mark, at every step of it.
#[tokio::test(start_paused = true)]
async fn t56_an_abort_in_the_mark_leaves_everything_as_it_was() -> Result<()> {
    for stop_at in 0.. {
        let (world, server, _, live) = with_garbage(3).await?;
        let mark = world.mock.journal_mark();
        let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let cancel = tokio_util::sync::CancellationToken::new();
        let (seen, stop) = (Arc::clone(&count), cancel.clone());
        let at = move |_: MarkStep<'_>| {
            if seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == stop_at {
                stop.cancel();
            }
        };
        let options = GcOptions {
            observer: Some(Arc::new(AtStep(at))),
            ..GcOptions::default()
        };
        let gc = server.start_gc(options);
        let task = Arc::clone(&gc.task);
        let stopper = tokio::spawn(async move {
            cancel.cancelled().await;
            task.cancel().cancel();
        });
        let result = gc.end().await;
        stopper.abort();
        if count.load(std::sync::atomic::Ordering::SeqCst) <= stop_at {
            ensure!(stop_at > 8 && result.is_ok(), "{stop_at} steps");
            return Ok(());
        }
        let error = result.expect_err("aborted");
        assert!(
            matches!(reason(&error), Some(Error::Aborted)),
            "{stop_at}: {error}"
        );
        assert_eq!(world.delete_requests(mark), 0);
        assert_eq!(server.local_digests()?.len(), 6);
        converges(&world, &server, 3, &live).await?;
    }
    bail!("no end")
}

/// T56: while listings hang: of the metadata, of the chunks.
#[tokio::test(start_paused = true)]
async fn t56_an_abort_while_a_listing_hangs_leaves_everything_as_it_was() -> Result<()> {
    for part in [".cnt", ".chunks"] {
        let (world, server, dead, live) = with_garbage(3).await?;
        let pattern = format!("{}/{part}/*", scenarios::STORE);
        let hang = Fault::on(Op::ListObjects, Action::Hang).keys(pattern);
        let hang = world.mock.script(hang.always());
        let mark = world.mock.journal_mark();
        let gc = server.start_gc(GcOptions::default());
        world
            .until("the listing hangs", || world.mock.fault_hits(hang) > 0)
            .await?;
        abort(&world, gc).await?;
        world.mock.remove_fault(hang);
        assert_eq!(world.delete_requests(mark), 0);
        assert!(dead.chunks.iter().all(|chunk| server.is_present(chunk)));
        server.check_settled()?;
        converges(&world, &server, 3, &live).await?;
    }
    Ok(())
}

/// T56: with condemned chunks in a batch that waits for more: they are ordinary again, and absent.
#[tokio::test(start_paused = true)]
async fn t56_an_abort_releases_what_was_condemned() -> Result<()> {
    let (world, server, dead, live) = with_garbage(3).await?;
    world.expect_sixteen_shards(&server)?;
    let mark = world.mock.journal_mark();
    let other_shard = format!("{}/.chunks/e", scenarios::STORE);
    let gate = world.mock.gate(Op::ListObjects, other_shard);
    let options = GcOptions {
        force: true, // no waiting for the other shards
        ..GcOptions::default()
    };
    let gc = world.collect_until(&server, options, &gate).await?;
    for chunk in &dead.chunks {
        let table = server.store.digests();
        let condemned = || {
            let state = table.with(&chunk.digest, |slot| slot.state());
            matches!(state, Some(State::Condemned { .. }))
        };
        until("the chunk to be condemned", condemned).await?;
    }
    abort(&world, gc).await?;
    gate.release();
    assert_eq!(world.delete_requests(mark), 0);
    assert!(dead.chunks.iter().all(|chunk| world.has_object(chunk)));
    assert!(dead.chunks.iter().all(|chunk| !server.is_present(chunk)));
    server.check_settled()?;
    // Absent is what they are for a session, too: it uploads, and finds the object good.
    let session = server.session("new", 90_000).await?;
    assert!(!insert(&session, &dead.chunks[0]).await?.duplicate);
    session.abort().await?;
    server.gc().await?;
    world.pass(AFTER_GRACE).await;
    server.gc().await?;
    world.check_objects(&live.chunks)?;
    world.check_safe(&server, &[&live]).await?;
    server.check_settled()
}

/// T56: with a delete under way, in every way in which it may end: what was sent is suspect at
/// once, nothing of it is sent again, and the record stays until the quarantine is over (§8.1
/// "abort leaves `Suspect`", "no attempt after `Suspect`").
#[tokio::test(start_paused = true)]
async fn t56_an_abort_with_a_delete_under_way_leaves_suspects() -> Result<()> {
    #[derive(Debug, PartialEq)]
    enum Fate {
        Never,
        Applied,
        Late,
    }
    for fate in [Fate::Never, Fate::Applied, Fate::Late] {
        let (world, server, dead, live) = with_garbage(3).await?;
        world.spoil_delete(match fate {
            Fate::Never => Action::Hang,
            Fate::Applied => Action::ApplyThenHang,
            Fate::Late => Action::Late {
                after: None,
                client: ClientSees::Hang,
            },
        });
        let mark = world.mock.journal_mark();
        let gc = server.start_gc(GcOptions::default());
        let sent = || world.delete_requests(mark) > 0;
        world.until("the delete is sent", sent).await?;
        abort(&world, gc).await?;
        let suspects: Vec<_> = server.store.digests().suspects();
        assert_eq!(suspects.len(), 3, "{fate:?}");
        assert!(!server.delete_journal()?.is_empty());

        // An upload does not wait for anything, and no "duplicate" is answered.
        let before = world.env.now();
        let session = server.session("new", 90_000).await?;
        for _ in 0..2 {
            assert!(!insert(&session, &dead.chunks[0]).await?.duplicate);
        }
        assert!(world.env.now() - before < Duration::from_secs(2));
        let new = scenarios::finish(session, &dead.chunks[..1]).await?;
        if fate == Fate::Late {
            let late = world.mock.late();
            assert_eq!(world.mock.release_late(late[0].id), Some(200));
        }
        // Runs meanwhile neither fail nor wait, and leave the suspects alone.
        let report = server.gc_with(no_grace()).await.0?;
        assert_eq!((report.deleted.count, report.missing), (0, 0), "{fate:?}");
        world.pass(AFTER_QUARANTINE).await;
        assert_eq!(world.delete_requests(mark), 1, "sent again");
        server.gc_with(no_grace()).await.0?;
        server.gc_with(no_grace()).await.0?;
        world.check_objects(&[&live.chunks[..], &new.chunks].concat())?;
        let gone = world.deleted_chunks(mark);
        assert!(keys_of(&dead.chunks[1..]).is_subset(&gone), "{fate:?}");
        world.check_safe(&server, &[&live, &new]).await?;
        server.check_settled()?;
    }
    Ok(())
}

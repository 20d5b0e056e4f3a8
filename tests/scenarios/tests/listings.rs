//! Listings that fail, break off, go in circles or skip keys (`gc.md` §9, T34–T38).

use std::time::Duration;

use anyhow::{Result, bail};
use datastore::backend::s3::insert::Payload;
use datastore::gc::GcOptions;
use s3_mock::behaviour::TokenMode;
use s3_mock::{Action, Fault, Op, Reply};
use scenarios::facts::{check_report, keys_of};
use scenarios::running::any_chunk;
use scenarios::{
    AFTER_GRACE, BUCKET, STORE, Server, Snapshot, World, chunk_key, chunks, chunks_in, finish,
    insert, no_grace,
};

/// Twelve live chunks, seven old garbage ones, pages of three.
async fn paged() -> Result<(World, Server, Snapshot, Snapshot)> {
    let (world, server) = World::new().await?;
    let dead = server.backup("dead", 0, &chunks("dead", 7)).await?;
    let live = server.backup("live", 0, &chunks("live", 12)).await?;
    server.forget(&dead).await?;
    world.pass(AFTER_GRACE).await;
    world
        .mock
        .configure(|behaviour| behaviour.list.page_size = 3);
    Ok((world, server, dead, live))
}

/// The collection's pages of chunk listings since the mark.
fn chunk_pages(world: &World, mark: u64) -> usize {
    let journal = world.mock.journal().since(mark);
    let requests = journal.requests_of(Op::ListObjects);
    let of_chunks = |prefixes: &&Vec<String>| prefixes[0].contains("/.chunks/");
    requests.iter().filter(of_chunks).count()
}

async fn exact(
    world: &World,
    server: &Server,
    live: &Snapshot,
    mark: u64,
    pages: usize,
) -> Result<()> {
    let report = server.gc().await?;
    check_report(&report, 7)?;
    assert_eq!((report.listing.listed, report.listing.live), (19, 12));
    assert_eq!((report.missing, report.local_removed), (0, 0));
    assert_eq!(
        (report.listing.duplicates, report.listing.disordered),
        (0, 0)
    );
    assert_eq!(chunk_pages(world, mark), pages);
    world.check_objects(&live.chunks)?;
    world.check_safe(server, &[live]).await?;
    server.check_settled()
}

/// T34: a page answers 503 three times.
#[tokio::test(start_paused = true)]
async fn t34_a_throttled_page_is_asked_for_again() -> Result<()> {
    let (world, server, _, live) = paged().await?;
    let busy = Fault::on(Op::ListObjects, Action::Reply(Reply::slow_down()));
    world.mock.script(busy.keys(any_chunk()).skip(2).times(3));
    let mark = world.mock.journal_mark();
    exact(&world, &server, &live, mark, 7 + 3).await
}

/// T35: the connection dies in the middle of a page, in three ways.
#[tokio::test(start_paused = true)]
async fn t35_a_page_cut_off_is_not_used() -> Result<()> {
    let cuts = [
        Action::TruncateBody { keep: 700 },
        Action::WrongLength { delta: -400 },
        Action::StallBody { keep: 700 },
    ];
    for cut in cuts {
        let (world, server, _, live) = paged().await?;
        let fault = Fault::on(Op::ListObjects, cut).keys(any_chunk()).nth(2);
        let fault = world.mock.script(fault);
        let mark = world.mock.journal_mark();
        exact(&world, &server, &live, mark, 7 + 1).await?;
        assert_eq!(world.mock.fault_hits(fault), 1);
    }
    Ok(())
}

/// T36, T37: the listing of chunks cannot be followed from its second page on.
async fn lost_in_the_listing(tokens: TokenMode) -> Result<()> {
    let (world, server) = World::new().await?;
    let dead = server.backup("dead", 0, &chunks("dead", 7)).await?;
    let live = server.backup("live", 0, &chunks("live", 12)).await?;
    // One chunk is missing, another's marker has nothing behind it: not to be concluded from half
    // a listing.
    let session = server.session_with("holes", 0, Payload::Discard).await?;
    let holes = chunks("holes", 4);
    for chunk in &holes {
        insert(&session, chunk).await?;
    }
    let damaged = finish(session, &holes).await?;
    let gone = server.backup("gone", 0, &chunks("gone", 1)).await?;
    for chunk in [&holes[..], &gone.chunks].concat() {
        world.mock.delete(BUCKET, &chunk_key(&chunk.digest));
    }
    server.forget(&dead).await?;
    server.forget(&gone).await?;
    world.pass(AFTER_GRACE).await;

    world.mock.configure(|b| b.list.page_size = 3);
    let gate = world.gate_listing();
    let mark = world.mock.journal_mark();
    let collection = server.start_gc(GcOptions::default());
    gate.arrived().await;
    world.mock.configure(|b| b.list.tokens = tokens);
    gate.release();
    let task = std::sync::Arc::clone(&collection.task);
    let Err(error) = collection.end().await else {
        bail!("half a listing was believed");
    };
    assert!(error.to_string().contains("incomplete"), "{error}");
    assert!(chunk_pages(&world, mark) < 20, "endless");
    assert_eq!(world.delete_requests(mark), 0);
    assert!(world.written_chunks(mark).is_empty(), "healed");
    assert!(!task.contains("missing"), "{:?}", task.lines());
    // Nobody's presence was touched.
    for chunk in [&dead.chunks[..], &live.chunks, &holes, &gone.chunks].concat() {
        assert!(server.is_present(&chunk));
    }
    let manifest = server
        .store
        .load_manifest(&damaged.ns, &damaged.dir)
        .await?;
    assert!(manifest.verify_state()?.is_none());
    assert_eq!(server.store.digests().exceptional_count(), 0);

    // With the provider well again everything is found.
    world.mock.configure(|b| b.list.tokens = TokenMode::LastKey);
    let report = server.gc().await?;
    check_report(&report, 7)?;
    assert_eq!((report.missing, report.local_removed), (4, 1));
    world.check_objects(&live.chunks)?;
    world.check_safe(&server, &[&live]).await?;
    server.check_settled()
}

/// T36.
#[tokio::test(start_paused = true)]
async fn t36_a_repeated_token_ends_the_run_without_deletes() -> Result<()> {
    lost_in_the_listing(TokenMode::Repeats { from_page: 1 }).await
}

/// T37.
#[tokio::test(start_paused = true)]
async fn t37_a_missing_token_ends_the_run_without_deletes() -> Result<()> {
    lost_in_the_listing(TokenMode::Missing { from_page: 1 }).await
}

/// T36, T37 with several shards: the others are swept.
#[tokio::test(start_paused = true)]
async fn t36_only_the_broken_shard_is_left_alone() -> Result<()> {
    for tokens in [
        TokenMode::Repeats { from_page: 1 },
        TokenMode::Missing { from_page: 1 },
    ] {
        let (world, server) = World::new().await?;
        let broken = server.backup("broken", 0, &chunks_in("3", "b", 8)).await?;
        let whole = server.backup("whole", 0, &chunks_in("c", "w", 3)).await?;
        let live = server.backup("live", 0, &chunks_in("7", "l", 2)).await?;
        server.forget(&broken).await?;
        server.forget(&whole).await?;
        world.pass(AFTER_GRACE).await;
        world.expect_sixteen_shards(&server)?;
        world.mock.configure(|b| b.list.page_size = 3);
        let gate = world
            .mock
            .gate(Op::ListObjects, format!("{STORE}/.chunks/3*"));
        let mark = world.mock.journal_mark();
        let collection = server.start_gc(GcOptions::default());
        gate.arrived().await;
        world.mock.configure(|b| b.list.tokens = tokens);
        gate.release();
        let error = collection.end().await.expect_err("a broken shard");
        assert!(error.to_string().contains("'3' is incomplete"), "{error}");
        world.check_objects(&[&broken.chunks[..], &live.chunks].concat())?;
        assert_eq!(world.deleted_chunks(mark).len(), 3);
        world.check_safe(&server, &[&live]).await?;
        world.mock.configure(|b| b.list.tokens = TokenMode::LastKey);
        check_report(&server.gc().await?, 8)?;
        world.check_objects(&live.chunks)?;
        server.check_settled()?;
    }
    Ok(())
}

/// T38: tokens that are offsets, and objects that vanish behind them.
#[tokio::test(start_paused = true)]
async fn t38_skipped_keys_are_not_called_missing() -> Result<()> {
    let (world, server) = World::new().await?;
    let dead = server.backup("dead", 0, &chunks("dead", 7)).await?;
    // Markers only: nothing could be healed from.
    let session = server.session_with("bare", 0, Payload::Discard).await?;
    let data = chunks("bare", 12);
    for chunk in &data {
        insert(&session, chunk).await?;
    }
    let live = finish(session, &data).await?;
    server.forget(&dead).await?;
    world.pass(AFTER_GRACE).await;
    world.mock.configure(|b| b.list.page_size = 3);
    world.mock.configure(|b| b.list.tokens = TokenMode::Offset);
    let second = s3_mock::Gate::new();
    let pause = Action::Pause(second.clone());
    world
        .mock
        .script(Fault::on(Op::ListObjects, pause).keys(any_chunk()).nth(3));
    let mark = world.mock.journal_mark();
    let collection = server.start_gc(no_grace());
    second.arrived().await;
    // Garbage goes on the pages listed, by other hands: the next page begins too late.
    let keys: Vec<String> = world.chunk_keys().into_iter().take(6).collect();
    let garbage: Vec<String> = dead.chunks.iter().map(|c| chunk_key(&c.digest)).collect();
    let mut vanished = 0;
    for key in keys.iter().filter(|key| garbage.contains(key)) {
        assert!(world.mock.delete(BUCKET, key));
        vanished += 1;
    }
    assert!(vanished > 0, "no garbage on the first two pages");
    let skipped: Vec<String> = world
        .chunk_keys()
        .into_iter()
        .skip(6 - vanished)
        .take(vanished)
        .collect();
    let is_live = |key: &String| keys_of(&data).contains(key);
    assert!(skipped.iter().any(is_live), "only garbage is skipped");
    let left = world.chunk_objects();
    second.release();
    let task = std::sync::Arc::clone(&collection.task);
    let report = collection.end().await?;
    assert!(report.adds_up());
    // What had vanished was listed before it did, what followed was not.
    assert_eq!(usize::try_from(report.listing.listed)?, left);
    assert_eq!((report.missing, report.healed), (0, 0));
    assert!(!task.contains("missing"), "{:?}", task.lines());
    assert!(world.written_chunks(mark).is_empty());
    assert!(data.iter().all(|chunk| server.is_present(chunk)));
    world.check_safe(&server, &[&live]).await?;
    world.mock.configure(|b| b.list.tokens = TokenMode::LastKey);
    server.gc_now().await?;
    world.check_objects(&data)?;
    world.check_safe(&server, &[&live]).await?;
    server.check_settled()
}

/// T38: by its own deletes the collection never gets there: it deletes nothing of a shard that is
/// still being listed.
#[tokio::test(start_paused = true)]
async fn t38_own_deletes_do_not_disturb_an_offset_listing() -> Result<()> {
    let (world, server, _, live) = paged().await?;
    world.mock.configure(|b| {
        b.list.tokens = TokenMode::Offset;
        b.set_latency(Op::ListObjects, Duration::from_millis(100));
    });
    let mark = world.mock.journal_mark();
    let forced = GcOptions {
        force: true,
        ..GcOptions::default()
    };
    check_report(&server.gc_with(forced).await.0?, 7)?;
    assert_eq!(chunk_pages(&world, mark), 7);
    world.check_objects(&live.chunks)?;
    world.check_safe(&server, &[&live]).await?;
    server.check_settled()
}

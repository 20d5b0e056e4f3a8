//! Backups that run while garbage is collected (`gc.md` §9, T06–T09, T11–T14).
//!
//! Grace is off wherever it can be: what protects a chunk here is its stamp, its state or the floor.
//! Garbage that is to go has seen a collection: until then its stamps are as young as the floor of
//! a session that has begun before the next one.

use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use datastore::backend::s3::insert::Payload;
use datastore::digests::State;
use datastore::format::blob::DataBlob;
use datastore::gc::candidate::PendingReason;
use datastore::gc::{GcOptions, GcReport};
use datastore::session::WriterSession;
use s3_client::env::Env;
use s3_mock::{Action, Change, Fault, Gate, Op};
use scenarios::facts::{check_report, keys_of};
use scenarios::meanwhile::{
    gate_metadata_listing, gate_old_listing, gate_old_metadata_listing, let_others_work, until,
};
use scenarios::{
    AFTER_GRACE, BUCKET, Chunk, START, STORE, Server, World, chunk, chunk_key, chunks, chunks_in,
    commit, finish, insert, no_grace, write_index,
};

const HOUR: Duration = Duration::from_secs(3600);

/// Number of chunks pending since a session used them.
fn used(report: &GcReport) -> u64 {
    report
        .pending
        .get(&PendingReason::Session)
        .map_or(0, |tally| tally.count)
}

async fn asks(session: &WriterSession, chunk: &Chunk) -> Result<bool> {
    let size = u32::try_from(chunk.data.len())?;
    Ok(session.touch_known(chunk.digest, size).await?)
}

fn state(server: &Server, chunk: &Chunk) -> Option<State> {
    server
        .store
        .digests()
        .with(&chunk.digest, |slot| slot.state())
}

/// A listing that is answered when the gate opens, or one that was answered before it closed.
fn gate_listing(world: &World, answered_before: bool) -> Gate {
    if answered_before {
        gate_old_listing(world)
    } else {
        world.gate_listing()
    }
}

/// T06: a backup that runs since before the collection uploads chunks after the mark. They are in
/// the listing, or not yet: then nobody may take their local files for leftovers.
#[tokio::test(start_paused = true)]
async fn t06_chunks_uploaded_after_the_mark_stay() -> Result<()> {
    uploads_after_the_mark(Payload::Cache).await
}

/// T11: the same by a backup that caches nothing (H2).
#[tokio::test(start_paused = true)]
async fn t11_chunks_of_a_backup_without_cache_stay() -> Result<()> {
    uploads_after_the_mark(Payload::Discard).await
}

async fn uploads_after_the_mark(payload: Payload) -> Result<()> {
    for answered_before in [false, true] {
        let (world, server) = World::new().await?;
        let live = server.backup("live", 0, &chunks("live", 3)).await?;
        world.pass(HOUR).await;
        let session = server.session_with("new", 3600, payload).await?;
        let early = chunks("early", 2);
        for chunk in &early {
            assert!(!insert(&session, chunk).await?.duplicate);
        }
        let mark = world.mock.journal_mark();
        let gate = gate_listing(&world, answered_before);
        let gc = world.collect_until(&server, no_grace(), &gate).await?;
        let late = chunks("late", 4);
        for chunk in &late {
            assert!(!insert(&session, chunk).await?.duplicate);
        }
        assert!(!gc.is_over());
        gate.release();
        let report = gc.end().await?;

        check_report(&report, 0)?;
        assert_eq!(used(&report), if answered_before { 2 } else { 6 });
        assert_eq!(report.local_removed, 0);
        assert_eq!(world.delete_requests(mark), 0);
        for chunk in early.iter().chain(&late) {
            assert!(server.is_present(chunk));
            let local = server.store.chunks().stat_chunk(&chunk.digest)?;
            let cached = local.is_some_and(|local| !local.is_marker());
            assert_eq!(cached, payload == Payload::Cache);
        }
        // Another session is told that they are there, and may rely on it.
        let other = server.session("other", 3600).await?;
        assert!(insert(&other, &late[0]).await?.duplicate);
        other.abort().await?;

        let new = finish(session, &[early, late].concat()).await?;
        check_report(&server.gc_now().await?, 0)?;
        world.check_objects(&[&live.chunks[..], &new.chunks].concat())?;
        world.check_safe(&server, &[&live, &new]).await?;
        server.check_settled()?;
    }
    Ok(())
}

/// When a session begins.
#[derive(Clone, Copy, PartialEq)]
enum Begin {
    /// Before the collection.
    Before,
    /// When the collection has begun and its generation is still the last one's.
    AtStart,
    /// After the mark.
    AfterMark,
}

/// T07: a session is told "duplicate" of old garbage before the sweep gets there; whenever it
/// began, whether it sends the chunk or only asks. Whoever begins before the generation rises has
/// stamped with the old one, and must be seen by the look at the sessions, which comes after.
#[tokio::test(start_paused = true)]
async fn t07_a_duplicate_answer_after_the_mark_keeps_the_chunk() -> Result<()> {
    for begin in [Begin::Before, Begin::AtStart, Begin::AfterMark] {
        let (world, server) = World::new().await?;
        let live = server.backup("live", 0, &chunks("live", 3)).await?;
        let old = server.backup("old", 0, &chunks("old", 3)).await?;
        server.forget(&old).await?;
        check_report(&server.gc().await?, 0)?;
        world.pass(AFTER_GRACE).await;
        let hit = async |session: &WriterSession| -> Result<()> {
            assert!(insert(session, &old.chunks[0]).await?.duplicate);
            assert!(asks(session, &old.chunks[1]).await?);
            Ok(())
        };
        let mark = world.mock.journal_mark();
        let mut session = None;
        if begin == Begin::Before {
            session = Some(server.session("new", 3600).await?);
        }
        let start = Gate::new();
        let pause = Action::Pause(start.clone());
        world.mock.script(Fault::on(Op::HeadBucket, pause));
        let sweep = world.gate_listing();
        let gc = world.collect_until(&server, no_grace(), &start).await?;
        if begin == Begin::AtStart {
            let begun = server.session("new", 3600).await?;
            hit(&begun).await?;
            session = Some(begun);
        }
        start.release();
        sweep.arrived().await;
        let session = match session {
            Some(session) => session,
            None => server.session("new", 3600).await?,
        };
        if begin != Begin::AtStart {
            hit(&session).await?;
        }
        assert!(!gc.is_over());
        sweep.release();
        let report = gc.end().await?;

        check_report(&report, 1)?;
        assert_eq!(used(&report), 2);
        assert_eq!(named(&world, mark), [keys_of(&old.chunks[2..])]);
        assert_eq!(world.deleted_chunks(mark), keys_of(&old.chunks[2..]));
        assert_eq!(world.written_chunks(mark), [] as [String; 0]);

        let new = finish(session, &old.chunks[..2]).await?;
        check_report(&server.gc_now().await?, 0)?;
        world.check_objects(&[&live.chunks[..], &new.chunks].concat())?;
        world.check_safe(&server, &[&live, &new]).await?;
        server.check_settled()?;
    }
    Ok(())
}

/// What each delete request since the mark named.
fn named(world: &World, mark: u64) -> Vec<std::collections::BTreeSet<String>> {
    let journal = world.mock.journal().since(mark);
    let requests = journal.requests_of(Op::DeleteObjects);
    requests
        .into_iter()
        .map(|keys| keys.into_iter().collect())
        .collect()
}

/// T08: the same when the digest is condemned already, in a batch that waits for more. A session
/// takes it back without a request if it had been present; if not, the listing that condemned it
/// proves nothing, and the session has to upload.
#[tokio::test(start_paused = true)]
async fn t08_a_condemned_chunk_is_taken_back() -> Result<()> {
    let (world, server) = World::new().await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    let old = server.backup("old", 0, &chunks_in("3", "old", 3)).await?;
    server.forget(&old).await?;
    let [sent, asked, unused] = &old.chunks[..] else {
        bail!("three chunks")
    };
    let unknown = chunks_in("3", "unknown", 1).remove(0);
    let body: Bytes = DataBlob::encode(&unknown.data, None, true, &Env::system())?.into_raw();
    let key = chunk_key(&unknown.digest);
    world.mock.put_at(BUCKET, &key, body, START * 1000);
    world.expect_sixteen_shards(&server)?;
    world.pass(AFTER_GRACE).await;

    let mark = world.mock.journal_mark();
    let other_shard = format!("{STORE}/.chunks/e");
    let gate = world.mock.gate(Op::ListObjects, other_shard);
    let options = GcOptions {
        force: true, // no waiting for the other shards
        ..no_grace()
    };
    let gc = world.collect_until(&server, options, &gate).await?;
    for (chunk, presence) in [
        (sent, true),
        (asked, true),
        (unused, true),
        (&unknown, false),
    ] {
        let condemned = || matches!(state(&server, chunk), Some(State::Condemned { had, .. }) if had == presence);
        until("the chunk to be condemned", condemned).await?;
        assert!(!server.is_present(chunk));
    }
    let session = server.session("new", 3600).await?;
    assert!(insert(&session, sent).await?.duplicate);
    assert!(asks(&session, asked).await?);
    assert!(!asks(&session, &unknown).await?, "nothing is known of it");
    assert_eq!(world.written_chunks(mark), [] as [String; 0]);
    assert!(!insert(&session, &unknown).await?.duplicate);
    for chunk in [sent, asked, &unknown] {
        assert_eq!(state(&server, chunk), None);
        assert!(server.is_present(chunk));
    }
    assert!(!gc.is_over());
    assert_eq!(world.delete_requests(mark), 0, "the batch still waits");
    gate.release();
    let report = gc.end().await?;

    check_report(&report, 1)?;
    assert_eq!(used(&report), 3);
    assert_eq!(named(&world, mark), [keys_of(std::slice::from_ref(unused))]);
    // What was taken back counts as used: the next collection keeps it, too.
    let report = server.gc_now().await?;
    check_report(&report, 0)?;
    assert_eq!(used(&report), 3);
    let kept = [sent.clone(), asked.clone(), unknown];
    let new = finish(session, &kept).await?;
    check_report(&server.gc_now().await?, 0)?;
    world.check_objects(&[&live.chunks[..], &new.chunks].concat())?;
    world.check_safe(&server, &[&live, &new]).await?;
    server.check_settled()
}

/// T09: the same while the delete request is under way, not yet applied or not yet answered: the
/// insert waits for its end and then uploads; other chunks do not wait (G7).
#[tokio::test(start_paused = true)]
async fn t09_an_insert_waits_for_the_delete_and_uploads() -> Result<()> {
    for applied in [false, true] {
        let (world, server) = World::new().await?;
        let live = server.backup("live", 0, &chunks("live", 3)).await?;
        let old = server.backup("old", 0, &chunks("old", 3)).await?;
        server.forget(&old).await?;
        check_report(&server.gc().await?, 0)?;
        let [sent, asked, _] = &old.chunks[..] else {
            bail!("three chunks")
        };
        world.pass(AFTER_GRACE).await;
        let session = server.session("new", 3600).await?;

        let mark = world.mock.journal_mark();
        let gate = match applied {
            true => world.gate_deleted(),
            false => world.gate_delete(),
        };
        let gc = world.collect_until(&server, no_grace(), &gate).await?;
        server.check_announced(&keys_of(&old.chunks))?;
        {
            let inserted = insert(&session, sent);
            let answered = asks(&session, asked);
            tokio::pin!(inserted, answered);
            tokio::select! {
                biased;
                _ = &mut inserted => bail!("the insert did not wait"),
                _ = &mut answered => bail!("the question did not wait"),
                () = let_others_work() => {}
            }
            let other = chunk("other");
            assert!(!insert(&session, &other).await?.duplicate);
            assert_eq!(world.written_chunks(mark), [chunk_key(&other.digest)]);
            assert!(!gc.is_over());
            gate.release();
            assert!(!inserted.await?.duplicate);
            assert!(!answered.await?, "it is gone");
        }
        let report = gc.end().await?;
        check_report(&report, 3)?;
        assert_eq!(named(&world, mark), [keys_of(&old.chunks)]);

        let key = chunk_key(&sent.digest);
        let journal = world.mock.journal().since(mark);
        let fate: Vec<&Change> = journal
            .changes()
            .map(|(_, change)| change)
            .filter(|change| change.key() == Some(key.as_str()))
            .collect();
        assert!(
            matches!(
                fate[..],
                [
                    Change::Deleted { existed: true, .. },
                    Change::Put {
                        replaced: false,
                        ..
                    }
                ]
            ),
            "{fate:?}"
        );
        let new = finish(session, &[sent.clone(), chunk("other")]).await?;
        check_report(&server.gc_now().await?, 0)?;
        world.check_objects(&[&live.chunks[..], &new.chunks].concat())?;
        world.check_safe(&server, &[&live, &new]).await?;
        server.check_settled()?;
    }
    Ok(())
}

/// T12: a session of three days, with the default grace: what it uses stays, what others left
/// before it goes, what others left after it began waits for its end.
#[tokio::test(start_paused = true)]
async fn t12_a_long_session_keeps_its_chunks_and_holds_up_only_later_garbage() -> Result<()> {
    let (world, server) = World::new().await?;
    let old = server.backup("old", 0, &chunks("old", 3)).await?;
    server.forget(&old).await?;
    check_report(&server.gc().await?, 0)?;

    let session = server.session("long", 60).await?;
    let uploaded = chunks("uploaded", 3);
    for chunk in &uploaded {
        assert!(!insert(&session, chunk).await?.duplicate);
    }
    assert!(insert(&session, &old.chunks[0]).await?.duplicate);
    world.pass(AFTER_GRACE).await;
    let mark = world.mock.journal_mark();
    let report = server.gc().await?;
    check_report(&report, 2)?;
    assert_eq!(world.deleted_chunks(mark), keys_of(&old.chunks[1..]));
    assert_eq!(used(&report), 4);

    let short = server.backup("short", 90_000, &chunks("short", 2)).await?;
    server.forget(&short).await?;
    for _ in 0..2 {
        world.pass(AFTER_GRACE).await;
        let report = server.gc().await?;
        check_report(&report, 0)?;
        assert_eq!(used(&report), 6);
    }
    let long = finish(session, &[&uploaded[..], &old.chunks[..1]].concat()).await?;
    world.check_safe(&server, &[&long]).await?;
    let mark = world.mock.journal_mark();
    check_report(&server.gc().await?, 2)?;
    assert_eq!(world.deleted_chunks(mark), keys_of(&short.chunks));
    world.check_objects(&long.chunks)?;
    world.check_safe(&server, &[&long]).await?;
    server.check_settled()
}

/// Where the collection stands when a session ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// The local indexes are read, the metadata in the bucket is not listed yet.
    Unlisted,
    /// The metadata is listed: the mark is complete but for what that listing showed.
    MetadataListed,
    /// The mark is complete, the chunks are about to be listed.
    Marked,
}

/// T13: a session ends successfully after the local mark: before the metadata is listed (the
/// bucket's index is marked), or after that (the floor of the start protects, and must not rise).
/// It began before the collection, or in the middle of it.
#[tokio::test(start_paused = true)]
async fn t13_a_session_that_ends_between_mark_and_sweep_keeps_its_chunks() -> Result<()> {
    for end in [End::Unlisted, End::MetadataListed, End::Marked] {
        for began_before in [true, false] {
            ends_after_the_mark(began_before, end).await?;
        }
    }
    Ok(())
}

async fn ends_after_the_mark(began_before: bool, end: End) -> Result<()> {
    let (world, server) = World::new().await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    let old = server.backup("old", 0, &chunks("old", 2)).await?;
    server.forget(&old).await?;
    check_report(&server.gc().await?, 0)?;
    world.pass(AFTER_GRACE).await;
    let all = [chunks("new", 3), old.chunks[..1].to_vec()].concat();
    let work = async |session: &WriterSession| -> Result<()> {
        for chunk in &all {
            let known = old.chunks.iter().any(|old| old.digest == chunk.digest);
            assert_eq!(insert(session, chunk).await?.duplicate, known);
        }
        Ok(())
    };
    let mark = world.mock.journal_mark();
    let mut session = None;
    if began_before {
        let begun = server.session("new", 3600).await?;
        work(&begun).await?;
        session = Some(begun);
    }
    let metadata = match end {
        End::MetadataListed => gate_old_metadata_listing(&world),
        End::Unlisted | End::Marked => gate_metadata_listing(&world),
    };
    let listing = world.gate_listing();
    let gc = world.collect_until(&server, no_grace(), &metadata).await?;
    let session = match session {
        Some(session) => session,
        None => {
            let begun = server.session("new", 3600).await?;
            work(&begun).await?;
            begun
        }
    };
    if end == End::Marked {
        metadata.release();
        listing.arrived().await;
    }
    let new = finish(session, &all).await?;
    assert!(!gc.is_over());
    for gate in [metadata, listing] {
        gate.release();
    }
    let report = gc.end().await?;

    check_report(&report, 1)?;
    let by_mark = end == End::Unlisted;
    assert_eq!(used(&report), if by_mark { 0 } else { 4 });
    assert_eq!(named(&world, mark), [keys_of(&old.chunks[1..])]);
    check_order(&world, mark, &new)?;
    check_report(&server.gc_now().await?, 0)?;
    world.check_objects(&[&live.chunks[..], &new.chunks].concat())?;
    world.check_safe(&server, &[&live, &new]).await?;
    server.check_settled()
}

/// Chunks before the index before the manifest.
fn check_order(world: &World, mark: u64, snapshot: &scenarios::Snapshot) -> Result<()> {
    let written = world.mock.journal().since(mark).written_keys();
    let dir = format!("{STORE}/.cnt/{}", snapshot.dir.path());
    let position = |key: &str| written.iter().position(|written| written == key);
    let last_chunk = written.iter().rposition(|key| key.contains("/.chunks/"));
    let index = position(&format!("{dir}/tree.didx"));
    let manifest = position(&format!("{dir}/index.json.blob"));
    let ordered = last_chunk < index && index < manifest && last_chunk.is_some();
    anyhow::ensure!(ordered, "written in a wrong order: {written:?}");
    Ok(())
}

/// T14: a session aborts between mark and sweep, with or without an index in the bucket: its
/// chunks are pending now and go with the next run.
#[tokio::test(start_paused = true)]
async fn t14_chunks_of_an_aborted_session_go_with_the_next_run() -> Result<()> {
    for with_index in [false, true] {
        let (world, server) = World::new().await?;
        let live = server.backup("live", 0, &chunks("live", 3)).await?;
        world.pass(HOUR).await;
        let session = server.session("new", 3600).await?;
        let new = chunks("new", 3);
        for chunk in &new {
            insert(&session, chunk).await?;
        }
        assert!(insert(&session, &live.chunks[0]).await?.duplicate);
        let mark = world.mock.journal_mark();
        let gate = world.gate_listing();
        let gc = world.collect_until(&server, no_grace(), &gate).await?;
        if with_index {
            write_index(&session, &new).await?;
        }
        session.abort().await?;
        assert!(!gc.is_over());
        gate.release();
        let report = gc.end().await?;
        check_report(&report, 0)?;
        assert_eq!(used(&report), 3);
        assert_eq!(world.deleted_chunks(mark).len(), 0);
        let left = world.mock.keys(BUCKET, &format!("{STORE}/.cnt/host/new/"));
        assert_eq!(left, [] as [String; 0]);

        let mark = world.mock.journal_mark();
        check_report(&server.gc_now().await?, 3)?;
        assert_eq!(named(&world, mark), [keys_of(&new)]);
        world.check_objects(&live.chunks)?;
        world.check_safe(&server, &[&live]).await?;
        server.check_settled()?;
        // The same data again: nobody believes that it is still there.
        let again = server.session("new", 7200).await?;
        for chunk in &new {
            assert!(!insert(&again, chunk).await?.duplicate);
        }
        write_index(&again, &new).await?;
        let again = commit(again, &new).await?;
        world.check_safe(&server, &[&live, &again]).await?;
    }
    Ok(())
}

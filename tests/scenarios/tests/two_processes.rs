//! Two processes share the process lock: what one finds out about chunks, the other heeds (`gc.md`
//! §6.3, G13; ADR 23).

use std::time::Duration;

use anyhow::{Context, Result};
use api_types::names::ArchiveName;
use api_types::status::VerifyState;
use datastore::Error;
use datastore::backend::s3::insert::Payload;
use datastore::format::DataBlob;
use datastore::session::WriterSession;
use datastore::task::RecordingTask;
use datastore::verify::{VerifyOptions, VerifyReport, VerifyScope};
use s3_mock::{Action, Fault, Gate, Op};
use scenarios::{
    BUCKET, Chunk, Server, Snapshot, World, chunk_key, chunks, commit, finish, insert, manifest,
    write_index,
};

const MOMENT: Duration = Duration::from_secs(1);

/// A snapshot with markers only, so that nothing can be healed from here.
async fn bare(server: &Server, id: &str, at: i64, data: &[Chunk]) -> Result<Snapshot> {
    let session = server.session_with(id, at, Payload::Discard).await?;
    for chunk in data {
        insert(&session, chunk).await?;
    }
    finish(session, data).await
}

/// Another process verifies one group.
async fn verify(server: &Server, id: &str) -> Result<VerifyReport> {
    let only = scenarios::group(id);
    let wanted = |_: &_, group: &_| *group == only;
    let scope = VerifyScope {
        ns: "".parse()?,
        max_depth: None,
        may_verify: &wanted,
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

fn is_good(world: &World, chunk: &Chunk) -> Result<bool> {
    let raw = world.mock.get(BUCKET, &chunk_key(&chunk.digest));
    let blob = DataBlob::from_bytes(raw.context("an object")?)?;
    Ok(blob.verify_unencrypted(&chunk.digest, None).is_ok())
}

/// A session whose chunks are all known from its base.
async fn on_a_base(server: &Server, id: &str, at: i64) -> Result<WriterSession> {
    let session = server.session(id, at).await?;
    let index: ArchiveName = "tree.didx".parse()?;
    session.load_base_index(&index).await?;
    Ok(session)
}

fn refused(committed: &datastore::Result<()>) {
    let text = match committed {
        Err(Error::Refused(text)) => text.as_str(),
        _ => "",
    };
    assert!(
        text.contains("was found missing meanwhile"),
        "{committed:?}"
    );
}

/// Two snapshots, of the groups `a` and `b`, with a chunk in common that goes missing.
async fn with_a_loss() -> Result<(World, Server, Server, Vec<Chunk>)> {
    let (world, server) = World::new().await?;
    let data = chunks("data", 3);
    bare(&server, "a", 0, &data).await?;
    bare(&server, "b", 0, &data).await?;
    let other = world.open("cache")?;
    Ok((world, server, other, data))
}

/// The other process finds the loss while a backup of ours runs that does not upload the chunk.
#[tokio::test(start_paused = true)]
async fn a_loss_that_another_process_finds_stops_the_finish() -> Result<()> {
    let (world, server, other, data) = with_a_loss().await?;
    let session = on_a_base(&server, "a", 100).await?;
    world.mock.delete(BUCKET, &chunk_key(&data[1].digest));
    // It reads the other group only: the base of our backup is not failed.
    assert_eq!(verify(&other, "b").await?.missing_chunks, 1);
    write_index(&session, &data).await?;
    refused(&session.commit(manifest(&session)?).await);
    session.abort().await?;

    // Nobody knows yet which snapshots need it: no base, and the chunk is uploaded.
    let session = server.session("a", 200).await?;
    assert!(session.base().is_none(), "there is a loss");
    for (chunk, known) in data.iter().zip([true, false, true]) {
        assert_eq!(insert(&session, chunk).await?.duplicate, known);
    }
    finish(session, &data).await?;
    assert!(world.has_object(&data[1]));
    Ok(())
}

/// A record that our session reads after it has uploaded the chunk is older than that.
#[tokio::test(start_paused = true)]
async fn a_loss_that_was_made_good_stops_nobody() -> Result<()> {
    let (world, server, other, data) = with_a_loss().await?;
    let session = server.session("new", 100).await?;
    world.mock.delete(BUCKET, &chunk_key(&data[1].digest));
    assert_eq!(verify(&other, "b").await?.missing_chunks, 1);
    for (chunk, known) in data.iter().zip([true, false, true]) {
        assert_eq!(insert(&session, chunk).await?.duplicate, known);
    }
    finish(session, &data).await?;
    assert!(!server.store.digests().has_lost());
    Ok(())
}

/// We know of the loss, and it is another process that uploads the chunk: it is there.
#[tokio::test(start_paused = true)]
async fn what_another_process_has_uploaded_since_is_not_missing() -> Result<()> {
    let (world, server, other, data) = with_a_loss().await?;
    let session = server.session("new", 100).await?;
    world.mock.delete(BUCKET, &chunk_key(&data[1].digest));
    assert_eq!(verify(&other, "b").await?.missing_chunks, 1);
    let second = server.session("second", 100).await?;
    assert!(server.store.digests().has_lost());
    bare(&other, "elsewhere", 100, &data).await?;
    for session in [session, second] {
        for chunk in &data {
            assert!(insert(&session, chunk).await?.duplicate);
        }
        finish(session, &data).await?;
    }
    assert!(!server.store.digests().has_lost());
    Ok(())
}

/// The same while the manifest is on its way to the bucket.
#[tokio::test(start_paused = true)]
async fn a_loss_that_another_process_finds_meanwhile_stops_the_finish_too() -> Result<()> {
    for applied in [false, true] {
        let (world, server, other, data) = with_a_loss().await?;
        let session = on_a_base(&server, "a", 100).await?;
        write_index(&session, &data).await?;
        let gate = Gate::new();
        let pause = match applied {
            true => Action::ApplyThenPause(gate.clone()),
            false => Action::Pause(gate.clone()),
        };
        world
            .mock
            .script(Fault::on(Op::PutObject, pause).keys("*/a/*/index.json.blob"));
        world.mock.delete(BUCKET, &chunk_key(&data[1].digest));
        let found = async {
            gate.arrived().await;
            let found = verify(&other, "b").await;
            gate.release();
            found
        };
        let (committed, found) = tokio::join!(session.commit(manifest(&session)?), found);
        assert_eq!(found?.missing_chunks, 1);
        refused(&committed);
        let dir = session.dir().clone();
        let ns = "".parse()?;
        assert!(!server.store.snapshots().has_manifest(&ns, &dir)?);
        session.abort().await?;
    }
    Ok(())
}

/// A snapshot of which the other process has failed nothing is no base, from the very next session
/// on; after the next collection it is said which ones are not.
#[tokio::test(start_paused = true)]
async fn after_a_loss_in_another_process_there_is_no_base() -> Result<()> {
    let (world, server, other, data) = with_a_loss().await?;
    // Our hold of the process lock lasts.
    let _lease = server.store.writer_lease(&server.cancel).await?;
    assert!(on_a_base(&server, "a", 50).await?.base().is_some());
    world.mock.delete(BUCKET, &chunk_key(&data[1].digest));
    verify(&other, "b").await?;
    drop(other);
    assert!(server.session("a", 100).await?.base().is_none());
    assert_eq!(server.gc().await?.missing, 1);
    for id in ["a", "b"] {
        let dir = format!("host/{id}/{}", scenarios::time(0)).parse()?;
        let failed = server.store.load_manifest(&"".parse()?, &dir).await?;
        let state = failed.verify_state()?.context("a state")?.state;
        assert_eq!(state, VerifyState::Failed);
    }
    let sound = bare(&server, "c", 0, &data[..1]).await?;
    let next = server.session("c", 100).await?;
    assert_eq!(next.base().context("a base")?.dir(), &sound.dir);
    Ok(())
}

/// The other process is not alone, so it only lists a damaged object: our next upload of the chunk is
/// taken, and replaces it.
#[tokio::test(start_paused = true)]
async fn what_another_process_lists_as_bad_is_no_duplicate() -> Result<()> {
    let (world, server) = World::new().await?;
    let data = chunks("data", 3);
    bare(&server, "a", 0, &data).await?;
    let other = world.open("cache")?;
    let session = server.session("new", 100).await?;
    assert!(insert(&session, &data[0]).await?.duplicate);
    damage(&world, &data[1])?;
    damage(&world, &data[2])?;
    assert_eq!(verify(&other, "a").await?.corrupt_chunks, 2);
    world.pass(MOMENT).await;
    let length = u32::try_from(data[1].data.len())?;
    assert!(!session.touch_known(data[1].digest, length).await?);
    assert!(!insert(&session, &data[1]).await?.duplicate);
    assert!(is_good(&world, &data[1])? && !is_good(&world, &data[2])?);

    // That one is off the list, the other still on it.
    let list = world.cache("cache").join(".x-coffer/bad-chunks");
    let only = format!("{}\n", data[2].digest);
    assert_eq!(std::fs::read_to_string(list)?, only);
    assert!(!insert(&session, &data[2]).await?.duplicate);
    assert!(is_good(&world, &data[2])?);
    write_index(&session, &data).await?;
    commit(session, &data).await?;
    Ok(())
}

/// A session that begins right after it does not wait for the next look at the list.
#[tokio::test(start_paused = true)]
async fn a_session_begins_with_a_look_at_the_list() -> Result<()> {
    let (world, server) = World::new().await?;
    let data = chunks("data", 2);
    bare(&server, "a", 0, &data).await?;
    let other = world.open("cache")?;
    let first = server.session("first", 100).await?;
    assert!(insert(&first, &data[0]).await?.duplicate);
    damage(&world, &data[1])?;
    verify(&other, "a").await?;
    let session = server.session("new", 200).await?;
    assert!(!insert(&session, &data[1]).await?.duplicate);
    assert!(is_good(&world, &data[1])?);
    Ok(())
}

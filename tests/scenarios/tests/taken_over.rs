//! Small changes of metadata by a server that has lost its prefix (`gc.md` G16): protections, owners,
//! notes, namespaces. Nothing of them reaches what is somebody else's now.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api_types::auth::Authid;
use api_types::names::BackupNamespace;
use bytes::Bytes;
use datastore::Error;
use datastore::format::blob::DataBlob;
use datastore::store::state_dir::{RebuildNeeded, StateDir};
use s3_client::TaskKind;
use s3_mock::{Action, Fault, Gate, Op};
use scenarios::{BUCKET, STORE, Server, Snapshot, World, chunks, group};

/// Longer than a look at the in-use marker is good for.
const LATER: Duration = Duration::from_secs(90);
static ROOT: BackupNamespace = BackupNamespace::root();

/// A protected snapshot with notes of its group.
async fn protected() -> Result<(World, Server, Snapshot)> {
    let (world, server) = World::new().await?;
    let snapshot = server.backup("g", 0, &chunks("g", 2)).await?;
    protect(&server, &snapshot, true).await?;
    server
        .store
        .set_group_notes(None, &ROOT, &group("g"), "notes")
        .await?;
    Ok((world, server, snapshot))
}

async fn protect(server: &Server, snapshot: &Snapshot, protect: bool) -> datastore::Result<()> {
    let client = server.store.client(TaskKind::Other, &server.cancel);
    let (ns, dir) = (&snapshot.ns, &snapshot.dir);
    let set = server
        .store
        .set_protection(client.as_ref(), ns, dir, protect);
    set.await
}

/// All metadata objects with their content.
fn metadata(world: &World) -> Vec<(String, Option<Bytes>)> {
    let keys = world.mock.keys(BUCKET, &format!("{STORE}/.cnt/"));
    let keys = keys.into_iter();
    keys.map(|key| (key.clone(), world.mock.get(BUCKET, &key)))
        .collect()
}

/// Another instance takes the prefix over, and this one's last look at the marker is old.
async fn take_over(world: &World) {
    let theirs = r#"{"hostname":"elsewhere","instance-id":"another"}"#;
    world.mock.put(BUCKET, &format!("{STORE}/.in-use"), theirs);
    world.pass(LATER).await;
}

fn ensure_fenced(what: &str, result: datastore::Result<()>) -> Result<()> {
    let error = result.err().with_context(|| format!("{what}: done"))?;
    ensure!(matches!(error, Error::Fenced { .. }), "{what}: {error}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn nothing_small_is_changed_after_a_takeover() -> Result<()> {
    let (world, server, snapshot) = protected().await?;
    let other = server.backup("h", 0, &chunks("h", 2)).await?;
    take_over(&world).await;
    let before = metadata(&world);
    let (store, group) = (&server.store, group("g"));
    let somebody: Authid = "somebody@pbs".parse()?;
    let log = DataBlob::encode(b"log", None, true, &world.env)?.into_raw();
    ensure_fenced("lift", protect(&server, &snapshot, false).await)?;
    ensure_fenced("protect", protect(&server, &other, true).await)?;
    let owned = store.set_owner(None, &ROOT, &group, &somebody).await;
    ensure_fenced("owner", owned)?;
    for notes in ["other notes", ""] {
        let noted = store.set_group_notes(None, &ROOT, &group, notes).await;
        ensure_fenced("notes", noted)?;
    }
    let logged = store.store_client_log(None, &ROOT, &snapshot.dir, log, &server.cancel);
    ensure_fenced("log", logged.await)?;
    let ns: BackupNamespace = "new".parse()?;
    let created = store.create_namespace(None, &ns, &server.cancel).await;
    ensure_fenced("namespace", created)?;
    ensure!(metadata(&world) == before, "{:?}", metadata(&world));

    // Here all is as it was, too, or on the safe side.
    ensure!(store.protection(&ROOT, &snapshot.dir).await?);
    let owner = store.snapshots().owner(&ROOT, &group)?;
    ensure!(owner == Some(Authid::root()), "{owner:?}");
    ensure!(store.group_notes(&ROOT, &group).await? == "notes");
    ensure!(!store.snapshots().namespace_exists(&ns)?);
    Ok(())
}

/// A server that has the prefix, and a tree that is older than what is in it: a refresh that was given up
/// has left it so.
#[tokio::test(start_paused = true)]
async fn nothing_is_changed_while_a_refresh_is_needed() -> Result<()> {
    let (world, server, snapshot) = protected().await?;
    let store = &server.store;
    let needed = RebuildNeeded {
        wait: false,
        reason: "another server has used the prefix".into(),
    };
    StateDir::of(store.base()).write_rebuild_needed(Some(&needed))?;
    let before = metadata(&world);
    let somebody: Authid = "somebody@pbs".parse()?;
    let group = group("g");
    let notes = store.set_snapshot_notes(None, &ROOT, &snapshot.dir, "new", &server.cancel);
    let forgotten = server.forget(&snapshot).await;
    for result in [
        protect(&server, &snapshot, false).await,
        store.set_owner(None, &ROOT, &group, &somebody).await,
        store.set_group_notes(None, &ROOT, &group, "new").await,
        notes.await,
    ] {
        let error = result.err().context("it was done")?;
        ensure!(matches!(error, Error::NeedsRefresh { .. }), "{error}");
    }
    ensure!(forgotten.is_err());
    ensure!(metadata(&world) == before, "{:?}", metadata(&world));
    ensure!(store.protection(&ROOT, &snapshot.dir).await?);
    Ok(())
}

/// A session began before the takeover, and its group is new here: its owner stays away.
#[tokio::test(start_paused = true)]
async fn the_owner_of_a_new_group_stays_away() -> Result<()> {
    let (world, server) = World::new().await?;
    // Somebody in this process has a lease, so that nobody looks at the marker for the next.
    let _session = server.session("g", 0).await?;
    take_over(&world).await;
    let before = metadata(&world);
    let begun = server.session("h", 0).await;
    ensure!(begun.is_err(), "it has begun");
    ensure!(metadata(&world) == before, "{:?}", metadata(&world));
    Ok(())
}

/// The answer to the look was ours; the request itself is on its way for a quarter of an hour.
#[tokio::test(start_paused = true)]
async fn a_change_that_arrives_too_late_is_refused_by_its_signature() -> Result<()> {
    let (world, server, snapshot) = protected().await?;
    // A look that is fifty seconds old: what is signed with it is valid for so much shorter.
    world.pass(LATER).await;
    protect(&server, &snapshot, true).await?;
    world.pass(Duration::from_secs(50)).await;
    let before = metadata(&world);
    let gate = Gate::new();
    for op in [Op::PutObject, Op::DeleteObject] {
        let on_the_way = Fault::on(op, Action::Pause(gate.clone())).in_network();
        world.mock.script(on_the_way);
    }
    let lifting = tokio::spawn({
        let (server, snapshot) = (server.clone(), snapshot.clone());
        async move { protect(&server, &snapshot, false).await }
    });
    gate.arrived().await;
    let noting = tokio::spawn({
        let server = server.clone();
        async move {
            let store = &server.store;
            store
                .set_group_notes(None, &ROOT, &group("g"), "other")
                .await
        }
    });
    gate.arrived_count(2).await;
    lifting.abort();
    noting.abort();
    world.pass(Duration::from_secs(15 * 60 - 25)).await;
    gate.release();
    world.pass(Duration::from_secs(1)).await;
    ensure!(metadata(&world) == before, "{:?}", metadata(&world));
    Ok(())
}

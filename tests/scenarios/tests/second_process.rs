//! A short-lived process beside the daemon, as `coffer-manager` is: what one is in the middle of is
//! nothing for the other to repair (ADR 0024), and nothing for a refresh to exchange.

use std::sync::Arc;

use anyhow::{Result, ensure};
use datastore::refresh::{RefreshOptions, RefreshReport};
use datastore::task::{RecordingTask, SilentTask};
use s3_mock::{Action, Fault, Gate, Op, Reply};
use scenarios::running::crash;
use scenarios::{AFTER_QUARANTINE, BUCKET, STORE, Server, Snapshot, World, chunks, group};
use tokio::task::JoinHandle;

/// Keys of the objects of a snapshot.
fn objects(world: &World, snapshot: &Snapshot) -> Vec<String> {
    let path = snapshot.ns.path_of(&snapshot.dir.path());
    world.mock.keys(BUCKET, &format!("{STORE}/.cnt/{path}/"))
}

fn manifests(below: &str) -> String {
    format!("{STORE}/.cnt/{below}/*/index.json.blob")
}

/// Pauses the next such request when it has been applied.
fn pause_after(world: &World, op: Op, keys: String) -> Gate {
    let gate = Gate::new();
    let pause = Action::ApplyThenPause(gate.clone());
    world.mock.script(Fault::on(op, pause).keys(keys));
    gate
}

/// A removal that the bucket refuses, so that the process puts right what it believes to be wrong.
async fn fail_to_forget(world: &World, tool: &Server, snapshot: &Snapshot) {
    let denied = Action::Reply(Reply::access_denied());
    let keys = manifests(&snapshot.ns.path_of(&snapshot.dir.group.path()));
    let fault = Fault::on_ops(&[Op::DeleteObject, Op::DeleteObjects], denied).keys(keys);
    let fault = world.mock.script(fault.always());
    assert!(tool.forget(snapshot).await.is_err());
    world.mock.remove_fault(fault);
}

/// Copies at the new place, the local directory still at the old one.
#[tokio::test(start_paused = true)]
async fn a_move_under_way_keeps_its_copies() -> Result<()> {
    let (world, daemon) = World::new().await?;
    let to = daemon.create_namespace("a").await?;
    let mut moved = daemon.backup("g", 0, &chunks("moved", 3)).await?;
    let other = daemon.backup("other", 0, &chunks("other", 2)).await?;
    let copied = pause_after(&world, Op::PutObject, manifests("ns/a/host/g"));
    let moving = {
        let (store, from, to) = (Arc::clone(&daemon.store), moved.ns.clone(), to.clone());
        tokio::spawn(async move {
            let task = RecordingTask::new();
            store
                .move_group(&task, &from, &group("g"), &to, false)
                .await
        })
    };
    copied.arrived().await;

    let tool = world.open("cache")?;
    fail_to_forget(&world, &tool, &other).await;
    drop(tool);

    copied.release();
    ensure!(moving.await??.snapshots == 1);
    moved.ns = to;
    world.pass(AFTER_QUARANTINE).await;
    daemon.gc().await?;
    assert_eq!(objects(&world, &moved).len(), 2, "it is in the bucket");
    world.check_safe(&daemon, &[&moved, &other]).await
}

/// The manifest gone from the bucket, the local directory still there.
#[tokio::test(start_paused = true)]
async fn a_removal_under_way_is_not_undone_by_a_collection() -> Result<()> {
    let (world, daemon) = World::new().await?;
    let kept = daemon.backup("g", 0, &chunks("kept", 2)).await?;
    let doomed = daemon.backup("g", 60, &chunks("doomed", 2)).await?;
    let deleted = pause_after(&world, Op::DeleteObject, manifests("host/g"));
    let removal = {
        let (daemon, doomed) = (daemon.clone(), doomed.clone());
        tokio::spawn(async move { daemon.forget(&doomed).await })
    };
    deleted.arrived().await;

    let tool = world.open("cache")?;
    tool.gc().await?;
    drop(tool);

    deleted.release();
    removal.await??;
    assert_eq!(objects(&world, &doomed), Vec::<String>::new());
    world.check_safe(&daemon, &[&kept]).await
}

/// Another process knows of a path from before, and would put the manifest back at the end of its
/// quarantine, when it looks for the last time.
#[tokio::test(start_paused = true)]
async fn a_removal_under_way_is_not_undone_by_an_old_entry() -> Result<()> {
    let (world, daemon) = World::new().await?;
    let kept = daemon.backup("g", 0, &chunks("kept", 2)).await?;
    let doomed = daemon.backup("g", 60, &chunks("doomed", 2)).await?;
    fail_to_forget(&world, &daemon, &doomed).await;
    daemon.store.tend(&daemon.cancel).await?;
    world.pass(AFTER_QUARANTINE).await;

    let tool = world.open("cache")?;
    let deleted = pause_after(&world, Op::DeleteObject, manifests("host/g"));
    let removal = {
        let doomed = doomed.clone();
        tokio::spawn(async move { tool.forget(&doomed).await })
    };
    deleted.arrived().await;
    daemon.store.tend(&daemon.cancel).await?;
    deleted.release();
    removal.await??;
    world.pass(AFTER_QUARANTINE).await;
    daemon.store.tend(&daemon.cancel).await?;
    assert_eq!(objects(&world, &doomed), Vec::<String>::new());
    world.check_safe(&daemon, &[&kept]).await
}

/// What a process leaves that ends in the middle is put right by the one that lives on.
#[tokio::test(start_paused = true)]
async fn what_a_dead_process_was_removing_is_put_right() -> Result<()> {
    let (world, daemon) = World::new().await?;
    let snapshot = daemon.backup("g", 0, &chunks("g", 2)).await?;
    // So that the daemon holds the store all the time, and does not begin to use it anew.
    let session = daemon.session("busy", 0).await?;
    let tool = world.open("cache")?;
    let deleted = pause_after(&world, Op::DeleteObject, manifests("host/g"));
    let removal = {
        let (tool, snapshot) = (tool.clone(), snapshot.clone());
        tokio::spawn(async move { tool.forget(&snapshot).await })
    };
    deleted.arrived().await;
    crash(removal).await;
    drop(tool);
    deleted.release();
    assert_eq!(objects(&world, &snapshot).len(), 1);

    daemon.store.tend(&daemon.cancel).await?;
    assert_eq!(objects(&world, &snapshot).len(), 2);
    session.abort().await?;
    world.check_safe(&daemon, &[&snapshot]).await
}

/// An owner that only the disk has would be nobody's after a refresh.
#[tokio::test(start_paused = true)]
async fn a_group_whose_removal_ended_half_way_keeps_its_owner() -> Result<()> {
    let (world, daemon) = World::new().await?;
    let snapshot = daemon.backup("g", 0, &chunks("g", 2)).await?;
    let owner = format!("{STORE}/.cnt/host/g/owner");
    let deleted = pause_after(&world, Op::DeleteObject, owner.clone());
    let removal = {
        let (daemon, snapshot) = (daemon.clone(), snapshot.clone());
        tokio::spawn(async move { daemon.forget(&snapshot).await })
    };
    deleted.arrived().await;
    crash(removal).await;
    deleted.release();
    let server = world.restart(daemon)?;
    assert!(server.store.base().join("host/g/owner").exists());
    server.gc().await?;
    assert!(world.mock.get(BUCKET, &owner).is_some());
    Ok(())
}

fn start_refresh(server: &Server) -> JoinHandle<datastore::Result<RefreshReport>> {
    let store = Arc::clone(&server.store);
    tokio::spawn(async move {
        let task = SilentTask::new();
        store.s3_refresh(&task, RefreshOptions::default()).await
    })
}

/// Sets the notes of a snapshot's group.
fn start_notes(
    server: &Server,
    of: &Snapshot,
    text: &'static str,
) -> JoinHandle<datastore::Result<()>> {
    let (store, ns, group) = (
        Arc::clone(&server.store),
        of.ns.clone(),
        of.dir.group.clone(),
    );
    tokio::spawn(async move { store.set_group_notes(None, &ns, &group, text).await })
}

/// What is written on a group while the tree is exchanged would be gone here.
#[tokio::test(start_paused = true)]
async fn nobody_changes_metadata_during_a_refresh() -> Result<()> {
    let (world, daemon) = World::new().await?;
    let snapshot = daemon.backup("g", 0, &chunks("g", 2)).await?;
    let ns = &snapshot.ns;
    let listed = pause_after(&world, Op::ListObjects, format!("{STORE}/.cnt/*"));
    let refreshing = start_refresh(&daemon);
    listed.arrived().await;
    let tool = world.open("cache")?;
    for server in [&daemon, &tool] {
        let store = &server.store;
        let refused = [
            store.set_group_notes(None, ns, &group("g"), "text").await,
            store.set_protection(None, ns, &snapshot.dir, true).await,
            store
                .create_namespace(None, &"a".parse()?, &server.cancel)
                .await,
        ];
        for refused in refused {
            let error = refused.unwrap_err().to_string();
            ensure!(error.contains("it is being refreshed"), "{error}");
        }
        assert!(server.forget(&snapshot).await.is_err());
    }
    listed.release();
    refreshing.await??;
    tool.store
        .set_group_notes(None, ns, &group("g"), "text")
        .await?;
    world.check_safe(&daemon, &[&snapshot]).await
}

/// And a refresh waits for those who are at it.
#[tokio::test(start_paused = true)]
async fn a_refresh_waits_for_a_change_of_another_process() -> Result<()> {
    let (world, daemon) = World::new().await?;
    let snapshot = daemon.backup("g", 0, &chunks("g", 2)).await?;
    let written = pause_after(&world, Op::PutObject, format!("{STORE}/.cnt/host/g/notes"));
    let tool = world.open("cache")?;
    let changing = start_notes(&tool, &snapshot, "text");
    written.arrived().await;
    let refreshing = start_refresh(&daemon);
    world.pass(std::time::Duration::from_secs(5)).await;
    assert!(!refreshing.is_finished());
    written.release();
    changing.await??;
    refreshing.await??;
    let notes = daemon.store.group_notes(&snapshot.ns, &group("g")).await?;
    assert_eq!(notes, "text");
    Ok(())
}

/// A change that ended between the bucket and the disk is undone by whoever comes next.
#[tokio::test(start_paused = true)]
async fn a_change_that_ended_half_way_is_undone() -> Result<()> {
    let (world, daemon) = World::new().await?;
    let snapshot = daemon.backup("g", 0, &chunks("g", 2)).await?;
    let (ns, of) = (snapshot.ns.clone(), group("g"));
    daemon.store.set_group_notes(None, &ns, &of, "old").await?;
    let key = format!("{STORE}/.cnt/host/g/notes");
    let written = pause_after(&world, Op::PutObject, key.clone());
    let tool = world.open("cache")?;
    let changing = start_notes(&tool, &snapshot, "new");
    written.arrived().await;
    let in_bucket = || world.mock.get(BUCKET, &key);
    assert_eq!(in_bucket().as_deref(), Some(&b"new"[..]));
    crash(changing).await;
    drop(tool);
    written.release();

    daemon.store.tend(&daemon.cancel).await?;
    assert_eq!(in_bucket().as_deref(), Some(&b"old"[..]));
    assert_eq!(daemon.store.group_notes(&ns, &of).await?, "old");
    Ok(())
}

/// A namespace whose directory is gone and whose marker is about to be deleted by another process.
#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_being_removed_elsewhere_is_not_made_anew() -> Result<()> {
    let (world, daemon) = World::new().await?;
    let ns = daemon.create_namespace("a").await?;
    let marker = format!("{STORE}/.cnt/ns/a/.namespace");
    let gate = Gate::new();
    let pause = Action::Pause(gate.clone());
    let delete = Fault::on(Op::DeleteObject, pause).keys(marker.clone());
    world.mock.script(delete);
    let tool = world.open("cache")?;
    let removing = {
        let (tool, ns) = (tool.clone(), ns.clone());
        tokio::spawn(async move {
            let store = &tool.store;
            store
                .destroy_namespace(None, &ns, false, &tool.cancel)
                .await
        })
    };
    gate.arrived().await;
    let made = daemon.store.create_namespace(None, &ns, &daemon.cancel);
    let error = made.await.unwrap_err().to_string();
    ensure!(error.contains("another process is removing it"), "{error}");
    gate.release();
    removing.await??;
    daemon
        .store
        .create_namespace(None, &ns, &daemon.cancel)
        .await?;
    assert!(world.mock.get(BUCKET, &marker).is_some());
    Ok(())
}

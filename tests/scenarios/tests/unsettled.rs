//! Metadata requests that succeed at their second attempt, and the first one strikes later
//! (`s3-backend.md` §17.1): a 200 resolves nothing before it.

use anyhow::{Context, Result, ensure};
use api_types::names::BackupNamespace;
use datastore::backend::s3::cleanup::PathLocks;
use datastore::task::RecordingTask;
use s3_client::TaskKind;
use s3_mock::{Action, Fault, Op};
use scenarios::{AFTER_QUARANTINE, BUCKET, STORE, Server, Snapshot, World, chunks, group};

/// The next such request is held back, and sent again by its client.
fn lose(world: &World, op: Op, key: &str) {
    let fault = Fault::on(op, Action::late());
    world.mock.script(fault.keys(format!("{STORE}/.cnt/{key}")));
}

/// The request that was held back reaches the bucket.
fn strike(world: &World) -> Result<()> {
    let late = world.mock.late();
    ensure!(late.len() == 1, "{late:?}");
    let status = world.mock.release_late(late[0].id).context("released")?;
    ensure!((200..300).contains(&status), "{status}");
    Ok(())
}

/// A daemon's rounds until late requests cannot arrive any more.
async fn outlast(world: &World, server: &Server) -> Result<()> {
    server.store.tend(&server.cancel).await?;
    world.pass(AFTER_QUARANTINE).await;
    server.store.tend(&server.cancel).await?;
    Ok(())
}

/// Nothing is left to be looked at, so nothing is asked.
async fn check_idle(world: &World, server: &Server) -> Result<()> {
    let mark = world.mock.journal_mark();
    let tended = server.store.tend(&server.cancel).await?;
    ensure!(tended.is_none(), "something was due: {tended:?}");
    world.pass(AFTER_QUARANTINE).await;
    let tended = server.store.tend(&server.cancel).await?;
    ensure!(tended.is_none(), "something was due later: {tended:?}");
    ensure!(world.mock.journal().since(mark).requests().count() == 0);
    Ok(())
}

/// The objects below the datastore's metadata, by their paths.
fn metadata(world: &World) -> Vec<String> {
    let prefix = format!("{STORE}/.cnt/");
    let keys = world.mock.keys(BUCKET, &prefix);
    keys.iter().map(|key| key[prefix.len()..].into()).collect()
}

/// What the bucket has of a snapshot is what the local tree has of it.
fn check_mirrored(world: &World, server: &Server, snapshot: &Snapshot) -> Result<()> {
    let path = snapshot.ns.path_of(&snapshot.dir.path());
    for file in ["index.json.blob", "tree.didx"] {
        let local = std::fs::read(server.snapshot_path(snapshot).join(file))?;
        let object = world
            .mock
            .get(BUCKET, &format!("{STORE}/.cnt/{path}/{file}"));
        ensure!(
            object.is_some_and(|object| object == local),
            "{path}/{file}"
        );
    }
    Ok(())
}

async fn move_group(server: &Server, from: &BackupNamespace, to: &BackupNamespace) -> Result<()> {
    let (task, group) = (RecordingTask::new(), group("g"));
    let moved = server.store.move_group(&task, from, &group, to, true);
    ensure!(moved.await?.snapshots == 1);
    Ok(())
}

/// Two namespaces, and a group in the first.
async fn a_group() -> Result<(World, Server, [BackupNamespace; 2], Snapshot)> {
    let (world, server) = World::new().await?;
    let namespaces = [
        server.create_namespace("a").await?,
        server.create_namespace("b").await?,
    ];
    let data = chunks("g", 2);
    let snapshot = server.backup_in(&namespaces[0], "g", 0, &data).await?;
    Ok((world, server, namespaces, snapshot))
}

/// A group moves there, and is not moved back while a delete of the first move may strike what is
/// copied back.
#[tokio::test(start_paused = true)]
async fn a_group_is_not_moved_back_under_a_late_delete() -> Result<()> {
    for key in ["*/index.json.blob", "*/tree.didx"] {
        let (world, server, [a, b], mut snapshot) = a_group().await?;
        check_idle(&world, &server).await?;
        lose(&world, Op::DeleteObjects, key);
        move_group(&server, &a, &b).await?;
        let refused = move_group(&server, &b, &a).await;
        let refused = refused.err().context("moved back at once")?;
        ensure!(refused.to_string().contains("half an hour"), "{refused}");
        strike(&world)?;
        outlast(&world, &server).await?;
        check_idle(&world, &server).await?;
        move_group(&server, &b, &a).await?;
        snapshot.ns = a;
        check_mirrored(&world, &server, &snapshot)?;
        check_idle(&world, &server).await?;
    }
    Ok(())
}

/// A copy that took two attempts is not taken for a leftover before the snapshot is there.
#[tokio::test(start_paused = true)]
async fn a_round_beside_a_move_leaves_its_copies_alone() -> Result<()> {
    let (world, server, [a, b], mut snapshot) = a_group().await?;
    lose(&world, Op::CopyObject, "*/tree.didx");
    let manifest = world.mock.gate(Op::PutObject, "*/ns/b/*/index.json.blob");
    let moving = tokio::spawn({
        let (server, a, b) = (server.clone(), a.clone(), b.clone());
        async move { move_group(&server, &a, &b).await }
    });
    let arrives = || manifest.arrivals() > 0;
    world.until("the copy is there", arrives).await?;
    snapshot.ns = b;
    let index = snapshot
        .ns
        .path_of(&format!("{}/tree.didx", snapshot.dir.path()));
    ensure!(metadata(&world).contains(&index), "it was not copied");
    server.store.tend(&server.cancel).await?;
    ensure!(metadata(&world).contains(&index), "the copy is gone again");
    manifest.release();
    moving.await??;
    check_mirrored(&world, &server, &snapshot)?;
    let due = server
        .store
        .tend(&server.cancel)
        .await?
        .context("nothing")?;
    ensure!(due.metadata.open > 0, "the lost copy may still be made");
    outlast(&world, &server).await?;
    check_mirrored(&world, &server, &snapshot)?;
    check_idle(&world, &server).await
}

/// A snapshot is removed; the same is not backed up or pulled again while the delete may strike it.
#[tokio::test(start_paused = true)]
async fn a_removed_snapshot_is_not_made_again_under_a_late_delete() -> Result<()> {
    for (op, key) in [
        (Op::DeleteObject, "*/index.json.blob"),
        (Op::DeleteObjects, "*/tree.didx"),
    ] {
        let (world, server) = World::new().await?;
        let data = chunks("g", 2);
        server.backup("g", 0, &data).await?;
        let snapshot = server.backup("g", 10, &data).await?;
        lose(&world, op, key);
        server.forget(&snapshot).await?;
        let again = server.backup("g", 10, &data).await;
        let refused = again.err().context("made again at once")?;
        ensure!(
            refused.to_string().contains("another backup time"),
            "{refused}"
        );
        strike(&world)?;
        outlast(&world, &server).await?;
        let snapshot = server.backup("g", 10, &data).await?;
        check_mirrored(&world, &server, &snapshot)?;
        check_idle(&world, &server).await?;
    }
    Ok(())
}

/// A note is written at the second attempt and the snapshot removed; then the first attempt brings
/// its manifest back.
#[tokio::test(start_paused = true)]
async fn a_manifest_that_comes_back_after_its_snapshot_goes_again() -> Result<()> {
    let (world, server) = World::new().await?;
    let data = chunks("g", 2);
    let snapshot = server.backup("g", 0, &data).await?;
    server.backup("g", 10, &data).await?;
    lose(&world, Op::PutObject, "*/index.json.blob");
    let client = server.store.client(TaskKind::Other, &server.cancel);
    let noted = server.store.set_snapshot_notes(
        client.as_ref(),
        &snapshot.ns,
        &snapshot.dir,
        "a note",
        &server.cancel,
    );
    noted.await?;
    check_mirrored(&world, &server, &snapshot)?;
    server.forget(&snapshot).await?;
    let before = metadata(&world);
    strike(&world)?;
    ensure!(metadata(&world).len() == before.len() + 1);
    outlast(&world, &server).await?;
    ensure!(metadata(&world) == before, "{:?}", metadata(&world));
    check_idle(&world, &server).await
}

/// An old manifest does not stay in the place of a newer one.
#[tokio::test(start_paused = true)]
async fn an_old_manifest_that_comes_late_is_replaced() -> Result<()> {
    let (world, server) = World::new().await?;
    lose(&world, Op::PutObject, "*/index.json.blob");
    let snapshot = server.backup("g", 0, &chunks("g", 2)).await?;
    let client = server.store.client(TaskKind::Other, &server.cancel);
    let noted = server.store.set_snapshot_notes(
        client.as_ref(),
        &snapshot.ns,
        &snapshot.dir,
        "a note",
        &server.cancel,
    );
    noted.await?;
    strike(&world)?;
    ensure!(check_mirrored(&world, &server, &snapshot).is_err());
    outlast(&world, &server).await?;
    check_mirrored(&world, &server, &snapshot)?;
    check_idle(&world, &server).await
}

/// A group is removed and made anew; then the delete of its first owner strikes.
#[tokio::test(start_paused = true)]
async fn a_group_made_anew_keeps_its_owner() -> Result<()> {
    let (world, server) = World::new().await?;
    let data = chunks("g", 2);
    server.backup("g", 0, &data).await?;
    lose(&world, Op::DeleteObject, "*/owner");
    let client = server.store.client(TaskKind::Prune, &server.cancel);
    let (root, group) = (BackupNamespace::root(), group("g"));
    let removed = server
        .store
        .destroy_group(client.as_ref(), &root, &group, &server.cancel);
    ensure!(removed.await?.removed_groups == 1);
    let snapshot = server.backup("g", 10, &data).await?;
    let owner = format!("{STORE}/.cnt/{}/owner", group.path());
    ensure!(world.mock.get(BUCKET, &owner).is_some());
    strike(&world)?;
    ensure!(world.mock.get(BUCKET, &owner).is_none());
    outlast(&world, &server).await?;
    ensure!(world.mock.get(BUCKET, &owner).is_some(), "nobody owns it");
    check_mirrored(&world, &server, &snapshot)?;
    check_idle(&world, &server).await
}

/// What took two attempts is looked at while it is made, and not undone.
#[tokio::test(start_paused = true)]
async fn retried_requests_of_a_backup_leave_it_whole() -> Result<()> {
    let (world, server) = World::new().await?;
    let ns = server.create_namespace("a").await?;
    let fault = Fault::on(Op::PutObject, Action::ApplyThenDrop);
    for key in ["owner", "tree.didx", "index.json.blob"] {
        world
            .mock
            .script(fault.clone().keys(format!("{STORE}/.cnt/*/{key}")));
    }
    let snapshot = server.backup_in(&ns, "g", 0, &chunks("g", 2)).await?;
    let before = metadata(&world);
    let tended = server.store.tend(&server.cancel).await?.context("due")?;
    ensure!(tended.metadata.open == 3, "{tended:?}");
    outlast(&world, &server).await?;
    ensure!(metadata(&world) == before);
    check_mirrored(&world, &server, &snapshot)?;
    check_idle(&world, &server).await
}

/// The disk of the local tree is unmounted while a path is to be looked at: nothing is missing here, the
/// whole tree is. What the bucket has is the only copy then.
#[tokio::test(start_paused = true)]
async fn a_disk_that_is_not_mounted_takes_nothing_from_the_bucket() -> Result<()> {
    let (world, server) = World::new().await?;
    let snapshot = server.backup("g", 0, &chunks("g", 3)).await?;
    lose(&world, Op::PutObject, "host/g/*/index.json.blob");
    let store = &server.store;
    store
        .set_snapshot_notes(None, &snapshot.ns, &snapshot.dir, "notes", &server.cancel)
        .await?;
    strike(&world)?;
    let before = metadata(&world);
    let (base, away) = (store.base(), store.base().with_extension("away"));
    std::fs::rename(base, &away)?;
    for dir in ["", ".chunks", ".x-coffer/cleanup"] {
        std::fs::create_dir_all(base.join(dir))?;
    }
    let backend = store.backend().s3().context("it is in a bucket")?;
    let locks = PathLocks::new(base.to_owned(), store.locks().clone());
    let report = backend.reconcile_metadata(backend.client(), &locks).await?;
    assert_eq!((report.deleted, report.failed), (0, 1));
    ensure!(metadata(&world) == before, "{:?}", metadata(&world));

    std::fs::remove_dir_all(base)?;
    std::fs::rename(&away, base)?;
    outlast(&world, &server).await?;
    check_mirrored(&world, &server, &snapshot)?;
    world.check_safe(&server, &[&snapshot]).await
}

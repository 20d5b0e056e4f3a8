//! Groups move beside a collection (`gc.md` §9 T16), by the real operation: the whole of it at every
//! step of a collection without grace. The single steps of a move, each at every step of a
//! collection, are in `interleavings`.

use std::time::Duration;

use anyhow::{Result, ensure};
use api_types::names::BackupNamespace;
use datastore::locks::MoveJournal;
use datastore::task::RecordingTask;
use s3_client::TaskKind;
use s3_mock::Op;
use scenarios::meanwhile::{Story, at_every_interleaving, check_outcome, check_rest};
use scenarios::{Server, Snapshot, World, chunks, group};

const HOUR: Duration = Duration::from_secs(3600);

/// Two groups of one snapshot each: the first moves to a namespace that the walk has passed before,
/// then the second joins it there, with a newer snapshot.
struct Moved<const BUCKET: bool> {
    world: World,
    server: Server,
    snapshots: Vec<Snapshot>,
    to: BackupNamespace,
}

impl<const BUCKET: bool> Moved<BUCKET> {
    async fn set_up() -> Result<Self> {
        let (world, server) = match BUCKET {
            true => World::new().await?,
            false => World::directory().await?,
        };
        let to = server.create_namespace("a").await?;
        let mut snapshots = Vec::new();
        for (name, at) in [("b", 0), ("c", 60)] {
            let from = server.create_namespace(name).await?;
            let chunks = chunks(name, 2);
            snapshots.push(server.backup_in(&from, "g", at, &chunks).await?);
        }
        world.pass(HOUR).await;
        Ok(Self {
            world,
            server,
            snapshots,
            to,
        })
    }

    /// Whether the mark is reading the move journal, which a move waits for.
    fn is_journal_free(&self) -> Result<bool> {
        let cache = if BUCKET { "cache" } else { "store" };
        let lock_dir = self.world.options(cache)?.lock_dir;
        let journal = MoveJournal::new(&lock_dir, self.world.env.clone());
        Ok(journal.try_lock().is_ok())
    }
}

impl<const BUCKET: bool> Story for Moved<BUCKET> {
    const CHANGES: usize = 1;

    fn world(&self) -> &World {
        &self.world
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn change(&mut self, _which: usize) -> Result<bool> {
        if !self.is_journal_free()? {
            return Ok(false);
        }
        for (index, snapshot) in self.snapshots.iter_mut().enumerate() {
            let task = RecordingTask::new();
            let moved = self
                .server
                .store
                .move_group(&task, &snapshot.ns, &group("g"), &self.to, true)
                .await?;
            ensure!(moved.snapshots == 1 && moved.merged == (index == 1));
            snapshot.ns.clone_from(&self.to);
        }
        Ok(true)
    }
}

async fn move_groups<const BUCKET: bool>() -> Result<()> {
    let told = at_every_interleaving(
        async || Moved::<BUCKET>::set_up().await,
        async |story: Moved<BUCKET>, outcome| {
            let report = check_outcome(&story.server, outcome)?;
            ensure!(report.deleted.count == 0, "something was deleted");
            let live: Vec<&Snapshot> = story.snapshots.iter().collect();
            check_rest(&story.world, &story.server, &live).await
        },
    )
    .await?;
    assert!(told > 15, "{told} interleavings");
    Ok(())
}

/// T16: groups move by the real operation.
#[tokio::test(start_paused = true)]
async fn t16_groups_that_move_keep_their_chunks() -> Result<()> {
    move_groups::<true>().await
}

/// T16 in a directory.
#[tokio::test(start_paused = true)]
async fn t16_groups_that_move_keep_their_chunks_in_a_directory() -> Result<()> {
    move_groups::<false>().await
}

/// While copies are on their way, others are alone with the tree, and those after them go on.
#[tokio::test(start_paused = true)]
async fn a_move_that_waits_for_the_bucket_keeps_nobody_from_being_alone() -> Result<()> {
    let (world, server) = World::new().await?;
    let (from, to) = (
        server.create_namespace("a").await?,
        server.create_namespace("b").await?,
    );
    let empty = server.create_namespace("empty").await?;
    let mut snapshots = Vec::new();
    for at in [0, 60] {
        let data = chunks(&format!("at{at}"), 2);
        snapshots.push(server.backup_in(&from, "g", at, &data).await?);
    }
    let other = server.backup("other", 0, &chunks("other", 2)).await?;
    let copying = world.mock.gate(Op::CopyObject, "*");
    let moving = tokio::spawn({
        let (server, from, to) = (server.clone(), from.clone(), to.clone());
        async move {
            let task = RecordingTask::new();
            server
                .store
                .move_group(&task, &from, &group("g"), &to, true)
                .await
        }
    });
    copying.arrived().await;
    let client = server.store.client(TaskKind::Other, &server.cancel);
    let alone = async {
        let store = &server.store;
        let removed = store
            .destroy_namespace(client.as_ref(), &empty, false, &server.cancel)
            .await?;
        ensure!(removed.removed_namespaces == 1);
        server.forget(&other).await?;
        // Not the namespaces of the move, which is under way.
        for ns in [&from, &to] {
            let kept = store
                .destroy_namespace(client.as_ref(), ns, false, &server.cancel)
                .await?;
            ensure!(kept.groups_left && kept.removed_namespaces == 0, "{ns}");
        }
        anyhow::Ok(())
    };
    tokio::select! {
        done = alone => done?,
        () = world.pass(HOUR) => anyhow::bail!("they wait for the move"),
    }
    ensure!(!moving.is_finished());
    copying.release();
    assert_eq!(moving.await??.snapshots, 2);
    for snapshot in &mut snapshots {
        snapshot.ns.clone_from(&to);
    }
    let live: Vec<&Snapshot> = snapshots.iter().collect();
    server.gc_now().await?;
    check_rest(&world, &server, &live).await
}

//! Others change the set of snapshots while the mark runs (`gc.md` §9, T15, T16): every
//! interleaving of their steps with those of the collection, through the real operations.
//!
//! In a bucket the collection also reads what only the bucket has (P1b), so that most of what the
//! passes over the local tree could miss is caught twice; a datastore in a directory has nothing
//! but the passes. Grace is off.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api_types::names::{ArchiveName, BackupNamespace};
use datastore::locks::MoveJournal;
use datastore::session::WriterSession;
use scenarios::meanwhile::{Story, at_every_interleaving, check_outcome, check_rest};
use scenarios::{
    Chunk, Server, Snapshot, World, chunk, chunks, commit, group, insert, write_index,
};

const HOUR: Duration = Duration::from_secs(3600);

async fn world(bucket: bool) -> Result<(World, Server)> {
    match bucket {
        true => World::new().await,
        false => World::directory().await,
    }
}

// --- T15 ----------------------------------------------------------------------------------------

#[derive(Clone, Copy, PartialEq)]
enum Reuse {
    /// Through the base: neither uploaded nor asked for.
    Base,
    /// By asking for each chunk.
    Duplicates,
}

/// A new snapshot reuses the chunks of the one before, which is then pruned. In a directory index
/// and manifest appear at different steps.
struct Reused<const BUCKET: bool> {
    world: World,
    server: Server,
    reuse: Reuse,
    old: Snapshot,
    session: Option<WriterSession>,
    new: Option<Snapshot>,
}

impl<const BUCKET: bool> Reused<BUCKET> {
    async fn set_up(reuse: Reuse) -> Result<Self> {
        let (world, server) = world(BUCKET).await?;
        let old = server.backup("a", 0, &chunks("old", 2)).await?;
        world.pass(HOUR).await;
        Ok(Self {
            world,
            server,
            reuse,
            old,
            session: None,
            new: None,
        })
    }

    fn chunks(&self) -> Vec<Chunk> {
        [&self.old.chunks[..], &[chunk("own")]].concat()
    }

    async fn begin(&self) -> Result<WriterSession> {
        let session = self.server.session("a", 3600).await?;
        match self.reuse {
            Reuse::Base => {
                let base = session.base().context("a base")?;
                ensure!(base.dir() == &self.old.dir, "another base");
                let name: ArchiveName = "tree.didx".parse()?;
                session.load_base_index(&name).await?;
            }
            Reuse::Duplicates => {
                for chunk in &self.old.chunks {
                    let size = u32::try_from(chunk.data.len())?;
                    let known = session.touch_known(chunk.digest, size).await?;
                    ensure!(known, "{} is not there", chunk.digest);
                }
            }
        }
        insert(&session, &chunk("own")).await?;
        Ok(session)
    }
}

impl<const BUCKET: bool> Story for Reused<BUCKET> {
    const CHANGES: usize = if BUCKET { 3 } else { 4 };

    fn world(&self) -> &World {
        &self.world
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn change(&mut self, which: usize) -> Result<bool> {
        let chunks = self.chunks();
        if which == 0 {
            self.session = Some(self.begin().await?);
        } else if which == Self::CHANGES - 1 {
            self.server.forget(&self.old).await?;
        } else {
            if which == 1 {
                let session = self.session.as_ref().context("a session")?;
                write_index(session, &chunks).await?;
            }
            if which == Self::CHANGES - 2 {
                let session = self.session.take().context("a session")?;
                self.new = Some(commit(session, &chunks).await?);
            }
        }
        Ok(true)
    }
}

async fn reuse_and_prune<const BUCKET: bool>(reuse: Reuse) -> Result<()> {
    let told = at_every_interleaving(
        async || Reused::<BUCKET>::set_up(reuse).await,
        async |story: Reused<BUCKET>, outcome| {
            check_outcome(&story.server, outcome)?;
            let new = story.new.context("a new snapshot")?;
            check_rest(&story.world, &story.server, &[&new]).await
        },
    )
    .await?;
    assert!(told > 400, "{told} interleavings");
    Ok(())
}

/// T15: the PSA case, the chunks known through the base only.
#[tokio::test(start_paused = true)]
async fn t15_reuse_through_the_base_then_prune() -> Result<()> {
    reuse_and_prune::<true>(Reuse::Base).await
}

/// T15 in a directory.
#[tokio::test(start_paused = true)]
async fn t15_reuse_through_the_base_then_prune_in_a_directory() -> Result<()> {
    reuse_and_prune::<false>(Reuse::Base).await
}

/// T15, the chunks known by duplicate answers.
#[tokio::test(start_paused = true)]
async fn t15_reuse_by_duplicates_then_prune() -> Result<()> {
    reuse_and_prune::<true>(Reuse::Duplicates).await
}

// --- T16 ----------------------------------------------------------------------------------------

/// A group of two snapshots moves to a namespace that the walk has passed before, in the order of
/// `s3-backend.md` §11: copies in the bucket, journal, rename, source objects. In a directory the
/// snapshots are renamed at different steps.
struct Moved<const BUCKET: bool> {
    world: World,
    server: Server,
    snapshots: Vec<Snapshot>,
    to: BackupNamespace,
}

impl<const BUCKET: bool> Moved<BUCKET> {
    async fn set_up() -> Result<Self> {
        let (world, server) = world(BUCKET).await?;
        let to = server.create_namespace("a").await?;
        let from = server.create_namespace("b").await?;
        server
            .store
            .snapshots()
            .create_group_dir(&to, &group("g"))?;
        let mut snapshots = Vec::new();
        for (at, name) in [(0, "first"), (60, "second")] {
            snapshots.push(server.backup_in(&from, "g", at, &chunks(name, 1)).await?);
        }
        world.pass(HOUR).await;
        Ok(Self {
            world,
            server,
            snapshots,
            to,
        })
    }

    fn moved(&self, snapshot: &Snapshot) -> Snapshot {
        Snapshot {
            ns: self.to.clone(),
            ..snapshot.clone()
        }
    }

    async fn copy_objects(&self) -> Result<()> {
        let Some(backend) = self.server.store.backend().s3() else {
            return Ok(());
        };
        for snapshot in &self.snapshots {
            for file in ["tree.didx", "index.json.blob"] {
                let from = backend.keys().content_file(&relative(snapshot, file))?;
                let to = relative(&self.moved(snapshot), file);
                let to = backend.keys().content_file(&to)?;
                backend.client().copy_object(&from, &to).await?;
            }
        }
        Ok(())
    }

    fn journal(&self) -> Result<bool> {
        let lock_dir = match self.server.store.backend().s3() {
            Some(_) => self.world.options("cache")?.lock_dir,
            None => self.world.options("store")?.lock_dir,
        };
        // The mark reads it at this step: the mover waits.
        let journal = MoveJournal::new(&lock_dir, self.world.env.clone());
        let Ok(mut journal) = journal.try_lock() else {
            return Ok(false);
        };
        let path = |snapshot: &Snapshot| -> PathBuf {
            let dir = self.server.snapshot_path(&self.moved(snapshot));
            dir.join("tree.didx")
        };
        let paths: Vec<PathBuf> = self.snapshots.iter().map(path).collect();
        journal.append(&paths)?;
        Ok(true)
    }

    fn rename(&mut self, index: usize) -> Result<()> {
        let moved = self.moved(&self.snapshots[index]);
        let (from, to) = (
            self.server.snapshot_path(&self.snapshots[index]),
            self.server.snapshot_path(&moved),
        );
        std::fs::rename(from, to)?;
        Ok(())
    }

    async fn delete_sources(&self) -> Result<()> {
        let Some(backend) = self.server.store.backend().s3() else {
            return Ok(());
        };
        for snapshot in &self.snapshots {
            for file in ["index.json.blob", "tree.didx"] {
                let key = backend.keys().content_file(&relative(snapshot, file))?;
                backend.client().delete_object(&key).await?;
            }
        }
        Ok(())
    }
}

fn relative(snapshot: &Snapshot, file: &str) -> String {
    format!("{}/{}/{file}", snapshot.ns.path(), snapshot.dir.path())
}

impl<const BUCKET: bool> Story for Moved<BUCKET> {
    const CHANGES: usize = if BUCKET { 2 } else { 3 };

    fn world(&self) -> &World {
        &self.world
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn change(&mut self, which: usize) -> Result<bool> {
        if which == 0 {
            if !self.journal()? {
                return Ok(false);
            }
            self.copy_objects().await?;
            return Ok(true);
        }
        if which == 1 {
            self.rename(0)?;
        }
        if which == Self::CHANGES - 1 {
            self.rename(1)?;
            self.delete_sources().await?;
        }
        Ok(true)
    }
}

async fn move_group<const BUCKET: bool>() -> Result<()> {
    let told = at_every_interleaving(
        async || Moved::<BUCKET>::set_up().await,
        async |story: Moved<BUCKET>, outcome| {
            let report = check_outcome(&story.server, outcome)?;
            ensure!(report.deleted.count == 0, "something was deleted");
            let moved = |snapshot| story.moved(snapshot);
            let live: Vec<Snapshot> = story.snapshots.iter().map(moved).collect();
            let live: Vec<&Snapshot> = live.iter().collect();
            check_rest(&story.world, &story.server, &live).await
        },
    )
    .await?;
    assert!(told > 150, "{told} interleavings");
    Ok(())
}

/// T16: a group is moved between namespaces.
#[tokio::test(start_paused = true)]
async fn t16_moved_groups_keep_their_chunks() -> Result<()> {
    move_group::<true>().await
}

/// T16 in a directory, where only the journal tells.
#[tokio::test(start_paused = true)]
async fn t16_moved_groups_keep_their_chunks_in_a_directory() -> Result<()> {
    move_group::<false>().await
}

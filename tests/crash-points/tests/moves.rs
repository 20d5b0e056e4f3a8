//! The move of groups and namespaces ends in the middle: each snapshot is whole where it was or
//! where it is to be.
#![allow(clippy::expect_used)] // helpers of tests are not tests to the lint

use anyhow::{Context, Result, ensure};
use api_types::names::BackupNamespace;
use crash_points::story::Fate;
use crash_points::{Case, Cut, Place, Stage, Story, check, cover};
use datastore::manage::relocate::NamespaceMove;
use datastore::task::SilentTask;
use scenarios::{Server, Snapshot, chunk, group};

/// What moves.
#[derive(Clone, Copy)]
enum What {
    /// A group of two snapshots, into a namespace where it is not.
    Group,
    /// The same, where it has an older snapshot already.
    Merge,
    /// A namespace with a group, to a new name.
    Namespace,
}

struct Move {
    place: Place,
    what: What,
}

fn ns(text: &str) -> BackupNamespace {
    text.parse().expect("a namespace")
}

fn moved(snapshot: &Snapshot) -> Snapshot {
    Snapshot {
        ns: ns("to"),
        ..snapshot.clone()
    }
}

impl Case for Move {
    fn place(&self) -> Place {
        self.place
    }

    async fn prepare(&self, stage: &Stage) -> Result<Story> {
        let server = stage.create().await?;
        let shared = chunk("shared");
        let of = |name: &str| vec![chunk(name), shared.clone()];
        let from = server.create_namespace("from").await?;
        let mut kept = vec![server.backup("other", 0, &of("other")).await?];
        if !matches!(self.what, What::Namespace) {
            let to = server.create_namespace("to").await?;
            if matches!(self.what, What::Merge) {
                kept.push(server.backup_in(&to, "g", 0, &of("older")).await?);
            }
        }
        let mut moving = Vec::new();
        for (at, name) in [(10, "first"), (20, "second")] {
            moving.push(server.backup_in(&from, "g", at, &of(name)).await?);
        }
        let kept: Vec<_> = kept.iter().collect();
        let old: Vec<_> = moving.iter().collect();
        let mut story = Story::keeping(&kept).removing(&old);
        for snapshot in &moving {
            story = story.writing(&moved(snapshot));
        }
        Ok(story)
    }

    async fn act(&self, stage: &Stage, story: &Story) -> Result<()> {
        let server = stage.open()?;
        let task = SilentTask::new();
        if let What::Namespace = self.what {
            let options = NamespaceMove {
                from: ns("from"),
                to: ns("to"),
                max_depth: None,
                delete_source: true,
                merge_groups: true,
            };
            let moved = server.store.move_namespace(&task, &options).await?;
            ensure!(moved.failed == 0, "a group stayed");
        } else {
            let (from, to) = (ns("from"), ns("to"));
            server
                .store
                .move_group(&task, &from, &group("g"), &to, true)
                .await?;
        }
        for (snapshot, fate) in story.all() {
            match fate {
                Fate::Removed => story.set(&snapshot, Fate::Gone),
                Fate::Written => story.set(&snapshot, Fate::Kept),
                Fate::Kept | Fate::Gone => {}
            }
        }
        Ok(())
    }

    async fn check(&self, stage: &Stage, story: &Story, cut: &Cut) -> Result<()> {
        let server = stage.open()?;
        somewhere(&server, story)
            .await
            .context("right after the crash")?;
        check::all(stage, &server, story, cut).await?;
        somewhere(&server, story).await.context("in the end")
    }
}

/// Each snapshot that was to move is finished, and can be read, at one of its places.
async fn somewhere(server: &Server, story: &Story) -> Result<()> {
    let snapshots = server.store.snapshots();
    for (snapshot, _) in story.all() {
        if snapshot.ns != ns("from") {
            continue;
        }
        let new = moved(&snapshot);
        let here = snapshots.has_manifest(&snapshot.ns, &snapshot.dir)?;
        let there = snapshots.has_manifest(&new.ns, &new.dir)?;
        ensure!(here != there, "{}: {here} {there}", snapshot.dir);
        for chunk in &snapshot.chunks {
            ensure!(server.can_read(chunk).await?, "{} is gone", chunk.digest);
        }
    }
    Ok(())
}

async fn relocation(name: &str, place: Place, what: What) -> Result<()> {
    let covered = cover(name, &Move { place, what }).await?;
    assert!(covered.steps >= 10, "{covered:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_moved_group_in_a_bucket() -> Result<()> {
    relocation("move group, bucket", Place::Bucket, What::Group).await
}

#[tokio::test(start_paused = true)]
async fn a_moved_group_in_a_directory() -> Result<()> {
    relocation("move group, directory", Place::Directory, What::Group).await
}

#[tokio::test(start_paused = true)]
async fn a_merged_group_in_a_bucket() -> Result<()> {
    relocation("merge group, bucket", Place::Bucket, What::Merge).await
}

#[tokio::test(start_paused = true)]
async fn a_moved_namespace_in_a_bucket() -> Result<()> {
    relocation("move namespace, bucket", Place::Bucket, What::Namespace).await
}

#[tokio::test(start_paused = true)]
async fn a_moved_namespace_in_a_directory() -> Result<()> {
    relocation(
        "move namespace, directory",
        Place::Directory,
        What::Namespace,
    )
    .await
}

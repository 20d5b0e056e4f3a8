//! The removal of snapshots ends in the middle.

use anyhow::Result;
use api_types::names::BackupNamespace;
use api_types::prune::KeepOptions;
use crash_points::check::forget;
use crash_points::story::Fate;
use crash_points::{Case, Place, Stage, Story, cover};
use datastore::prune::{PruneOptions, PruneScope};
use datastore::task::SilentTask;
use s3_client::TaskKind;
use scenarios::{chunk, group};

/// What is removed.
#[derive(Clone, Copy)]
enum What {
    /// One snapshot, the last of its group, in a group of its own.
    Snapshot,
    /// All but the last of a group.
    Prune,
    /// A group.
    Group,
    /// A namespace with all that is in it.
    Namespace,
}

struct Removal {
    place: Place,
    what: What,
}

impl Case for Removal {
    fn place(&self) -> Place {
        self.place
    }

    async fn prepare(&self, stage: &Stage) -> Result<Story> {
        let server = stage.create().await?;
        let shared = chunk("shared");
        let of = |name: &str| vec![chunk(name), shared.clone()];
        let ns = match self.what {
            What::Namespace => server.create_namespace("team").await?,
            _ => BackupNamespace::root(),
        };
        let mut removed = vec![server.backup_in(&ns, "old", 0, &of("first")).await?];
        if !matches!(self.what, What::Snapshot) {
            removed.push(server.backup_in(&ns, "old", 10, &of("second")).await?);
        }
        let mut kept = vec![server.backup("other", 0, &of("other")).await?];
        if matches!(self.what, What::Prune) {
            kept.push(server.backup("old", 20, &of("third")).await?);
        }
        let kept: Vec<_> = kept.iter().collect();
        let removed: Vec<_> = removed.iter().collect();
        Ok(Story::keeping(&kept).removing(&removed))
    }

    async fn act(&self, stage: &Stage, story: &Story) -> Result<()> {
        let server = stage.open()?;
        let open: Vec<_> = story
            .all()
            .into_iter()
            .filter(|(_, fate)| *fate == Fate::Removed)
            .collect();
        let client = server.store.client(TaskKind::Prune, &server.cancel);
        let (client, root) = (client.as_ref(), BackupNamespace::root());
        match self.what {
            What::Snapshot => return forget(&server, story, &open[0].0).await,
            What::Prune => {
                let keep = KeepOptions {
                    keep_last: Some(1),
                    ..KeepOptions::default()
                };
                let scope = PruneScope {
                    ns: root,
                    max_depth: None,
                    may_prune: &|_, _| true,
                };
                let task = SilentTask::new();
                server
                    .store
                    .prune_datastore(&task, &scope, &PruneOptions::new(keep))
                    .await?;
            }
            What::Group => {
                server
                    .store
                    .destroy_group(client, &root, &group("old"), &server.cancel)
                    .await?;
            }
            What::Namespace => {
                let ns = "team".parse()?;
                server
                    .store
                    .destroy_namespace(client, &ns, true, &server.cancel)
                    .await?;
            }
        }
        for (snapshot, _) in &open {
            story.set(snapshot, Fate::Gone);
        }
        Ok(())
    }
}

async fn removal(name: &str, place: Place, what: What, at_least: u64) -> Result<()> {
    let covered = cover(name, &Removal { place, what }).await?;
    assert!(covered.steps >= at_least, "{covered:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_snapshot_in_a_bucket() -> Result<()> {
    removal("forget, bucket", Place::Bucket, What::Snapshot, 20).await
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_snapshot_in_a_directory() -> Result<()> {
    removal("forget, directory", Place::Directory, What::Snapshot, 10).await
}

#[tokio::test(start_paused = true)]
async fn a_prune_of_a_bucket() -> Result<()> {
    removal("prune, bucket", Place::Bucket, What::Prune, 20).await
}

#[tokio::test(start_paused = true)]
async fn a_destroyed_group_in_a_bucket() -> Result<()> {
    removal("destroy group, bucket", Place::Bucket, What::Group, 20).await
}

#[tokio::test(start_paused = true)]
async fn a_destroyed_namespace_in_a_bucket() -> Result<()> {
    removal(
        "destroy namespace, bucket",
        Place::Bucket,
        What::Namespace,
        20,
    )
    .await
}

//! The creation, the refresh and the destruction of a datastore end in the middle.

use anyhow::{Result, ensure};
use crash_points::check::{self, refresh};
use crash_points::{Case, Cut, Place, Stage, Story, cover};
use datastore::manage::destroy::prepare_destruction;
use datastore::store::DataStore;
use datastore::task::SilentTask;
use scenarios::{BUCKET, chunks};

/// A datastore is created; if that was interrupted, it is created once more.
struct Creation {
    place: Place,
}

impl Case for Creation {
    fn place(&self) -> Place {
        self.place
    }

    async fn prepare(&self, _stage: &Stage) -> Result<Story> {
        Ok(Story::default())
    }

    async fn act(&self, stage: &Stage, _story: &Story) -> Result<()> {
        stage.create().await?;
        Ok(())
    }

    async fn check(&self, stage: &Stage, _story: &Story, cut: &Cut) -> Result<()> {
        let server = match cut.before {
            None if !cut.is_power() => stage.open()?,
            // Its creator was told of no success.
            _ => stage.create_anew().await?,
        };
        let snapshot = server.backup("first", 0, &chunks("first", 2)).await?;
        let story = Story::keeping(&[&snapshot]);
        check::all(stage, &server, &story, cut).await
    }
}

#[tokio::test(start_paused = true)]
async fn the_creation_in_a_bucket() -> Result<()> {
    let place = Place::Bucket;
    let covered = cover("creation, bucket", &Creation { place }).await?;
    assert!(covered.steps >= 20, "{covered:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_creation_in_a_directory() -> Result<()> {
    let place = Place::Directory;
    let covered = cover("creation, directory", &Creation { place }).await?;
    assert!(covered.steps >= 5, "{covered:?}");
    Ok(())
}

/// Everything is built from the bucket: metadata that changed, metadata that is the same, markers.
struct Refresh;

impl Case for Refresh {
    fn place(&self) -> Place {
        Place::Bucket
    }

    async fn prepare(&self, stage: &Stage) -> Result<Story> {
        let server = stage.create().await?;
        let same = server.backup("same", 0, &chunks("same", 1)).await?;
        let lost = server.backup("lost", 0, &chunks("lost", 1)).await?;
        let path = server.snapshot_path(&lost);
        std::fs::remove_dir_all(path.parent().unwrap_or(&path))?;
        Ok(Story::keeping(&[&same, &lost]))
    }

    async fn act(&self, stage: &Stage, _story: &Story) -> Result<()> {
        refresh(&stage.open()?).await
    }

    async fn check(&self, stage: &Stage, story: &Story, cut: &Cut) -> Result<()> {
        let server = stage.open()?;
        refresh(&server).await?;
        check::all(stage, &server, story, cut).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh() -> Result<()> {
    let covered = cover("refresh", &Refresh).await?;
    assert!(covered.steps >= 50, "{covered:?}");
    Ok(())
}

/// Everything is deleted; if that was interrupted, once more.
struct Destruction {
    place: Place,
}

impl Case for Destruction {
    fn place(&self) -> Place {
        self.place
    }

    async fn prepare(&self, stage: &Stage) -> Result<Story> {
        let server = stage.create().await?;
        server.backup("a", 0, &chunks("a", 2)).await?;
        server.gc().await?;
        Ok(Story::default())
    }

    async fn act(&self, stage: &Stage, _story: &Story) -> Result<()> {
        destroy(stage).await
    }

    async fn check(&self, stage: &Stage, _story: &Story, _cut: &Cut) -> Result<()> {
        destroy(stage).await?;
        let left = stage.world.mock.keys(BUCKET, "");
        ensure!(left.is_empty(), "left in the bucket: {left:?}");
        let left = scenarios::tree(&stage.base())?;
        ensure!(
            left.iter().all(|path| path.ends_with(".lock")),
            "left on the disk: {left:?}"
        );
        // Nothing stands in the way of a new one.
        let server = stage.create().await?;
        let snapshot = server.backup("b", 0, &chunks("a", 2)).await?;
        server.can_restore(&snapshot).await?;
        Ok(())
    }
}

async fn destroy(stage: &Stage) -> Result<()> {
    let in_bucket = stage.place() == Place::Bucket;
    if prepare_destruction(&stage.base(), in_bucket)? {
        let store = DataStore::open(stage.options()?)?;
        store.destroy(&SilentTask::new()).await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_destruction_in_a_bucket() -> Result<()> {
    let place = Place::Bucket;
    let covered = cover("destruction, bucket", &Destruction { place }).await?;
    assert!(covered.steps >= 40, "{covered:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_destruction_in_a_directory() -> Result<()> {
    let place = Place::Directory;
    let covered = cover("destruction, directory", &Destruction { place }).await?;
    assert!(covered.steps >= 15, "{covered:?}");
    Ok(())
}

//! A garbage collection ends in the middle.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use crash_points::check;
use crash_points::{Case, Cut, Place, Stage, Story, cover};
use datastore::gc::GcOptions;
use s3_mock::{Action, ClientSees};
use scenarios::{AFTER_GRACE, AFTER_QUARANTINE, BUCKET, chunk_key, chunks, no_grace, write_index};

/// Old garbage is deleted beside live chunks, some of which are missing or only cached; a dead
/// session's leftovers go.
struct Collection {
    place: Place,
    /// A live chunk is missing in the bucket, and in the cache.
    heals: bool,
}

impl Case for Collection {
    fn place(&self) -> Place {
        self.place
    }

    async fn prepare(&self, stage: &Stage) -> Result<Story> {
        let server = stage.create().await?;
        let dead = server.backup("dead", 0, &chunks("dead", 2)).await?;
        let live = server.backup("live", 0, &chunks("live", 2)).await?;
        server.forget(&dead).await?;
        let session = server.session("lost", 0).await?;
        let lost = chunks("lost", 1);
        scenarios::insert(&session, &lost[0]).await?;
        write_index(&session, &lost).await?;
        drop(session);
        if self.heals {
            // Its payload is in the cache: it is put back.
            stage
                .world
                .mock
                .delete(BUCKET, &chunk_key(&live.chunks[0].digest));
        }
        stage.settle_times()?;
        stage.world.pass(AFTER_GRACE).await;
        Ok(Story::keeping(&[&live]).removing(&[&dead]))
    }

    async fn act(&self, stage: &Stage, _story: &Story) -> Result<()> {
        let server = stage.open()?;
        let report = server.gc().await?;
        ensure!(report.deleted.count == 2, "{report:?}");
        // The leftovers are gone, and now their chunk.
        let report = server.gc_with(no_grace()).await.0?;
        let leftover = u64::from(self.place == Place::Bucket);
        ensure!(report.deleted.count == leftover, "{report:?}");
        Ok(())
    }

    async fn check(&self, stage: &Stage, story: &Story, cut: &Cut) -> Result<()> {
        let server = stage.open()?;
        if self.heals {
            server.gc().await?;
        }
        check::all(stage, &server, story, cut).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_collection_of_a_bucket() -> Result<()> {
    let case = Collection {
        place: Place::Bucket,
        heals: false,
    };
    let covered = cover("collection, bucket", &case).await?;
    assert!(covered.steps >= 100, "{covered:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_collection_that_heals() -> Result<()> {
    let case = Collection {
        place: Place::Bucket,
        heals: true,
    };
    let covered = cover("collection that heals, bucket", &case).await?;
    assert!(covered.steps >= 100, "{covered:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_collection_of_a_directory() -> Result<()> {
    let case = Collection {
        place: Place::Directory,
        heals: false,
    };
    let covered = cover("collection, directory", &case).await?;
    assert!(covered.steps >= 30, "{covered:?}");
    Ok(())
}

/// A delete whose answer is lost is suspect until its quarantine ends; meanwhile the chunk is
/// backed up again.
struct Quarantine;

impl Case for Quarantine {
    fn place(&self) -> Place {
        Place::Bucket
    }

    async fn prepare(&self, stage: &Stage) -> Result<Story> {
        let server = stage.create().await?;
        let dead = server.backup("dead", 0, &chunks("dead", 2)).await?;
        let live = server.backup("live", 0, &chunks("live", 1)).await?;
        server.forget(&dead).await?;
        stage.world.pass(AFTER_GRACE).await;
        // Its answer is lost.
        stage.world.spoil_delete(Action::Late {
            after: None,
            client: ClientSees::Drop,
        });
        drop(server.gc_with(GcOptions::default()).await);
        ensure!(!server.delete_journal()?.is_empty(), "nothing is suspect");
        let again = server.backup("again-dead", 10, &dead.chunks[..1]).await?;
        let late: BTreeSet<_> = stage.world.mock.late().iter().map(|late| late.id).collect();
        for id in late {
            stage.world.mock.release_late(id);
        }
        // The late delete has taken it: only the cache has it.
        ensure!(!stage.world.has_object(&dead.chunks[0]), "not applied");
        stage.world.pass(AFTER_QUARANTINE).await;
        Ok(Story::keeping(&[&live, &again]).removing(&[&dead]))
    }

    async fn act(&self, stage: &Stage, _story: &Story) -> Result<()> {
        let server = stage.open()?;
        server.store.tend(&server.cancel).await?;
        stage.world.pass(AFTER_QUARANTINE).await;
        server.store.tend(&server.cancel).await?;
        server.check_settled()
    }

    async fn check(&self, stage: &Stage, story: &Story, cut: &Cut) -> Result<()> {
        let server = stage.open()?;
        // Until its quarantine is over the chunk is only in the cache.
        for _ in 0..2 {
            server.store.tend(&server.cancel).await?;
            stage.world.pass(AFTER_QUARANTINE).await;
        }
        server.store.tend(&server.cancel).await?;
        check::all(stage, &server, story, cut).await
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_quarantine() -> Result<()> {
    let covered = cover("end of a quarantine", &Quarantine).await?;
    assert!(covered.steps >= 15, "{covered:?}");
    Ok(())
}

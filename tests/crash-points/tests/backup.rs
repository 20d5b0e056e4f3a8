//! A backup session ends in the middle.

use anyhow::Result;
use api_types::names::ArchiveName;
use crash_points::story::{Fate, planned};
use crash_points::{Case, Place, Stage, Story, cover};
use datastore::format::blob::DataBlob;
use s3_client::env::Env;
use scenarios::{Chunk, chunks, commit, insert, write_index};

/// The second backup of a group: chunks that are new, one that is there, one from the base.
struct Backup {
    place: Place,
    commits: bool,
}

fn base() -> Vec<Chunk> {
    chunks("base", 2)
}

fn data() -> Vec<Chunk> {
    let mut data = chunks("new", 2);
    data.extend(chunks("there", 1));
    data.extend(base().into_iter().take(1));
    data
}

impl Case for Backup {
    fn place(&self) -> Place {
        self.place
    }

    async fn prepare(&self, stage: &Stage) -> Result<Story> {
        let server = stage.create().await?;
        let base = server.backup("a", 0, &base()).await?;
        let other = server.backup("b", 0, &chunks("there", 1)).await?;
        Ok(Story::keeping(&[&base, &other]).writing(&planned("a", 10, &data())))
    }

    async fn act(&self, stage: &Stage, story: &Story) -> Result<()> {
        let server = stage.open()?;
        let session = server.session("a", 10).await?;
        let name: ArchiveName = "tree.didx".parse()?;
        session.load_base_index(&name).await?;
        for chunk in &data()[..3] {
            insert(&session, chunk).await?;
        }
        let blob = DataBlob::encode(b"a config", None, true, &Env::system())?;
        session
            .add_blob(&"host.conf.blob".parse()?, blob.into_raw())
            .await?;
        write_index(&session, &data()).await?;
        if self.commits {
            let snapshot = commit(session, &data()).await?;
            story.set(&snapshot, Fate::Kept);
        } else {
            session.abort().await?;
            story.set(&planned("a", 10, &data()), Fate::Gone);
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_backup_to_a_bucket() -> Result<()> {
    let case = Backup {
        place: Place::Bucket,
        commits: true,
    };
    let covered = cover("backup to a bucket", &case).await?;
    assert!(covered.steps >= 50, "{covered:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_backup_to_a_directory() -> Result<()> {
    let case = Backup {
        place: Place::Directory,
        commits: true,
    };
    let covered = cover("backup to a directory", &case).await?;
    assert!(covered.steps >= 35, "{covered:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_aborted_backup_to_a_bucket() -> Result<()> {
    let case = Backup {
        place: Place::Bucket,
        commits: false,
    };
    let covered = cover("aborted backup to a bucket", &case).await?;
    assert!(covered.steps >= 50, "{covered:?}");
    Ok(())
}

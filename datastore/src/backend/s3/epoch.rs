//! The epoch: the generation in the bucket, evidence for a disk that is restored from a copy
//! (`gc.md` §6.6).
//!
//! ◆ It is raised for every request that deletes, after the last local file of its digests is gone
//! and before the request is sent. Whichever copy of the disk still has one of these files was made
//! before that, so its generation is behind the bucket's, also if the copy was made in the middle of
//! a collection or the machine died in it. The generation on the disk goes first: a crash leaves it
//! ahead of the bucket's, which is no harm.
//!
//! A copy that is not of one instant (a plain `cp` of a store in use) may have any file beside any
//! generation: it has to be refreshed, whatever its generation says.

use bytes::Bytes;
use s3_client::{PutMode, PutOutcome, S3Client};

use crate::error::Result;

use super::S3Backend;
use super::bounded::{Bounded, get_small};

/// What the bucket says of the last deletes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Epoch {
    /// Their generation; 0 if there was none.
    At(u64),
    /// The object is not what we write.
    Unreadable,
}

impl S3Backend {
    /// Reads the epoch from the bucket.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn read_epoch(&self, client: &S3Client) -> Result<Epoch> {
        let object = match get_small(client, &self.keys.epoch()?).await? {
            Bounded::Found(object) => object,
            Bounded::Absent => return Ok(Epoch::At(0)),
            Bounded::Oversized => return Ok(Epoch::Unreadable),
        };
        let text = std::str::from_utf8(&object.body).ok();
        let epoch = text.and_then(|text| text.trim().parse().ok());
        Ok(epoch.map_or(Epoch::Unreadable, Epoch::At))
    }

    /// Raises the generation on the disk, in the table and in the bucket; whether the bucket keeps
    /// versions of what is deleted. The caller holds the sweeper's lease.
    ///
    /// # Errors
    /// If the disk or the bucket refuses, or the prefix is not ours.
    pub(crate) async fn raise_epoch(&self, client: &S3Client) -> Result<bool> {
        // One after the other: an earlier generation must not arrive last.
        let _turn = self.raising_epoch.lock().await;
        let generation = self.table.generation().saturating_add(1);
        let state = self.state.clone();
        self.env
            .blocking(move || state.write_generation(generation))
            .await?;
        self.table.raise_generation(generation);
        self.write_epoch(client, generation).await
    }

    /// Writes the epoch, fenced like a delete; whether the bucket keeps versions of what is deleted.
    ///
    /// # Errors
    /// If the prefix is not ours or the bucket refuses.
    pub async fn write_epoch(&self, client: &S3Client, generation: u64) -> Result<bool> {
        let fence = self.ownership.check(client, "collect garbage").await?;
        let body = Bytes::from(format!("{generation}\n"));
        let answer = client
            .signed_at(fence.signed_at)
            .put_object(&self.keys.epoch()?, body, PutMode::Replace)
            .await?;
        Ok(matches!(
            answer.outcome,
            PutOutcome::Created {
                versioned: true,
                ..
            } | PutOutcome::Replaced {
                versioned: true,
                ..
            }
        ))
    }
}

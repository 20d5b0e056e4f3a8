//! Metadata files in the bucket: `S/.cnt/…`, a mirror of the local tree (`s3-backend.md` §7–§9).
//!
//! Writes go to the bucket first and are made visible locally afterwards; removals begin in the
//! bucket too, manifest first. A write or delete whose answer was lost may be applied later, after
//! newer ones, whether or not another attempt has succeeded since: its path goes into the
//! [cleanup journal](super::cleanup), which makes the bucket equal to the local tree once more when
//! the quarantine is over (§17.1). Until then nothing of that name is made anew or moved there.

use bytes::Bytes;
use s3_client::{
    Answered, CopyOutcome, DeleteReport, KeyError, ObjectKey, PutMode, S3Client, S3Error,
};

use crate::error::{Error, Result};

use super::S3Backend;

impl S3Backend {
    /// Puts a metadata file by its path relative to the datastore.
    ///
    /// # Errors
    /// If the bucket refuses it. With an attempt of unknown effect the path is in the cleanup journal
    /// afterwards, also after a success.
    pub async fn put_metadata(&self, client: &S3Client, relative: &str, body: Bytes) -> Result<()> {
        let key = self.keys.content_file(relative)?;
        let answer = client.put_object(&key, body, PutMode::Replace).await;
        self.note_open(relative, answer).await.map(drop)
    }

    /// Copies a metadata file inside the bucket; whether there was one to copy.
    ///
    /// # Errors
    /// As for [`put_metadata`](Self::put_metadata), of the new path.
    pub async fn copy_metadata(&self, client: &S3Client, from: &str, to: &str) -> Result<bool> {
        let (source, target) = (self.keys.content_file(from)?, self.keys.content_file(to)?);
        let answer = client.copy_object(&source, &target).await;
        let outcome = self.note_open(to, answer).await?;
        Ok(outcome == CopyOutcome::Copied)
    }

    /// Puts a manifest: [fenced](Self::put_fenced).
    ///
    /// # Errors
    /// As for [`put_fenced`](Self::put_fenced).
    pub async fn put_manifest(&self, client: &S3Client, relative: &str, body: Bytes) -> Result<()> {
        self.put_fenced(client, relative, body, "commit a snapshot")
            .await
    }

    /// Like [`put_metadata`](Self::put_metadata), but only while the prefix is proven ours, signed
    /// with the time of that proof ◆: for whatever would replace what a new owner has there.
    ///
    /// # Errors
    /// [`Error::Fenced`] if another instance owns the prefix, else as for `put_metadata`.
    pub async fn put_fenced(
        &self,
        client: &S3Client,
        relative: &str,
        body: Bytes,
        action: &'static str,
    ) -> Result<()> {
        let fence = self.ownership.check(client, action).await?;
        self.put_metadata(&client.signed_at(fence.signed_at), relative, body)
            .await
    }

    /// Like [`delete_metadata`](Self::delete_metadata), fenced as [`put_fenced`](Self::put_fenced).
    ///
    /// # Errors
    /// [`Error::Fenced`] if another instance owns the prefix, else as for `delete_metadata`.
    pub async fn delete_fenced(
        &self,
        client: &S3Client,
        relative: &str,
        action: &'static str,
    ) -> Result<()> {
        let fence = self.ownership.check(client, action).await?;
        self.delete_metadata(&client.signed_at(fence.signed_at), relative)
            .await
    }

    /// Reads a metadata file from the bucket; `None` = proven absent.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn get_metadata(&self, client: &S3Client, relative: &str) -> Result<Option<Bytes>> {
        let key = self.keys.content_file(relative)?;
        Ok(client.get_object(&key).await?.map(|object| object.body))
    }

    /// Deletes one metadata file; absent is fine.
    ///
    /// # Errors
    /// As for [`put_metadata`](Self::put_metadata).
    pub async fn delete_metadata(&self, client: &S3Client, relative: &str) -> Result<()> {
        let key = self.keys.content_file(relative)?;
        let answer = client.delete_object(&key).await;
        self.note_open(relative, answer).await.map(drop)
    }

    /// Deletes many metadata files in shared batches; returns those that could not be deleted. These
    /// are in the cleanup journal then, and so is what an earlier attempt may delete once more.
    ///
    /// # Errors
    /// If nothing could be sent at all or the cleanup journal cannot be written.
    pub async fn delete_metadata_files(
        &self,
        client: &S3Client,
        relatives: &[String],
    ) -> Result<Vec<(String, String)>> {
        let keys: Vec<ObjectKey> = relatives
            .iter()
            .map(|relative| self.keys.content_file(relative))
            .collect::<Result<_, KeyError>>()?;
        let report = match client.delete_objects(&keys).await {
            Ok(report) => report,
            Err(error) => {
                self.cleanup.add(&self.env, relatives.to_vec()).await?;
                return Err(error.into());
            }
        };
        let open = report.unsettled.iter();
        let open: Vec<String> = open
            .filter_map(|key| Some(self.keys.content_path(key)?.to_owned()))
            .collect();
        if !open.is_empty() {
            self.cleanup.add_unsettled(&self.env, open).await?;
        }
        let failed = self.failures(&report);
        if !failed.is_empty() {
            let paths = failed.iter().map(|(path, _)| path.clone()).collect();
            self.cleanup.add(&self.env, paths).await?;
        }
        Ok(failed)
    }

    fn failures(&self, report: &DeleteReport) -> Vec<(String, String)> {
        report
            .failures
            .iter()
            .filter_map(|failure| {
                let path = self.keys.content_path(&failure.key)?;
                Some((
                    path.to_owned(),
                    format!("{}: {}", failure.code, failure.message),
                ))
            })
            .collect()
    }

    /// What a change of a path came to; an attempt of it that may still be applied is put into the
    /// cleanup journal ◆: a later success resolves nothing.
    async fn note_open<T>(
        &self,
        relative: &str,
        answer: std::result::Result<Answered<T>, S3Error>,
    ) -> Result<T> {
        match answer {
            Ok(answer) => {
                if !answer.is_settled() {
                    self.cleanup
                        .add_unsettled(&self.env, vec![relative.to_owned()])
                        .await?;
                }
                Ok(answer.outcome)
            }
            Err(error) => {
                if error.may_have_been_applied() {
                    self.cleanup
                        .add(&self.env, vec![relative.to_owned()])
                        .await?;
                }
                Err(Error::from(error))
            }
        }
    }
}

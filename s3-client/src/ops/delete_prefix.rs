//! Deleting everything below a directory, or everything that is not protected.

use std::collections::HashSet;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::delete::{DeleteReport, MAX_DELETE_KEYS};
use super::list::ListOptions;
use super::listing::Listing;
use crate::client::S3Client;
use crate::error::S3Error;
use crate::key::{DirPrefix, ObjectKey};
use crate::operation::OpClass;

/// What to leave alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteFilter {
    /// Nothing.
    Everything,
    /// Everything below a directory that directly contains an object `.protected`, and the
    /// objects `owner` and `notes` of the directory above it.
    SkipProtected,
}

/// A server whose continuation tokens are offsets skips keys while we delete behind it; another
/// pass finds them.
const MAX_PASSES: u32 = 5;

/// The keys that [`DeleteFilter::SkipProtected`] lets through.
fn unprotected(keys: Vec<ObjectKey>) -> Vec<ObjectKey> {
    let protected: HashSet<String> = keys
        .iter()
        .filter(|key| key.file_name() == ".protected")
        .map(|key| key.parent().to_owned())
        .collect();
    let is_protected = |key: &ObjectKey| {
        let text = key.as_str();
        let mut slashes = text.match_indices('/');
        slashes.any(|(at, _)| protected.contains(&text[..=at])) || protected.contains("")
    };
    let groups: HashSet<&str> = protected.iter().map(|dir| above(dir)).collect();
    let serves_protected = |key: &ObjectKey| {
        matches!(key.file_name(), "owner" | "notes") && groups.contains(key.parent())
    };
    keys.into_iter()
        .filter(|key| !is_protected(key) && !serves_protected(key))
        .collect()
}

/// The directory above a directory, both with their trailing slash.
fn above(dir: &str) -> &str {
    let bare = dir.strip_suffix('/').unwrap_or(dir);
    bare.rfind('/').map_or("", |slash| &bare[..=slash])
}

impl S3Client {
    /// Deletes the objects below `dir`, listing and deleting at the same time.
    ///
    /// # Errors
    /// When the listing fails, the task is aborted, or nothing at all could be deleted because the
    /// requests as such failed. Keys that could not be deleted are in the report.
    pub async fn delete_prefix(
        &self,
        dir: &DirPrefix,
        filter: DeleteFilter,
    ) -> Result<DeleteReport, S3Error> {
        match filter {
            DeleteFilter::Everything => self.delete_everything(dir).await,
            // A marker can come on a later page than what it protects, so all keys are needed
            // before the first decision.
            DeleteFilter::SkipProtected => {
                let mut listing = self.list(dir, ListOptions::default());
                let mut keys = Vec::new();
                while let Some(page) = listing.next_page().await {
                    keys.extend(page?.objects.into_iter().map(|object| object.key));
                }
                self.delete_objects(&unprotected(keys)).await
            }
        }
    }

    async fn delete_everything(&self, dir: &DirPrefix) -> Result<DeleteReport, S3Error> {
        let mut report = DeleteReport::default();
        let mut failed: HashSet<ObjectKey> = HashSet::new();
        for _ in 0..MAX_PASSES {
            let pass = self.delete_pass(dir, &failed).await?;
            let deleted = pass.deleted;
            failed.extend(pass.failures.iter().map(|failure| failure.key.clone()));
            report.merge(pass);
            if deleted == 0 {
                break;
            }
        }
        Ok(report)
    }

    /// One listing, with everything deleted that it shows and that has not failed before.
    async fn delete_pass(
        &self,
        dir: &DirPrefix,
        failed: &HashSet<ObjectKey>,
    ) -> Result<DeleteReport, S3Error> {
        let mut listing: Listing = self.list(dir, ListOptions::default());
        let mut listing_open = true;
        let mut waiting: Vec<ObjectKey> = Vec::new();
        let mut batches = FuturesUnordered::new();
        let mut report = DeleteReport::default();
        let mut first_error = None;
        let size = if self.quirks().delete_one_by_one {
            1
        } else {
            MAX_DELETE_KEYS
        };
        let at_once = self.concurrency(OpClass::Delete);
        loop {
            while batches.len() < at_once
                && (waiting.len() >= size || !(listing_open || waiting.is_empty()))
            {
                let rest = waiting.split_off(size.min(waiting.len()));
                let batch = std::mem::replace(&mut waiting, rest);
                batches.push(async move { self.delete_batch(&batch).await });
            }
            let room = waiting.len() < MAX_DELETE_KEYS;
            tokio::select! {
                biased;
                Some((part, error)) = batches.next(), if !batches.is_empty() => {
                    report.merge(part);
                    match error {
                        Some(error) if error.is_aborted() => return Err(error),
                        other => first_error = first_error.or(other),
                    }
                }
                page = listing.next_page(), if listing_open && room => match page {
                    Some(page) => {
                        let keys = page?.objects.into_iter().map(|object| object.key);
                        waiting.extend(keys.filter(|key| !failed.contains(key)));
                    }
                    None => listing_open = false,
                },
                else => break,
            }
        }
        match first_error {
            Some(error) if report.deleted == 0 => Err(error),
            _ => Ok(report),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Vec<ObjectKey> {
        names
            .iter()
            .map(|name| ObjectKey::new(*name).unwrap())
            .collect()
    }

    #[test]
    fn protected_snapshots_keep_their_group_files() {
        let all = keys(&[
            "s/.cnt/vm/1/2025-01-01T00:00:00Z/.protected",
            "s/.cnt/vm/1/2025-01-01T00:00:00Z/index.json.blob",
            "s/.cnt/vm/1/2025-01-01T00:00:00Z/sub/x",
            "s/.cnt/vm/1/2025-01-02T00:00:00Z/index.json.blob",
            "s/.cnt/vm/1/notes",
            "s/.cnt/vm/1/owner",
            "s/.cnt/vm/10/2025-01-02T00:00:00Z/index.json.blob",
            "s/.cnt/vm/10/owner",
        ]);
        let gone = keys(&[
            "s/.cnt/vm/1/2025-01-02T00:00:00Z/index.json.blob",
            "s/.cnt/vm/10/2025-01-02T00:00:00Z/index.json.blob",
            "s/.cnt/vm/10/owner",
        ]);
        assert_eq!(unprotected(all.clone()), gone);
        // The order in which the keys come does not matter.
        let reversed = unprotected(all.into_iter().rev().collect());
        assert_eq!(reversed.into_iter().rev().collect::<Vec<_>>(), gone);
    }

    #[test]
    fn without_markers_everything_goes() {
        let all = keys(&["a/b/c", "a/owner", "a/x.protected"]);
        assert_eq!(unprotected(all.clone()), all);
    }
}

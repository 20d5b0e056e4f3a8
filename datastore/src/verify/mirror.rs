//! The bucket's copies of the metadata files, compared with the local ones (`s3-backend.md` §10).
//!
//! Size and MD5 come from one listing per group. What differs there is downloaded and compared
//! before anything is concluded: the listing may be older than a change of the manifest, and a tag
//! need not be an MD5. A copy that does differ, or is missing, is put again from the local file,
//! which has just been checked against the manifest.

use std::collections::HashMap;

use api_types::names::{ArchiveName, SnapshotPath};
use bytes::Bytes;
use s3_client::{ETag, ListOptions};

use crate::error::{Error, Result};
use crate::format::blob::MAX_BLOB_PLAIN;

use super::object::Remote;
use super::run::Run;

/// Size, and MD5 where the tag looks like one, by path relative to the datastore.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    objects: HashMap<String, (u64, Option<[u8; 16]>)>,
}

impl Mirror {
    /// Lists a group's or a snapshot's directory.
    ///
    /// # Errors
    /// If the listing cannot be completed.
    pub(super) async fn of_dir(remote: &Remote, relative: &str) -> Result<Self> {
        let keys = &remote.backend.keys;
        let dir = keys.content_dir(relative)?;
        let mut listing = remote.client.list(dir, ListOptions::default());
        let mut mirror = Self::default();
        while let Some(page) = listing.next_page().await {
            for object in page?.objects {
                if let Some(path) = keys.content_path(&object.key) {
                    let md5 = object.etag.as_ref().and_then(ETag::md5);
                    mirror.objects.insert(path.to_owned(), (object.size, md5));
                }
            }
        }
        Ok(mirror)
    }

    fn shows(&self, relative: &str, content: &[u8]) -> bool {
        let Some((size, md5)) = self.objects.get(relative) else {
            return false;
        };
        u64::try_from(content.len()) == Ok(*size) && md5.is_none_or(|md5| is_md5_of(md5, content))
    }
}

fn is_md5_of(md5: [u8; 16], content: &[u8]) -> bool {
    let digest = openssl::hash::hash(openssl::hash::MessageDigest::md5(), content);
    digest.is_ok_and(|digest| digest[..] == md5[..])
}

impl Run<'_> {
    /// Compares the copies of a snapshot's files, and puts right what differs.
    pub(super) async fn compare_mirror(&self, path: &SnapshotPath, mirror: &Mirror) -> Result<()> {
        let Some(remote) = &self.remote else {
            return Ok(());
        };
        let info = {
            let path = path.clone();
            let look = self
                .store
                .local(move |snapshots| snapshots.snapshot_info(&path.ns, &path.dir));
            look.await?.ok_or_else(|| Error::NotFound {
                what: "the snapshot".into(),
            })?
        };
        for name in &info.files {
            self.check_abort()?;
            self.compare_file(remote, path, name, mirror).await?;
        }
        Ok(())
    }

    async fn compare_file(
        &self,
        remote: &Remote,
        path: &SnapshotPath,
        name: &str,
        mirror: &Mirror,
    ) -> Result<()> {
        let SnapshotPath { ns, dir } = path;
        let relative = self.store.relative_file(ns, dir, name);
        let Some(local) = self.read_local(path, name).await? else {
            return Ok(());
        };
        if mirror.shows(&relative, &local) {
            return Ok(());
        }
        // Neither a change of the manifest nor a sync of the snapshot may come in between: it would
        // find its object, put before the local file, replaced by that of the old file ◆.
        let alone = async {
            let lock = self.store.locks.manifest(ns, dir, self.task.cancel());
            Ok((lock.await?, self.store.change_lease()?))
        };
        let _alone = match alone.await {
            Err(error @ Error::Locked { .. }) => {
                self.task.log(&format!(
                    "  the copy of {name} in the bucket was not compared: {error}"
                ));
                return Ok(());
            }
            alone => alone?,
        };
        let Some(local) = self.read_local(path, name).await? else {
            return Ok(());
        };
        let Remote { backend, client } = remote;
        let stored = backend.get_metadata(client, &relative).await?;
        if stored.as_ref().is_some_and(|stored| *stored == local) {
            return Ok(());
        }
        if name == ArchiveName::MANIFEST {
            backend.put_manifest(client, &relative, local).await?;
        } else {
            let fence = backend
                .ownership
                .check(client, "put metadata right")
                .await?;
            let fenced = client.signed_at(fence.signed_at);
            backend.put_metadata(&fenced, &relative, local).await?;
        }
        let defect = if stored.is_some() {
            "differed from the local file"
        } else {
            "was missing"
        };
        self.note_healed(&format!("object of {relative} {defect}: uploaded again"));
        Ok(())
    }

    async fn read_local(&self, path: &SnapshotPath, name: &str) -> Result<Option<Bytes>> {
        let (path, name) = (path.clone(), name.to_owned());
        let read = self.store.local(move |snapshots| {
            snapshots.read_file(&path.ns, &path.dir, &name, MAX_BLOB_PLAIN)
        });
        Ok(read.await?.map(Bytes::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_shows_a_file_by_size_and_by_tag_where_it_is_one() {
        let md5 = openssl::hash::hash(openssl::hash::MessageDigest::md5(), b"content").unwrap();
        let md5: [u8; 16] = md5[..].try_into().unwrap();
        let objects = [
            ("same".to_owned(), (7, Some(md5))),
            ("untagged".to_owned(), (7, None)),
            ("other".to_owned(), (7, Some([1; 16]))),
            ("longer".to_owned(), (8, Some(md5))),
        ];
        let mirror = Mirror {
            objects: objects.into(),
        };
        assert!(mirror.shows("same", b"content") && mirror.shows("untagged", b"content"));
        for name in ["other", "longer", "absent"] {
            assert!(!mirror.shows(name, b"content"), "{name}");
        }
    }
}

//! Buckets in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::encoding::md5;

/// An object as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// Its content.
    pub body: Bytes,
    /// The MD5 sum: the ETag without quotes and hexadecimal.
    pub md5: [u8; 16],
    /// Server clock at the write, milliseconds since the epoch.
    pub last_modified_millis: i64,
    /// As given by the writer.
    pub content_type: Option<Arc<str>>,
    /// As given by the writer.
    pub storage_class: Option<Arc<str>>,
    pub(crate) version: u64,
}

impl StoredObject {
    /// An object with this content.
    #[must_use]
    pub fn new(body: impl Into<Bytes>, last_modified_millis: i64) -> Self {
        let body = body.into();
        let md5 = md5(&body);
        Self {
            body,
            md5,
            last_modified_millis,
            content_type: None,
            storage_class: None,
            version: 0,
        }
    }

    /// The ETag, with its quotes.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("\"{}\"", hex::encode(self.md5))
    }
}

/// What a delete did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Removal {
    pub(crate) existed: bool,
    /// The delete marker's version, in a versioned bucket.
    pub(crate) marker: Option<u64>,
}

#[derive(Debug)]
struct Ghost {
    object: StoredObject,
    deleted_at: i64,
}

/// A bucket.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    pub(crate) created_millis: i64,
    pub(crate) versioning: bool,
    /// Objects as a consistent server shows them.
    objects: BTreeMap<String, StoredObject>,
    /// Versions that are hidden behind newer ones or delete markers: they cost space.
    hidden_versions: BTreeMap<String, Vec<StoredObject>>,
    /// Deleted objects that stale views may still show.
    ghosts: BTreeMap<String, Ghost>,
    last_version: u64,
}

impl Bucket {
    pub(crate) fn new(created_millis: i64, versioning: bool) -> Self {
        Self {
            created_millis,
            versioning,
            ..Self::default()
        }
    }

    fn next_version(&mut self) -> u64 {
        self.last_version += 1;
        self.last_version
    }

    pub(crate) fn get(&self, key: &str) -> Option<&StoredObject> {
        self.objects.get(key)
    }

    /// The object as a server sees it whose view is `stale` behind.
    pub(crate) fn get_stale(&self, key: &str, now: i64, stale: Duration) -> Option<&StoredObject> {
        if stale.is_zero() {
            return self.objects.get(key);
        }
        let stale = millis(stale);
        let ghost = || {
            let recent = |ghost: &&Ghost| ghost.deleted_at.saturating_add(stale) > now;
            self.ghosts
                .get(key)
                .filter(recent)
                .map(|ghost| &ghost.object)
        };
        match self.objects.get(key) {
            Some(object) if object.last_modified_millis.saturating_add(stale) <= now => {
                Some(object)
            }
            _ => ghost(),
        }
    }

    /// Writes an object; tells whether there was one.
    pub(crate) fn put(&mut self, key: &str, mut object: StoredObject) -> bool {
        object.version = self.next_version();
        match self.objects.insert(key.to_owned(), object) {
            Some(old) if self.versioning => {
                self.hidden_versions
                    .entry(key.to_owned())
                    .or_default()
                    .push(old);
                true
            }
            Some(_) => true,
            None => false,
        }
    }

    /// Removes an object. `remember` keeps it for stale views.
    pub(crate) fn delete(&mut self, key: &str, now: i64, remember: bool) -> Removal {
        let removed = self.objects.remove(key);
        let existed = removed.is_some();
        if let Some(object) = removed {
            if remember {
                let ghost = Ghost {
                    object: object.clone(),
                    deleted_at: now,
                };
                self.ghosts.insert(key.to_owned(), ghost);
            }
            if self.versioning {
                self.hidden_versions
                    .entry(key.to_owned())
                    .or_default()
                    .push(object);
            }
        }
        let marker = self.versioning.then(|| self.next_version());
        Removal { existed, marker }
    }

    /// Changes the time of an object; tells whether it is there.
    pub(crate) fn set_last_modified(&mut self, key: &str, millis: i64) -> bool {
        let object = self.objects.get_mut(key);
        let found = object.is_some();
        if let Some(object) = object {
            object.last_modified_millis = millis;
        }
        found
    }

    /// The number of versions that deletes and overwrites have left behind.
    pub(crate) fn hidden_version_count(&self) -> usize {
        self.hidden_versions.values().map(Vec::len).sum()
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    /// The objects below a string prefix from `from` on, in order.
    pub(crate) fn range<'a>(
        &'a self,
        prefix: &'a str,
        from: Bound<&'a str>,
    ) -> impl Iterator<Item = (&'a str, &'a StoredObject)> + 'a {
        let start = match from {
            Bound::Included(key) | Bound::Excluded(key) if key >= prefix => from,
            _ => Bound::Included(prefix),
        };
        self.objects
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(key, object)| (key.as_str(), object))
    }

    /// The same through a view that is `stale` behind; collects, so for small buckets.
    pub(crate) fn range_stale<'a>(
        &'a self,
        prefix: &'a str,
        from: Bound<&'a str>,
        now: i64,
        stale: Duration,
    ) -> impl Iterator<Item = (&'a str, &'a StoredObject)> + 'a {
        let keys = self
            .objects
            .keys()
            .chain(self.ghosts.keys())
            .map(String::as_str);
        let mut view: BTreeMap<&str, &StoredObject> = BTreeMap::new();
        for key in keys.filter(|key| key.starts_with(prefix)) {
            let wanted = match from {
                Bound::Included(from) => key >= from,
                Bound::Excluded(from) => key > from,
                Bound::Unbounded => true,
            };
            if let Some(object) = self.get_stale(key, now, stale).filter(|_| wanted) {
                view.insert(key, object);
            }
        }
        view.into_iter()
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys<'a>(iter: impl Iterator<Item = (&'a str, &'a StoredObject)>) -> Vec<&'a str> {
        iter.map(|(key, _)| key).collect()
    }

    #[test]
    fn ranges_are_string_prefixes_in_order() {
        let mut bucket = Bucket::new(0, false);
        for key in ["a1/x", "a/y", "a/x", "b"] {
            bucket.put(key, StoredObject::new("", 0));
        }
        assert_eq!(
            keys(bucket.range("a", Bound::Unbounded)),
            ["a/x", "a/y", "a1/x"]
        );
        assert_eq!(keys(bucket.range("a/", Bound::Excluded("a/x"))), ["a/y"]);
        assert_eq!(
            keys(bucket.range("a/", Bound::Excluded("a0"))),
            Vec::<&str>::new()
        );
        assert_eq!(keys(bucket.range("b", Bound::Excluded("a"))), ["b"]);
    }

    #[test]
    fn a_stale_view_lags_behind() {
        let second = Duration::from_secs(1);
        let mut bucket = Bucket::new(0, false);
        bucket.put("old", StoredObject::new("", 0));
        bucket.put("new", StoredObject::new("", 9_500));
        bucket.delete("old", 9_800, true);
        let view = |now| keys(bucket.range_stale("", Bound::Unbounded, now, second));
        assert_eq!(view(10_000), ["old"]);
        assert_eq!(view(10_600), ["new", "old"]);
        assert_eq!(view(11_000), ["new"]);
    }

    #[test]
    fn versioned_deletes_keep_the_object_hidden() {
        let mut bucket = Bucket::new(0, true);
        bucket.put("k", StoredObject::new("1", 0));
        assert!(bucket.put("k", StoredObject::new("2", 0)));
        let removal = bucket.delete("k", 0, false);
        assert!(removal.existed && removal.marker.is_some());
        assert_eq!(bucket.get("k"), None);
        assert_eq!(bucket.hidden_version_count(), 2);
    }
}

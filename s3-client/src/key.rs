//! Object keys and prefixes: three types so that they cannot be mixed up.
//!
//! A listing prefix is a *string* prefix: `a/vm/1` also matches `a/vm/10/…`. Whatever deletes or
//! joins takes a [`DirPrefix`], which always ends in a slash; only listings take a [`ListPrefix`].

use std::borrow::Borrow;
use std::fmt;

use thiserror::Error;

/// The longest key S3 accepts, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;

/// Why a string is no object key or prefix.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Nothing is left of the name.
    #[error("the object key or prefix is empty")]
    Empty,
    /// More than [`MAX_KEY_BYTES`].
    #[error("the object key {start:?}… has {bytes} bytes, at most {MAX_KEY_BYTES} are allowed")]
    TooLong {
        /// Length of the whole key.
        bytes: usize,
        /// The first characters of the key.
        start: String,
    },
}

fn check(key: &str) -> Result<(), KeyError> {
    if key.is_empty() {
        return Err(KeyError::Empty);
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(KeyError::TooLong {
            bytes: key.len(),
            start: key.chars().take(64).collect(),
        });
    }
    Ok(())
}

/// The full key of an object in its bucket.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// A full key; one leading slash is dropped.
    ///
    /// # Errors
    /// When it is empty or longer than [`MAX_KEY_BYTES`].
    pub fn new(key: impl Into<String>) -> Result<Self, KeyError> {
        let mut key = key.into();
        if key.starts_with('/') {
            key.remove(0);
        }
        Self::verbatim(key)
    }

    /// A key exactly as a listing names it.
    pub(crate) fn verbatim(key: String) -> Result<Self, KeyError> {
        check(&key)?;
        Ok(Self(key))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The rest of the key below `dir`, if it lies there.
    #[must_use]
    pub fn relative_to(&self, dir: &DirPrefix) -> Option<&str> {
        self.0.strip_prefix(dir.as_str())
    }

    /// What follows the last slash.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The directory that contains the object, with its trailing slash; empty at the top.
    #[must_use]
    pub fn parent(&self) -> &str {
        self.0.rfind('/').map_or("", |slash| &self.0[..=slash])
    }
}

/// A directory-like prefix: always ends in a slash, never empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirPrefix(String);

impl DirPrefix {
    /// A prefix; one leading slash is dropped and the trailing one added when missing.
    ///
    /// # Errors
    /// When it is empty (that would be the whole bucket) or leaves no room for a name.
    pub fn new(prefix: impl Into<String>) -> Result<Self, KeyError> {
        let mut prefix = prefix.into();
        if prefix.starts_with('/') {
            prefix.remove(0);
        }
        Self::verbatim(prefix)
    }

    /// The prefix as it is, but for the trailing slash.
    fn verbatim(mut prefix: String) -> Result<Self, KeyError> {
        if prefix.is_empty() {
            return Err(KeyError::Empty);
        }
        if !prefix.ends_with('/') {
            prefix.push('/');
        }
        check(&prefix)?;
        Ok(Self(prefix))
    }

    /// The prefix as text, trailing slash included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory `name` (one or more components) below this one.
    ///
    /// # Errors
    /// When `name` is empty or the result too long.
    pub fn child(&self, name: &str) -> Result<Self, KeyError> {
        if name.is_empty() {
            return Err(KeyError::Empty);
        }
        Self::verbatim(format!("{}{name}", self.0))
    }

    /// The object `name` (one or more components) below this directory.
    ///
    /// # Errors
    /// When `name` is empty or the key too long.
    pub fn join(&self, name: &str) -> Result<ObjectKey, KeyError> {
        if name.is_empty() {
            return Err(KeyError::Empty);
        }
        ObjectKey::verbatim(format!("{}{name}", self.0))
    }

    /// The listing prefix of all names below this directory that begin with `start`.
    #[must_use]
    pub fn string_prefix(&self, start: &str) -> ListPrefix {
        ListPrefix(format!("{}{start}", self.0))
    }
}

/// A string prefix for listings.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListPrefix(String);

impl ListPrefix {
    /// The empty prefix: every object of the bucket.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// Any string, taken as it is.
    #[must_use]
    pub fn new(prefix: impl Into<String>) -> Self {
        Self(prefix.into())
    }

    /// The prefix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&DirPrefix> for ListPrefix {
    fn from(dir: &DirPrefix) -> Self {
        Self(dir.0.clone())
    }
}

impl From<DirPrefix> for ListPrefix {
    fn from(dir: DirPrefix) -> Self {
        Self::from(&dir)
    }
}

impl Borrow<str> for ObjectKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

macro_rules! text_impls {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    )*};
}
text_impls!(ObjectKey, DirPrefix, ListPrefix);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_prefix_always_ends_in_one_slash() {
        for text in ["store1", "store1/", "/store1", "/store1/"] {
            assert_eq!(DirPrefix::new(text).unwrap().as_str(), "store1/");
        }
        let group = DirPrefix::new("s").unwrap().child("vm/1").unwrap();
        assert_eq!(group.as_str(), "s/vm/1/");
        // A string prefix of `vm/1` would match `vm/10`; the directory prefix does not.
        let other = ObjectKey::new("s/vm/10/owner").unwrap();
        assert_eq!(other.relative_to(&group), None);
        assert_eq!(
            group.join("owner").unwrap().relative_to(&group),
            Some("owner")
        );
    }

    #[test]
    fn the_whole_bucket_is_no_directory() {
        assert_eq!(DirPrefix::new(""), Err(KeyError::Empty));
        assert_eq!(DirPrefix::new("/"), Err(KeyError::Empty));
        assert_eq!(DirPrefix::new("a").unwrap().join(""), Err(KeyError::Empty));
        assert_eq!(DirPrefix::new("a").unwrap().child(""), Err(KeyError::Empty));
    }

    #[test]
    fn what_is_below_a_directory_begins_with_it() {
        // A key of a hostile bucket may begin with a slash.
        let odd = DirPrefix::new("//a").unwrap();
        assert_eq!(odd.as_str(), "/a/");
        assert_eq!(odd.child("b").unwrap().as_str(), "/a/b/");
        assert_eq!(odd.join("b").unwrap().relative_to(&odd), Some("b"));
    }

    #[test]
    fn keys_are_limited_in_bytes_not_characters() {
        assert!(ObjectKey::new("x".repeat(1024)).is_ok());
        let error = ObjectKey::new("ü".repeat(513)).unwrap_err();
        assert!(matches!(error, KeyError::TooLong { bytes: 1026, .. }));
        assert!(
            DirPrefix::new("x".repeat(1000))
                .unwrap()
                .join(&"y".repeat(24))
                .is_err()
        );
    }

    #[test]
    fn one_leading_slash_is_dropped_but_a_listed_key_stays_as_it_is() {
        assert_eq!(ObjectKey::new("/a/b").unwrap().as_str(), "a/b");
        assert_eq!(ObjectKey::verbatim("/a".into()).unwrap().as_str(), "/a");
    }

    #[test]
    fn parts_of_a_key() {
        let key = ObjectKey::new("s/.cnt/vm/1/owner").unwrap();
        assert_eq!((key.parent(), key.file_name()), ("s/.cnt/vm/1/", "owner"));
        let top = ObjectKey::new("top").unwrap();
        assert_eq!((top.parent(), top.file_name()), ("", "top"));
    }
}

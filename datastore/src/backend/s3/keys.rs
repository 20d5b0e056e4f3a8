//! Object keys of a datastore (`s3-backend.md` §1): byte for byte upstream's.

use api_types::digest::Digest;
use api_types::names::DatastoreName;
use s3_client::{DirPrefix, KeyError, ListPrefix, ObjectKey};

/// Folder of our own objects below the store's prefix; upstream ignores it.
pub const EXTRA_DIR: &str = ".x-coffer";

/// Name of the object that stands for a namespace; there is no such local file.
pub const NAMESPACE_MARKER: &str = ".namespace";

/// Builds the keys below one datastore's prefix.
#[derive(Clone, Debug)]
pub struct StoreKeys {
    prefix: DirPrefix,
}

impl StoreKeys {
    /// Keys of the datastore `name`; the prefix ends in `/`, so that `a` never matches `a1`.
    ///
    /// # Errors
    /// Never for a valid name; kept since the key length is checked in one place.
    pub fn new(name: &DatastoreName) -> Result<Self, KeyError> {
        Ok(Self {
            prefix: DirPrefix::new(name.as_str())?,
        })
    }

    /// The store's prefix, `S/`.
    #[must_use]
    pub fn root(&self) -> &DirPrefix {
        &self.prefix
    }

    /// `S/.chunks/hhhh/<digest>`.
    ///
    /// # Errors
    /// Never in practice: the length is far below the limit.
    pub fn chunk(&self, digest: &Digest) -> Result<ObjectKey, KeyError> {
        let hex = digest.to_hex();
        self.prefix.join(&format!(".chunks/{}/{hex}", &hex[..4]))
    }

    /// `S/.chunks/hhhh/<digest>.<n>.bad`.
    ///
    /// # Errors
    /// Never in practice.
    pub fn bad_chunk(&self, digest: &Digest, number: u8) -> Result<ObjectKey, KeyError> {
        let hex = digest.to_hex();
        self.prefix
            .join(&format!(".chunks/{}/{hex}.{number}.bad", &hex[..4]))
    }

    /// `S/.chunks/`.
    ///
    /// # Errors
    /// Never in practice.
    pub fn chunks(&self) -> Result<DirPrefix, KeyError> {
        self.prefix.child(".chunks")
    }

    /// The string prefix of the chunks whose digest begins with `hex` (up to four digits).
    ///
    /// # Errors
    /// Never in practice.
    pub fn chunk_shard(&self, hex: &str) -> Result<ListPrefix, KeyError> {
        Ok(self.chunks()?.string_prefix(hex))
    }

    /// `S/.cnt/`, the metadata.
    ///
    /// # Errors
    /// Never in practice.
    pub fn content(&self) -> Result<DirPrefix, KeyError> {
        self.prefix.child(".cnt")
    }

    /// `S/.cnt/<relative>/`: everything below a directory of the datastore.
    ///
    /// # Errors
    /// If the key would be too long.
    pub fn content_dir(&self, relative: &str) -> Result<DirPrefix, KeyError> {
        self.content()?.child(relative)
    }

    /// `S/.cnt/<relative>`: a metadata file by its path relative to the datastore.
    ///
    /// # Errors
    /// If the key would be too long.
    pub fn content_file(&self, relative: &str) -> Result<ObjectKey, KeyError> {
        self.prefix.join(&format!(".cnt/{relative}"))
    }

    /// The path relative to the datastore of a key below `S/.cnt/`.
    #[must_use]
    pub fn content_path<'a>(&self, key: &'a ObjectKey) -> Option<&'a str> {
        key.as_str()
            .strip_prefix(self.prefix.as_str())?
            .strip_prefix(".cnt/")
    }

    /// `S/.in-use`, the ownership marker.
    ///
    /// # Errors
    /// Never in practice.
    pub fn in_use(&self) -> Result<ObjectKey, KeyError> {
        self.prefix.join(".in-use")
    }

    /// `S/.x-coffer/epoch`: the generation of the last collection that deleted chunks.
    ///
    /// # Errors
    /// Never in practice.
    pub fn epoch(&self) -> Result<ObjectKey, KeyError> {
        self.prefix.join(&format!("{EXTRA_DIR}/epoch"))
    }
}

//! The manifest of a snapshot, `index.json.blob` (formats.md §4).
//!
//! Type, id, time and files are covered by the signature; [`Manifest::unprotected`] is not, and is
//! where a server may write. Unknown keys in there survive a rewrite.

use api_types::digest::{Digest, Fingerprint};
use api_types::names::{ArchiveName, BackupDir, BackupGroup, BackupId, BackupTime, BackupType};
use api_types::status::CryptMode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::canonical_json::{to_canonical, to_pretty};
use super::{CryptConfig, DataBlob, FormatError};

#[cfg(test)]
mod tests;
mod unprotected;

pub use unprotected::ChunkUploadStats;

const OBJECT: &str = "manifest";
/// Longest manifest, plain: room for a hundred thousand files. Zeros pack a thousandfold, and a
/// parsed document takes many times its length, so the limit of other blobs would let a few
/// kilobytes from a client cost gigabytes.
pub(crate) const MAX_MANIFEST_PLAIN: u64 = 16 << 20;
const KEY_FINGERPRINT: &str = "key-fingerprint";

/// One file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FileInfo {
    /// Name as stored, with the extension of its type.
    pub filename: ArchiveName,
    /// Whether its chunks are encrypted. Missing in very old backups, which knew no encryption.
    #[serde(default = "no_encryption")]
    pub crypt_mode: CryptMode,
    /// Length of the archive; of a blob, the length of its file.
    pub size: u64,
    /// Checksum of the index; of a blob, the SHA-256 of its file.
    pub csum: Digest,
}

fn no_encryption() -> CryptMode {
    CryptMode::None
}

impl FileInfo {
    /// Exactly the members that the signature covers.
    fn to_json(&self) -> Value {
        json!({
            "crypt-mode": self.crypt_mode,
            "csum": self.csum,
            "filename": self.filename,
            "size": self.size,
        })
    }
}

/// What a signature check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureStatus {
    /// There is no signature, which is acceptable with and without a key.
    Unsigned,
    /// The signature was made with the key at hand.
    Valid,
}

/// The list of a snapshot's files, with what is known about the snapshot.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Manifest {
    /// Type of the backup group.
    pub backup_type: BackupType,
    /// Id of the backup group.
    pub backup_id: BackupId,
    /// Time of the snapshot.
    pub backup_time: BackupTime,
    files: Vec<FileInfo>,
    /// What the signature does not cover.
    #[serde(default, deserialize_with = "object_or_null")]
    pub unprotected: Map<String, Value>,
    #[serde(default)]
    signature: Option<String>,
}

fn object_or_null<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Map<String, Value>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Manifest {
    /// The manifest of a snapshot without files.
    #[must_use]
    pub fn new(dir: &BackupDir) -> Self {
        Self {
            backup_type: dir.group.ty,
            backup_id: dir.group.id.clone(),
            backup_time: dir.time,
            files: Vec::new(),
            unprotected: Map::new(),
            signature: None,
        }
    }

    /// Parses the decoded content.
    pub fn from_json(json: &[u8]) -> Result<Self, FormatError> {
        serde_json::from_slice(json)
            .map_err(|error| FormatError::corrupt(OBJECT, error.to_string()))
    }

    /// Reads the stored file; its CRC must be right.
    pub fn from_blob(blob: &DataBlob, crypt: Option<&CryptConfig>) -> Result<Self, FormatError> {
        let plain = blob
            .verify_crc()
            .and_then(|()| blob.plain(crypt, MAX_MANIFEST_PLAIN));
        Self::from_json(&plain.map_err(|error| error.with_object(OBJECT))?)
    }

    /// The stored form, byte for byte as upstream writes it.
    pub fn to_json_pretty(&self) -> Result<Vec<u8>, FormatError> {
        let mut value = self.protected_json();
        value.insert("signature".into(), json!(self.signature));
        value.insert(
            "unprotected".into(),
            Value::Object(self.unprotected.clone()),
        );
        to_pretty(&Value::Object(value))
    }

    /// The file to store: compressed, never encrypted. An error if it is too long to be read
    /// again.
    pub fn to_blob(&self) -> Result<DataBlob, FormatError> {
        let json = self.to_json_pretty()?;
        if json.len() as u64 > MAX_MANIFEST_PLAIN {
            // It could not be read again.
            return Err(FormatError::TooLarge {
                object: OBJECT.into(),
                limit: MAX_MANIFEST_PLAIN,
            });
        }
        DataBlob::encode_with_iv(&json, None, true)
    }

    /// What the signature covers.
    pub fn canonical_json(&self) -> Result<Vec<u8>, FormatError> {
        to_canonical(&Value::Object(self.protected_json()))
    }

    fn protected_json(&self) -> Map<String, Value> {
        let mut value = Map::new();
        value.insert("backup-type".into(), json!(self.backup_type));
        value.insert("backup-id".into(), json!(self.backup_id));
        value.insert("backup-time".into(), json!(self.backup_time.secs()));
        let files = self.files.iter().map(FileInfo::to_json).collect();
        value.insert("files".into(), Value::Array(files));
        value
    }

    /// Whether two manifests differ at most in what the signature does not cover: files of the same
    /// content, then.
    #[must_use]
    pub fn is_same_backup(&self, other: &Self) -> bool {
        self.protected_json() == other.protected_json() && self.signature == other.signature
    }

    /// Signs with a key and notes which one. Files added later make the signature invalid.
    pub fn sign(&mut self, crypt: &CryptConfig) -> Result<(), FormatError> {
        let tag = crypt.compute_auth_tag(&self.canonical_json()?)?;
        self.signature = Some(hex::encode(tag));
        self.unprotected.insert(
            KEY_FINGERPRINT.into(),
            json!(crypt.fingerprint().to_string()),
        );
        Ok(())
    }

    /// Checks the signature, if there is one, and that this is the key it was made with.
    pub fn verify_signature(&self, crypt: &CryptConfig) -> Result<SignatureStatus, FormatError> {
        let Some(signature) = &self.signature else {
            return Ok(SignatureStatus::Unsigned);
        };
        if let Some(fingerprint) = self.key_fingerprint()?
            && fingerprint != *crypt.fingerprint()
        {
            let why = format!(
                "it was signed with key {}, not with {}",
                fingerprint.short_id(),
                crypt.fingerprint().short_id()
            );
            return Err(FormatError::wrong_key(OBJECT, why));
        }
        let expected = hex::encode(crypt.compute_auth_tag(&self.canonical_json()?)?);
        let same = expected.len() == signature.len()
            && openssl::memcmp::eq(expected.as_bytes(), signature.as_bytes());
        if same {
            return Ok(SignatureStatus::Valid);
        }
        Err(FormatError::corrupt(
            OBJECT,
            "its signature does not match its content",
        ))
    }

    /// The signature: 64 hex digits, unless someone put something else there.
    #[must_use]
    pub fn signature(&self) -> Option<&str> {
        self.signature.as_deref()
    }

    /// The key that signed the manifest and encrypted the snapshot.
    pub fn key_fingerprint(&self) -> Result<Option<Fingerprint>, FormatError> {
        let Some(value) = self.unprotected.get(KEY_FINGERPRINT) else {
            return Ok(None);
        };
        let parsed = value.as_str().and_then(|text| text.parse().ok());
        let why = || format!("its {KEY_FINGERPRINT} is not a fingerprint");
        parsed
            .map(Some)
            .ok_or_else(|| FormatError::corrupt(OBJECT, why()))
    }

    /// The files, in the order in which the client added them.
    #[must_use]
    pub fn files(&self) -> &[FileInfo] {
        &self.files
    }

    /// The file with this stored name.
    #[must_use]
    pub fn lookup_file(&self, filename: &str) -> Option<&FileInfo> {
        self.files
            .iter()
            .find(|file| file.filename.as_str() == filename)
    }

    /// Appends a file.
    pub fn add_file(&mut self, file: FileInfo) -> Result<(), FormatError> {
        let name = file.filename.as_str();
        let why = if file.filename.archive_type().is_none() {
            "its extension is none of .fidx, .didx and .blob"
        } else if [ArchiveName::MANIFEST, ArchiveName::CLIENT_LOG].contains(&name) {
            "this name is never listed in a manifest"
        } else if self.lookup_file(name).is_some() {
            "the manifest already lists a file of that name"
        } else {
            self.files.push(file);
            return Ok(());
        };
        Err(FormatError::refused(
            format!("file {name} to the manifest"),
            why,
        ))
    }

    /// Which snapshot this is the manifest of.
    #[must_use]
    pub fn backup_dir(&self) -> BackupDir {
        let group = BackupGroup::new(self.backup_type, self.backup_id.clone());
        BackupDir::new(group, self.backup_time)
    }
}

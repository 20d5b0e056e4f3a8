//! The unprotected part of a manifest: the keys that are known (formats.md §4.2).

use api_types::status::{SnapshotVerifyState, VerifyState};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Manifest, OBJECT};
use crate::format::FormatError;

const NOTES: &str = "notes";
const VERIFY_STATE: &str = "verify_state";
const CHUNK_UPLOAD_STATS: &str = "chunk_upload_stats";

/// What a backup session uploaded (formats.md §4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkUploadStats {
    /// Chunks uploaded.
    pub count: u64,
    /// Their plain sizes, and the encoded sizes of the blobs.
    pub size: u64,
    /// Stored sizes of the chunks.
    pub compressed_size: u64,
    /// How many of the chunks were there before.
    pub duplicates: u64,
}

impl Manifest {
    /// The snapshot's notes.
    #[must_use]
    pub fn notes(&self) -> Option<&str> {
        self.unprotected.get(NOTES).and_then(Value::as_str)
    }

    /// Sets or removes the notes.
    pub fn set_notes(&mut self, notes: Option<&str>) {
        self.set(NOTES, notes.map(Value::from));
    }

    /// The last verification; an error if there is one that cannot be read.
    pub fn verify_state(&self) -> Result<Option<SnapshotVerifyState>, FormatError> {
        self.get(VERIFY_STATE)
    }

    /// Sets or removes the last verification.
    pub fn set_verify_state(&mut self, state: Option<&SnapshotVerifyState>) {
        self.set(VERIFY_STATE, state.map(|state| json!(state)));
    }

    /// Whether the last verification says that something is damaged or missing. A state that cannot
    /// be read is as good as a failed one.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        match self.verify_state() {
            Ok(state) => state.is_some_and(|state| state.state != VerifyState::Ok),
            Err(_) => true,
        }
    }

    /// Whether both say the same of their last verification, readable or not.
    #[must_use]
    pub fn is_judged_like(&self, other: &Self) -> bool {
        self.unprotected.get(VERIFY_STATE) == other.unprotected.get(VERIFY_STATE)
    }

    /// Takes over what another manifest says of its last verification, readable or not.
    pub fn copy_verify_state(&mut self, from: &Self) {
        self.set(VERIFY_STATE, from.unprotected.get(VERIFY_STATE).cloned());
    }

    /// What the session uploaded; an error if that is there but cannot be read.
    pub fn chunk_upload_stats(&self) -> Result<Option<ChunkUploadStats>, FormatError> {
        self.get(CHUNK_UPLOAD_STATS)
    }

    /// Notes what the session uploaded.
    pub fn set_chunk_upload_stats(&mut self, stats: &ChunkUploadStats) {
        self.set(CHUNK_UPLOAD_STATS, Some(json!(stats)));
    }

    fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, FormatError> {
        let Some(value) = self.unprotected.get(key) else {
            return Ok(None);
        };
        T::deserialize(value).map(Some).map_err(|error| {
            FormatError::corrupt(OBJECT, format!("its {key} cannot be read: {error}"))
        })
    }

    fn set(&mut self, key: &str, value: Option<Value>) {
        match value {
            Some(value) => self.unprotected.insert(key.into(), value),
            None => self.unprotected.remove(key),
        };
    }
}

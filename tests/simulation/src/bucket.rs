//! What is in the bucket and on its way there, followed line by line in the server's journal.

use std::collections::{BTreeMap, BTreeSet};

use s3_client::Operation;
use s3_mock::{Change, Event, What};
use tokio::time::Instant;

use crate::universe::{Key, Set, Universe, one};

/// A process of the simulation.
pub type ProcId = u32;
/// An attempt of a request.
pub type Ticket = u64;

/// An attempt to delete chunks that may still be applied.
#[derive(Clone, Debug)]
pub struct Flight {
    /// Who sent it.
    pub proc: ProcId,
    /// What it deletes.
    pub chunks: Set,
    /// When a delayed one is over at the latest; `None` = when it is answered.
    pub until: Option<Instant>,
}

/// Who owns the prefix.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Its installation.
    pub instance: String,
    /// Since when.
    pub since: Instant,
}

/// The bucket.
#[derive(Debug, Default)]
pub struct Bucket {
    /// Chunks with an object.
    pub present: Set,
    /// Chunks with an object that is damaged.
    pub damaged: Set,
    /// Chunks whose object was damaged or removed behind the store's back, and not written since.
    pub tainted: Set,
    /// Deletes of chunks that may still be applied.
    pub flights: BTreeMap<Ticket, Flight>,
    /// The owner of the prefix.
    pub owner: Option<Owner>,
    /// Deletes applied after their sender had been told nothing.
    pub late_applied: Set,
    /// The metadata: names by directory.
    pub metadata: BTreeMap<String, BTreeSet<String>>,
    /// Who has changed a file of the metadata last.
    pub last_by: BTreeMap<String, ProcId>,
    /// Files of the metadata whose change the end of a process has cut off.
    pub cut: BTreeSet<String>,
    /// Files of the metadata whose last change was applied when its sender expected it no more.
    pub stale: BTreeSet<String>,
}

/// A change that others want to know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A chunk's object was written.
    ChunkPut(u8),
    /// A chunk's object was deleted.
    ChunkDeleted(u8),
    /// A manifest was written.
    ManifestPut(String),
    /// A file of the metadata was deleted, from this directory.
    MetadataDeleted(String),
    /// The in-use marker was written.
    Claimed,
}

impl Bucket {
    /// Chunks whose delete may still be applied.
    #[must_use]
    pub fn unresolved(&self) -> Set {
        self.flights
            .values()
            .fold(0, |set, flight| set | flight.chunks)
    }

    /// Chunks with an object as it should be.
    #[must_use]
    pub fn sound(&self) -> Set {
        self.present & !self.damaged
    }

    /// Whether this installation owns the prefix.
    #[must_use]
    pub fn is_owned_by(&self, instance: &str) -> bool {
        self.owner
            .as_ref()
            .is_some_and(|owner| owner.instance == instance)
    }

    /// A request leaves its process.
    pub fn sent(&mut self, ticket: Ticket, flight: Option<Flight>) {
        if let Some(flight) = flight {
            self.flights.insert(ticket, flight);
        }
    }

    /// Drops what is too old to be applied.
    pub fn pass(&mut self, now: Instant) {
        self.flights
            .retain(|_, flight| flight.until.is_none_or(|until| until > now));
    }

    /// Follows a line of the journal.
    pub fn line(&mut self, event: &Event, universe: &Universe) -> Vec<News> {
        let mut news = Vec::new();
        match &event.what {
            What::Applied { changes } => {
                for change in changes {
                    news.extend(self.change(change, universe));
                }
                let delayed = |flight: &Flight| flight.until.is_some();
                if self.flights.get(&event.tag).is_some_and(delayed) {
                    self.flights.remove(&event.tag);
                }
            }
            What::Answered { .. } | What::Dropped | What::Hung => {
                let over = |flight: &Flight| flight.until.is_none();
                if self.flights.get(&event.tag).is_some_and(over) {
                    self.flights.remove(&event.tag);
                }
            }
            What::Arrived { .. } => {}
        }
        news
    }

    /// Whether these are all in the metadata's directory.
    pub fn has_files<'a>(&self, directory: &str, mut names: impl Iterator<Item = &'a str>) -> bool {
        let there = self.metadata.get(directory);
        there.is_some_and(|there| names.all(|name| there.contains(name)))
    }

    fn change(&mut self, change: &Change, universe: &Universe) -> Option<News> {
        self.follow_metadata(change, universe);
        match change {
            Change::Put { key, .. } => match universe.classify(key) {
                Key::Chunk(chunk) => {
                    self.present |= one(chunk);
                    self.damaged &= !one(chunk);
                    self.tainted &= !one(chunk);
                    Some(News::ChunkPut(chunk))
                }
                Key::Manifest(snapshot) => Some(News::ManifestPut(snapshot)),
                Key::InUse => Some(News::Claimed),
                _ => None,
            },
            Change::Deleted { key, .. } => match universe.classify(key) {
                Key::Chunk(chunk) => {
                    self.present &= !one(chunk);
                    self.damaged &= !one(chunk);
                    Some(News::ChunkDeleted(chunk))
                }
                Key::Manifest(directory) => Some(News::MetadataDeleted(directory)),
                Key::Metadata(path) => Some(News::MetadataDeleted(split(&path).0.to_owned())),
                Key::InUse => {
                    self.owner = None;
                    None
                }
                _ => None,
            },
            Change::BucketCreated => None,
        }
    }

    fn follow_metadata(&mut self, change: &Change, universe: &Universe) {
        let Some(path) = metadata_path(change, universe) else {
            return;
        };
        let (directory, name) = split(&path);
        if matches!(change, Change::Put { .. }) {
            let names = self.metadata.entry(directory.to_owned()).or_default();
            names.insert(name.to_owned());
        } else if let Some(names) = self.metadata.get_mut(directory) {
            names.remove(name);
        }
    }
}

/// The file of the metadata that a change is of.
pub fn metadata_path(change: &Change, universe: &Universe) -> Option<String> {
    let (Change::Put { key, .. } | Change::Deleted { key, .. }) = change else {
        return None;
    };
    match universe.classify(key) {
        Key::Manifest(directory) => Some(format!("{directory}/{MANIFEST}")),
        Key::Metadata(path) => Some(path),
        _ => None,
    }
}

/// The name of a manifest.
pub const MANIFEST: &str = "index.json.blob";

/// Directory and name.
pub fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// What a request is about, as its process sends it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What it does.
    pub operation: Operation,
    /// On which keys; of a listing the prefix.
    pub keys: Vec<String>,
}

impl Subject {
    /// The chunks that it would delete.
    #[must_use]
    pub fn deletes(&self, universe: &Universe) -> Set {
        let deletes = matches!(
            self.operation,
            Operation::DeleteObject | Operation::DeleteObjects
        );
        let keys = self.keys.iter().filter(|_| deletes);
        keys.fold(0, |set, key| match universe.classify(key) {
            Key::Chunk(chunk) => set | one(chunk),
            _ => set,
        })
    }

    /// Whether it deletes at all.
    #[must_use]
    pub fn is_delete(&self) -> bool {
        matches!(
            self.operation,
            Operation::DeleteObject | Operation::DeleteObjects
        )
    }
}

//! The journal: what arrived, what was applied and what was answered, in exact order.

use std::collections::BTreeMap;

use crate::op::Op;

/// Identifies a request, and with it a late apply.
pub type RequestId = u64;

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Position in the journal.
    pub seq: u64,
    /// Server clock, milliseconds since the epoch.
    pub at_millis: i64,
    /// The request that it belongs to; 0 for what the test itself did.
    pub request: RequestId,
    /// The request's operation.
    pub op: Op,
    /// The bucket, or nothing for ListBuckets.
    pub bucket: String,
    /// The tag of the request's `Treatment`, or 0.
    pub tag: u64,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The request arrived completely; its key, the keys of a batch, or a listing's prefix.
    Arrived {
        /// The keys.
        keys: Vec<String>,
    },
    /// The request took effect; reads and refused requests have no such line.
    Applied {
        /// The changes, in order.
        changes: Vec<Change>,
    },
    /// An answer was handed to the network.
    Answered {
        /// HTTP status.
        status: u16,
        /// S3 error code.
        code: Option<String>,
    },
    /// The connection was dropped without an answer.
    Dropped,
    /// No answer was ever given.
    Hung,
}

/// A change to a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An object was written, new or over an old one.
    Put {
        /// Its key.
        key: String,
        /// Whether there was one before.
        replaced: bool,
    },
    /// An object was deleted (or hidden behind a delete marker).
    Deleted {
        /// Its key.
        key: String,
        /// Whether there was one.
        existed: bool,
        /// Whether only a delete marker was added.
        marker: bool,
    },
    /// A bucket was made.
    BucketCreated,
}

impl Change {
    /// The object's key.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Put { key, .. } | Self::Deleted { key, .. } => Some(key),
            Self::BucketCreated => None,
        }
    }
}

/// Hears of every line of the journal at the moment when it is written.
///
/// The server's state is locked meanwhile: nothing may be asked of the server.
pub trait Observer: Send + Sync {
    /// A line was written.
    fn line(&self, event: &Event);
}

/// The journal of a server, as of the moment when it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    /// Every line.
    pub events: Vec<Event>,
}

impl Journal {
    /// The requests that arrived, in order.
    pub fn requests(&self) -> impl Iterator<Item = &Event> {
        self.events
            .iter()
            .filter(|event| matches!(event.what, What::Arrived { .. }))
    }

    /// The requests of one operation, with their keys.
    #[must_use]
    pub fn requests_of(&self, op: Op) -> Vec<Vec<String>> {
        let of_op = |event: &Event| match &event.what {
            What::Arrived { keys } if event.op == op => Some(keys.clone()),
            _ => None,
        };
        self.events.iter().filter_map(of_op).collect()
    }

    /// Every applied change, in order.
    pub fn changes(&self) -> impl Iterator<Item = (&Event, &Change)> {
        self.events.iter().flat_map(|event| {
            let changes = match &event.what {
                What::Applied { changes } => changes.as_slice(),
                _ => &[],
            };
            changes.iter().map(move |change| (event, change))
        })
    }

    /// The keys of the objects that were really removed, in order.
    #[must_use]
    pub fn deleted_keys(&self) -> Vec<String> {
        let removed = |change: &Change| match change {
            Change::Deleted {
                key, existed: true, ..
            } => Some(key.clone()),
            _ => None,
        };
        self.changes()
            .filter_map(|(_, change)| removed(change))
            .collect()
    }

    /// The keys of the objects written, in order.
    #[must_use]
    pub fn written_keys(&self) -> Vec<String> {
        let written = |change: &Change| match change {
            Change::Put { key, .. } => Some(key.clone()),
            _ => None,
        };
        self.changes()
            .filter_map(|(_, change)| written(change))
            .collect()
    }

    /// The lines from `seq` on.
    #[must_use]
    pub fn since(&self, seq: u64) -> Self {
        Self {
            events: self
                .events
                .iter()
                .filter(|event| event.seq >= seq)
                .cloned()
                .collect(),
        }
    }

    /// The lines about one key.
    #[must_use]
    pub fn about(&self, key: &str) -> Vec<&Event> {
        let touches = |event: &&Event| match &event.what {
            What::Arrived { keys } => keys.iter().any(|k| k == key),
            What::Applied { changes } => changes.iter().any(|change| change.key() == Some(key)),
            _ => false,
        };
        self.events.iter().filter(touches).collect()
    }
}

/// How often what was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that arrived completely, by operation.
    pub requests: BTreeMap<Op, u64>,
    /// The most requests of an operation that were open at the same time.
    pub most_in_flight: BTreeMap<Op, u64>,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Connections accepted.
    pub connections: u64,
    /// Body bytes received.
    pub bytes_in: u64,
    /// Body bytes sent (as far as answers were sent whole).
    pub bytes_out: u64,
    /// Requests open now, by operation.
    pub in_flight: BTreeMap<Op, u64>,
}

impl Counters {
    /// The number of requests of an operation.
    #[must_use]
    pub fn of(&self, op: Op) -> u64 {
        self.requests.get(&op).copied().unwrap_or_default()
    }

    /// The number of all requests.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.requests.values().sum()
    }

    pub(crate) fn begin(&mut self, op: Op) {
        *self.requests.entry(op).or_default() += 1;
        let open = self.in_flight.entry(op).or_default();
        *open += 1;
        let most = self.most_in_flight.entry(op).or_default();
        *most = (*most).max(*open);
    }

    pub(crate) fn end(&mut self, op: Op) {
        let open = self.in_flight.entry(op).or_default();
        *open = open.saturating_sub(1);
    }
}

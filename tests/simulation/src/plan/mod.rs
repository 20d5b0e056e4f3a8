//! What happens in a world, as data: made from a seed, replayed as it is, shortened element by
//! element.
//!
//! Nothing in a plan refers to another element of it: targets are numbers taken modulo what is
//! there at the time, so that an element can be left out without giving others another meaning.

pub mod generate;
pub mod guests;

use serde::{Deserialize, Serialize};

/// Groups that are backed up into: two in the root namespace, two in `a`, one in `a/b`.
pub const GROUPS: u8 = 5;

/// A world and everything that is done in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The seed of the run.
    pub seed: u64,
    /// Which of the run's worlds.
    pub world: u64,
    /// What stays the same in it.
    pub setting: Setting,
    /// One after the other; after each the world runs dry and is compared with the book.
    pub episodes: Vec<Episode>,
}

/// The constants of a world.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setting {
    /// Keys of a page of a listing.
    pub page_size: usize,
    /// The grace period of collections, seconds.
    pub grace: u64,
    /// Bound of the payload cache, bytes.
    pub max_cache: Option<u64>,
    /// The typical time of a request, milliseconds.
    pub latency: u64,
    /// A delete may take so much longer, milliseconds.
    pub delete_latency: u64,
    /// The provider has no DeleteObjects.
    pub single_deletes: bool,
    /// The provider ignores `If-None-Match`.
    pub ignores_conditions: bool,
    /// The next collection believes in a large store and lists in shards.
    pub sharded: bool,
}

/// A time of work and trouble.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Episode {
    /// Its number: the same after others were left out.
    pub number: u64,
    /// Actors, side by side.
    pub lanes: Vec<Vec<Step>>,
    /// Trouble between the store and the bucket.
    pub weather: Vec<Weather>,
}

/// Something that an actor does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// It waits so long first, milliseconds.
    pub pause: u64,
    /// What it does.
    pub act: Act,
}

/// What actors do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Act {
    /// A backup.
    Backup(Backup),
    /// A garbage collection.
    Collect(Collect),
    /// Leftovers are seen to.
    Tend,
    /// Prunes a group to so many snapshots.
    Prune {
        /// The group.
        group: u8,
        /// Snapshots to keep.
        keep: u8,
    },
    /// Removes one snapshot.
    Forget {
        /// Which.
        pick: u8,
    },
    /// Protects a snapshot or lifts that.
    Protect {
        /// Which.
        pick: u8,
        /// Protect it.
        on: bool,
    },
    /// Writes the notes of a snapshot.
    Notes {
        /// Which.
        pick: u8,
    },
    /// Removes a group.
    DestroyGroup {
        /// Which.
        group: u8,
    },
    /// Removes a namespace with all that is in it, and makes it again.
    DestroyNamespace {
        /// `a/b` only.
        inner: bool,
    },
    /// Verifies everything.
    Verify {
        /// By a listing only.
        quick: bool,
        /// Stops after so many milliseconds.
        abort: Option<u64>,
    },
    /// Rebuilds the local state from the bucket.
    Refresh,
    /// Reads a snapshot's chunks.
    Read {
        /// Which.
        pick: u8,
        /// And fills the cache.
        fill: bool,
    },
    /// Damages a chunk's object.
    Corrupt {
        /// Which.
        digest: u8,
        /// Keeps its length.
        same_size: bool,
    },
    /// Removes a chunk's object behind the store's back.
    Vanish {
        /// Which.
        digest: u8,
    },
    /// Removes a chunk's local file, as somebody who clears the cache by hand.
    Unmark {
        /// Which.
        digest: u8,
    },
    /// From now on these chunks' objects are under retention, and no others.
    Retain {
        /// Which.
        digests: Vec<u8>,
    },
    /// So many times, deletes of a key in a batch fail on the server's side.
    KeyTrouble {
        /// Which.
        digest: u8,
        /// Although it says so, it deletes.
        applied: bool,
        /// How often.
        times: u8,
    },
    /// The wall clock jumps by so many seconds.
    WallClock(i64),
    /// The server's clock is off by so many seconds from now on.
    ServerClock(i64),
    /// The end of the process, and a new one.
    Crash {
        /// At the so manieth step from now.
        after: u64,
        /// How long nothing runs, milliseconds.
        down: u64,
        /// What was not synced is lost.
        power: bool,
        /// Counted from the next delete of chunks on.
        on_delete: bool,
        /// The delete journal is lost as well.
        lose_journal: bool,
    },
    /// A second process takes over on the same disk; the first finishes what it does.
    Reload,
    /// Another server takes the prefix over.
    Takeover,
    /// A second process does one thing beside the first.
    Beside {
        /// What.
        what: Box<Act>,
        /// It is killed after so many steps.
        kill: Option<u64>,
    },
    /// Moves a group to another namespace.
    MoveGroup(MoveGroup),
    /// Moves a namespace.
    MoveNamespace(MoveNamespace),
    /// Syncs a snapshot once more that is here.
    Resync(Resync),
    /// Copies a snapshot from elsewhere.
    Copy(Copy),
    /// Changes the owner of a group.
    Owner {
        /// Which.
        group: u8,
        /// To whom.
        owner: u8,
    },
    /// Writes the notes of a group.
    GroupNotes {
        /// Which.
        group: u8,
        /// What; nothing removes them.
        text: u8,
    },
    /// Stores the client's log of a snapshot.
    ClientLog {
        /// Which.
        pick: u8,
    },
}

/// A move of a group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MoveGroup {
    /// Which.
    pub group: u8,
    /// From which of the namespaces that have it.
    pub from: u8,
    /// To which namespace.
    pub to: u8,
    /// Joins a group that is there.
    pub merge: bool,
    /// Stops after so many milliseconds.
    pub abort: Option<u64>,
}

/// A move of a namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MoveNamespace {
    /// Which.
    pub from: u8,
    /// What it is called afterwards.
    pub to: u8,
    /// Joins groups that are there.
    pub merge: bool,
    /// Removes what has become empty.
    pub delete_source: bool,
    /// Stops after so many milliseconds.
    pub abort: Option<u64>,
}

/// What the source of a sync has, compared with what is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// The same files.
    Same,
    /// The same files, and here an index is damaged.
    Damaged,
    /// Another snapshot of the same time.
    Other,
}

/// A sync of a snapshot that is here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resync {
    /// Which.
    pub pick: u8,
    /// What its source has.
    pub source: Source,
    /// Also the chunks that are named by an index which is as it should be.
    pub corrupt: bool,
    /// Chunks of another snapshot.
    pub chunks: Vec<u8>,
    /// The source says that it has verified the snapshot.
    pub verified: bool,
    /// Ends before it commits.
    pub give_up: bool,
}

/// A copy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Copy {
    /// Into which group.
    pub group: u8,
    /// Under the name of its last snapshot, if that was removed, with the same content.
    pub again: bool,
    /// Its chunks, if not.
    pub chunks: Vec<u8>,
    /// Ends before it commits.
    pub give_up: bool,
}

/// A backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Backup {
    /// Into which group.
    pub group: u8,
    /// With the key.
    pub encrypted: bool,
    /// Compressed chunks.
    pub compressed: bool,
    /// Payloads stay in the cache.
    pub cache: bool,
    /// Takes the chunks of the last snapshot's indexes over.
    pub base: bool,
    /// What it does with chunks.
    pub moves: Vec<Move>,
    /// Indexes that it spreads its chunks over.
    pub archives: u8,
    /// Blobs.
    pub blobs: u8,
    /// Pause before it ends, milliseconds.
    pub linger: u64,
    /// How it ends.
    pub end: End,
}

/// What a backup does with chunks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Move {
    /// Inserts these at the same time.
    Insert(Vec<u8>),
    /// Asks whether this is known.
    Ask(u8),
    /// Waits so many milliseconds.
    Wait(u64),
}

/// The end of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Commits; aborts if that fails.
    Commit,
    /// Commits; is dropped if that fails.
    CommitOrDrop,
    /// Aborts with all written.
    Abort,
    /// Is dropped with all written, as by a lost connection.
    Drop,
    /// Is dropped before it closes an index.
    DropEarly,
}

/// A garbage collection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Collect {
    /// Goes on when a tripwire says no.
    pub force: bool,
    /// Past the index cache.
    pub full: bool,
    /// Only says what it would do.
    pub dry_run: bool,
    /// Stops after so many milliseconds.
    pub abort: Option<u64>,
    /// Before which steps of the mark somebody else gets to do something: the step's number, what.
    pub meanwhile: Vec<(u8, Act)>,
}

/// Trouble for a while.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Weather {
    /// Tells it from others.
    pub id: u64,
    /// From when on, milliseconds after the episode's begin.
    pub from: u64,
    /// How long, milliseconds.
    pub length: u64,
    /// How many of a hundred requests it meets.
    pub percent: u8,
    /// At most so many.
    pub most: u32,
    /// What it does.
    pub kind: Trouble,
}

/// What requests meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trouble {
    /// The answer of any request is lost.
    LostAnswer,
    /// The answer of any request never comes.
    NoAnswer,
    /// Any request is lost.
    Lost,
    /// Any request hangs.
    Hang,
    /// `503 SlowDown`.
    Unavailable,
    /// `429`.
    TooMany,
    /// `500 InternalError`, after the request was applied.
    LyingError,
    /// The answers of reads and listings break off.
    Truncated,
    /// Deletes of chunks are applied so many seconds late.
    LateDelete {
        /// Seconds.
        after: u64,
        /// On the way to the server: refused if the signature has expired by then.
        in_network: bool,
    },
    /// Uploads of chunks are applied so many seconds late.
    LatePut {
        /// Seconds.
        after: u64,
    },
    /// Changes of metadata are applied so many seconds late.
    LateMetadata {
        /// Seconds.
        after: u64,
    },
    /// Listings of chunks are odd.
    Listing(Oddity),
}

/// How a listing can be odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Oddity {
    /// So many seconds old.
    Stale(u64),
    /// In no order.
    Disordered,
    /// Each page backwards.
    Backwards,
    /// Ends after the first page as if that were all.
    Cut,
    /// The same token again.
    RepeatedToken,
    /// More to come, and no token.
    NoToken,
    /// Tokens are offsets.
    Offsets,
    /// The last key of a page again on the next.
    Overlap,
    /// Without `LastModified`.
    Undated,
}

impl Plan {
    /// Number of elements, as a measure of its length.
    #[must_use]
    pub fn len(&self) -> usize {
        let of = |episode: &Episode| {
            episode.weather.len() + episode.lanes.iter().map(Vec::len).sum::<usize>()
        };
        self.episodes.iter().map(of).sum()
    }

    /// Whether nothing happens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

//! How often the interesting things have happened: a simulation in which they do not happen explores
//! nothing.

use std::collections::BTreeMap;
use std::fmt;

use crate::plan::guests::Guest;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// Something worth counting.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Kind {
            /// Everything that is counted.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// In words.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

kinds! {
    /// A snapshot was committed.
    Committed = "snapshots committed",
    /// A snapshot was removed.
    Removed = "snapshots removed",
    /// A chunk was answered "duplicate".
    Duplicate = "answered duplicate",
    /// A chunk was uploaded.
    Uploaded = "answered uploaded",
    /// Chunks were taken from a base.
    BaseUsed = "chunks taken from a base",
    /// A session was aborted.
    Aborted = "sessions aborted",
    /// A session was dropped.
    Dropped = "sessions dropped",
    /// A commit was refused.
    CommitRefused = "commits refused",
    /// A collection ended well.
    Collected = "collections completed",
    /// A collection ended with an error.
    CollectFailed = "collections failed or incomplete",
    /// A collection was refused since another one ran.
    CollectRefused = "collections refused (locked)",
    /// A tripwire stopped a collection.
    Tripped = "collections stopped by a tripwire",
    /// Chunks were sent to be deleted.
    DeleteSent = "delete requests sent",
    /// A session took a condemned chunk back.
    TakenBack = "condemned chunks taken back",
    /// An insert waited for a delete in flight.
    WaitedForDelete = "inserts that waited for a delete",
    /// A digest became suspect.
    BecameSuspect = "digests that became suspect",
    /// A suspect digest was uploaded again.
    SuspectUploaded = "suspect digests uploaded again",
    /// A quarantine ended with a PUT from the payload.
    QuarantinePut = "quarantines ended with an upload",
    /// A delete was applied after its sender had been told nothing.
    LateDelete = "late deletes applied",
    /// Such a delete took an object that somebody needed.
    LateDeleteHit = "late deletes of needed objects",
    /// An upload was applied late.
    LatePut = "late uploads applied",
    /// A pass of the mark was followed by another.
    SecondPass = "marks with more than one pass",
    /// Something was changed in the middle of a mark.
    Meanwhile = "changes in the middle of a mark",
    /// An index was marked from the bucket.
    MarkedFromBucket = "indexes marked from the bucket",
    /// A chunk was healed from the cache.
    Healed = "chunks healed from the cache",
    /// A chunk was reported missing.
    Missing = "chunks reported missing",
    /// Presence was created by a collection.
    PresenceCreated = "markers created after a look",
    /// A digest is retained by the provider.
    Retained = "deletes refused by the provider",
    /// An unfinished snapshot was cleared away.
    LeftoverCleared = "unfinished snapshots cleared",
    /// Verify found damage.
    CorruptFound = "damaged chunks found by verify",
    /// Verify moved a chunk away.
    SetAside = "damaged chunks moved away",
    /// A payload was evicted.
    Evicted = "payloads evicted",
    /// A read filled the cache.
    CacheFilled = "cache fills by reads",
    /// A chunk was read.
    Read = "chunks read",
    /// A read found nothing.
    ReadMissing = "reads of missing chunks",
    /// The local state was rebuilt.
    Refreshed = "refreshes completed",
    /// A process was ended in the middle.
    Crash = "crashes",
    /// … while a session ran.
    CrashInSession = "crashes during a backup",
    /// … while a collection ran.
    CrashInCollection = "crashes during a collection",
    /// … while a delete was in flight.
    CrashInDelete = "crashes with a delete in flight",
    /// … while a commit was under way.
    CrashInCommit = "crashes during a commit",
    /// … while snapshots were being removed.
    CrashInRemoval = "crashes during a removal",
    /// … while the local state was rebuilt.
    CrashInRefresh = "crashes during a refresh",
    /// … while verify ran.
    CrashInVerify = "crashes during a verification",
    /// … while something moved.
    CrashInMove = "crashes during a move",
    /// … between two operations on the disk.
    CrashAtDisk = "crashes between disk operations",
    /// … with loss of what was not synced.
    PowerLoss = "power losses",
    /// A second process took over.
    Reloaded = "reloads",
    /// Another server took the prefix over.
    TakenOver = "takeovers",
    /// A server found itself fenced.
    Fenced = "operations refused by the fence",
    /// The local state was not to be trusted.
    NeedsRefresh = "operations refused until a refresh",
    /// The world ran dry and was compared.
    Dry = "times run dry and compared",
    /// A second process did something beside the first.
    Beside = "second processes",
    /// … and was killed.
    Killed = "second processes killed",
    /// A snapshot was moved.
    Moved = "snapshots moved",
    /// A group was moved.
    GroupMoved = "groups moved",
    /// … and joined another.
    Merged = "groups merged",
    /// A namespace was moved.
    NamespaceMoved = "namespaces moved",
    /// A snapshot was synced once more, with the same files.
    Resynced = "snapshots synced again",
    /// … with an index that was damaged here.
    IndexReplaced = "damaged indexes replaced",
    /// … and became another one.
    Exchanged = "snapshots exchanged for others",
    /// A snapshot was copied.
    Copied = "snapshots copied",
    /// … that had been removed.
    CopiedAgain = "removed snapshots copied again",
    /// An owner was set.
    OwnerSet = "owners changed",
    /// Notes of a group were written.
    GroupNotesSet = "notes of groups written",
    /// The log of a client was stored.
    LogStored = "client logs stored",
}

impl Kind {
    /// The guest without whom it does not happen.
    #[must_use]
    pub fn guest(self) -> Option<Guest> {
        match self {
            Self::Beside | Self::Killed => Some(Guest::Beside),
            Self::CrashInMove
            | Self::Moved
            | Self::GroupMoved
            | Self::Merged
            | Self::NamespaceMoved => Some(Guest::Moves),
            Self::Resynced
            | Self::IndexReplaced
            | Self::Exchanged
            | Self::Copied
            | Self::CopiedAgain => Some(Guest::Copies),
            Self::OwnerSet | Self::GroupNotesSet | Self::LogStored => Some(Guest::Labels),
            _ => None,
        }
    }
}

/// Counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<Kind, u64>);

impl Coverage {
    /// Counts one more.
    pub fn add(&mut self, kind: Kind) {
        self.add_many(kind, 1);
    }

    /// Counts several more.
    pub fn add_many(&mut self, kind: Kind, count: u64) {
        *self.0.entry(kind).or_default() += count;
    }

    /// How often it happened.
    #[must_use]
    pub fn of(&self, kind: Kind) -> u64 {
        self.0.get(&kind).copied().unwrap_or_default()
    }

    /// Adds another world's counts.
    pub fn merge(&mut self, other: &Self) {
        for (kind, count) in &other.0 {
            self.add_many(*kind, *count);
        }
    }

    /// What has never happened, of what may with these guests.
    #[must_use]
    pub fn never(&self, guests: &[Guest]) -> Vec<Kind> {
        let invited = |kind: &Kind| kind.guest().is_none_or(|guest| guests.contains(&guest));
        let never = |kind: &Kind| self.of(*kind) == 0 && invited(kind);
        Kind::ALL.iter().copied().filter(never).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kind in Kind::ALL {
            writeln!(f, "  {:>9}  {}", self.of(*kind), kind.text())?;
        }
        Ok(())
    }
}

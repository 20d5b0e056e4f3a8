//! The rules as switches, one or more for each row of the table in `gc.md` §8.1.

/// A rule of the protocol.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Rule {
    /// The floor is computed once.
    FloorConstant,
    /// The generation is raised before the look at the register.
    GenBeforeScan,
    /// The register is looked at before the indexes are listed.
    ScanBeforeList,
    /// A duplicate answer stamps.
    StampOnDuplicate,
    /// An upload stamps.
    StampOnUpload,
    /// A session leaves the register after its index is visible.
    LeaveAfterVisible,
    /// A base is locked, and its indexes are pinned.
    BaseLockOrPin,
    /// Pins are collected in every pass of the mark.
    PinsEachPass,
    /// Something vanished: another pass.
    AnotherPass,
    /// The mark reads the move journal.
    MovesKnown,
    /// Indexes without manifest are marked.
    ManifestlessMarked,
    /// Indexes that only the bucket has are marked.
    BucketOnlyRead,
    /// … unless they are leftovers of a dead session.
    OrphansAgeOut,
    /// The local file goes before the request.
    PresenceRemovedFirst,
    /// Each entry is looked at right before the request.
    FinalRecheck,
    /// Taking back restores what the condemnation took, no more.
    RestoreOnlyWhatWasTaken,
    /// An insert waits while a delete is under way.
    WaitWhileDeleting,
    /// The journal record is on disk before the request.
    JournalFsync,
    /// An unanswered delete makes its digest suspect.
    Quarantine,
    /// No late request is applied after the quarantine.
    QuarantineLongEnough,
    /// An upload does not end a suspicion.
    SuspectSurvivesUpload,
    /// A later 200 does not resolve a lost attempt.
    LaterOkResolvesNothing,
    /// Nor does a denial.
    NorDoesADenial,
    /// No attempt begins after the batch was given up.
    NoAttemptAfterSuspect,
    /// An upload of a suspect digest keeps its payload on disk.
    PayloadKept,
    /// A suspect digest's payload is not evicted.
    SuspectNotEvicted,
    /// The object is looked at when the quarantine ends.
    CheckAtEnd,
    /// A quarantine does not end under an upload.
    NotUnderUpload,
    /// Records of an earlier process get a full quarantine.
    FullQuarantineAfterRestart,
    /// The sweep leaves suspect digests alone.
    ExceptionalLeftAlone,
    /// An aborted run leaves suspects.
    AbortLeavesSuspect,
    /// Unlinks are durable before their record goes.
    DurableUnlink,
    /// The merge creates a marker only after a HEAD.
    HeadBeforePresence,
    /// A cache fill never creates a file.
    FillNeedsMarker,
    /// A rebuild lists only when the journal is empty.
    RebuildWaits,
    /// An object that answered 412 is looked at.
    Validated412,
    /// Verify repeats its GET while it holds the entry.
    VerifySecondGet,
    /// Verify deletes through states and journal.
    VerifyJournal,
    /// Verify deletes only with the exclusive process lock.
    VerifyAlone,
    /// A snapshot with missing chunks is no base.
    MissingBarsBase,
    /// A commit asks for lost chunks.
    FinishAsksLost,
    /// Writers and collection of different processes exclude each other.
    ProcessLock,
    /// The journal is read when the process lock is first taken.
    JournalReadUnderLock,
    /// No chunk file is touched before that.
    NoFileBeforeThat,
    /// Records are resolved only by a process that is alone.
    ResolvedOnlyAlone,
    /// A cache fill holds the process lock.
    FillUnderLock,
    /// The bucket knows the generation of the last delete.
    EpochInBucket,
    /// Raised for each request, when the files of its digests are gone.
    EpochPerRequest,
    /// Who takes a prefix over waits, then lists.
    TakeoverWaits,
    /// A fenced request is signed with the time of the look at the owner.
    SignedByCheck,
    /// The owner is looked at before a manifest is sent.
    CheckBeforeManifest,
    /// Not in the table: a commit asks for lost chunks once more when it is visible.
    FinishAsksAgain,
    /// Not in the table: a report of missing chunks covers snapshots finished since the mark.
    ReportCoversRecent,

    // Not load-bearing by themselves.
    /// The manifest is committed before the session leaves the register.
    ManifestBeforeLeaving,
    /// A commit looks whether its base is still there.
    FinishLooksAtBase,
    /// An index is put before it is visible locally.
    IndexPutFirst,
    /// A suspect digest is uploaded with Replace.
    ReplaceForSuspect,
    /// A missing chunk's marker goes only after a HEAD.
    HeadBeforeMissing,
    /// The generation survives a crash.
    DurableGeneration,
}

/// Where a rule stands in `gc.md` §8.1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// The row of the table with this first column.
    Row(&'static str),
    /// The list "not load-bearing by themselves", with its words.
    NotLoadBearing(&'static str),
    /// Found by this model, not in the table.
    Beyond,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 59] = {
        use Rule::*;
        [
            FloorConstant,
            GenBeforeScan,
            ScanBeforeList,
            StampOnDuplicate,
            StampOnUpload,
            LeaveAfterVisible,
            BaseLockOrPin,
            PinsEachPass,
            AnotherPass,
            MovesKnown,
            ManifestlessMarked,
            BucketOnlyRead,
            OrphansAgeOut,
            PresenceRemovedFirst,
            FinalRecheck,
            RestoreOnlyWhatWasTaken,
            WaitWhileDeleting,
            JournalFsync,
            Quarantine,
            QuarantineLongEnough,
            SuspectSurvivesUpload,
            LaterOkResolvesNothing,
            NorDoesADenial,
            NoAttemptAfterSuspect,
            PayloadKept,
            SuspectNotEvicted,
            CheckAtEnd,
            NotUnderUpload,
            FullQuarantineAfterRestart,
            ExceptionalLeftAlone,
            AbortLeavesSuspect,
            DurableUnlink,
            HeadBeforePresence,
            FillNeedsMarker,
            RebuildWaits,
            Validated412,
            VerifySecondGet,
            VerifyJournal,
            VerifyAlone,
            MissingBarsBase,
            FinishAsksLost,
            ProcessLock,
            JournalReadUnderLock,
            NoFileBeforeThat,
            ResolvedOnlyAlone,
            FillUnderLock,
            EpochInBucket,
            EpochPerRequest,
            TakeoverWaits,
            SignedByCheck,
            CheckBeforeManifest,
            FinishAsksAgain,
            ReportCoversRecent,
            ManifestBeforeLeaving,
            FinishLooksAtBase,
            IndexPutFirst,
            ReplaceForSuspect,
            HeadBeforeMissing,
            DurableGeneration,
        ]
    };

    /// Its place in the specification.
    pub const fn place(self) -> Place {
        use Place::{NotLoadBearing, Row};
        match self {
            Self::FloorConstant => Row("floor constant"),
            Self::GenBeforeScan => Row("gen before scan"),
            Self::ScanBeforeList => Row("scan before index list"),
            Self::StampOnDuplicate | Self::StampOnUpload => {
                Row("stamp on duplicate (any path) / on upload")
            }
            Self::LeaveAfterVisible => Row("deregister after the index is visible"),
            Self::BaseLockOrPin => Row("base lock or pin"),
            Self::PinsEachPass => Row("pins read with each listing pass"),
            Self::AnotherPass => Row("vanished → another pass"),
            Self::MovesKnown => Row("moves known to the marker"),
            Self::ManifestlessMarked => Row("manifest-less indexes marked"),
            Self::BucketOnlyRead => Row("bucket-only indexes read"),
            Self::OrphansAgeOut => Row("orphan indexes age out"),
            Self::PresenceRemovedFirst => Row("presence removed before sending"),
            Self::FinalRecheck => Row("final re-check"),
            Self::RestoreOnlyWhatWasTaken => Row("un-condemn restores only what it took"),
            Self::WaitWhileDeleting => Row("wait while `Deleting`"),
            Self::JournalFsync => Row("journal fsync"),
            Self::Quarantine | Self::QuarantineLongEnough => Row("quarantine; long enough"),
            Self::SuspectSurvivesUpload => Row("`Suspect` survives an upload"),
            Self::LaterOkResolvesNothing => Row("a later 200 resolves nothing"),
            Self::NorDoesADenial => Row("nor does a denial"),
            Self::NoAttemptAfterSuspect => Row("no attempt after `Suspect`"),
            Self::PayloadKept | Self::SuspectNotEvicted => {
                Row("payload kept, also for no-cache and by eviction")
            }
            Self::CheckAtEnd => Row("check at the end of quarantine"),
            Self::NotUnderUpload => Row("not under an upload"),
            Self::FullQuarantineAfterRestart => Row("full quarantine after restart"),
            Self::ExceptionalLeftAlone => Row("exceptional digests left alone"),
            Self::AbortLeavesSuspect => Row("abort leaves `Suspect`"),
            Self::DurableUnlink => Row("durable unlink before the record goes"),
            Self::HeadBeforePresence => Row("HEAD before the merge creates presence"),
            Self::FillNeedsMarker => Row("cache fill needs a marker"),
            Self::RebuildWaits => Row("rebuild waits for an empty journal"),
            Self::Validated412 => Row("412 validated"),
            Self::VerifySecondGet => Row("verify: second GET"),
            Self::VerifyJournal => Row("verify: journal"),
            Self::VerifyAlone => Row("verify: exclusive process lock"),
            Self::MissingBarsBase | Self::FinishAsksLost => {
                Row("missing chunks bar a base; finish asks `lost`")
            }
            Self::ProcessLock => Row("process lock"),
            Self::JournalReadUnderLock => Row("journal read under the lock"),
            Self::NoFileBeforeThat => Row("no chunk file touched before that"),
            Self::ResolvedOnlyAlone => Row("records resolved only when alone"),
            Self::FillUnderLock => Row("draining process writes no cache"),
            Self::EpochInBucket => Row("epoch in the bucket"),
            Self::TakeoverWaits => Row("takeover waits, then lists"),
            Self::SignedByCheck => Row("request signed by the check"),
            Self::CheckBeforeManifest => Row("check before the manifest"),
            Self::EpochPerRequest | Self::FinishAsksAgain | Self::ReportCoversRecent => {
                Place::Beyond
            }
            Self::ManifestBeforeLeaving => NotLoadBearing("manifest commit before deregistration"),
            Self::FinishLooksAtBase => NotLoadBearing("finish's look at the base"),
            Self::IndexPutFirst => NotLoadBearing("index PUT before the local rename"),
            Self::ReplaceForSuspect => NotLoadBearing("Replace instead of create-only for Suspect"),
            Self::HeadBeforeMissing => NotLoadBearing("HEAD before a missing marker is dropped"),
            Self::DurableGeneration => NotLoadBearing("durability of `gen`"),
        }
    }
}

/// Which rules are in force.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    dropped: Option<Rule>,
}

impl Rules {
    /// All.
    pub const ALL: Self = Self { dropped: None };

    /// All but one.
    #[must_use]
    pub const fn without(rule: Rule) -> Self {
        Self {
            dropped: Some(rule),
        }
    }

    /// Whether `rule` is in force.
    #[must_use]
    pub fn has(self, rule: Rule) -> bool {
        self.dropped != Some(rule)
    }
}

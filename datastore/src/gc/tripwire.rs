//! Tripwires: circumstances in which what looks like garbage may be the trace of a mistake
//! (gc.md §6.5). They stop a run before its first delete, unless the operator insists.
//!
//! Pure functions over facts of this run, the last one, and the removals in between.

use std::fmt;

use super::history::{History, RemovalTotals};
use crate::error::Error;

/// More objects than this must look like garbage before their share matters.
const MIN_CANDIDATES: u64 = 1000;
/// More indexes than this must be gone before their share matters.
const MIN_INDEXES: u64 = 10;
/// Largest difference between the server's clock and ours, in milliseconds.
const MAX_CLOCK_OFFSET: i64 = 10 * 60 * 1000;
/// Largest change of that difference during a run, in milliseconds.
const MAX_CLOCK_CHANGE: i64 = 60 * 1000;
/// Up to this many shards, everything is listed before anything is deleted.
const SMALL_SHARDS: u64 = 16;

/// Why a run must not delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trip {
    /// Many index files are gone, and no removal explains it.
    IndexesDropped {
        /// Index files in the last run.
        last: u64,
        /// Index files now.
        now: u64,
        /// Removed deliberately since.
        explained: u64,
    },
    /// Most of the store looks like garbage, and no removal explains it.
    MostlyGarbage {
        /// Unmarked objects.
        candidates: u64,
        /// Bytes of them.
        candidate_bytes: u64,
        /// Listed objects.
        listed: u64,
        /// Bytes of them.
        listed_bytes: u64,
        /// Objects that removals, and garbage known from the last run, explain.
        explained: u64,
    },
    /// A refresh was not finished, so that snapshots may be unknown here.
    MetadataIncomplete,
    /// Local metadata and the bucket could not be compared.
    MirrorCheckFailed(String),
    /// No snapshot here, but some in the bucket.
    LocalStoreEmpty {
        /// Snapshots in the bucket.
        in_bucket: u64,
    },
    /// The bucket prefix belongs to another installation.
    ForeignOwner(String),
    /// Local and server clock differ too much.
    ClockOffset {
        /// Server minus local, milliseconds.
        offset: i64,
    },
    /// One of the clocks jumped while the run was going on.
    ClockChanged {
        /// By how many milliseconds.
        by: i64,
    },
    /// The bucket shows no chunk at all, though the last run left some.
    ListingEmpty {
        /// Chunks that the last run left.
        last: u64,
    },
    /// The record of the last run cannot be read, so that nothing can be compared.
    HistoryDamaged(String),
}

impl Trip {
    /// Whether `--force` overrides it. Deleting another installation's chunks is never right.
    #[must_use]
    pub fn can_be_forced(&self) -> bool {
        !matches!(self, Self::ForeignOwner(_))
    }
}

impl fmt::Display for Trip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IndexesDropped {
                last,
                now,
                explained,
            } => write!(
                f,
                "only {now} index files where the last run saw {last}, and prune, forget and \
                 destroy explain {explained} of those gone: check that no snapshots got lost"
            )?,
            Self::MostlyGarbage {
                candidates,
                candidate_bytes,
                listed,
                listed_bytes,
                explained,
            } => {
                write!(
                    f,
                    "{candidates} of {listed} chunks ({candidate_bytes} of {listed_bytes} bytes) \
                     are not referenced, and removed snapshots explain at most {explained}: check \
                     that no snapshots got lost"
                )?;
            }
            Self::MetadataIncomplete => f.write_str(
                "the local metadata is incomplete (a refresh was interrupted): refresh the \
                 datastore first",
            )?,
            Self::MirrorCheckFailed(why) => write!(
                f,
                "the local metadata could not be compared with the bucket: {why}; refresh the \
                 datastore first"
            )?,
            Self::LocalStoreEmpty { in_bucket } => write!(
                f,
                "there is no snapshot in the local metadata, but {in_bucket} are in the bucket: \
                 refresh the datastore first"
            )?,
            Self::ForeignOwner(owner) => {
                return write!(
                    f,
                    "the bucket prefix is in use by {owner}: its chunks are not ours to delete"
                );
            }
            Self::ClockOffset { offset } => write!(
                f,
                "the server's clock differs from the local one by {} s: correct the clock",
                offset / 1000
            )?,
            Self::ClockChanged { by } => write!(
                f,
                "the local clock or the server's jumped by {} s during the run: run it again",
                by / 1000
            )?,
            Self::ListingEmpty { last } => write!(
                f,
                "the bucket shows no chunks, but the last run left {last}: check endpoint, bucket \
                 and permissions"
            )?,
            Self::HistoryDamaged(why) => {
                write!(
                    f,
                    "the record of the last run cannot be read ({why}): remove it"
                )?;
            }
        }
        f.write_str(" (or force the run)")
    }
}

/// What is known when the mark is complete.
#[derive(Clone, Debug)]
pub struct BeforeSweep<'a> {
    /// The last run.
    pub history: &'a History,
    /// Removals since.
    pub removals: RemovalTotals,
    /// Index files marked now.
    pub index_files: u64,
    /// Whether the local metadata is a complete generation.
    pub metadata_complete: bool,
    /// Why the mirror check failed.
    pub mirror_error: Option<String>,
    /// Snapshots in the local metadata.
    pub local_snapshots: u64,
    /// Snapshots in the bucket, where it was asked.
    pub bucket_snapshots: u64,
    /// Who else holds the prefix.
    pub foreign_owner: Option<String>,
    /// Server clock minus local clock, milliseconds.
    pub clock_offset: Option<i64>,
}

/// What trips before anything is listed or deleted.
#[must_use]
pub fn before_sweep(facts: &BeforeSweep<'_>) -> Vec<Trip> {
    let mut trips = Vec::new();
    trips.extend(facts.foreign_owner.clone().map(Trip::ForeignOwner));
    if !facts.metadata_complete {
        trips.push(Trip::MetadataIncomplete);
    }
    trips.extend(facts.mirror_error.clone().map(Trip::MirrorCheckFailed));
    if facts.local_snapshots == 0 && facts.bucket_snapshots > 0 {
        trips.push(Trip::LocalStoreEmpty {
            in_bucket: facts.bucket_snapshots,
        });
    }
    let offset = facts
        .clock_offset
        .filter(|offset| offset.saturating_abs() > MAX_CLOCK_OFFSET);
    trips.extend(offset.map(|offset| Trip::ClockOffset { offset }));
    match facts.history {
        History::Damaged(why) => trips.push(Trip::HistoryDamaged(why.clone())),
        History::Known(last) => {
            let (last, now) = (last.index_files, facts.index_files);
            let explained = facts.removals.indexes;
            let unexplained = last.saturating_sub(now).saturating_sub(explained);
            if unexplained > MIN_INDEXES && is_share(unexplained, last, 5) {
                trips.push(Trip::IndexesDropped {
                    last,
                    now,
                    explained,
                });
            }
        }
        History::None => {}
    }
    trips
}

/// Whether a clock jumped since the beginning of the run.
#[must_use]
pub fn clock_change(offset_at_start: Option<i64>, offset_now: Option<i64>) -> Option<Trip> {
    let by = offset_now?.saturating_sub(offset_at_start?);
    (by.saturating_abs() > MAX_CLOCK_CHANGE).then_some(Trip::ClockChanged { by })
}

/// What the listing has shown so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Objects.
    pub objects: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Unmarked chunks among them.
    pub candidates: u64,
    /// Bytes of them.
    pub candidate_bytes: u64,
    /// Shards listed to the end.
    pub shards_done: u64,
    /// Shards in all.
    pub shards: u64,
}

/// Whether deletes may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Not yet: too little is listed to judge.
    Wait,
    /// Yes.
    Open,
    /// No.
    Tripped(Trip),
}

/// Decides when deletes may begin: after everything is listed in a small store, after a tenth of
/// the shards in a large one; asked again with every batch.
#[derive(Clone, Debug)]
pub struct DeleteGate {
    explained: u64,
    last_left: u64,
}

impl DeleteGate {
    /// What the last run and the removals since explain.
    #[must_use]
    pub fn new(history: &History, removals: &RemovalTotals) -> Self {
        let last = history.facts();
        let known = last.map_or(0, |last| last.candidates_left);
        Self {
            explained: removals.max_chunks().saturating_add(known),
            last_left: last.map_or(0, |last| last.chunks_left),
        }
    }

    /// Whether deletes may be sent now.
    #[must_use]
    pub fn check(&self, listed: &Listed) -> Gate {
        let all = listed.shards_done >= listed.shards;
        let enough =
            listed.shards > SMALL_SHARDS && listed.shards_done.saturating_mul(10) >= listed.shards;
        if !all && !enough {
            return Gate::Wait;
        }
        if all && listed.objects == 0 && self.last_left > 0 {
            return Gate::Tripped(Trip::ListingEmpty {
                last: self.last_left,
            });
        }
        // Digests are spread evenly, so a part of the shards has its part of what is explained.
        let explained = portion(self.explained, listed.shards_done, listed.shards);
        let unexplained = listed.candidates.saturating_sub(explained);
        let bytes = portion(listed.candidate_bytes, unexplained, listed.candidates);
        let mostly = is_share(unexplained, listed.objects, 2) || is_share(bytes, listed.bytes, 2);
        if unexplained > MIN_CANDIDATES && mostly {
            return Gate::Tripped(Trip::MostlyGarbage {
                candidates: listed.candidates,
                candidate_bytes: listed.candidate_bytes,
                listed: listed.objects,
                listed_bytes: listed.bytes,
                explained,
            });
        }
        Gate::Open
    }
}

/// The error of a run that a trip has stopped between listing and deleting.
#[must_use]
pub(super) fn stop(trip: &Trip) -> Error {
    Error::Refused(format!(
        "{trip}; nothing was deleted from here on. If it is right, run the garbage collection \
         once with --force"
    ))
}

/// Splits trips by what `--force` does to them: those that stop the run, and those that are only
/// to be reported.
#[must_use]
pub fn sort_out(trips: Vec<Trip>, force: bool) -> (Vec<Trip>, Vec<Trip>) {
    trips
        .into_iter()
        .partition(|trip| !force || !trip.can_be_forced())
}

/// Whether `part` is more than one `nth` of `whole`.
fn is_share(part: u64, whole: u64, nth: u64) -> bool {
    u128::from(part) * u128::from(nth) > u128::from(whole)
}

/// `amount × part / whole`; all of it where there is no whole.
fn portion(amount: u64, part: u64, whole: u64) -> u64 {
    if whole == 0 || part >= whole {
        return amount;
    }
    let portion = u128::from(amount) * u128::from(part) / u128::from(whole);
    u64::try_from(portion).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gc::history::RunFacts;

    fn history(index_files: u64, chunks_left: u64, candidates_left: u64) -> History {
        History::Known(RunFacts {
            index_files,
            chunks_left,
            candidates_left,
            ..Default::default()
        })
    }

    fn removed(indexes: u64, chunks: u64) -> RemovalTotals {
        RemovalTotals {
            snapshots: indexes,
            indexes,
            index_bytes: chunks * 32,
        }
    }

    fn facts(history: &History) -> BeforeSweep<'_> {
        BeforeSweep {
            history,
            removals: RemovalTotals::default(),
            index_files: 100,
            metadata_complete: true,
            mirror_error: None,
            local_snapshots: 50,
            bucket_snapshots: 50,
            foreign_owner: None,
            clock_offset: Some(1000),
        }
    }

    #[test]
    fn indexes_may_go_as_far_as_removals_explain() {
        for (last, now, explained, trips) in [
            (100, 100, 0, false),
            (100, 80, 0, false),
            (100, 79, 0, true),
            (100, 79, 1, false),
            (100, 0, 100, false),
            (100, 0, 79, true),
            (10, 0, 0, false),
            (11, 0, 0, true),
            (0, 5, 0, false),
        ] {
            let history = history(last, 0, 0);
            let facts = BeforeSweep {
                index_files: now,
                removals: removed(explained, 0),
                ..facts(&history)
            };
            assert_eq!(
                !before_sweep(&facts).is_empty(),
                trips,
                "{last} {now} {explained}"
            );
        }
        assert_eq!(
            before_sweep(&BeforeSweep {
                index_files: 0,
                ..facts(&History::None)
            }),
            []
        );
    }

    #[test]
    fn each_circumstance_trips_alone() {
        let none = History::None;
        let good = facts(&none);
        assert_eq!(before_sweep(&good), []);
        let damaged = History::Damaged("x".to_owned());
        let cases = [
            (
                BeforeSweep {
                    foreign_owner: Some("host b".to_owned()),
                    ..good.clone()
                },
                Trip::ForeignOwner("host b".to_owned()),
            ),
            (
                BeforeSweep {
                    metadata_complete: false,
                    ..good.clone()
                },
                Trip::MetadataIncomplete,
            ),
            (
                BeforeSweep {
                    mirror_error: Some("503".to_owned()),
                    ..good.clone()
                },
                Trip::MirrorCheckFailed("503".to_owned()),
            ),
            (
                BeforeSweep {
                    local_snapshots: 0,
                    bucket_snapshots: 7,
                    ..good.clone()
                },
                Trip::LocalStoreEmpty { in_bucket: 7 },
            ),
            (
                BeforeSweep {
                    clock_offset: Some(-600_001),
                    ..good.clone()
                },
                Trip::ClockOffset { offset: -600_001 },
            ),
            (facts(&damaged), Trip::HistoryDamaged("x".to_owned())),
        ];
        for (facts, trip) in cases {
            assert_eq!(before_sweep(&facts), std::slice::from_ref(&trip));
            let (stops, forced) = sort_out(vec![trip.clone()], true);
            assert_eq!(
                (stops.len(), forced.len()),
                if trip.can_be_forced() { (0, 1) } else { (1, 0) }
            );
            assert_eq!(
                sort_out(vec![trip.clone()], false).0,
                std::slice::from_ref(&trip)
            );
            assert_eq!(
                trip.to_string().contains("force"),
                trip.can_be_forced(),
                "{trip}"
            );
        }
        let empty = BeforeSweep {
            local_snapshots: 0,
            bucket_snapshots: 0,
            ..good
        };
        assert_eq!(before_sweep(&empty), [], "an empty store is no accident");
    }

    #[test]
    fn clocks_may_drift_but_not_jump() {
        assert_eq!(clock_change(Some(0), Some(60_000)), None);
        assert_eq!(
            clock_change(Some(0), Some(60_001)),
            Some(Trip::ClockChanged { by: 60_001 })
        );
        assert_eq!(
            clock_change(Some(5), Some(-70_000)),
            Some(Trip::ClockChanged { by: -70_005 })
        );
        assert_eq!(clock_change(None, Some(1_000_000)), None);
        assert_eq!(clock_change(Some(1_000_000), None), None);
    }

    fn listed(objects: u64, candidates: u64) -> Listed {
        Listed {
            objects,
            bytes: objects * 10,
            candidates,
            candidate_bytes: candidates * 10,
            shards_done: 16,
            shards: 16,
        }
    }

    fn is_tripped(gate: &DeleteGate, listed: &Listed) -> bool {
        matches!(
            gate.check(listed),
            Gate::Tripped(Trip::MostlyGarbage { .. })
        )
    }

    #[test]
    fn most_of_a_store_is_no_garbage_unless_explained() {
        let gate = |explained, left| DeleteGate::new(&history(0, 1, left), &removed(1, explained));
        assert!(!is_tripped(&gate(0, 0), &listed(10_000, 5000)));
        assert!(is_tripped(&gate(0, 0), &listed(10_000, 5001)));
        assert!(!is_tripped(&gate(0, 0), &listed(1000, 1000)), "few objects");
        assert!(is_tripped(&gate(0, 0), &listed(1001, 1001)));
        // T55: everything was pruned.
        assert!(!is_tripped(&gate(10_000, 0), &listed(10_000, 10_000)));
        assert!(is_tripped(&gate(4999, 0), &listed(10_000, 10_000)));
        // It was young garbage in the run before, so nobody need explain it again.
        assert!(!is_tripped(&gate(0, 10_000), &listed(10_000, 10_000)));
        // A few large ones.
        let large = Listed {
            candidate_bytes: 60_000,
            ..listed(10_000, 2000)
        };
        assert!(is_tripped(&gate(0, 0), &large));
        assert!(!is_tripped(&gate(1500, 0), &large));
    }

    #[test]
    fn deletes_begin_when_enough_is_listed() {
        let gate = DeleteGate::new(&History::None, &RemovalTotals::default());
        let at = |shards_done, shards| Listed {
            shards_done,
            shards,
            ..listed(10_000, 10)
        };
        for (done, shards, open) in [
            (15, 16, false),
            (16, 16, true),
            (0, 1, false),
            (1, 1, true),
            (25, 256, false),
            (26, 256, true),
            (409, 4096, false),
            (410, 4096, true),
        ] {
            let expected = if open { Gate::Open } else { Gate::Wait };
            assert_eq!(
                gate.check(&at(done, shards)),
                expected,
                "{done} of {shards}"
            );
        }
        // A tenth of the shards has a tenth of what is explained.
        let gate = DeleteGate::new(&History::None, &removed(1, 100_000));
        let part = |candidates| Listed {
            shards_done: 26,
            shards: 256,
            ..listed(10_000, candidates)
        };
        assert!(!is_tripped(&gate, &part(10_000)));
        let gate = DeleteGate::new(&History::None, &removed(1, 30_000));
        assert!(is_tripped(&gate, &part(10_000)));
    }

    #[test]
    fn an_empty_listing_after_a_full_one() {
        let empty = Listed {
            shards_done: 1,
            shards: 1,
            ..Listed::default()
        };
        let gate = DeleteGate::new(&history(0, 5, 0), &RemovalTotals::default());
        assert_eq!(
            gate.check(&empty),
            Gate::Tripped(Trip::ListingEmpty { last: 5 })
        );
        let gate = DeleteGate::new(&history(0, 0, 0), &RemovalTotals::default());
        assert_eq!(gate.check(&empty), Gate::Open);
    }
}

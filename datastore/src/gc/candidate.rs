//! The sweep condition: may this unmarked object be deleted now? (gc.md §6.1)
//!
//! Rules carried here:
//! * ◆ Only an ordinary digest: nobody uploads, has condemned or is deleting it, and no late delete
//!   of it may still be under way.
//! * ◆ `stamp(D) < floor`: no session that was running when this collection began, or began later,
//!   has inserted it or was told that it is there.
//! * The grace period is insurance on top, and no wall clock enters the argument above. The age is
//!   the smaller of the object's (server clock against server clock) and the local file's (last
//!   touch), so that a reused old chunk counts as young. A clock that jumped, or a missing date,
//!   only makes an object younger (G9).
//! * An object without a usable date and without local file is not deleted by the collection that
//!   first sees it.

use serde::Serialize;

/// Whether a digest is in an exceptional state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestCondition {
    /// None of the others.
    Ordinary,
    /// Being uploaded, condemned or deleted.
    Busy,
    /// A delete of it may still be applied.
    Suspect,
}

/// Everything the decision depends on. Times are milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CandidateFacts {
    /// Read under the digest's lock.
    pub condition: DigestCondition,
    /// Generation of the last insert or duplicate answer; none since the process started: below
    /// every floor.
    pub stamp: Option<u64>,
    /// Lowest generation that a stamp may have to protect, constant for the run.
    pub floor: u64,
    /// When the object was written, by the server's clock.
    pub last_modified: Option<i64>,
    /// The server's clock when it sent the listing.
    pub list_date: Option<i64>,
    /// Access time of the local chunk file, if there is one.
    pub local_atime: Option<i64>,
    /// The local clock.
    pub now: i64,
    /// Younger objects stay; may be 0.
    pub grace: i64,
    /// Generation of the first collection that saw the object without a usable date.
    pub first_seen: Option<u64>,
    /// Generation of this collection.
    pub generation: u64,
}

/// Why garbage stays for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PendingReason {
    /// Younger than the grace period.
    Young,
    /// Used by a session of this collection's time.
    Session,
    /// A delete of it may still be applied.
    Suspect,
    /// Being uploaded, condemned or deleted right now.
    Busy,
    /// Without a date, and seen for the first time: the caller records it with this generation.
    FirstSeen,
}

impl PendingReason {
    /// For reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Young => "young",
            Self::Session => "session",
            Self::Suspect => "suspect",
            Self::Busy => "busy",
            Self::FirstSeen => "first-seen",
        }
    }
}

/// What to do with an unmarked object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Condemn it.
    Delete,
    /// Leave it for a later collection.
    Pending(PendingReason),
}

/// The sweep condition for an unmarked chunk object.
#[must_use]
pub fn judge(facts: &CandidateFacts) -> Verdict {
    match facts.condition {
        DigestCondition::Suspect => return Verdict::Pending(PendingReason::Suspect),
        DigestCondition::Busy => return Verdict::Pending(PendingReason::Busy),
        DigestCondition::Ordinary => {}
    }
    if facts.stamp.is_some_and(|stamp| stamp >= facts.floor) {
        return Verdict::Pending(PendingReason::Session);
    }
    match age(facts) {
        Some(age) if age >= facts.grace.max(0) => Verdict::Delete,
        Some(_) => Verdict::Pending(PendingReason::Young),
        // A record of a later generation comes from a disk that was rolled back: not yet seen.
        None if facts.first_seen.is_some_and(|seen| seen < facts.generation) => Verdict::Delete,
        None => Verdict::Pending(PendingReason::FirstSeen),
    }
}

/// A `Date` is cut to whole seconds; so is `LastModified` by many providers, while others give
/// milliseconds.
const DATE_RESOLUTION: i64 = 1000;

/// Age of an object by the server's clock, in milliseconds; `None` if a date is missing.
///
/// Two dates of a resolution of a second tell the age to within a second: it may be up to a second
/// less than this says, or up to a second more. That matters beside a grace of zero only, where
/// an object written in the second of the listing must not count as one from the future: a
/// difference that the resolution explains is an age of zero. What is further ahead is a clock
/// that was set back, and stays negative, so young for every grace (G9).
#[must_use]
pub fn object_age(list_date: Option<i64>, last_modified: Option<i64>) -> Option<i64> {
    let age = list_date?.saturating_sub(last_modified?);
    let explained = -DATE_RESOLUTION < age && age < 0;
    Some(if explained { 0 } else { age })
}

/// The smaller of the two ages; none if neither is known.
fn age(facts: &CandidateFacts) -> Option<i64> {
    let of_object = object_age(facts.list_date, facts.last_modified);
    // A local clock that is ahead of the server's would make the file older than it is.
    let now = facts.list_date.map_or(facts.now, |date| {
        date.saturating_add(DATE_RESOLUTION - 1).min(facts.now)
    });
    let of_file = facts.local_atime.map(|atime| now.saturating_sub(atime));
    match (of_object, of_file) {
        (Some(object), Some(file)) => Some(object.min(file)),
        (one, None) | (None, one) => one,
    }
}

/// What the decision about a bad chunk object depends on, beside its candidate facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFacts {
    /// An index references the digest.
    pub marked: bool,
    /// There is a good object of the digest.
    pub good_listed: bool,
    /// How long bad chunks are kept as evidence, in milliseconds.
    pub retention: i64,
}

/// What to do with a bad chunk object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadVerdict {
    /// The only copy, however damaged, of what an index needs.
    KeepReferenced,
    /// Not yet old enough.
    KeepEvidence,
    /// Delete it like garbage.
    Delete,
    /// Garbage, but not now.
    Pending(PendingReason),
}

/// Bad objects stay while their digest is marked and has no good object, and for the retention
/// time as evidence; then they go like garbage (gc.md §6.2 P2).
///
/// `facts` are those of the bad object (its dates, its local file) and of its digest (stamp and
/// condition).
#[must_use]
pub fn judge_bad(bad: &BadFacts, facts: &CandidateFacts) -> BadVerdict {
    if bad.marked && !bad.good_listed {
        return BadVerdict::KeepReferenced;
    }
    if age(facts).is_some_and(|age| age < bad.retention) {
        return BadVerdict::KeepEvidence;
    }
    // The copy is not the chunk: a session's stamp protects the chunk only.
    match judge(&CandidateFacts {
        stamp: None,
        ..*facts
    }) {
        Verdict::Delete => BadVerdict::Delete,
        Verdict::Pending(reason) => BadVerdict::Pending(reason),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000;
    const NOW: i64 = 1_700_000_000_000;

    /// Old, unused garbage.
    fn garbage() -> CandidateFacts {
        CandidateFacts {
            condition: DigestCondition::Ordinary,
            stamp: None,
            floor: 10,
            last_modified: Some(NOW - 100 * HOUR),
            list_date: Some(NOW),
            local_atime: Some(NOW - 100 * HOUR),
            now: NOW,
            grace: 24 * HOUR,
            first_seen: None,
            generation: 12,
        }
    }

    /// Without grace, what was written in the second of the listing is as old as it must be.
    #[test]
    fn dates_of_whole_seconds_make_nothing_younger_than_it_is() {
        let date = NOW / 1000 * 1000;
        let at = |modified: i64, atime: i64, now: i64| {
            judge(&CandidateFacts {
                list_date: Some(date),
                last_modified: Some(date + modified),
                local_atime: Some(date + atime),
                now: date + now,
                grace: 0,
                ..garbage()
            })
        };
        let young = Verdict::Pending(PendingReason::Young);
        assert_eq!(at(0, 0, 0), Verdict::Delete);
        assert_eq!(at(999, 999, 999), Verdict::Delete, "all in the same second");
        assert_eq!(at(1000, 0, 0), young, "from the future");
        assert_eq!(at(0, 500, 400), young, "a file from the future");
        assert_eq!(at(0, 1500, 5000), young, "the local clock is ahead");
        assert_eq!(object_age(Some(date), Some(date - 7)), Some(7));
    }

    #[test]
    fn table() {
        use PendingReason::{Busy, FirstSeen, Session, Suspect, Young};
        let pending = Verdict::Pending;
        let young = Some(NOW - HOUR);
        let dateless = CandidateFacts {
            last_modified: None,
            local_atime: None,
            ..garbage()
        };
        let cases = [
            ("old garbage", garbage(), Verdict::Delete),
            (
                "busy",
                CandidateFacts {
                    condition: DigestCondition::Busy,
                    ..garbage()
                },
                pending(Busy),
            ),
            (
                "suspect",
                CandidateFacts {
                    condition: DigestCondition::Suspect,
                    ..garbage()
                },
                pending(Suspect),
            ),
            (
                "stamped at the floor",
                CandidateFacts {
                    stamp: Some(10),
                    ..garbage()
                },
                pending(Session),
            ),
            (
                "stamped above",
                CandidateFacts {
                    stamp: Some(12),
                    ..garbage()
                },
                pending(Session),
            ),
            (
                "stamped below",
                CandidateFacts {
                    stamp: Some(9),
                    ..garbage()
                },
                Verdict::Delete,
            ),
            (
                "a stamp protects without grace, too",
                CandidateFacts {
                    stamp: Some(10),
                    grace: 0,
                    ..garbage()
                },
                pending(Session),
            ),
            (
                "young object",
                CandidateFacts {
                    last_modified: young,
                    ..garbage()
                },
                pending(Young),
            ),
            (
                "touched lately",
                CandidateFacts {
                    local_atime: young,
                    ..garbage()
                },
                pending(Young),
            ),
            (
                "no local file",
                CandidateFacts {
                    local_atime: None,
                    ..garbage()
                },
                Verdict::Delete,
            ),
            (
                "exactly as old as grace",
                CandidateFacts {
                    local_atime: Some(NOW - 24 * HOUR),
                    ..garbage()
                },
                Verdict::Delete,
            ),
            (
                "one millisecond younger",
                CandidateFacts {
                    local_atime: Some(NOW - 24 * HOUR + 1),
                    ..garbage()
                },
                pending(Young),
            ),
            (
                "no grace",
                CandidateFacts {
                    last_modified: Some(NOW),
                    grace: 0,
                    ..garbage()
                },
                Verdict::Delete,
            ),
            (
                "from the server's future",
                CandidateFacts {
                    last_modified: Some(NOW + HOUR),
                    grace: 0,
                    ..garbage()
                },
                pending(Young),
            ),
            (
                "no date, old file",
                CandidateFacts {
                    last_modified: None,
                    ..garbage()
                },
                Verdict::Delete,
            ),
            (
                "no date, young file",
                CandidateFacts {
                    last_modified: None,
                    local_atime: young,
                    ..garbage()
                },
                pending(Young),
            ),
            ("no date, no file", dateless, pending(FirstSeen)),
            (
                "seen in this run",
                CandidateFacts {
                    first_seen: Some(12),
                    ..dateless
                },
                pending(FirstSeen),
            ),
            (
                "seen before",
                CandidateFacts {
                    first_seen: Some(11),
                    ..dateless
                },
                Verdict::Delete,
            ),
            (
                "seen by a generation to come",
                CandidateFacts {
                    first_seen: Some(13),
                    ..dateless
                },
                pending(FirstSeen),
            ),
            (
                "a page without date has no server clock",
                CandidateFacts {
                    list_date: None,
                    local_atime: None,
                    ..garbage()
                },
                pending(FirstSeen),
            ),
            (
                "local clock two days ahead, touched an hour ago",
                CandidateFacts {
                    now: NOW + 48 * HOUR,
                    local_atime: Some(NOW - HOUR),
                    ..garbage()
                },
                pending(Young),
            ),
            (
                "local clock two days behind",
                CandidateFacts {
                    now: NOW - 48 * HOUR,
                    local_atime: Some(NOW - 50 * HOUR),
                    ..garbage()
                },
                pending(Young),
            ),
        ];
        for (name, facts, verdict) in cases {
            assert_eq!(judge(&facts), verdict, "{name}");
        }
    }

    #[test]
    fn bad_objects() {
        let rules = |marked, good_listed| BadFacts {
            marked,
            good_listed,
            retention: 720 * HOUR,
        };
        let old = CandidateFacts {
            last_modified: Some(NOW - 1000 * HOUR),
            local_atime: None,
            ..garbage()
        };
        let lately = CandidateFacts {
            last_modified: Some(NOW - 100 * HOUR),
            ..old
        };
        assert_eq!(
            judge_bad(&rules(true, false), &old),
            BadVerdict::KeepReferenced
        );
        assert_eq!(
            judge_bad(&rules(true, false), &lately),
            BadVerdict::KeepReferenced
        );
        for (marked, good) in [(false, false), (false, true), (true, true)] {
            assert_eq!(judge_bad(&rules(marked, good), &old), BadVerdict::Delete);
            assert_eq!(
                judge_bad(&rules(marked, good), &lately),
                BadVerdict::KeepEvidence
            );
        }
        let suspect = CandidateFacts {
            condition: DigestCondition::Suspect,
            ..old
        };
        assert_eq!(
            judge_bad(&rules(false, false), &suspect),
            BadVerdict::Pending(PendingReason::Suspect)
        );
        let stamped = CandidateFacts {
            stamp: Some(12),
            ..old
        };
        assert_eq!(judge_bad(&rules(true, true), &stamped), BadVerdict::Delete);
        let dateless = CandidateFacts {
            last_modified: None,
            ..old
        };
        assert_eq!(
            judge_bad(&rules(false, false), &dateless),
            BadVerdict::Pending(PendingReason::FirstSeen)
        );
    }

    fn any_time() -> impl Strategy<Value = i64> {
        prop_oneof![NOW - 100 * HOUR..NOW + 100 * HOUR, any::<i64>()]
    }

    prop_compose! {
        fn any_facts()(
            condition in prop_oneof![
                6 => Just(DigestCondition::Ordinary),
                1 => Just(DigestCondition::Busy),
                1 => Just(DigestCondition::Suspect),
            ],
            stamp in prop::option::of(0_u64..20),
            floor in 0_u64..20,
            last_modified in prop::option::of(any_time()),
            list_date in prop::option::of(any_time()),
            local_atime in prop::option::of(any_time()),
            now in any_time(),
            grace in 0..50 * HOUR,
            first_seen in prop::option::of(0_u64..20),
            generation in 0_u64..20,
        ) -> CandidateFacts {
            CandidateFacts {
                condition, stamp, floor, last_modified, list_date, local_atime, now, grace,
                first_seen, generation,
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

        #[test]
        fn nothing_exceptional_or_in_use_is_deleted(facts in any_facts()) {
            if judge(&facts) == Verdict::Delete {
                prop_assert_eq!(facts.condition, DigestCondition::Ordinary);
                prop_assert!(facts.stamp.is_none_or(|stamp| stamp < facts.floor));
            }
        }

        /// G9: with the server's clock at hand, no value of the local clock makes anything
        /// deletable that is not deletable with a clock that agrees with the server's.
        #[test]
        fn the_local_clock_cannot_make_more_deletable(facts in any_facts(), true_now in any_time()) {
            let date = facts.list_date.unwrap_or(true_now);
            let facts = CandidateFacts { list_date: Some(date), ..facts };
            let in_step = CandidateFacts { now: date, ..facts };
            if judge(&facts) == Verdict::Delete {
                prop_assert_eq!(judge(&in_step), Verdict::Delete);
            }
        }

        /// More grace, a later touch, a later write: never more deletable.
        #[test]
        fn younger_is_never_more_deletable(facts in any_facts(), by in 0..HOUR) {
            if judge(&facts) != Verdict::Delete {
                let later = |time: Option<i64>| time.map(|time| time.saturating_add(by));
                for younger in [
                    CandidateFacts { grace: facts.grace + by, ..facts },
                    CandidateFacts { local_atime: later(facts.local_atime), ..facts },
                    CandidateFacts { last_modified: later(facts.last_modified), ..facts },
                ] {
                    prop_assert_ne!(judge(&younger), Verdict::Delete);
                }
            }
        }

        /// An object of unknown age is not deleted by the collection that first sees it.
        #[test]
        fn unknown_age_needs_an_earlier_sighting(facts in any_facts()) {
            let facts = CandidateFacts { last_modified: None, local_atime: None, ..facts };
            if judge(&facts) == Verdict::Delete {
                prop_assert!(facts.first_seen.is_some_and(|seen| seen < facts.generation));
            }
        }
    }
}

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::gc::chunk_key::{bad_chunk_key, chunk_key};

/// Marks of a test: a set.
#[derive(Debug)]
struct SetMarks {
    set: BTreeSet<Digest>,
    stream: std::collections::btree_set::IntoIter<Digest>,
}

impl SetMarks {
    fn new(set: &BTreeSet<Digest>) -> Self {
        Self {
            set: set.clone(),
            stream: set.clone().into_iter(),
        }
    }
}

impl ShardMarks for SetMarks {
    fn next_mark(&mut self) -> GcResult<Option<Digest>> {
        Ok(self.stream.next())
    }

    fn is_marked(&self, digest: &Digest) -> GcResult<bool> {
        Ok(self.set.contains(digest))
    }
}

fn digest(number: u8) -> Digest {
    let mut bytes = [0x0a; 32];
    bytes[1] = number;
    Digest::from_bytes(bytes)
}

fn object(size: u64) -> ObjectFacts {
    ObjectFacts {
        size,
        last_modified: Some(1000),
        list_date: Some(2000),
    }
}

fn shard() -> ShardPrefix {
    ShardPrefix::of(&digest(0), 2)
}

fn run(
    marked: &BTreeSet<Digest>,
    local: &BTreeSet<Digest>,
    keys: &[String],
    end: ListingEnd,
) -> GcResult<(Vec<MergeEvent>, MergeCounts)> {
    let local = local.clone().into_iter().map(Ok);
    let mut merge = ShardMerge::new(shard(), SetMarks::new(marked), local);
    let mut events = Vec::new();
    for key in keys {
        merge.push(key, object(u64::try_from(key.len()).unwrap()), &mut events)?;
    }
    let counts = merge.finish(end, &mut events)?;
    Ok((events, counts))
}

fn set(numbers: &[u8]) -> BTreeSet<Digest> {
    numbers.iter().copied().map(digest).collect()
}

#[test]
fn every_row_of_the_table() {
    let marked = set(&[1, 2, 3, 4]);
    let local = set(&[1, 3, 5, 7]);
    let keys = [1, 2, 5, 6].map(|n| chunk_key(&digest(n)));
    let (events, counts) = run(&marked, &local, &keys, ListingEnd::Complete).unwrap();
    let object = object(69);
    assert_eq!(
        events,
        [
            MergeEvent::Live {
                digest: digest(1),
                object,
                local: true
            },
            MergeEvent::Live {
                digest: digest(2),
                object,
                local: false
            },
            MergeEvent::Candidate {
                digest: digest(5),
                object,
                local: true
            },
            MergeEvent::Candidate {
                digest: digest(6),
                object,
                local: false
            },
            MergeEvent::MarkedAbsent {
                digest: digest(3),
                local: true
            },
            MergeEvent::MarkedAbsent {
                digest: digest(4),
                local: false
            },
            MergeEvent::LocalOnly { digest: digest(7) },
        ]
    );
    assert!(counts.adds_up());
    assert_eq!(
        (counts.live, counts.live_without_local, counts.candidates),
        (2, 1, 2)
    );
    assert_eq!(
        (counts.marked_absent, counts.local_only, counts.undecided),
        (2, 1, 0)
    );
}

#[test]
fn an_incomplete_listing_tells_nothing_about_what_it_lacks() {
    let keys = [chunk_key(&digest(3))];
    let (events, counts) = run(
        &set(&[1, 2, 9]),
        &set(&[2, 4]),
        &keys,
        ListingEnd::Incomplete,
    )
    .unwrap();
    assert_eq!(
        events,
        [MergeEvent::Candidate {
            digest: digest(3),
            object: object(69),
            local: false
        }]
    );
    assert_eq!(
        (counts.incomplete, counts.undecided, counts.marked_absent),
        (1, 2, 0)
    );
}

#[test]
fn bad_copies_know_their_good_object_and_whether_they_are_marked() {
    for (good, marked) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut keys = vec![bad_chunk_key(&digest(1), 0), bad_chunk_key(&digest(1), 3)];
        if good {
            keys.insert(0, chunk_key(&digest(1)));
        }
        let marks = if marked { set(&[1]) } else { set(&[]) };
        for disorder in [false, true] {
            if disorder {
                keys.reverse();
            }
            let (events, counts) = run(&marks, &set(&[]), &keys, ListingEnd::Complete).unwrap();
            let mut seen = Vec::new();
            for event in &events {
                if let MergeEvent::Bad {
                    number,
                    marked: is_marked,
                    good_listed,
                    ..
                } = event
                {
                    assert_eq!(*is_marked, marked);
                    // The first of a reversed listing came before its good object.
                    assert!(
                        *good_listed == good || disorder && *number == 3,
                        "{event:?}"
                    );
                    seen.push(*number);
                }
            }
            seen.sort_unstable();
            assert_eq!(seen, [0, 3]);
            assert_eq!((counts.bad, counts.adds_up()), (2, true));
        }
    }
}

#[test]
fn foreign_keys_are_counted_and_left_alone() {
    let hex = digest(1).to_hex();
    let mut keys: Vec<String> = ["", "0", ".using", "/x", ".0.bad.x"]
        .iter()
        .map(|suffix| format!("{}/{hex}{suffix}x", &hex[..4]))
        .collect();
    keys.push(format!("0a/{hex}"));
    keys.push(format!("0a01/{}", &hex[1..]));
    keys.push("0a".to_owned());
    keys.sort();
    let (events, counts) = run(&set(&[]), &set(&[]), &keys, ListingEnd::Complete).unwrap();
    assert_eq!(events, []);
    assert_eq!(
        (counts.unknown, counts.listed, counts.adds_up()),
        (8, 8, true)
    );
    assert_eq!(counts.unknown_samples.len(), 8);
}

#[test]
fn a_directory_marker_object_is_not_a_repetition() {
    let mut merge = ShardMerge::new(
        ShardPrefix::ALL,
        SetMarks::new(&set(&[])),
        std::iter::empty(),
    );
    let mut events = Vec::new();
    merge.push("", object(0), &mut events).unwrap();
    assert_eq!((merge.counts().unknown, merge.counts().duplicates), (1, 0));
}

#[test]
fn keys_of_other_shards_fail_the_shard() {
    let mut other = *digest(1).as_bytes();
    other[0] = 0x0b;
    let other = Digest::from_bytes(other);
    for key in [chunk_key(&other), bad_chunk_key(&other, 1), "zz".to_owned()] {
        let error = run(&set(&[1]), &set(&[]), &[key], ListingEnd::Complete).unwrap_err();
        assert!(matches!(error, GcError::KeyOutsideShard { .. }), "{error}");
    }
}

#[test]
fn local_disorder_is_refused() {
    let local = [2, 1].map(|n| Ok(digest(n))).into_iter();
    let merge = ShardMerge::new(shard(), SetMarks::new(&set(&[])), local);
    let error = merge
        .finish(ListingEnd::Complete, &mut Vec::new())
        .unwrap_err();
    assert!(matches!(error, GcError::LocalDisorder { .. }), "{error}");
}

#[test]
fn errors_of_the_mark_stream_are_passed_on() {
    struct Failing;
    impl ShardMarks for Failing {
        fn next_mark(&mut self) -> GcResult<Option<Digest>> {
            Err(GcError::Host("gone".to_owned()))
        }
        fn is_marked(&self, _: &Digest) -> GcResult<bool> {
            Err(GcError::Host("gone".to_owned()))
        }
    }
    let mut merge = ShardMerge::new(shard(), Failing, std::iter::empty());
    let mut events = Vec::new();
    assert!(
        merge
            .push(&chunk_key(&digest(1)), object(1), &mut events)
            .is_err()
    );
    assert_eq!(events, []);
}

/// What a listing of the shard may contain: chunks, bad copies, foreign keys.
#[derive(Clone, Debug)]
enum Key {
    Chunk(u8),
    Bad(u8, u8),
    Foreign(u8),
}

impl Key {
    fn text(&self) -> String {
        match self {
            Self::Chunk(n) => chunk_key(&digest(*n)),
            Self::Bad(n, number) => bad_chunk_key(&digest(*n), *number),
            Self::Foreign(n) => format!("{}.x", chunk_key(&digest(*n))),
        }
    }
}

fn any_key() -> impl Strategy<Value = Key> {
    prop_oneof![
        8 => (0_u8..40).prop_map(Key::Chunk),
        1 => (0_u8..40, 0_u8..3).prop_map(|(n, number)| Key::Bad(n, number)),
        1 => (0_u8..40).prop_map(Key::Foreign),
    ]
}

fn any_set() -> impl Strategy<Value = BTreeSet<Digest>> {
    prop::collection::btree_set((0_u8..40).prop_map(digest), 0..30)
}

/// A listing as good or bad servers give it: sorted, shuffled, with repetitions, rotated.
fn any_listing() -> impl Strategy<Value = Vec<String>> {
    let keys = || prop::collection::vec(any_key().prop_map(|key| key.text()), 0..60);
    prop_oneof![
        keys().prop_map(|mut keys| {
            keys.sort();
            keys.dedup();
            keys
        }),
        keys().prop_map(|mut keys| {
            keys.sort();
            keys
        }),
        (keys(), 0_usize..60).prop_map(|(mut keys, at)| {
            keys.sort();
            keys.dedup();
            if !keys.is_empty() {
                let at = at % keys.len();
                keys.rotate_left(at);
            }
            keys
        }),
        keys(),
    ]
}

/// The same decisions from whole sets.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    live: BTreeMap<Digest, bool>,
    candidates: BTreeMap<Digest, bool>,
    bad: BTreeSet<(Digest, u8, bool)>,
    absent: BTreeMap<Digest, bool>,
    local_only: BTreeSet<Digest>,
}

impl Outcome {
    fn naive(
        marked: &BTreeSet<Digest>,
        local: &BTreeSet<Digest>,
        keys: &[String],
        end: ListingEnd,
    ) -> Self {
        let mut outcome = Self::default();
        let mut listed = BTreeSet::new();
        for key in keys {
            match ChunkKey::classify(key) {
                ChunkKey::Chunk(digest) => {
                    listed.insert(digest);
                    let side = if marked.contains(&digest) {
                        &mut outcome.live
                    } else {
                        &mut outcome.candidates
                    };
                    side.insert(digest, local.contains(&digest));
                }
                ChunkKey::Bad(digest, number) => {
                    outcome
                        .bad
                        .insert((digest, number, marked.contains(&digest)));
                }
                ChunkKey::Unknown => {}
            }
        }
        if end == ListingEnd::Complete {
            let absent = marked.difference(&listed);
            outcome.absent = absent
                .map(|digest| (*digest, local.contains(digest)))
                .collect();
            outcome.local_only = local
                .iter()
                .filter(|d| !marked.contains(*d) && !listed.contains(*d))
                .copied()
                .collect();
        }
        outcome
    }

    /// Fails if any digest gets two events.
    fn of(events: &[MergeEvent]) -> Self {
        let mut outcome = Self::default();
        for event in events {
            let first = match *event {
                MergeEvent::Live { digest, local, .. } => {
                    outcome.live.insert(digest, local).is_none()
                }
                MergeEvent::Candidate { digest, local, .. } => {
                    outcome.candidates.insert(digest, local).is_none()
                }
                MergeEvent::Bad {
                    digest,
                    number,
                    marked,
                    ..
                } => outcome.bad.insert((digest, number, marked)),
                MergeEvent::MarkedAbsent { digest, local } => {
                    outcome.absent.insert(digest, local).is_none()
                }
                MergeEvent::LocalOnly { digest } => outcome.local_only.insert(digest),
            };
            assert!(first, "twice: {event:?}");
        }
        outcome
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Order, repetitions and gaps of a listing change nothing about what is decided.
    #[test]
    fn agrees_with_whole_sets(
        marked in any_set(),
        local in any_set(),
        keys in any_listing(),
        complete: bool,
    ) {
        let end = if complete { ListingEnd::Complete } else { ListingEnd::Incomplete };
        let (events, counts) = run(&marked, &local, &keys, end).unwrap();
        prop_assert_eq!(Outcome::of(&events), Outcome::naive(&marked, &local, &keys, end));

        let distinct: BTreeSet<&String> = keys.iter().collect();
        prop_assert!(counts.adds_up());
        // Foreign keys of a disordered listing are counted as often as they come.
        let repeated_foreign = counts.unknown
            - u64::try_from(distinct.iter().filter(|k| k.ends_with(".x")).count()).unwrap();
        prop_assert!(counts.disordered == 1 || repeated_foreign == 0);
        prop_assert_eq!(counts.listed, u64::try_from(distinct.len()).unwrap() + repeated_foreign);
        prop_assert_eq!(
            counts.listed + counts.duplicates,
            u64::try_from(keys.len()).unwrap()
        );
    }

    /// G10: whatever a listing contains or lacks, no marked digest becomes a candidate.
    #[test]
    fn a_marked_digest_is_never_a_candidate(marked in any_set(), keys in any_listing()) {
        for end in [ListingEnd::Complete, ListingEnd::Incomplete] {
            let (events, _) = run(&marked, &BTreeSet::new(), &keys, end).unwrap();
            for event in events {
                if let MergeEvent::Candidate { digest, .. } = event {
                    prop_assert!(!marked.contains(&digest));
                }
            }
        }
    }

    /// A bad copy is only called superseded if its good object was listed.
    #[test]
    fn a_good_object_is_not_made_up(marked in any_set(), keys in any_listing()) {
        let (events, _) = run(&marked, &BTreeSet::new(), &keys, ListingEnd::Complete).unwrap();
        let in_order = keys.is_sorted();
        for event in events {
            if let MergeEvent::Bad { digest, good_listed, .. } = event {
                let listed = keys.contains(&chunk_key(&digest));
                prop_assert!(!good_listed || listed);
                prop_assert!(good_listed == listed || !in_order);
            }
        }
    }
}

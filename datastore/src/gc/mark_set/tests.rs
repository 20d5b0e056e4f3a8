use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::env::Env;
use crate::gc::shards::ShardCount;

/// Few different digests with shared prefixes, so that duplicates and neighbours are frequent.
fn any_digest() -> impl Strategy<Value = Digest> {
    prop_oneof![
        any::<[u8; 32]>(),
        (0_u8..4, any::<u8>()).prop_map(|(first, last)| {
            let mut bytes = [first.wrapping_mul(85); 32];
            bytes[31] = last;
            bytes
        }),
    ]
    .prop_map(Digest::from_bytes)
}

fn collected(iter: MarkIter) -> Vec<Digest> {
    iter.map(Result::unwrap).collect()
}

fn check(set: &MarkSet, expected: &BTreeSet<Digest>, probes: &[Digest]) {
    assert_eq!(set.len(), u64::try_from(expected.len()).unwrap());
    assert_eq!(set.is_empty(), expected.is_empty());
    assert!(set.iter().map(Result::unwrap).eq(expected.iter().copied()));
    let by_partition = (0..=u8::MAX).flat_map(|byte| collected(set.partition(byte)));
    assert!(by_partition.eq(expected.iter().copied()));
    for count in [ShardCount::One, ShardCount::N16, ShardCount::N256] {
        let by_shard = count
            .prefixes()
            .into_iter()
            .flat_map(|shard| collected(set.shard(shard)));
        assert!(by_shard.eq(expected.iter().copied()));
    }
    for probe in probes.iter().chain(expected) {
        assert_eq!(set.contains(probe).unwrap(), expected.contains(probe));
    }
    for pair in probes.windows(2) {
        let (low, high) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
        assert!(
            collected(set.range(&low, Some(high)))
                .iter()
                .eq(expected.range(low..high))
        );
        assert!(
            collected(set.range(&high, None))
                .iter()
                .eq(expected.range(high..))
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever the limit, hence with and without spilling, it is the set of what was added.
    #[test]
    fn equals_a_set(
        lists in prop::collection::vec(prop::collection::vec(any_digest(), 0..400), 0..12),
        probes in prop::collection::vec(any_digest(), 0..8),
        limit in prop_oneof![Just(0), Just(4096), Just(20_000), Just(usize::MAX)],
    ) {
        let dir = tempfile::tempdir().unwrap();
        let builder = MarkSetBuilder::new(limit, dir.path());
        let mut expected = BTreeSet::new();
        for (number, list) in lists.iter().enumerate() {
            expected.extend(list.iter().copied());
            let mut list = list.clone();
            if number % 2 == 0 {
                sort_unique(&mut list);
                builder.add_sorted(&list).unwrap();
            } else {
                builder.add(&list).unwrap();
            }
        }
        let set = builder.finish().unwrap();
        prop_assert!(set.is_spilled() || limit > 0 || expected.is_empty());
        check(&set, &expected, &probes);
    }
}

#[test]
fn many_runs_are_merged_over_levels() {
    let env = Env::seeded(3, 1_700_000_000);
    let dir = tempfile::tempdir().unwrap();
    let builder = MarkSetBuilder::new(64 * 1024, dir.path());
    let mut expected = BTreeSet::new();
    let mut recent: Vec<Digest> = Vec::new();
    for _ in 0..60 {
        let mut list: Vec<Digest> = (0..1500)
            .map(|_| {
                let mut bytes = [0; 32];
                env.fill_random(&mut bytes);
                Digest::from_bytes(bytes)
            })
            .collect();
        list.extend_from_slice(&recent);
        expected.extend(list.iter().copied());
        builder.add(&list).unwrap();
        recent = list.split_off(1000);
    }
    let set = builder.finish().unwrap();
    assert!(set.is_spilled());
    assert_eq!(set.len(), u64::try_from(expected.len()).unwrap());
    assert!(set.iter().map(Result::unwrap).eq(expected.iter().copied()));
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        0,
        "no file is left behind"
    );
}

#[test]
fn a_spill_directory_that_cannot_be_made_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let builder = MarkSetBuilder::new(0, &file.join("below"));
    let error = builder.add(&[Digest::from_bytes([1; 32])]).unwrap_err();
    assert!(error.to_string().contains("below"), "{error}");
}

//! The keep rules: a table of cases, then properties.

use PruneMark::{Keep, KeepPartial, Protected, Remove};
use proptest::prelude::*;

use super::*;

fn at(time: &str) -> PruneCandidate {
    PruneCandidate {
        time: time.parse().unwrap(),
        finished: true,
        protected: false,
    }
}

fn unfinished(time: &str) -> PruneCandidate {
    PruneCandidate {
        finished: false,
        ..at(time)
    }
}

fn protected(time: &str) -> PruneCandidate {
    PruneCandidate {
        protected: true,
        ..at(time)
    }
}

fn marks(candidates: &[PruneCandidate], keep: &KeepOptions) -> Vec<PruneMark> {
    select(candidates, keep, &TimeZone::UTC)
}

fn keep_last(count: u64) -> KeepOptions {
    KeepOptions {
        keep_last: Some(count),
        ..KeepOptions::default()
    }
}

fn keep_daily(count: u64) -> KeepOptions {
    KeepOptions {
        keep_daily: Some(count),
        ..KeepOptions::default()
    }
}

/// Newest first: two each on the 3rd, 2nd and 1st of May.
fn three_days() -> Vec<PruneCandidate> {
    [
        "2022-05-03T20:00:00Z",
        "2022-05-03T08:00:00Z",
        "2022-05-02T20:00:00Z",
        "2022-05-02T08:00:00Z",
        "2022-05-01T20:00:00Z",
        "2022-05-01T08:00:00Z",
    ]
    .map(at)
    .to_vec()
}

#[test]
fn without_a_positive_count_everything_is_kept() {
    let candidates = [
        unfinished("2022-05-03T20:00:00Z"),
        protected("2022-05-02T20:00:00Z"),
        at("2022-05-01T20:00:00Z"),
    ];
    for keep in [KeepOptions::default(), keep_last(0)] {
        assert_eq!(marks(&candidates, &keep), [Keep, Protected, Keep]);
    }
}

#[test]
fn last_counts_snapshots() {
    assert_eq!(
        marks(&three_days(), &keep_last(2)),
        [Keep, Keep, Remove, Remove, Remove, Remove]
    );
    assert_eq!(marks(&three_days(), &keep_last(9)), [Keep; 6]);
    assert_eq!(marks(&[], &keep_last(1)), []);
}

#[test]
fn daily_keeps_the_newest_of_each_day() {
    assert_eq!(
        marks(&three_days(), &keep_daily(2)),
        [Keep, Remove, Keep, Remove, Remove, Remove]
    );
}

#[test]
fn marks_come_in_the_order_of_the_input() {
    let mut candidates = three_days();
    candidates.reverse();
    let expected = [Remove, Remove, Remove, Keep, Remove, Keep];
    assert_eq!(marks(&candidates, &keep_daily(2)), expected);
}

#[test]
fn periods_covered_by_an_earlier_rule_do_not_count_again() {
    let keep = KeepOptions {
        keep_last: Some(1),
        ..keep_daily(2)
    };
    // `last` covers the 3rd; `daily` still has two days: the 2nd and the 1st.
    assert_eq!(
        marks(&three_days(), &keep),
        [Keep, Remove, Keep, Remove, Keep, Remove]
    );
}

#[test]
fn rules_overlap_by_period_not_by_snapshot() {
    let candidates = [
        "2022-05-03T20:00:00Z",
        "2022-04-30T20:00:00Z",
        "2022-04-01T20:00:00Z",
        "2022-03-15T20:00:00Z",
        "2021-12-31T20:00:00Z",
        "2021-06-01T20:00:00Z",
    ]
    .map(at);
    let keep = KeepOptions {
        keep_daily: Some(1),
        keep_monthly: Some(2),
        keep_yearly: Some(1),
        ..KeepOptions::default()
    };
    // daily: May 3rd. monthly: April and March (May is covered). yearly: 2021.
    assert_eq!(
        marks(&candidates, &keep),
        [Keep, Keep, Remove, Keep, Keep, Remove]
    );
}

#[test]
fn a_removal_by_an_earlier_rule_is_final() {
    let candidates = [
        "2022-05-03T20:00:00Z",
        "2022-05-03T19:30:00Z",
        "2022-05-03T19:10:00Z",
    ]
    .map(at);
    let keep = KeepOptions {
        keep_hourly: Some(3),
        ..KeepOptions::default()
    };
    assert_eq!(marks(&candidates, &keep), [Keep, Keep, Remove]);
    let keep = KeepOptions {
        keep_daily: Some(9),
        keep_weekly: Some(9),
        ..keep
    };
    assert_eq!(marks(&candidates, &keep), [Keep, Keep, Remove]);
}

#[test]
fn only_the_newest_snapshot_may_be_unfinished() {
    let candidates = [
        unfinished("2022-05-05T20:00:00Z"),
        unfinished("2022-05-04T20:00:00Z"),
        at("2022-05-03T20:00:00Z"),
        unfinished("2022-05-02T20:00:00Z"),
    ];
    assert_eq!(
        marks(&candidates, &keep_last(5)),
        [KeepPartial, Remove, Keep, Remove]
    );
    assert_eq!(
        marks(&candidates[1..], &keep_last(1)),
        [KeepPartial, Keep, Remove]
    );
    assert_eq!(marks(&candidates[2..], &keep_last(1)), [Keep, Remove]);
}

#[test]
fn protected_snapshots_stay_and_do_not_count() {
    let mut candidates = three_days();
    candidates[0].protected = true;
    candidates[5].protected = true;
    let expected = [Protected, Keep, Remove, Remove, Remove, Protected];
    assert_eq!(marks(&candidates, &keep_last(1)), expected);
    let partial = PruneCandidate {
        protected: true,
        ..unfinished("2022-01-01T00:00:00Z")
    };
    assert_eq!(
        marks(&[candidates[1], partial], &keep_last(1)),
        [Keep, Protected]
    );
}

#[test]
fn weeks_are_iso_weeks() {
    // 2021-01-03 is the Sunday of week 2020/53, the Monday after begins 2021/01.
    let candidates = [
        "2021-01-04T12:00:00Z",
        "2021-01-03T12:00:00Z",
        "2020-12-28T12:00:00Z",
        "2020-12-27T12:00:00Z",
    ]
    .map(at);
    let keep = KeepOptions {
        keep_weekly: Some(9),
        ..KeepOptions::default()
    };
    assert_eq!(marks(&candidates, &keep), [Keep, Keep, Remove, Keep]);
}

#[test]
fn periods_are_those_of_the_given_time_zone() {
    let candidates = ["2022-05-02T23:30:00Z", "2022-05-02T21:00:00Z"].map(at);
    assert_eq!(marks(&candidates, &keep_daily(9)), [Keep, Remove]);
    let east = TimeZone::fixed(jiff::tz::offset(2));
    assert_eq!(select(&candidates, &keep_daily(9), &east), [Keep, Keep]);
}

#[test]
fn extreme_times_are_decided_without_panic() {
    let candidates = [
        "9999-12-31T23:59:59Z",
        "9999-12-31T10:00:00Z",
        "1970-01-01T00:00:01Z",
    ]
    .map(at);
    let keep = KeepOptions {
        keep_yearly: Some(9),
        ..KeepOptions::default()
    };
    assert_eq!(marks(&candidates, &keep), [Keep, Remove, Keep]);
    assert_eq!(marks(&candidates, &keep_last(9)), [Keep; 3]);
}

#[test]
fn marks_print_as_in_the_task_log() {
    let text = [Keep, KeepPartial, Protected, Remove].map(|mark| mark.to_string());
    assert_eq!(text, ["keep", "keep-partial", "protected", "remove"]);
    assert!(Keep.is_kept() && KeepPartial.is_kept() && Protected.is_kept() && !Remove.is_kept());
}

/// Distinct times over a few years, clustered so that every kind of period repeats.
fn candidates() -> impl Strategy<Value = Vec<PruneCandidate>> {
    let one = (
        0i64..900,
        0i64..86_400 * 2,
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.1),
    );
    prop::collection::btree_map((one.0, one.1), (one.2, one.3), 0..60).prop_map(|map| {
        let times = map
            .into_iter()
            .map(|((day, second), (finished, protected))| PruneCandidate {
                time: BackupTime::from_secs(1_600_000_000 + day * 2 * 86_400 + second).unwrap(),
                finished,
                protected,
            });
        times.collect()
    })
}

fn options() -> impl Strategy<Value = KeepOptions> {
    let count = || prop::option::of(0u64..8);
    (count(), count(), count(), count(), count(), count()).prop_map(
        |(keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly)| {
            KeepOptions {
                keep_last,
                keep_hourly,
                keep_daily,
                keep_weekly,
                keep_monthly,
                keep_yearly,
            }
        },
    )
}

fn counts(keep: &KeepOptions) -> Vec<u64> {
    rules(keep)
        .iter()
        .map(|(count, _)| count.unwrap_or(0))
        .collect()
}

proptest! {
    #[test]
    fn protected_are_never_removed_and_nothing_else_is_marked_so(
        candidates in candidates(), keep in options(),
    ) {
        for (candidate, mark) in candidates.iter().zip(marks(&candidates, &keep)) {
            prop_assert_eq!(candidate.protected, mark == Protected);
        }
    }

    #[test]
    fn the_newest_snapshot_always_stays(candidates in candidates(), keep in options()) {
        let marks = marks(&candidates, &keep);
        // In the order of time; the newest finished and unprotected one is the first rule's choice.
        if let Some(mark) = marks.last() {
            prop_assert!(mark.is_kept());
        }
        let eligible = |candidate: &PruneCandidate| candidate.finished && !candidate.protected;
        if let Some(newest) = candidates.iter().rposition(eligible) {
            prop_assert_eq!(marks[newest], Keep);
        }
    }

    #[test]
    fn no_more_are_kept_than_the_counts_allow(candidates in candidates(), keep in options()) {
        let total: u64 = counts(&keep).iter().sum();
        prop_assume!(total > 0);
        let kept = marks(&candidates, &keep).iter().filter(|mark| **mark == Keep).count();
        prop_assert!(u64::try_from(kept).unwrap() <= total);
    }

    #[test]
    fn a_single_rule_keeps_more_with_a_larger_count(
        candidates in candidates(), rule in 0usize..6, count in 1u64..8,
    ) {
        let single = |count| {
            let mut keep = KeepOptions::default();
            let fields = [
                &mut keep.keep_last, &mut keep.keep_hourly, &mut keep.keep_daily,
                &mut keep.keep_weekly, &mut keep.keep_monthly, &mut keep.keep_yearly,
            ];
            *fields.into_iter().nth(rule).unwrap() = Some(count);
            keep
        };
        let fewer = marks(&candidates, &single(count));
        let more = marks(&candidates, &single(count + 1));
        for (few, many) in fewer.iter().zip(&more) {
            prop_assert!(!few.is_kept() || many.is_kept());
        }
    }

    #[test]
    fn pruning_again_removes_nothing_more(candidates in candidates(), keep in options()) {
        let marks_of = |candidates: &[PruneCandidate]| marks(candidates, &keep);
        let first = marks_of(&candidates);
        let left: Vec<PruneCandidate> = candidates
            .iter()
            .zip(&first)
            .filter(|(_, mark)| mark.is_kept())
            .map(|(candidate, _)| *candidate)
            .collect();
        prop_assert!(marks_of(&left).iter().all(|mark| mark.is_kept()));
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(candidates in candidates(), keep in options()) {
        let mut reversed = candidates.clone();
        reversed.reverse();
        let mut back = marks(&reversed, &keep);
        back.reverse();
        prop_assert_eq!(back, marks(&candidates, &keep));
    }
}

//! What a push is to do: pure.

use std::collections::BTreeSet;

use api_types::names::{BackupNamespace, BackupTime};

use crate::sync::candidates::{Candidate, Chosen, Offered};

/// Chooses among the snapshots of the source: those newer than the `newest` of the target, finished
/// or not, and of them only those that are among the last `transfer_last` of all that are offered.
#[must_use]
pub fn choose(
    offered: &Offered,
    newest: Option<BackupTime>,
    transfer_last: Option<usize>,
) -> Chosen {
    let first = offered
        .times
        .len()
        .saturating_sub(transfer_last.unwrap_or(usize::MAX));
    let mut chosen = Chosen::default();
    for (position, time) in offered.times.iter().copied().enumerate() {
        if newest.is_some_and(|newest| time <= newest) {
            chosen.already_synced.push(time);
        } else if position < first {
            chosen.not_last.push(time);
        } else {
            let corrupt = false;
            chosen.candidates.push(Candidate { time, corrupt });
        }
    }
    chosen
}

/// The namespaces to create, parents first, so that `wanted` is there.
#[must_use]
pub fn missing_levels(
    existing: &BTreeSet<BackupNamespace>,
    wanted: &BackupNamespace,
) -> Vec<BackupNamespace> {
    let mut missing = Vec::new();
    let mut level = Some(wanted.clone());
    while let Some(ns) = level.filter(|ns| !ns.is_root() && !existing.contains(ns)) {
        level = ns.parent();
        missing.push(ns);
    }
    missing.reverse();
    missing
}

/// The namespaces of the target that have vanished from the source, children first: they are
/// below `anchor`, at most `max_depth` levels, and hold neither one of `synced` nor one that lies
/// deeper: a server removes all that a namespace holds.
#[must_use]
pub fn vanished_namespaces(
    existing: &BTreeSet<BackupNamespace>,
    synced: &BTreeSet<BackupNamespace>,
    anchor: &BackupNamespace,
    max_depth: Option<usize>,
) -> Vec<BackupNamespace> {
    let too_deep = |ns: &BackupNamespace| {
        let depth = ns.depth().saturating_sub(anchor.depth());
        max_depth.is_some_and(|max| depth > max)
    };
    let kept: Vec<_> = existing
        .iter()
        .filter(|ns| too_deep(ns))
        .chain(synced)
        .collect();
    let mut vanished: Vec<_> = existing
        .iter()
        .filter(|ns| *ns != anchor && anchor.contains(ns))
        .filter(|ns| !kept.iter().any(|kept| ns.contains(kept)))
        .cloned()
        .collect();
    vanished.sort_by(|a, b| b.depth().cmp(&a.depth()).then_with(|| a.cmp(b)));
    vanished
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<BackupNamespace> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn names(namespaces: &[BackupNamespace]) -> Vec<String> {
        namespaces.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_is_newer_and_among_the_last_is_pushed() {
        let time = |secs: i64| BackupTime::from_secs(secs).unwrap();
        let times = |secs: &[i64]| -> Vec<BackupTime> { secs.iter().copied().map(time).collect() };
        let offered = Offered {
            times: times(&[10, 20, 30, 40]),
            ..Offered::default()
        };
        for (newest, last, push, older, beyond) in [
            (None, None, &[10, 20, 30, 40][..], 0, 0),
            (Some(20), None, &[30, 40], 2, 0),
            // Never the newest again, and nothing before it, whether the target has it or not.
            (Some(40), None, &[], 4, 0),
            (Some(35), None, &[40], 3, 0),
            (None, Some(1), &[40], 0, 3),
            (None, Some(9), &[10, 20, 30, 40], 0, 0),
            (Some(10), Some(2), &[30, 40], 1, 1),
            // By position among all that are offered, not among those to push.
            (Some(30), Some(3), &[40], 3, 0),
        ] {
            let chosen = choose(&offered, newest.map(time), last);
            let pushed: Vec<_> = chosen.candidates.iter().map(|c| c.time).collect();
            let case = format!("{newest:?} {last:?}");
            assert_eq!(pushed, times(push), "{case}");
            let skipped = (chosen.already_synced.len(), chosen.not_last.len());
            assert_eq!(skipped, (older, beyond), "{case}");
        }
    }

    #[test]
    fn namespaces_are_created_level_by_level() {
        let missing = |existing: &[&str], wanted: &str| {
            names(&missing_levels(&set(existing), &wanted.parse().unwrap()))
        };
        assert_eq!(missing(&[""], "a/b/c"), ["a", "a/b", "a/b/c"]);
        assert_eq!(missing(&["", "a"], "a/b/c"), ["a/b", "a/b/c"]);
        assert!(missing(&["", "a", "a/b"], "a/b").is_empty());
        // Who may not see the root may be shown none.
        assert!(missing(&[], "").is_empty());
    }

    #[test]
    fn namespaces_vanish_children_first_within_reach() {
        let existing = set(&["", "x", "t", "t/a", "t/a/b", "t/c", "t/c/d", "t/e", "t/e/f"]);
        let vanished = |synced: &[&str], depth| {
            let anchor = "t".parse().unwrap();
            names(&vanished_namespaces(
                &existing,
                &set(synced),
                &anchor,
                depth,
            ))
        };
        assert_eq!(
            vanished(&["t", "t/a", "t/a/b"], None),
            ["t/c/d", "t/e/f", "t/c", "t/e"]
        );
        // `t/c/d` is none of our business.
        assert_eq!(vanished(&["t", "t/a"], Some(1)), Vec::<String>::new());
        assert_eq!(vanished(&["t", "t/a", "t/a/b"], Some(2)).len(), 4);
        assert!(vanished(&["t"], Some(0)).is_empty());
        // What holds a namespace that was synced stays.
        assert_eq!(vanished(&["t/c/d"], None), ["t/a/b", "t/e/f", "t/a", "t/e"]);
    }
}

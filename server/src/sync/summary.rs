//! What a sync has done, and how its log says so.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api_types::human::ByteSize;
use api_types::names::BackupNamespace;

/// Which way, as the words of the summary have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// A pull.
    Pulled,
    /// A push.
    Pushed,
}

impl Word {
    const fn past(self) -> &'static str {
        match self {
            Self::Pulled => "pulled",
            Self::Pushed => "pushed",
        }
    }

    const fn infinitive(self) -> &'static str {
        match self {
            Self::Pulled => "pull",
            Self::Pushed => "push",
        }
    }
}

/// What was done so far; counted from many places at once.
#[derive(Debug, Default)]
pub struct Totals {
    bytes: AtomicU64,
    chunks: AtomicU64,
    snapshots: AtomicU64,
    groups: AtomicU64,
    namespaces: AtomicU64,
}

/// What was removed since the source has it no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Snapshots.
    pub snapshots: u64,
    /// Groups.
    pub groups: u64,
    /// Namespaces.
    pub namespaces: u64,
}

impl Totals {
    /// Chunks were transferred, of so many bytes as they are stored.
    pub fn transferred(&self, chunks: u64, bytes: u64) {
        self.chunks.fetch_add(chunks, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Vanished things were removed.
    pub fn removed(&self, removed: Removed) {
        self.snapshots
            .fetch_add(removed.snapshots, Ordering::Relaxed);
        self.groups.fetch_add(removed.groups, Ordering::Relaxed);
        self.namespaces
            .fetch_add(removed.namespaces, Ordering::Relaxed);
    }

    /// The last lines of a job's log.
    #[must_use]
    pub fn lines(&self, word: Word, taken: Duration, remove_vanished: bool) -> Vec<String> {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (bytes, chunks) = (get(&self.bytes), get(&self.chunks));
        let mut lines = vec![if chunks == 0 {
            format!(
                "Summary: sync job found no new data to {}",
                word.infinitive()
            )
        } else {
            format!(
                "Summary: sync job {} {} in {chunks} chunks (average rate: {}/s)",
                word.past(),
                ByteSize::from(bytes),
                rate(bytes, taken)
            )
        }];
        if remove_vanished {
            lines.push(format!(
                "Summary: removed vanished: snapshots: {}, groups: {}, namespaces: {}",
                get(&self.snapshots),
                get(&self.groups),
                get(&self.namespaces)
            ));
        }
        lines
    }
}

/// What was transferred of an archive, and how fast that was.
#[must_use]
pub fn downloaded(bytes: u64, taken: Duration) -> String {
    let (size, rate) = (ByteSize::from(bytes), rate(bytes, taken));
    format!("downloaded {size} ({rate}/s)")
}

fn rate(bytes: u64, taken: Duration) -> ByteSize {
    let nanos = taken.as_nanos().max(1);
    let rate = u128::from(bytes) * 1_000_000_000 / nanos;
    ByteSize::from(u64::try_from(rate).unwrap_or(u64::MAX))
}

/// A namespace of a datastore in a sentence.
#[must_use]
pub fn place(store: &str, ns: &BackupNamespace) -> String {
    if ns.is_root() {
        format!("datastore '{store}', root namespace")
    } else {
        format!("datastore '{store}', namespace '{ns}'")
    }
}

/// After a namespace.
#[must_use]
pub fn finished(ns: &BackupNamespace, groups: usize, snapshots: usize) -> String {
    let what = if ns.is_root() {
        "root namespace".to_owned()
    } else {
        format!("namespace {ns}")
    };
    format!("Finished syncing {what}, current progress: {groups} groups, {snapshots} snapshots")
}

/// How far a namespace is: groups done, and snapshots done of the next one.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn progress(groups: (usize, usize), snapshots: (usize, usize)) -> String {
    let ((done, all), (done_snapshots, all_snapshots)) = (groups, snapshots);
    let share = if all_snapshots == 0 {
        1.0
    } else {
        done_snapshots as f64 / all_snapshots as f64
    };
    let percent = (done as f64 + share) / all.max(1) as f64 * 100.0;
    let details = if all == 1 && all_snapshots > 0 {
        format!("{done_snapshots}/{all_snapshots} snapshots")
    } else if done_snapshots == all_snapshots {
        format!("{}/{all} groups", done + 1)
    } else {
        format!(
            "{done}/{all} groups, {done_snapshots}/{all_snapshots} snapshots in group #{}",
            done + 1
        )
    };
    format!("percentage done: {percent:.2}% ({details})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_real_system() {
        assert_eq!(
            progress((0, 9), (1, 1)),
            "percentage done: 11.11% (1/9 groups)"
        );
        assert_eq!(
            progress((2, 9), (1, 2)),
            "percentage done: 27.78% (2/9 groups, 1/2 snapshots in group #3)"
        );
        assert_eq!(
            progress((0, 1), (1, 1)),
            "percentage done: 100.00% (1/1 snapshots)"
        );
        let second = Duration::from_secs(1);
        assert_eq!(downloaded(0, second), "downloaded 0 B (0 B/s)");
        assert_eq!(
            downloaded(5868, second * 2),
            "downloaded 5.73 KiB (2.865 KiB/s)"
        );
        let (root, ns1) = (BackupNamespace::root(), "ns1".parse().unwrap());
        assert_eq!(
            place("samples", &root),
            "datastore 'samples', root namespace"
        );
        assert_eq!(place("a", &ns1), "datastore 'a', namespace 'ns1'");
        assert_eq!(
            finished(&root, 9, 0),
            "Finished syncing root namespace, current progress: 9 groups, 0 snapshots"
        );
        assert_eq!(
            finished(&ns1, 11, 0),
            "Finished syncing namespace ns1, current progress: 11 groups, 0 snapshots"
        );
    }

    #[test]
    fn the_summary_counts() {
        let totals = Totals::default();
        let second = Duration::from_secs(1);
        assert_eq!(
            totals.lines(Word::Pulled, second, false),
            ["Summary: sync job found no new data to pull"]
        );
        totals.transferred(2, 2048);
        totals.transferred(1, 1024);
        totals.removed(Removed {
            snapshots: 3,
            groups: 2,
            namespaces: 1,
        });
        assert_eq!(
            totals.lines(Word::Pushed, second * 3, true),
            [
                "Summary: sync job pushed 3 KiB in 3 chunks (average rate: 1 KiB/s)",
                "Summary: removed vanished: snapshots: 3, groups: 2, namespaces: 1",
            ]
        );
    }
}

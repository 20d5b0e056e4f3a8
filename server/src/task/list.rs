//! Which tasks a listing shows.

use api_types::status::TaskStatus;
use api_types::upid::Upid;

use super::index::IndexEntry;

/// Ended tasks that are looked at though they ended too long ago. A task that could not say so when
/// it ended, since its process died or the disk was full, comes later than its end: behind it there
/// may be more recent ones. So many do not come at once.
const RECORDED_LATE: usize = 1000;

/// Kind of a task's result, to filter by.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum StatusKind {
    /// Ended without warnings.
    Ok,
    /// Ended with warnings.
    Warning,
    /// Failed.
    Error,
    /// The process died.
    Unknown,
}

impl StatusKind {
    fn of(status: &TaskStatus) -> Self {
        match status {
            TaskStatus::Ok => Self::Ok,
            TaskStatus::Warnings(_) => Self::Warning,
            TaskStatus::Error(_) => Self::Error,
            TaskStatus::Unknown => Self::Unknown,
        }
    }
}

/// The parameters of a task listing.
#[derive(Clone, Debug, Default)]
pub struct TaskFilter {
    /// Matching tasks to skip.
    pub start: usize,
    /// Matching tasks to show; 0 = all.
    pub limit: usize,
    /// Only tasks that work on this datastore.
    pub store: Option<String>,
    /// Only running tasks.
    pub running: bool,
    /// Without tasks that ended with `OK`.
    pub errors: bool,
    /// Part of the auth id.
    pub user: Option<String>,
    /// Not started before; Unix seconds.
    pub since: Option<i64>,
    /// Not started after; Unix seconds.
    pub until: Option<i64>,
    /// Part of the worker type.
    pub worker_type: Option<String>,
    /// Only ended tasks with one of these results; empty = all, running ones too.
    pub statuses: Vec<StatusKind>,
}

/// The part of the index that a filter lets through.
#[derive(Clone, Debug)]
pub struct TaskList {
    /// Running tasks first, then ended ones, newest first.
    pub entries: Vec<IndexEntry>,
    /// Position after the last entry, one more if there may be more.
    pub total: usize,
}

impl TaskFilter {
    /// Picks from `entries`, which come in the order of [`super::TaskIndex::entries`], those that
    /// `visible` says may be seen.
    pub fn apply(
        &self,
        entries: impl Iterator<Item = IndexEntry>,
        mut visible: impl FnMut(&Upid) -> bool,
    ) -> TaskList {
        let mut too_old = 0;
        // Ended tasks come in the order in which that was recorded, which is mostly that of their
        // ends: what follows many that are too old is older still.
        let in_time = |entry: &IndexEntry| {
            if self.is_too_old(entry) {
                too_old += 1;
            } else {
                too_old = 0;
            }
            too_old <= RECORDED_LATE
        };
        let limit = if self.limit == 0 {
            usize::MAX
        } else {
            self.limit
        };
        let entries: Vec<IndexEntry> = entries
            .take_while(in_time)
            .take_while(|entry| !self.running || entry.end.is_none())
            .filter(|entry| self.matches(entry) && visible(&entry.upid))
            .skip(self.start)
            .take(limit)
            .collect();
        let more = usize::from(entries.len() == limit);
        TaskList {
            total: self.start.saturating_add(entries.len() + more),
            entries,
        }
    }

    /// Whether the task ended before the time that is asked for began.
    fn is_too_old(&self, entry: &IndexEntry) -> bool {
        let end = entry.end.as_ref().map(|end| end.endtime);
        end.zip(self.since).is_some_and(|(end, since)| end < since)
    }

    fn matches(&self, entry: &IndexEntry) -> bool {
        let IndexEntry { upid, end } = entry;
        let contains = |part: &Option<String>, text: &str| {
            part.as_ref().is_none_or(|part| text.contains(part))
        };
        let status = end.as_ref().map(|end| &end.status);
        let status_matches = self.statuses.is_empty()
            || status.is_some_and(|status| self.statuses.contains(&StatusKind::of(status)));
        status_matches
            && !(self.errors && status == Some(&TaskStatus::Ok))
            && contains(&self.user, &upid.auth_id().to_string())
            && contains(&self.worker_type, upid.worker_type())
            && self.since.is_none_or(|since| upid.starttime() >= since)
            && self.until.is_none_or(|until| upid.starttime() <= until)
            && self
                .store
                .as_ref()
                .is_none_or(|store| works_on(upid, store))
    }
}

/// Whether a task is one of those that are listed for a datastore.
fn works_on(upid: &Upid, store: &str) -> bool {
    let id = upid.worker_id().unwrap_or_default();
    let worker_type = upid.worker_type();
    if worker_type == "syncjob" {
        return id.split(':').nth(2) == Some(store);
    }
    let of_store = worker_type.starts_with("verif")
        || worker_type.starts_with("prune")
        || matches!(worker_type, "backup" | "garbage_collection");
    let rest = id.strip_prefix(store);
    of_store && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

#[cfg(test)]
mod tests {
    use super::super::end::{TaskEnd, failure};
    use super::*;

    fn entry(task_id: u64, worker: &str, end: Option<(i64, TaskStatus)>) -> IndexEntry {
        let start = 100 + task_id;
        let text = format!("UPID:vm:00000001:00000002:{task_id:08X}:{start:08X}:{worker}:");
        let end = end.map(|(endtime, status)| TaskEnd { endtime, status });
        IndexEntry {
            upid: text.parse().unwrap(),
            end,
        }
    }

    fn sample() -> Vec<IndexEntry> {
        vec![
            entry(9, "garbage_collection:s1:root@pam", None),
            entry(8, "backup:s1\\x3avm-100:a@pbs", Some((900, TaskStatus::Ok))),
            entry(
                7,
                "verificationjob:s1\\x3av\\x2d1:root@pam",
                Some((800, TaskStatus::Warnings(1))),
            ),
            entry(6, "prune:s10\\x3a:a@pbs!tok", Some((700, failure("no")))),
            entry(
                5,
                "reader:s1\\x3avm-100:a@pbs",
                Some((600, TaskStatus::Unknown)),
            ),
            entry(
                4,
                "syncjob:r\\x3ars\\x3as1\\x3a\\x3aj:root@pam",
                Some((500, TaskStatus::Ok)),
            ),
        ]
    }

    fn ids(filter: &TaskFilter) -> Vec<u64> {
        filter
            .apply(sample().into_iter(), |_| true)
            .entries
            .iter()
            .map(|e| e.upid.task_id())
            .collect()
    }

    #[test]
    fn each_filter_picks_its_tasks() {
        let all = TaskFilter::default();
        assert_eq!(ids(&all), [9, 8, 7, 6, 5, 4]);
        assert_eq!(
            ids(&TaskFilter {
                store: Some("s1".into()),
                ..all.clone()
            }),
            [9, 8, 7, 4]
        );
        assert_eq!(
            ids(&TaskFilter {
                running: true,
                ..all.clone()
            }),
            [9]
        );
        assert_eq!(
            ids(&TaskFilter {
                errors: true,
                ..all.clone()
            }),
            [9, 7, 6, 5]
        );
        assert_eq!(
            ids(&TaskFilter {
                user: Some("a@pbs".into()),
                ..all.clone()
            }),
            [8, 6, 5]
        );
        assert_eq!(
            ids(&TaskFilter {
                worker_type: Some("ob".into()),
                ..all.clone()
            }),
            [7, 4]
        );
        assert_eq!(
            ids(&TaskFilter {
                until: Some(105),
                ..all.clone()
            }),
            [5, 4]
        );
        // Tasks that ended before are not looked at, tasks that started before are left out.
        assert_eq!(
            ids(&TaskFilter {
                since: Some(105),
                ..all.clone()
            }),
            [9, 8, 7, 6, 5]
        );
        assert_eq!(
            ids(&TaskFilter {
                since: Some(650),
                ..all.clone()
            }),
            [0; 0]
        );
        let statuses = vec![StatusKind::Ok, StatusKind::Unknown];
        assert_eq!(ids(&TaskFilter { statuses, ..all }), [8, 5, 4]);
    }

    #[test]
    fn what_was_recorded_late_does_not_hide_what_ended_after_it() {
        // Tasks begin at 100 and their id.
        let filter = TaskFilter {
            since: Some(200),
            ..TaskFilter::default()
        };
        let at = |id, end, status: &TaskStatus| {
            entry(id, "prune:s1:root@pam", Some((end, status.clone())))
        };
        for status in [TaskStatus::Unknown, TaskStatus::Ok] {
            for late in [1, RECORDED_LATE] {
                let mut entries = vec![at(144, 1000, &TaskStatus::Ok)];
                entries.extend((0..late).map(|_| at(10, 150, &status)));
                entries.push(at(120, 500, &TaskStatus::Ok));
                entries.push(at(5, 130, &TaskStatus::Ok));
                let list = filter.apply(entries.into_iter(), |_| true);
                let ids: Vec<u64> = list.entries.iter().map(|e| e.upid.task_id()).collect();
                assert_eq!(ids, [144, 120], "{late} {status}");
            }
        }
    }

    #[test]
    fn what_is_too_old_is_not_read_to_its_end() {
        let filter = TaskFilter {
            since: Some(1000),
            ..TaskFilter::default()
        };
        let mut read = 0;
        let endless = std::iter::from_fn(|| {
            read += 1;
            Some(entry(1, "prune:s1:root@pam", Some((200, TaskStatus::Ok))))
        });
        // Nor if the caller may see none of them.
        assert!(filter.apply(endless, |_| false).entries.is_empty());
        assert_eq!(read, RECORDED_LATE + 1);
    }

    #[test]
    fn total_is_one_more_when_the_limit_was_reached() {
        let page = |start, limit| {
            let list = TaskFilter {
                start,
                limit,
                ..TaskFilter::default()
            }
            .apply(sample().into_iter(), |_| true);
            (list.entries.len(), list.total)
        };
        assert_eq!(page(0, 2), (2, 3));
        assert_eq!(page(2, 2), (2, 5));
        assert_eq!(page(4, 5), (2, 6));
        assert_eq!(page(0, 0), (6, 6));
        assert_eq!(page(usize::MAX, 0).0, 0);
    }
}

//! The keep rules as a pure function (datastore-layout.md §11.1, jobs-and-sync.md §4.1).

use std::collections::HashSet;
use std::fmt;

use api_types::names::BackupTime;
use api_types::prune::KeepOptions;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What the rules need to know of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PruneCandidate {
    /// When it was taken.
    pub time: BackupTime,
    /// Whether it has a manifest.
    pub finished: bool,
    /// Whether it is protected.
    pub protected: bool,
}

/// What becomes of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PruneMark {
    /// A rule keeps it.
    Keep,
    /// It is unfinished but newer than every finished one: it may be running.
    KeepPartial,
    /// It is protected; it never counts for a rule.
    Protected,
    /// It goes.
    Remove,
}

impl PruneMark {
    /// Whether the snapshot stays.
    #[must_use]
    pub const fn is_kept(self) -> bool {
        !matches!(self, Self::Remove)
    }
}

impl fmt::Display for PruneMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Keep => "keep",
            Self::KeepPartial => "keep-partial",
            Self::Protected => "protected",
            Self::Remove => "remove",
        })
    }
}

/// Spans of time of which a rule keeps one snapshot each.
#[derive(Clone, Copy, Debug)]
enum Period {
    Last,
    Hour,
    Day,
    IsoWeek,
    Month,
    Year,
}

/// Identity of one such span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum PeriodId {
    Exact(BackupTime),
    /// Year, month or week, day, hour; unused parts are zero.
    Span(i16, i8, i8, i8),
}

impl Period {
    /// The span that `time` belongs to, in local time.
    fn id(self, time: BackupTime, tz: &TimeZone) -> PeriodId {
        // The last day of the year 9999 lies beyond what can be converted: it joins the one before.
        let timestamp = Timestamp::from_second(time.secs()).unwrap_or(Timestamp::MAX);
        let local = tz.to_datetime(timestamp);
        let (year, month, day) = (local.year(), local.month(), local.day());
        match self {
            Self::Last => PeriodId::Exact(time),
            Self::Hour => PeriodId::Span(year, month, day, local.hour()),
            Self::Day => PeriodId::Span(year, month, day, 0),
            Self::IsoWeek => {
                let week = local.date().iso_week_date();
                PeriodId::Span(week.year(), week.week(), 0, 0)
            }
            Self::Month => PeriodId::Span(year, month, 0, 0),
            Self::Year => PeriodId::Span(year, 0, 0, 0),
        }
    }
}

fn rules(keep: &KeepOptions) -> [(Option<u64>, Period); 6] {
    [
        (keep.keep_last, Period::Last),
        (keep.keep_hourly, Period::Hour),
        (keep.keep_daily, Period::Day),
        (keep.keep_weekly, Period::IsoWeek),
        (keep.keep_monthly, Period::Month),
        (keep.keep_yearly, Period::Year),
    ]
}

/// Decides about all snapshots of one group; the marks come in the order of `candidates`.
///
/// Without any rule of a positive count everything is kept. `tz` is the time zone in which hours,
/// days, weeks, months and years are counted: the server's.
#[must_use]
pub fn select(candidates: &[PruneCandidate], keep: &KeepOptions, tz: &TimeZone) -> Vec<PruneMark> {
    if !keep.keeps_something() {
        let untouched = |candidate: &PruneCandidate| protect_or(candidate, PruneMark::Keep);
        return candidates.iter().map(untouched).collect();
    }

    let mut newest_first: Vec<usize> = (0..candidates.len()).collect();
    newest_first.sort_by_key(|&index| std::cmp::Reverse(candidates[index].time));
    let mut marks = vec![None; candidates.len()];
    mark_unfinished(candidates, &newest_first, &mut marks);
    for (count, period) in rules(keep) {
        let count = count.unwrap_or(0);
        apply_rule(candidates, &newest_first, &mut marks, count, |time| {
            period.id(time, tz)
        });
    }

    let decided = candidates.iter().zip(marks);
    decided
        .map(|(candidate, mark)| protect_or(candidate, mark.unwrap_or(PruneMark::Remove)))
        .collect()
}

fn protect_or(candidate: &PruneCandidate, mark: PruneMark) -> PruneMark {
    if candidate.protected {
        PruneMark::Protected
    } else {
        mark
    }
}

/// An unfinished snapshot is kept only as the newest one of all.
fn mark_unfinished(
    candidates: &[PruneCandidate],
    newest_first: &[usize],
    marks: &mut [Option<PruneMark>],
) {
    for (position, &index) in newest_first.iter().enumerate() {
        if !candidates[index].finished {
            let newest = position == 0;
            marks[index] = Some(if newest {
                PruneMark::KeepPartial
            } else {
                PruneMark::Remove
            });
        }
    }
}

/// Keeps the newest snapshot of each of the next `count` periods that no earlier rule covers.
fn apply_rule<F>(
    candidates: &[PruneCandidate],
    newest_first: &[usize],
    marks: &mut [Option<PruneMark>],
    count: u64,
    period_id: F,
) where
    F: Fn(BackupTime) -> PeriodId,
{
    let is_kept = |&&index: &&usize| marks[index] == Some(PruneMark::Keep);
    let kept = newest_first.iter().filter(is_kept);
    let already: HashSet<PeriodId> = kept
        .map(|&index| period_id(candidates[index].time))
        .collect();
    let mut included = HashSet::new();
    let mut left = count;
    for &index in newest_first {
        if marks[index].is_some() {
            continue;
        }
        if candidates[index].protected {
            marks[index] = Some(PruneMark::Protected);
            continue;
        }
        let id = period_id(candidates[index].time);
        if already.contains(&id) {
            continue;
        }
        if included.contains(&id) {
            marks[index] = Some(PruneMark::Remove);
        } else if left == 0 {
            break;
        } else {
            left -= 1;
            included.insert(id);
            marks[index] = Some(PruneMark::Keep);
        }
    }
}

#[cfg(test)]
mod tests;

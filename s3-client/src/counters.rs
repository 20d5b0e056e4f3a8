//! Counts every attempt that reached the server, by task and operation.
//!
//! Providers bill attempts, so these are counted; upstream's seven fields, which count a request
//! once and a listing as GET, are derived in [`CounterSnapshot::upstream`].

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::operation::{Operation, TaskKind};

const OPERATIONS: usize = Operation::ALL.len();
const TASKS: usize = TaskKind::ALL.len();

/// Number of latency classes: below 1 ms, 2 ms, 4 ms, … 65 s, and above.
pub const LATENCY_CLASSES: usize = 18;

fn latency_class(latency: Duration) -> usize {
    let millis = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
    let bits = u64::BITS - millis.leading_zeros();
    usize::try_from(bits)
        .unwrap_or(LATENCY_CLASSES)
        .min(LATENCY_CLASSES - 1)
}

#[derive(Debug, Default)]
struct Cell {
    attempts: AtomicU64,
    completed: AtomicU64,
    retries: AtomicU64,
    throttled: AtomicU64,
    precondition_failed: AtomicU64,
    broken: AtomicU64,
    bytes_out: AtomicU64,
    bytes_in: AtomicU64,
    latency_micros: AtomicU64,
    latency: [AtomicU64; LATENCY_CLASSES],
}

/// What became of one attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptRecord {
    /// HTTP status; `None` when no answer came.
    pub status: Option<u16>,
    pub throttled: bool,
    pub bytes_out: u64,
    pub bytes_in: u64,
    pub latency: Duration,
}

type ThresholdAction = Box<dyn Fn(ThresholdCrossed) + Send + Sync>;

struct Thresholds {
    limits: UpstreamStatistics,
    fired: UpstreamStatistics,
    action: ThresholdAction,
}

/// A counter that went above its threshold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThresholdCrossed {
    /// Name of the counter: `get`, `put`, `post`, `head`, `delete`, `uploaded`, `downloaded`.
    pub counter: &'static str,
    /// The threshold.
    pub limit: u64,
    /// The value that crossed it.
    pub value: u64,
}

/// The counters of one client, or of any other scope that requests are made for.
#[derive(Default)]
pub struct Counters {
    cells: [[Cell; OPERATIONS]; TASKS],
    thresholds: Mutex<Option<Thresholds>>,
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot(None).fmt(f)
    }
}

fn add(cell: &AtomicU64, value: u64) {
    cell.fetch_add(value, Ordering::Relaxed);
}

impl Counters {
    fn cell(&self, task: TaskKind, operation: Operation) -> &Cell {
        &self.cells[task.index()][operation.index()]
    }

    pub(crate) fn attempt(&self, task: TaskKind, operation: Operation, record: &AttemptRecord) {
        let cell = self.cell(task, operation);
        add(&cell.attempts, 1);
        add(&cell.bytes_out, record.bytes_out);
        add(&cell.bytes_in, record.bytes_in);
        add(&cell.throttled, u64::from(record.throttled));
        match record.status {
            Some(status) => {
                add(&cell.precondition_failed, u64::from(status == 412));
                let micros = u64::try_from(record.latency.as_micros()).unwrap_or(u64::MAX);
                add(&cell.latency_micros, micros);
                add(&cell.latency[latency_class(record.latency)], 1);
            }
            None => add(&cell.broken, 1),
        }
    }

    pub(crate) fn retry(&self, task: TaskKind, operation: Operation) {
        add(&self.cell(task, operation).retries, 1);
    }

    /// The last attempt of a request got an answer.
    pub(crate) fn completed(&self, task: TaskKind, operation: Operation) {
        add(&self.cell(task, operation).completed, 1);
        self.check_thresholds();
    }

    /// The values of one task, or of all together.
    #[must_use]
    pub fn snapshot(&self, task: Option<TaskKind>) -> CounterSnapshot {
        let mut snapshot = CounterSnapshot::default();
        for kind in TaskKind::ALL {
            if task.is_some_and(|only| only != kind) {
                continue;
            }
            for operation in Operation::ALL {
                let cell = self.cell(kind, operation);
                let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
                let sum = &mut snapshot.operations[operation.index()];
                sum.attempts += read(&cell.attempts);
                sum.completed += read(&cell.completed);
                sum.retries += read(&cell.retries);
                sum.throttled += read(&cell.throttled);
                sum.precondition_failed += read(&cell.precondition_failed);
                sum.broken += read(&cell.broken);
                sum.bytes_out += read(&cell.bytes_out);
                sum.bytes_in += read(&cell.bytes_in);
                sum.latency_micros += read(&cell.latency_micros);
                for (total, class) in sum.latency.iter_mut().zip(&cell.latency) {
                    *total += read(class);
                }
            }
        }
        snapshot
    }

    /// Sets everything to zero and arms the thresholds again.
    pub fn reset(&self) {
        for cell in self.cells.iter().flatten() {
            let values = [
                &cell.attempts,
                &cell.completed,
                &cell.retries,
                &cell.throttled,
                &cell.precondition_failed,
                &cell.broken,
                &cell.bytes_out,
                &cell.bytes_in,
                &cell.latency_micros,
            ];
            values
                .into_iter()
                .chain(&cell.latency)
                .for_each(|v| v.store(0, Ordering::Relaxed));
        }
        let mut thresholds = self
            .thresholds
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(thresholds) = thresholds.as_mut() {
            thresholds.fired = UpstreamStatistics::default();
        }
    }

    /// Calls `action` once for each counter that goes from at most its limit to above it; a limit
    /// of 0 is off. The action must not call back into the counters.
    pub fn set_thresholds(
        &self,
        limits: UpstreamStatistics,
        action: impl Fn(ThresholdCrossed) + Send + Sync + 'static,
    ) {
        // What is above its limit already does not cross it any more.
        let fired = self.snapshot(None).upstream();
        let mut thresholds = self
            .thresholds
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *thresholds = Some(Thresholds {
            limits,
            fired,
            action: Box::new(action),
        });
    }

    fn check_thresholds(&self) {
        let mut thresholds = self
            .thresholds
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(thresholds) = thresholds.as_mut() else {
            return;
        };
        let now = self.snapshot(None).upstream();
        let fields = now.fields().into_iter().zip(thresholds.limits.fields());
        for (((counter, value), (_, limit)), (_, before)) in fields.zip(thresholds.fired.fields()) {
            if limit > 0 && before <= limit && value > limit {
                (thresholds.action)(ThresholdCrossed {
                    counter,
                    limit,
                    value,
                });
            }
        }
        thresholds.fired = now;
    }
}

/// The counters of one operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OperationCounters {
    /// Attempts that reached the server.
    pub attempts: u64,
    /// Requests whose last attempt got an answer.
    pub completed: u64,
    /// Attempts after the first of a request.
    pub retries: u64,
    /// Answers that asked to slow down.
    pub throttled: u64,
    /// Answers 412.
    pub precondition_failed: u64,
    /// Attempts without an answer.
    pub broken: u64,
    /// Body bytes sent.
    pub bytes_out: u64,
    /// Body bytes received.
    pub bytes_in: u64,
    /// Sum of the latencies of all answers, microseconds.
    pub latency_micros: u64,
    /// Answers by latency: class n holds those below 2^n ms, the last one the rest.
    pub latency: [u64; LATENCY_CLASSES],
}

impl OperationCounters {
    fn combine(&mut self, other: &Self, with: fn(u64, u64) -> u64) {
        let pairs = [
            (&mut self.attempts, other.attempts),
            (&mut self.completed, other.completed),
            (&mut self.retries, other.retries),
            (&mut self.throttled, other.throttled),
            (&mut self.precondition_failed, other.precondition_failed),
            (&mut self.broken, other.broken),
            (&mut self.bytes_out, other.bytes_out),
            (&mut self.bytes_in, other.bytes_in),
            (&mut self.latency_micros, other.latency_micros),
        ];
        for (value, other) in pairs {
            *value = with(*value, other);
        }
        for (value, &other) in self.latency.iter_mut().zip(&other.latency) {
            *value = with(*value, other);
        }
    }

    /// Mean latency of the answers.
    #[must_use]
    pub fn mean_latency(&self) -> Duration {
        let answers: u64 = self.latency.iter().sum();
        Duration::from_micros(self.latency_micros.checked_div(answers).unwrap_or(0))
    }
}

/// Counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterSnapshot {
    operations: [OperationCounters; OPERATIONS],
}

impl CounterSnapshot {
    /// The counters of one operation.
    #[must_use]
    pub fn of(&self, operation: Operation) -> &OperationCounters {
        &self.operations[operation.index()]
    }

    /// All operations together.
    #[must_use]
    pub fn total(&self) -> OperationCounters {
        let mut total = OperationCounters::default();
        for operation in &self.operations {
            total.combine(operation, u64::saturating_add);
        }
        total
    }

    /// Adds what another client counted.
    pub fn add(&mut self, other: &Self) {
        for (value, other) in self.operations.iter_mut().zip(&other.operations) {
            value.combine(other, u64::saturating_add);
        }
    }

    /// What was counted since an earlier snapshot.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = self.clone();
        for (value, before) in difference.operations.iter_mut().zip(&earlier.operations) {
            value.combine(before, u64::saturating_sub);
        }
        difference
    }

    /// Upstream's seven fields in upstream's meaning.
    #[must_use]
    pub fn upstream(&self) -> UpstreamStatistics {
        let completed = |operations: &[Operation]| {
            operations
                .iter()
                .map(|&operation| self.of(operation).completed)
                .sum()
        };
        let total = self.total();
        UpstreamStatistics {
            get: completed(&[
                Operation::GetObject,
                Operation::ListObjects,
                Operation::ListBuckets,
            ]),
            put: completed(&[Operation::PutObject, Operation::CopyObject]),
            post: completed(&[Operation::DeleteObjects]),
            head: completed(&[Operation::HeadObject, Operation::HeadBucket]),
            delete: completed(&[Operation::DeleteObject]),
            uploaded: total.bytes_out,
            downloaded: total.bytes_in,
        }
    }
}

/// One line for a task log: `3 put object, 1 list objects; 2 retried, …`.
impl fmt::Display for CounterSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used: Vec<String> = Operation::ALL
            .into_iter()
            .filter(|&operation| self.of(operation).attempts > 0)
            .map(|operation| format!("{} {operation}", self.of(operation).attempts))
            .collect();
        if used.is_empty() {
            return f.write_str("no requests");
        }
        let total = self.total();
        write!(f, "{}; {} retried, ", used.join(", "), total.retries)?;
        write!(f, "{} throttled; ", total.throttled)?;
        write!(
            f,
            "{} bytes sent, {} bytes received",
            total.bytes_out, total.bytes_in
        )
    }
}

/// The request statistics of upstream's API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamStatistics {
    /// GET requests, listings included.
    pub get: u64,
    /// PUT requests.
    pub put: u64,
    /// POST requests.
    pub post: u64,
    /// HEAD requests.
    pub head: u64,
    /// DELETE requests.
    pub delete: u64,
    /// Bytes sent.
    pub uploaded: u64,
    /// Bytes received.
    pub downloaded: u64,
}

impl UpstreamStatistics {
    fn fields(&self) -> [(&'static str, u64); 7] {
        [
            ("get", self.get),
            ("put", self.put),
            ("post", self.post),
            ("head", self.head),
            ("delete", self.delete),
            ("uploaded", self.uploaded),
            ("downloaded", self.downloaded),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn answer(status: u16) -> AttemptRecord {
        AttemptRecord {
            status: Some(status),
            throttled: status == 503,
            bytes_out: 10,
            bytes_in: 1,
            latency: Duration::from_millis(5),
        }
    }

    #[test]
    fn attempts_and_requests_are_told_apart() {
        let counters = Counters::default();
        for status in [503, 503, 200] {
            counters.attempt(TaskKind::Gc, Operation::ListObjects, &answer(status));
        }
        counters.retry(TaskKind::Gc, Operation::ListObjects);
        counters.retry(TaskKind::Gc, Operation::ListObjects);
        counters.completed(TaskKind::Gc, Operation::ListObjects);
        counters.attempt(TaskKind::Backup, Operation::PutObject, &answer(412));
        counters.completed(TaskKind::Backup, Operation::PutObject);
        let all = counters.snapshot(None);
        let list = all.of(Operation::ListObjects);
        assert_eq!(
            (list.attempts, list.completed, list.retries, list.throttled),
            (3, 1, 2, 2)
        );
        assert_eq!(all.of(Operation::PutObject).precondition_failed, 1);
        let seven = all.upstream();
        assert_eq!(
            (seven.get, seven.put, seven.uploaded, seven.downloaded),
            (1, 1, 40, 4)
        );
        let gc = counters.snapshot(Some(TaskKind::Gc));
        assert_eq!(gc.total().attempts, 3);
        assert_eq!(all.since(&gc).total().attempts, 1);
        assert_eq!(list.mean_latency(), Duration::from_millis(5));
        assert_eq!(list.latency[3], 3);
        assert_eq!(
            gc.to_string(),
            "3 list objects; 2 retried, 2 throttled; 30 bytes sent, 3 bytes received"
        );
        counters.reset();
        assert_eq!(counters.snapshot(None), CounterSnapshot::default());
    }

    #[test]
    fn latency_classes() {
        for (millis, class) in [
            (0, 0),
            (1, 1),
            (3, 2),
            (65_535, 16),
            (65_536, 17),
            (u64::MAX, 17),
        ] {
            assert_eq!(
                latency_class(Duration::from_millis(millis)),
                class,
                "{millis}"
            );
        }
    }

    #[test]
    fn a_threshold_fires_exactly_once_until_reset() {
        let counters = Counters::default();
        let fired = Arc::new(Mutex::new(Vec::new()));
        let seen = fired.clone();
        let limits = UpstreamStatistics {
            get: 2,
            ..UpstreamStatistics::default()
        };
        counters.set_thresholds(limits, move |crossed| seen.lock().unwrap().push(crossed));
        let get = || {
            counters.attempt(TaskKind::Other, Operation::GetObject, &answer(200));
            counters.completed(TaskKind::Other, Operation::GetObject);
        };
        (0..5).for_each(|_| get());
        let crossed = ThresholdCrossed {
            counter: "get",
            limit: 2,
            value: 3,
        };
        assert_eq!(*fired.lock().unwrap(), std::slice::from_ref(&crossed));
        counters.reset();
        (0..3).for_each(|_| get());
        assert_eq!(*fired.lock().unwrap(), [crossed.clone(), crossed]);
    }
}

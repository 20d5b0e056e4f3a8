//! Progress of a phase: a rate-limited log line with an estimate of the time left (A17).
//!
//! A line is due at each new tenth, at each new percent if the last line is a second old, and after
//! 10 s without one: a run of seconds says a few words, one of hours a hundred. The words are upstream's,
//! `processed 7% (58 chunks)`, followed by the estimate where there is one.

use std::time::Duration;

use tokio::time::Instant;

use crate::env::Env;
use crate::task::{Progress, TaskContext};

/// Longest silence while something is going on.
const INTERVAL: Duration = Duration::from_secs(10);
/// Shortest time between two lines for percents.
const SHORT_INTERVAL: Duration = Duration::from_secs(1);
/// Before this much time has passed, an estimate is a guess.
const ESTIMATE_AFTER: Duration = Duration::from_secs(5);

/// Measures one phase.
#[derive(Debug)]
pub struct ProgressMeter {
    env: Env,
    phase: &'static str,
    unit: &'static str,
    started: Instant,
    last_line: Instant,
    last_percent: u64,
}

impl ProgressMeter {
    /// Starts a phase now. `unit` is what the lines count, e.g. `chunks`.
    #[must_use]
    pub fn new(env: &Env, phase: &'static str, unit: &'static str) -> Self {
        let now = env.now();
        Self {
            env: env.clone(),
            phase,
            unit,
            started: now,
            last_line: now,
            last_percent: 0,
        }
    }

    /// `done` of `total` steps (directories, shards, keys) are made; `count` units were met in
    /// them. The percentage and the estimate come from the steps.
    pub fn update(&mut self, done: u64, total: Option<u64>, count: u64, task: &dyn TaskContext) {
        let now = self.env.now();
        let left = total.and_then(|total| self.time_left(now, done, total));
        let progress = Progress::new(self.phase, done, total, self.unit);
        task.progress(progress.with_eta(left.map(|left| left.as_secs())));
        let percent = total.map(|total| percent(done, total));
        let silent = now.saturating_duration_since(self.last_line);
        let is_due = percent.is_some_and(|percent| {
            percent / 10 > self.last_percent / 10
                || (percent > self.last_percent && silent >= SHORT_INTERVAL)
        });
        if !is_due && silent < INTERVAL {
            return;
        }
        self.last_line = now;
        self.last_percent = percent.unwrap_or(0);
        let unit = self.unit;
        let line = match percent {
            Some(percent) => format!("processed {percent}% ({count} {unit})"),
            None => format!("processed {count} {unit}"),
        };
        match left {
            Some(left) => task.log(&format!("{line}, about {} left", human_duration(left))),
            None => task.log(&line),
        }
    }

    /// As if the rest took as long per step as what is done.
    fn time_left(&self, now: Instant, done: u64, total: u64) -> Option<Duration> {
        let elapsed = now.saturating_duration_since(self.started);
        if done == 0 || done >= total || elapsed < ESTIMATE_AFTER {
            return None;
        }
        let millis = elapsed.as_millis() * u128::from(total - done) / u128::from(done);
        Some(Duration::from_millis(
            u64::try_from(millis).unwrap_or(u64::MAX),
        ))
    }
}

fn percent(done: u64, total: u64) -> u64 {
    let percent = u128::from(done) * 100 / u128::from(total.max(1));
    u64::try_from(percent).unwrap_or(100)
}

/// `2d 3h`, `3h 12m`, `4m 5s`, `5s`.
#[must_use]
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// A span of time as upstream writes it: exact, without the units of which there are none.
#[must_use]
pub fn time_span(seconds: u64) -> String {
    let units = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let parts = units.iter().filter(|(number, _)| *number > 0);
    let parts: Vec<_> = parts
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    if parts.is_empty() {
        return "0s".to_owned();
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::RecordingTask;

    fn texts(task: &RecordingTask) -> Vec<String> {
        task.lines()
            .iter()
            .map(|line| line.text().to_owned())
            .collect()
    }

    #[tokio::test]
    async fn a_slow_run_has_a_line_for_each_percent() {
        tokio::time::pause();
        let task = RecordingTask::new();
        let env = Env::seeded(1, 0);
        let mut meter = ProgressMeter::new(&env, "sweep", "chunks");
        for step in 1..=1000 {
            tokio::time::advance(Duration::from_millis(200)).await;
            meter.update(step, Some(1000), step, &task);
        }
        assert_eq!(texts(&task).len(), 100);
    }

    #[test]
    fn a_fast_run_has_ten_lines() {
        let task = RecordingTask::new();
        let mut meter = ProgressMeter::new(&Env::seeded(1, 0), "sweep", "chunks");
        for directory in 0..=65_536 {
            meter.update(directory, Some(65_536), directory / 100, &task);
        }
        let lines = texts(&task);
        assert_eq!(lines.len(), 10);
        assert_eq!(lines[0], "processed 10% (65 chunks)");
        assert_eq!(lines[9], "processed 100% (655 chunks)");
        assert_eq!(task.progress_reports().len(), 65_537);
    }

    #[tokio::test]
    async fn silence_ends_after_ten_seconds() {
        tokio::time::pause();
        let task = RecordingTask::new();
        let env = Env::seeded(1, 0);
        let mut meter = ProgressMeter::new(&env, "sweep", "chunks");
        for step in 0..100 {
            tokio::time::advance(Duration::from_secs(1)).await;
            meter.update(step, None, step, &task);
        }
        assert_eq!(texts(&task).len(), 10);
        assert_eq!(texts(&task)[0], "processed 9 chunks");
    }

    #[tokio::test]
    async fn the_estimate_follows_the_rate() {
        tokio::time::pause();
        let task = RecordingTask::new();
        let mut meter = ProgressMeter::new(&Env::seeded(1, 0), "sweep", "chunks");
        tokio::time::advance(Duration::from_secs(60)).await;
        meter.update(10, Some(1000), 5, &task);
        assert_eq!(texts(&task), ["processed 1% (5 chunks), about 1h 39m left"]);
        assert_eq!(task.progress_reports()[0].eta_secs, Some(5940));
        meter.update(1000, Some(1000), 500, &task);
        assert_eq!(texts(&task)[1], "processed 100% (500 chunks)");
        meter.update(0, Some(0), 0, &task);
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (61, "1m 1s"),
            (3_660, "1h 1m"),
            (180_000, "2d 2h"),
        ] {
            assert_eq!(human_duration(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn spans_are_exact() {
        for (seconds, text) in [
            (0, "0s"),
            (86_700, "1d 5m"),
            (3600, "1h"),
            (90_061, "1d 1h 1m 1s"),
        ] {
            assert_eq!(time_span(seconds), text);
        }
    }
}

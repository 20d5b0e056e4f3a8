//! The samples of the last half hour.

use std::collections::VecDeque;

use serde::Serialize;

use super::sample::Sample;

/// Samples kept: one every ten seconds.
const KEPT: usize = 180;

/// How a figure is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// As it is.
    Gauge,
    /// Ever growing; its rate counts.
    Derive,
}

/// A figure of a sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DataPoint {
    /// Of what: `host`, `datastore/<name>`, `datastore/<name>/s3`.
    pub id: String,
    /// Its name.
    pub metric: &'static str,
    /// When.
    pub timestamp: i64,
    /// How it is to be read.
    #[serde(rename = "type")]
    pub kind: MetricKind,
    /// The figure.
    pub value: f64,
}

/// The samples.
#[derive(Debug, Default)]
pub struct Live {
    samples: VecDeque<(i64, Vec<DataPoint>)>,
}

impl Live {
    /// Adds a sample; the oldest goes if there are enough.
    pub fn push(&mut self, sample: Sample) {
        let points = sample.objects.into_iter().flat_map(|object| object.points);
        self.samples.push_back((sample.time, points.collect()));
        while self.samples.len() > KEPT {
            self.samples.pop_front();
        }
    }

    /// The figures of all samples after `start`, oldest first.
    pub fn since(&self, start: i64) -> impl Iterator<Item = &DataPoint> {
        let samples = self.samples.iter().filter(move |(time, _)| *time > start);
        samples.flat_map(|(_, points)| points)
    }

    /// The figures of the newest sample.
    pub fn newest(&self) -> impl Iterator<Item = &DataPoint> {
        self.samples
            .back()
            .into_iter()
            .flat_map(|(_, points)| points)
    }
}

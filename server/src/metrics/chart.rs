//! What a chart shows: a stretch of time, in steps that fit it.

use serde_json::{Map, Value};

use super::series::{Consolidation, SeriesFile};

/// A stretch of time up to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeframe {
    /// Number of the ring, see [`super::series::RINGS`].
    ring: usize,
    /// Steps of it.
    steps: i64,
}

impl Timeframe {
    /// Their names.
    pub const NAMES: &'static [&'static str] = &["hour", "day", "week", "month", "year", "decade"];
    /// Of the names the one that the history of a datastore is taken from.
    pub const MONTH: Self = Self {
        ring: 1,
        steps: 1440,
    };

    /// The one of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let (ring, steps) = match name {
            "hour" => (0, 60),
            "day" => (0, 1440),
            "week" => (1, 336),
            "month" => return Some(Self::MONTH),
            "year" => (2, 1440),
            "decade" => (3, 522),
            _ => return None,
        };
        Some(Self { ring, steps })
    }

    /// What a file has of it. Blocking.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn points(
        &self,
        file: &SeriesFile,
        what: Consolidation,
        now: i64,
    ) -> anyhow::Result<Vec<super::series::Point>> {
        file.read(self.ring, what, now, self.steps)
    }

    /// The same as objects with the time and what is known. Blocking.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn chart(
        &self,
        file: &SeriesFile,
        what: Consolidation,
        now: i64,
    ) -> anyhow::Result<Vec<Value>> {
        let points = self.points(file, what, now)?.into_iter();
        let object = |point: super::series::Point| {
            let named = file.names().iter().zip(point.values);
            let mut object: Map<String, Value> = named
                .filter_map(|(name, value)| Some(((*name).to_owned(), value?.into())))
                .collect();
            object.insert("time".to_owned(), point.time.into());
            Value::Object(object)
        };
        Ok(points.map(object).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::series::RINGS;

    #[test]
    fn every_name_has_a_stretch_that_its_ring_holds() {
        for name in Timeframe::NAMES {
            let frame = Timeframe::of(name).unwrap();
            assert!(frame.steps <= RINGS[frame.ring].rows, "{name}");
        }
        assert_eq!(Timeframe::of("minute"), None);
    }
}

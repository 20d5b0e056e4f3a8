//! Running a row, and what its rounds come to.

use std::fmt;

use anyhow::{Result, ensure};

use crate::row::{Round, Row, Setup, Target, Unit};

/// The figures of a row.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which row.
    pub id: &'static str,
    /// What the figures count.
    pub unit: Unit,
    /// Our median.
    pub ours: f64,
    /// The baseline's median.
    pub baseline: f64,
    /// How many times better ours is.
    pub ratio: f64,
    /// What is to be reached.
    pub target: Target,
    /// Highest less lowest ratio of a round, as a part of their median.
    pub spread: f64,
    /// Further figures.
    pub details: Vec<String>,
}

/// Prepares and runs a row.
pub async fn measure(row: &dyn Row, setup: &Setup) -> Result<Outcome> {
    let mut bench = row.prepare(setup).await?;
    let rounds = bench.rounds(setup.runs).await?;
    let mut outcome = Outcome::of(row.id(), row.unit(), row.target(), &rounds)?;
    outcome.details = bench.details();
    Ok(outcome)
}

impl Outcome {
    fn of(id: &'static str, unit: Unit, target: Target, rounds: &[Round]) -> Result<Self> {
        ensure!(!rounds.is_empty(), "there was no round");
        let figures = rounds.iter().flat_map(|round| [round.ours, round.baseline]);
        for figure in figures {
            ensure!(
                figure.is_finite() && figure > 0.0,
                "{figure} {} is no measurement",
                unit.name
            );
        }
        let ours = median(rounds.iter().map(|round| round.ours));
        let baseline = median(rounds.iter().map(|round| round.baseline));
        let ratios: Vec<f64> = rounds
            .iter()
            .map(|round| unit.ratio(round.ours, round.baseline))
            .collect();
        let highest = ratios.iter().copied().fold(f64::MIN, f64::max);
        let lowest = ratios.iter().copied().fold(f64::MAX, f64::min);
        Ok(Self {
            id,
            unit,
            ours,
            baseline,
            ratio: unit.ratio(ours, baseline),
            target,
            spread: (highest - lowest) / median(ratios.iter().copied()),
            details: Vec::new(),
        })
    }

    /// Whether the target is reached.
    #[must_use]
    pub fn met(&self) -> bool {
        match self.target {
            Target::Ratio(factor) => self.ratio >= factor,
            Target::AtMost(most) => self.ours <= most,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}, baseline {}, ratio {:.2}",
            figure(self.ours),
            self.unit.name,
            figure(self.baseline),
            self.ratio
        )
    }
}

/// The middle figure, or the mean of the two in the middle.
fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.get(middle) {
        Some(upper) if sorted.len().is_multiple_of(2) => f64::midpoint(
            sorted
                .get(middle.wrapping_sub(1))
                .copied()
                .unwrap_or(*upper),
            *upper,
        ),
        Some(only) => *only,
        None => f64::NAN,
    }
}

/// Three digits or more, without false precision.
#[must_use]
pub fn figure(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        medium if medium >= 10.0 => format!("{value:.1}"),
        medium if medium >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(figures: &[(f64, f64)]) -> Vec<Round> {
        let round = |&(ours, baseline)| Round { ours, baseline };
        figures.iter().map(round).collect()
    }

    #[test]
    fn the_median_counts_and_the_ratio_is_the_better_way_round() {
        let seconds = Unit::cost("s");
        let figures = rounds(&[
            (1.0, 10.0),
            (9.0, 10.0),
            (2.0, 20.0),
            (2.0, 30.0),
            (2.0, 20.0),
        ]);
        let outcome = Outcome::of("x", seconds, Target::Ratio(10.0), &figures).unwrap();
        assert_eq!((outcome.ours, outcome.baseline), (2.0, 20.0));
        assert_eq!(outcome.ratio, 10.0);
        assert!(outcome.met());
        assert!((outcome.spread - (15.0 - 10.0 / 9.0) / 10.0).abs() < 1e-9);
        let rate = Unit::throughput("/s");
        let outcome = Outcome::of("x", rate, Target::Ratio(0.95), &rounds(&[(9.0, 10.0)])).unwrap();
        assert!(!outcome.met());
        let outcome = Outcome::of("x", seconds, Target::AtMost(9.0), &rounds(&[(9.0, 1.0)]));
        assert!(outcome.unwrap().met());
    }

    #[test]
    fn what_is_no_number_is_no_result() {
        let bad = rounds(&[(f64::NAN, 1.0)]);
        assert!(Outcome::of("x", Unit::cost("s"), Target::Ratio(1.0), &bad).is_err());
        assert!(Outcome::of("x", Unit::cost("s"), Target::Ratio(1.0), &[]).is_err());
    }
}

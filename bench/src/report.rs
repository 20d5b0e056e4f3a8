//! The table, `results.json` and `docs/benchmarks.md`.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::outcome::{Outcome, figure};
use crate::row::{Row, Target};

const HEAD: [&str; 8] = [
    "id", "unit", "ours", "baseline", "ratio", "target", "spread", "met",
];

fn cells(outcome: &Outcome) -> [String; 8] {
    let target = match outcome.target {
        Target::Ratio(factor) => format!("≥ {factor}×"),
        Target::AtMost(most) => format!("≤ {}", figure(most)),
    };
    [
        outcome.id.to_owned(),
        outcome.unit.name.to_owned(),
        figure(outcome.ours),
        figure(outcome.baseline),
        format!("{:.2}", outcome.ratio),
        target,
        format!("{:.0} %", outcome.spread * 100.0),
        if outcome.met() { "yes" } else { "no" }.to_owned(),
    ]
}

/// The table, as Markdown whose columns are aligned.
#[must_use]
pub fn table(outcomes: &[Outcome]) -> String {
    let mut lines: Vec<[String; 8]> = vec![HEAD.map(str::to_owned)];
    lines.extend(outcomes.iter().map(cells));
    let width = |column: usize| {
        let widths = lines.iter().map(|line| line[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            let pad = " ".repeat(width - cell.chars().count());
            let _ = write!(text, "| {cell}{pad} ");
        }
        text.push_str("|\n");
        if number == 0 {
            for width in &widths {
                let _ = write!(text, "|{}", "-".repeat(width + 2));
            }
            text.push_str("|\n");
        }
    }
    text
}

/// `results.json`.
pub fn json(outcomes: &[Outcome]) -> Result<String> {
    let rows: Vec<serde_json::Value> = outcomes
        .iter()
        .map(|outcome| {
            let (Target::Ratio(target) | Target::AtMost(target)) = outcome.target;
            json!({
                "id": outcome.id,
                "unit": outcome.unit.name,
                "ours": outcome.ours,
                "baseline": outcome.baseline,
                "ratio": outcome.ratio,
                "target": target,
                "spread": outcome.spread,
                "details": outcome.details,
            })
        })
        .collect();
    Ok(serde_json::to_string_pretty(&rows)? + "\n")
}

/// `docs/benchmarks.md`: figures from this run, explanations from `bench/texts/`.
#[must_use]
pub fn document(
    machine: &[(&'static str, String)],
    runs: usize,
    rows: &[Box<dyn Row>],
    outcomes: &[Outcome],
) -> String {
    let mut text = String::from(include_str!("../texts/head.md"));
    text.push_str("\n## The machine\n\n| | |\n|---|---|\n");
    for (what, value) in machine {
        let _ = writeln!(text, "| {what} | {value} |");
    }
    let _ = writeln!(text, "\n## The figures\n\nMedian of {runs} runs.\n");
    text.push_str(&table(outcomes));
    for (row, outcome) in rows.iter().zip(outcomes) {
        let _ = writeln!(text, "\n## {}\n\n{}.\n", row.id(), row.measures());
        let _ = writeln!(text, "**{outcome}.**\n");
        for detail in &outcome.details {
            let _ = writeln!(text, "- {detail}");
        }
        if !outcome.details.is_empty() {
            text.push('\n');
        }
        text.push_str(row.text().trim_end());
        text.push('\n');
    }
    text
}

/// Writes a file, making its directory.
pub fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make {}", parent.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Unit;

    #[test]
    fn numbers_are_numbers() {
        let outcome = Outcome {
            id: "gc-mark",
            unit: Unit::throughput("digests/s"),
            ours: 12_345_678.9,
            baseline: 1_234_567.89,
            ratio: 10.0,
            target: Target::Ratio(10.0),
            spread: 0.031,
            details: Vec::new(),
        };
        let table = table(std::slice::from_ref(&outcome));
        assert!(
            table.ends_with(
                "| gc-mark | digests/s | 12345679 | 1234568  | 10.00 | ≥ 10×  | 3 %    | yes |\n"
            ),
            "{table}"
        );
        let parsed: serde_json::Value = serde_json::from_str(&json(&[outcome]).unwrap()).unwrap();
        assert_eq!(parsed[0]["ours"], 12_345_678.9);
        assert_eq!(parsed[0]["target"], 10.0);
    }
}

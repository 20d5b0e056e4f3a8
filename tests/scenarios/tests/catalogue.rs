//! The lists of [`scenarios::catalogue`] are complete, and what they name exists.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use scenarios::catalogue::{Entry, HOLES, RULES, SCENARIOS};

/// The rows of the table of §8.1, those with two halves counted twice.
const RULES_OF_THE_MODEL: usize = 49;

fn names(entries: &[Entry]) -> BTreeSet<&str> {
    entries.iter().map(|entry| entry.what).collect()
}

/// Whether the file has a test of that name that is not ignored.
fn check_exists(workspace: &Path, entry: &Entry) -> Result<()> {
    let file = workspace.join(entry.file);
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("{}: no {}", entry.what, file.display()))?;
    let (before, _) = text
        .split_once(&format!("fn {}(", entry.test))
        .with_context(|| format!("{}: no {} in {}", entry.what, entry.test, entry.file))?;
    let attributes = before.rsplit_once("\n\n").map_or(before, |(_, near)| near);
    ensure!(
        attributes.contains("#[tokio::test") || attributes.contains("#[test"),
        "{}: {} is no test",
        entry.what,
        entry.test
    );
    ensure!(
        !attributes.contains("#[ignore"),
        "{} is ignored",
        entry.test
    );
    Ok(())
}

#[test]
fn every_scenario_hole_and_rule_has_its_test() -> Result<()> {
    let scenarios: BTreeSet<String> = (1..=68).map(|n| format!("T{n:02}")).collect();
    let scenarios: BTreeSet<&str> = scenarios.iter().map(String::as_str).collect();
    assert_eq!(names(SCENARIOS), scenarios);
    let holes: BTreeSet<String> = (1..=16).map(|n| format!("H{n}")).collect();
    assert_eq!(names(HOLES), holes.iter().map(String::as_str).collect());
    assert_eq!(names(RULES).len(), RULES_OF_THE_MODEL);
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for entry in SCENARIOS.iter().chain(HOLES).chain(RULES) {
        check_exists(&workspace, entry)?;
    }
    Ok(())
}

//! The table of `gc.md` §8.1 and the switches of the models say the same.

use std::collections::BTreeSet;

use model::rule::{Place, Rule};

/// The table, word for word.
const TABLE: &str = include_str!("../table.md");

fn rows() -> Vec<&'static str> {
    let lines = TABLE.lines().filter(|line| line.starts_with("| ")).skip(1);
    lines
        .filter_map(|line| line.split('|').nth(1))
        .map(str::trim)
        .collect()
}

#[test]
fn every_row_has_its_switch() {
    let rows: BTreeSet<&str> = rows().into_iter().collect();
    assert_eq!(rows.len(), 46);
    let switches: BTreeSet<&str> = (Rule::ALL.iter())
        .filter_map(|rule| match rule.place() {
            Place::Row(row) => Some(row),
            Place::NotLoadBearing(_) | Place::Beyond => None,
        })
        .collect();
    assert_eq!(rows, switches);
}

#[test]
fn every_switch_is_there_once() {
    let distinct: BTreeSet<u8> = Rule::ALL.iter().map(|rule| *rule as u8).collect();
    assert_eq!(distinct.len(), Rule::ALL.len());
    let last = Rule::ALL.len() - 1;
    assert_eq!(
        Rule::ALL[last] as usize,
        last,
        "a switch is missing in `Rule::ALL`"
    );
}

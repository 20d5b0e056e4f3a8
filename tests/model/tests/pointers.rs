//! Every function, test and switch that the ADR of interleavings names exists, and it names every
//! row of the table and every race.

#![allow(clippy::expect_used, reason = "helpers of the tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use model::rule::{Place, Rule};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn adr() -> String {
    std::fs::read_to_string(root().join("docs/adr/0011-interleavings.md")).expect("the ADR")
}

fn sources(dir: &Path, text: &mut String) {
    for entry in std::fs::read_dir(dir).expect("a directory of sources") {
        let path = entry.expect("its entry").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && name != "target" {
            sources(&path, text);
        } else if name.ends_with(".rs") {
            text.push_str(&std::fs::read_to_string(&path).expect("a source file"));
        }
    }
}

/// What stands between backticks in the tables and lists.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn what_is_pointed_at_exists() {
    let mut code = String::new();
    for dir in ["datastore", "s3-client", "tests"] {
        sources(&root().join(dir), &mut code);
    }
    let words = |prefix: &str| -> BTreeSet<&str> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        (code.split(prefix).skip(1))
            .filter_map(|rest| rest.split(|c| !is_word(c)).next())
            .collect()
    };
    let functions = words("fn ");
    let mut types = words("struct ");
    types.extend(words("const "));
    let switches: BTreeSet<String> = Rule::ALL.iter().map(|rule| format!("{rule:?}")).collect();
    let adr = adr();
    let states = ["Suspect", "Deleting", "lost", "gc.md", "model::rule::Rule"];
    let mut unknown = Vec::new();
    for word in quoted(&adr) {
        let known = if word.contains('/') {
            let path = root().join(word);
            path.exists() || root().join("datastore/src").join(word).exists()
        } else {
            let last = word.rsplit("::").next().unwrap_or(word);
            functions.contains(last)
                || types.contains(last)
                || switches.contains(last)
                || states.contains(&word)
        };
        if !known {
            unknown.push(word);
        }
    }
    assert!(
        unknown.is_empty(),
        "the ADR points at what does not exist: {unknown:?}"
    );
}

#[test]
fn every_rule_and_every_race_is_there() {
    let adr = adr();
    for rule in Rule::ALL {
        assert!(
            adr.contains(&format!("`{rule:?}`")),
            "{rule:?} is not in the ADR"
        );
        if let Place::Row(row) = rule.place() {
            assert!(
                adr.contains(&format!("| {row} |")),
                "the row '{row}' is not in the ADR"
            );
        }
    }
    for race in 1..=26 {
        assert!(
            adr.contains(&format!("| R{race} ")),
            "R{race} is not in the ADR"
        );
    }
}

//! Every row works, with small data; nothing is said about speed.

use std::path::Path;
use std::process::Command;

#[test]
fn every_row_gives_figures() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_bench"));
    // A store has 65 536 directories: memory takes them faster than a disk that others use too.
    if Path::new("/dev/shm").is_dir() {
        bench.env("TMPDIR", "/dev/shm");
    }
    let output = bench
        .args(["--quick", "--runs", "1", "--out"])
        .arg(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = std::fs::read_to_string(dir.path().join("results.json")).unwrap();
    let rows: serde_json::Value = serde_json::from_str(&text).unwrap();
    let rows = rows.as_array().unwrap();
    let list = Command::new(env!("CARGO_BIN_EXE_bench"))
        .arg("--list")
        .output()
        .unwrap();
    let ids = String::from_utf8_lossy(&list.stdout);
    assert_eq!(rows.len(), ids.lines().count());
    for (row, line) in rows.iter().zip(ids.lines()) {
        assert_eq!(
            Some(row["id"].as_str().unwrap()),
            line.split_whitespace().next()
        );
        for field in ["ours", "baseline", "ratio", "target", "spread"] {
            assert!(row[field].is_number(), "{field} of {row}");
        }
        assert!(row["unit"].is_string());
    }
}

#[test]
fn a_row_that_is_not_there_is_an_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["--rows", "gc-mark,no-such-row"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-row"));
}

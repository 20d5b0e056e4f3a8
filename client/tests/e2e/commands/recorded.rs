//! What the real client printed for each command line.

use std::path::PathBuf;

/// A file of the fixtures; nothing if there are none.
pub fn fixture(name: &str) -> Option<PathBuf> {
    let fixtures = support::fixtures::fixtures_dir().unwrap()?;
    Some(fixtures.join(name))
}

/// The output of a command line of `flow.log`, by its label; nothing if there are no fixtures.
pub fn output(label: &str) -> Option<String> {
    let path = fixture("recordings/flow.log")?;
    let log = std::fs::read_to_string(path).unwrap();
    let start = log.find(&format!(" {label}: ")).unwrap();
    let rest = &log[start..];
    let begin = rest.find('\n').unwrap() + 1;
    let end = rest.find("--- rc=").unwrap();
    Some(rest[begin..end].to_owned())
}

/// The words of a line of a table.
pub fn cells(line: &str) -> Vec<&str> {
    let cells = line.split('│').map(str::trim);
    cells.filter(|cell| !cell.is_empty()).collect()
}

/// Both tables have the same headings.
pub fn same_headings(ours: &str, label: &str) {
    let Some(theirs) = output(label) else { return };
    let heading = |text: &str| -> Vec<String> {
        let line = text.lines().find(|line| line.starts_with('│')).unwrap();
        cells(line).into_iter().map(str::to_owned).collect()
    };
    assert_eq!(heading(ours), heading(&theirs), "{ours}\n{theirs}");
}

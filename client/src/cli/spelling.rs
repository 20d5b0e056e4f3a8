//! Commands that upstream's client had under other names before, and still takes.

use std::ffi::OsString;

const OLD: [(&str, [&str; 2]); 4] = [
    ("files", ["snapshot", "files"]),
    ("forget", ["snapshot", "forget"]),
    ("snapshots", ["snapshot", "list"]),
    ("upload-log", ["snapshot", "upload-log"]),
];

/// The command line, its program's name first, in today's words.
pub(super) fn current(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = arguments.into_iter().collect();
    let old = OLD
        .iter()
        .find(|(old, _)| arguments.get(1).is_some_and(|word| word == old));
    if let Some((_, words)) = old {
        arguments.splice(1..2, words.iter().map(OsString::from));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_command_itself_is_replaced() {
        for (given, expected) in [
            ("x files a", "x snapshot files a"),
            ("x list files", "x list files"),
            ("x", "x"),
        ] {
            let found = current(given.split(' ').map(OsString::from));
            let expected: Vec<_> = expected.split(' ').map(OsString::from).collect();
            assert_eq!(found, expected);
        }
    }
}

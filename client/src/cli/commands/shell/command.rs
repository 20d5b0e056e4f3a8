//! The commands of the shell.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Parser;

use super::words;
use crate::cli::commands::backup::pattern;
use crate::tree::pattern::Pattern;

/// What can be done in an archive. Paths are relative to the directory that is shown, or begin with
/// a slash; so are patterns.
#[derive(Clone, Debug, Parser)]
#[command(multicall = true, disable_version_flag = true)]
pub(super) enum Command {
    /// Go to a directory, or to the root
    Cd {
        /// Where
        path: Option<String>,
    },
    /// Select nothing any more
    ClearSelected,
    /// Take a pattern back
    Deselect {
        /// As it was selected
        pattern: String,
    },
    /// Leave
    #[command(visible_alias = "quit")]
    Exit,
    /// Show the paths that match a pattern
    Find {
        /// Like *.conf
        #[arg(value_parser = pattern)]
        pattern: Pattern,
        /// Select them too
        #[arg(long)]
        select: bool,
    },
    /// Show the patterns that are selected, or the paths
    ListSelected {
        /// The patterns
        #[arg(long)]
        patterns: bool,
    },
    /// List a directory
    Ls {
        /// Which
        path: Option<String>,
    },
    /// Show where we are
    Pwd,
    /// Restore the directory that is shown, or what matches of it
    Restore {
        /// A directory of this machine
        target: PathBuf,
        /// Only what matches
        #[arg(long, value_parser = pattern)]
        pattern: Vec<Pattern>,
    },
    /// Restore what is selected
    RestoreSelected {
        /// A directory of this machine
        target: PathBuf,
    },
    /// Select what matches a pattern for restore-selected
    Select {
        /// Like *.conf, or a path
        pattern: String,
    },
    /// Show what is known of a file
    Stat {
        /// Which
        path: String,
    },
}

impl Command {
    pub(super) fn parse(line: &str) -> Result<Self> {
        let words = words::split(line)?.into_iter().map(OsString::from);
        Self::try_parse_from(words).map_err(|error| {
            let text = error.to_string();
            anyhow!("{}", text.trim().trim_start_matches("error: ").to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_commands() {
        for line in [
            "ls",
            "ls 'a b'",
            "cd",
            "cd ..",
            "pwd",
            "stat x",
            "find *.txt --select",
            "select /a/**",
            "deselect /a/**",
            "list-selected --patterns",
            "clear-selected",
            "restore /tmp/x --pattern *.c",
            "restore-selected /tmp/x",
            "quit",
        ] {
            if let Err(error) = Command::parse(line) {
                panic!("{line}: {error}");
            }
        }
        for line in ["rm x", "stat", "restore", "cd 'a"] {
            assert!(Command::parse(line).is_err(), "{line}");
        }
        let help = Command::parse("help").unwrap_err().to_string();
        assert!(help.contains("restore-selected"), "{help}");
    }
}

//! Boolean options in upstream's spelling: `--dry-run true`, `--dry-run=1` beside `--dry-run`.

use std::collections::HashSet;
use std::ffi::OsString;

use clap::{ArgAction, Command};

/// Rewrites such options to the form that clap has: there, or not there.
pub(super) fn normalise(
    command: &Command,
    arguments: impl IntoIterator<Item = OsString>,
) -> Vec<OsString> {
    let mut flags = HashSet::new();
    collect(command, &mut flags);
    let mut arguments = arguments.into_iter().peekable();
    let mut normal = Vec::new();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            normal.push(argument);
            normal.extend(arguments);
            break;
        }
        let text = argument.to_str().and_then(|text| text.strip_prefix("--"));
        let (name, value) = match text.and_then(|text| text.split_once('=')) {
            Some((name, value)) => (Some(name), Some(value.to_owned())),
            None => (text, None),
        };
        if !name.is_some_and(|name| flags.contains(name)) {
            normal.push(argument);
            continue;
        }
        let given = match &value {
            Some(value) => boolean(value),
            None => {
                let next = arguments.peek().and_then(|next| boolean(next.to_str()?));
                if next.is_some() {
                    arguments.next();
                }
                next.or(Some(true))
            }
        };
        match given {
            Some(true) => normal.push(format!("--{}", name.unwrap_or_default()).into()),
            Some(false) => {}
            // For clap to complain of.
            None => normal.push(argument),
        }
    }
    normal
}

fn collect(command: &Command, flags: &mut HashSet<String>) {
    for argument in command.get_arguments() {
        if matches!(argument.get_action(), ArgAction::SetTrue) {
            flags.extend(argument.get_long().map(str::to_owned));
        }
    }
    for sub in command.get_subcommands() {
        collect(sub, flags);
    }
}

/// The spellings that the server takes too.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Some(true),
        "0" | "off" | "no" | "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn values_of_flags_are_taken_in() {
        let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
        let command = Command::new("x").subcommand(
            Command::new("sub")
                .arg(flag("all"))
                .arg(Arg::new("id").long("id")),
        );
        for (given, expected) in [
            ("sub --all", "sub --all"),
            ("sub --all true x", "sub --all x"),
            ("sub --all=1 x", "sub --all x"),
            ("sub --all no x", "sub x"),
            ("sub --all=False", "sub"),
            ("sub --all x", "sub --all x"),
            ("sub --all=x", "sub --all=x"),
            ("sub --id true", "sub --id true"),
            ("sub -- --all true", "sub -- --all true"),
        ] {
            let found = normalise(&command, given.split(' ').map(OsString::from));
            let expected: Vec<_> = expected.split(' ').map(OsString::from).collect();
            assert_eq!(found, expected, "{given}");
        }
    }
}

//! Writes the man pages and the shell completions: `manual DIRECTORY`.
//!
//! Both are made from the command lines as the programs parse them, so that they cannot lag behind;
//! what a command line does not say is in `pages/`.

mod page;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Command, CommandFactory as _};
use clap_complete::{Generator as _, Shell};
use page::Section;

/// Writes the man pages and shell completions of Coffer's programs.
#[derive(Debug, clap::Parser)]
struct Cli {
    /// Where to; the directory is created.
    directory: PathBuf,
}

/// What is installed beside a program, in its own words.
struct Program {
    command: Command,
    section: Section,
    /// Sections after those that the command line makes.
    rest: &'static str,
}

fn programs() -> [Program; 3] {
    [
        Program {
            command: client::cli::Cli::command(),
            section: Section::User,
            rest: include_str!("../pages/coffer-client.1"),
        },
        Program {
            command: server::daemon::command::Cli::command(),
            section: Section::Administration,
            rest: include_str!("../pages/coffer-server.8"),
        },
        Program {
            command: server::cli::Cli::command(),
            section: Section::Administration,
            rest: include_str!("../pages/coffer-manager.8"),
        },
    ]
}

fn main() -> Result<()> {
    let cli: Cli = clap::Parser::parse();
    write_all(&cli.directory)
        .with_context(|| format!("failed to write the manual to {}", cli.directory.display()))
}

fn write_all(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    for program in programs() {
        let command = program.command;
        let name = command.get_name().to_owned();
        let text = page::of_program(command.clone(), program.section, program.rest)?;
        let page = format!("{name}.{}", program.section.number());
        fs::write(directory.join(page), text)?;
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let path = directory.join(shell.file_name(&name));
            fs::write(path, completion(shell, &command))?;
        }
    }
    fs::write(directory.join("coffer.5"), page::of_files())?;
    Ok(())
}

fn completion(shell: Shell, command: &Command) -> String {
    let name = command.get_name();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command.clone(), name, &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        // clap_complete 4.6 has two names for the commands of a program with a hyphen in its own.
        Shell::Bash => script.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__")),
        _ => script,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bash_has_words_for_each_command() {
        for Program { command, .. } in programs() {
            let script = completion(Shell::Bash, &command);
            for found in script.split("cmd=\"").skip(1) {
                let label = found.split('"').next().unwrap();
                assert!(
                    label.is_empty() || script.contains(&format!("\n        {label})\n")),
                    "{label}"
                );
            }
        }
    }

    #[test]
    fn every_command_and_option_has_its_place() {
        for program in programs() {
            let command = program.command;
            let name = command.get_name().to_owned();
            let text = page::of_program(command.clone(), program.section, program.rest).unwrap();
            let plain = text.replace("\\-", "-");
            let mut built = command;
            built.build();
            assert_described(&built, &name, &plain);
        }
    }

    fn assert_described(command: &Command, path: &str, text: &str) {
        for argument in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            if let Some(long) = argument.get_long().filter(|long| *long != "help") {
                assert!(
                    text.contains(&format!("\\fB--{long}\\fR")),
                    "{path} --{long}"
                );
            }
        }
        for sub in command.get_subcommands() {
            if sub.get_name() == "help" {
                continue;
            }
            let path = format!("{path} {}", sub.get_name());
            if !sub.has_subcommands() {
                assert!(text.contains(&format!(".SS \"{path}\"")), "{path}");
            }
            assert_described(sub, &path, text);
        }
    }

    #[test]
    fn all_files_are_written() {
        let directory = tempfile::tempdir().unwrap();
        write_all(&directory.path().join("new")).unwrap();
        let mut names: Vec<String> = fs::read_dir(directory.path().join("new"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let expected = [
            "_coffer-client",
            "_coffer-manager",
            "_coffer-server",
            "coffer-client.1",
            "coffer-client.bash",
            "coffer-client.fish",
            "coffer-manager.8",
            "coffer-manager.bash",
            "coffer-manager.fish",
            "coffer-server.8",
            "coffer-server.bash",
            "coffer-server.fish",
            "coffer.5",
        ];
        assert_eq!(names, expected);
    }
}

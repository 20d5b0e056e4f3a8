//! The text of a page, in the language of man(7).

use std::io;

use clap::{ArgAction, Command};
use clap_mangen::Man;

/// The book that the pages about files belong to.
const FILES: &str = "File formats";

/// For whom a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Everybody.
    User,
    /// Who runs a server.
    Administration,
}

impl Section {
    /// The number behind the page's name.
    pub fn number(self) -> &'static str {
        match self {
            Self::User => "1",
            Self::Administration => "8",
        }
    }

    fn book(self) -> &'static str {
        match self {
            Self::User => "User commands",
            Self::Administration => "System administration",
        }
    }
}

/// The page of a program with all its commands; `rest` are its last sections.
pub fn of_program(command: Command, section: Section, rest: &str) -> io::Result<String> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let title = command.get_name().to_uppercase();
    let man = Man::new(command.clone())
        .title(title)
        .section(section.number())
        .date("")
        .source(release())
        .manual(section.book());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut page = without_repeated_definitions(&page);
    if command.has_subcommands() {
        page.push_str(".SH COMMANDS\n");
        add_commands(&command, &mut page)?;
    }
    page.push_str(rest);
    Ok(page)
}

/// The page about files.
pub fn of_files() -> String {
    format!(
        ".TH COFFER 5 \"\" \"{}\" \"{FILES}\"\n{}",
        release(),
        include_str!("../pages/coffer.5")
    )
}

fn release() -> String {
    format!("Coffer {}", env!("CARGO_PKG_VERSION"))
}

/// A subsection for each command that does something.
fn add_commands(command: &Command, page: &mut String) -> io::Result<()> {
    for sub in command.get_subcommands() {
        if sub.has_subcommands() {
            add_commands(sub, page)?;
        } else {
            add_command(sub, page)?;
        }
    }
    Ok(())
}

fn add_command(command: &Command, page: &mut String) -> io::Result<()> {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    page.push_str(&format!(".SS \"{}\"\n", name.replace('-', "\\-")));
    let man = Man::new(own_arguments(command));
    let mut text = Vec::new();
    man.render_synopsis_section(&mut text)?;
    page.push_str(&without_frame(&text));
    page.push_str(".PP\n");
    text.clear();
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    page.push_str(&without_frame(&text));
    Ok(())
}

/// The command without what the whole program takes: that is said once.
fn own_arguments(command: &Command) -> Command {
    command.clone().mut_args(|argument| {
        let of_all = argument.is_global_set()
            || matches!(
                argument.get_action(),
                ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
            );
        argument.hide(of_all)
    })
}

/// Each part begins with the same definitions of characters: the first ones are enough.
fn without_repeated_definitions(parts: &[u8]) -> String {
    let mut seen = Vec::new();
    let mut text = String::new();
    for line in String::from_utf8_lossy(parts).lines() {
        if is_definition(line) {
            if seen.iter().any(|earlier| earlier == line) {
                continue;
            }
            seen.push(line.to_owned());
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// The text of a part within a subsection: neither definitions nor headings.
fn without_frame(part: &[u8]) -> String {
    String::from_utf8_lossy(part)
        .lines()
        .filter(|line| !is_definition(line) && !line.starts_with(".SH"))
        .flat_map(|line| [line, "\n"])
        .collect()
}

fn is_definition(line: &str) -> bool {
    line.starts_with(".ie ") || line.starts_with(".el ")
}

//! Looking around in an archive: `catalog shell`.

mod command;
mod session;
mod words;

use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, Editor};

use crate::cli::output::ReaderGone;
use crate::dialogue::tell;
use crate::session::{Archive, PxarArchive};
use command::Command;
use session::{Next, Session};

/// A shell on an archive.
pub(super) struct Shell {
    session: Session<Arc<Archive>>,
}

impl Shell {
    pub(super) fn new(archive: &PxarArchive) -> Result<Self> {
        Ok(Self {
            session: Session::new(archive.accessor()?),
        })
    }

    /// Reads commands until there are no more.
    pub(super) fn run(mut self) -> Result<()> {
        let history = MemHistory::new();
        let editor = Editor::<(), MemHistory>::with_history(Config::default(), history);
        let mut editor = editor.context("failed to set up the terminal")?;
        loop {
            let line = match editor.readline(&format!("pxar:{} > ", self.session.prompt())) {
                Ok(line) => line,
                // Another try, or the end.
                Err(ReadlineError::Interrupted) => continue,
                Err(ReadlineError::Eof) => return Ok(()),
                Err(error) => return Err(error).context("failed to read a command"),
            };
            if line.trim().is_empty() {
                continue;
            }
            // What the history cannot keep is only not offered again.
            let _ = editor.add_history_entry(&line);
            let done = Command::parse(&line).and_then(|command| self.session.perform(&command));
            match done {
                Ok(Next::Command) => {}
                Ok(Next::End) => return Ok(()),
                Err(error) if error.is::<ReaderGone>() => return Err(error),
                Err(error) => tell(format_args!("Error: {error:#}")),
            }
        }
    }
}

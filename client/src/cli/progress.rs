//! What a user sees of a backup or a restore: on a terminal one line that is written over again and
//! again, otherwise a line from time to time.

use std::io::{IsTerminal as _, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::cli::show::bytes;
use crate::session::{Report, Status};

/// Between two lines where they are not written over.
const INTERVAL: Duration = Duration::from_secs(60);
/// Clears the line.
const CLEAR: &str = "\r\x1b[K";

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Warnings alone.
    Quiet,
    /// Progress from time to time.
    Lines,
    /// Progress on one line.
    Terminal,
}

/// Tells on standard error.
pub struct Console {
    mode: Mode,
    state: Mutex<State>,
}

struct State {
    out: Box<dyn Write + Send>,
    /// The last line is progress, and is to be written over.
    open: bool,
    /// Of the archive under way: when progress is told next.
    next: Duration,
}

impl Console {
    /// As fits where standard error goes; with `quiet` only what is wrong is told.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        let mode = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Mode::Quiet,
            (false, true) => Mode::Terminal,
            (false, false) => Mode::Lines,
        };
        Self::to(mode, Box::new(std::io::stderr()))
    }

    fn to(mode: Mode, out: Box<dyn Write + Send>) -> Self {
        Self {
            mode,
            state: Mutex::new(State {
                out,
                open: false,
                next: INTERVAL,
            }),
        }
    }

    fn with(&self, work: impl FnOnce(&mut State) -> std::io::Result<()>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Work goes on, whether somebody hears of it or not.
        let _ = work(&mut state).and_then(|()| state.out.flush());
    }

    fn line(&self, line: &str) {
        self.with(|state| {
            state.close()?;
            writeln!(state.out, "{}", printable(line))
        });
    }
}

impl State {
    /// Takes the line of progress away.
    fn close(&mut self) -> std::io::Result<()> {
        match std::mem::take(&mut self.open) {
            true => self.out.write_all(CLEAR.as_bytes()),
            false => Ok(()),
        }
    }
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Console({:?})", self.mode)
    }
}

impl Report for Console {
    fn info(&self, line: &str) {
        if self.mode != Mode::Quiet {
            self.line(line);
        }
    }

    fn warn(&self, line: &str) {
        self.line(&format!("Warning: {line}"));
    }

    fn progress(&self, status: &Status) {
        match self.mode {
            Mode::Quiet => {}
            Mode::Terminal => self.with(|state| {
                state.open = true;
                write!(state.out, "{CLEAR}{}", printable(&of_status(status)))
            }),
            Mode::Lines => self.with(|state| {
                if status.elapsed < state.next {
                    return Ok(());
                }
                state.next = status.elapsed + INTERVAL;
                writeln!(state.out, "{}", printable(&of_status(status)))
            }),
        }
    }

    fn finished(&self) {
        self.with(|state| {
            state.next = INTERVAL;
            state.close()
        });
    }
}

/// Names of files come from anywhere: nothing of them controls the terminal.
fn printable(line: &str) -> String {
    line.replace(|c: char| c.is_control(), "?")
}

fn of_status(status: &Status) -> String {
    let mut text = format!("{}: {}", status.archive, bytes(status.processed));
    if let Some(total) = status.total.filter(|total| *total > 0) {
        let percent = u128::from(status.processed) * 100 / u128::from(total);
        text.push_str(&format!(" of {} ({}%)", bytes(total), percent.min(100)));
    }
    text.push_str(&format!(
        " in {}, {}/s",
        clock(status.elapsed),
        bytes(status.rate())
    ));
    if status.reused > 0 {
        text.push_str(&format!(", reused {}", bytes(status.reused)));
    }
    if status.transferred > 0 {
        text.push_str(&format!(", transferred {}", bytes(status.transferred)));
    }
    if let Some(left) = status.remaining() {
        text.push_str(&format!(", {} left", clock(left)));
    }
    text
}

/// `1:05`, `2:00:07`.
fn clock(time: Duration) -> String {
    let secs = time.as_secs();
    let (hours, minutes, secs) = (secs / 3600, secs / 60 % 60, secs % 60);
    match hours {
        0 => format!("{minutes}:{secs:02}"),
        _ => format!("{hours}:{minutes:02}:{secs:02}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn status(secs: u64) -> Status {
        Status {
            archive: "root.pxar".into(),
            processed: secs << 20,
            total: Some(400 << 20),
            reused: 1 << 20,
            transferred: 512 << 10,
            elapsed: Duration::from_secs(secs),
        }
    }

    fn told(mode: Mode) -> String {
        let sink = Sink::default();
        let console = Console::to(mode, Box::new(sink.clone()));
        console.info("begins");
        for secs in 1..=200 {
            console.progress(&status(secs));
        }
        console.warn("'a\x1b[2Jb': gone");
        console.progress(&status(201));
        console.finished();
        console.info("ends");
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_terminal_has_one_line_of_progress() {
        let text = told(Mode::Terminal);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.ends_with(&format!("{CLEAR}ends\n")), "{text}");
        assert!(text.contains("Warning: 'a?[2Jb': gone\n"), "{text}");
        let line = format!(
            "{CLEAR}root.pxar: 200 MiB of 400 MiB (50%) in 3:20, 1 MiB/s, reused 1 MiB, \
             transferred 512 KiB, 3:20 left"
        );
        assert!(text.contains(&line), "{text}");
    }

    #[test]
    fn a_log_has_a_line_a_minute_and_quiet_is_quiet() {
        let text = told(Mode::Lines);
        assert_eq!(text.matches("root.pxar").count(), 3, "{text}");
        assert!(!text.contains('\x1b'), "{text}");
        assert_eq!(told(Mode::Quiet), "Warning: 'a?[2Jb': gone\n");
    }

    #[test]
    fn times_are_short() {
        assert_eq!(clock(Duration::from_secs(7)), "0:07");
        assert_eq!(clock(Duration::from_secs(7265)), "2:01:05");
    }
}

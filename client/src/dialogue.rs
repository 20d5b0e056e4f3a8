//! What is told and asked beside a command's result, on standard error. Whether somebody hears of it
//! changes nothing: `eprintln!` would panic where nobody does.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Tells the user something, in a line.
pub(crate) fn tell(text: impl Display) {
    let line = format!("{text}\n");
    // Nobody is left to tell.
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Whether the user says yes to a question. Blocks until there is an answer.
///
/// # Errors
/// If it cannot be asked, or nothing can be read.
pub(crate) fn confirm(question: &str) -> io::Result<bool> {
    let mut out = io::stderr();
    out.write_all(question.as_bytes())?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

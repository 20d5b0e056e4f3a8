//! Lines on standard output and standard error.

use std::io::{self, Write};

/// Writes a line to standard output. Whoever closed it early has seen enough.
pub fn line(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Writes a line to standard error.
pub fn error_line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

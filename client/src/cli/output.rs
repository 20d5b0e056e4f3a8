//! Results on standard output; everything else goes to standard error.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum OutputFormat {
    /// Tables and lines for people.
    #[default]
    Text,
    /// JSON on one line.
    Json,
    /// JSON with line breaks and indentation.
    JsonPretty,
}

/// The option for the format of the result.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct OutputOptions {
    /// Format of the result
    #[arg(long, value_enum, default_value_t)]
    pub output_format: OutputFormat,
}

impl OutputOptions {
    /// Whether the result is for programs.
    #[must_use]
    pub fn is_json(self) -> bool {
        self.output_format != OutputFormat::Text
    }

    /// Prints a result as the server gave it, or as `text` shows it to people.
    pub fn print(self, value: &Value, text: impl FnOnce() -> Result<String>) -> Result<()> {
        let text = match self.output_format {
            OutputFormat::Text => text()?,
            OutputFormat::Json => serde_json::to_string(value)?,
            OutputFormat::JsonPretty => serde_json::to_string_pretty(value)?,
        };
        match text.is_empty() {
            true => Ok(()),
            false => print(&text),
        }
    }
}

/// Prints a text and the end of its line.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = out
        .write_all(text.as_bytes())
        .and_then(|()| match text.ends_with('\n') {
            true => Ok(()),
            false => out.write_all(b"\n"),
        })
        .and_then(|()| out.flush());
    to_reader(written)
}

/// Whoever reads the result has seen enough of it: no error to speak of.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("nobody reads the result")]
pub struct ReaderGone;

/// What writing to standard output has come to.
pub fn to_reader<T>(written: std::io::Result<T>) -> Result<T> {
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        written => written.context("failed to write the result"),
    }
}

/// Reads what the server gave as what it should be.
pub fn parsed<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T> {
    serde::Deserialize::deserialize(value).context("the server's answer is not understood")
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn only_a_reader_that_has_gone_is_no_error_to_speak_of() {
        let broken = || Error::from(ErrorKind::BrokenPipe);
        assert!(
            to_reader::<()>(Err(broken()))
                .unwrap_err()
                .is::<ReaderGone>()
        );
        let full = to_reader::<()>(Err(ErrorKind::StorageFull.into()));
        assert!(!full.unwrap_err().is::<ReaderGone>());
        let network = anyhow::Error::from(broken()).context("the connection was lost");
        assert!(!network.is::<ReaderGone>());
    }
}

//! How a task ended: the last line of its log and the status text of index and API.

use std::fmt;

/// Longest error text of a final log line; the last line is looked for near the end of the log.
const MAX_ERROR_LEN: usize = 4096;

/// The result of a finished task.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TaskState {
    /// `OK`.
    Ok,
    /// `WARNINGS: n`.
    Warnings(u64),
    /// The error message.
    Error(String),
    /// The process died before it could write a final line.
    Unknown,
}

/// Result and time of a finished task.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TaskEnd {
    /// Unix seconds.
    pub endtime: i64,
    /// The result.
    pub state: TaskState,
}

impl TaskState {
    /// An error with a message made fit for one line.
    #[must_use]
    pub fn error(message: &str) -> Self {
        let mut line: String = message
            .trim()
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        if line.len() > MAX_ERROR_LEN {
            let end = (0..=MAX_ERROR_LEN)
                .rev()
                .find(|end| line.is_char_boundary(*end));
            line.truncate(end.unwrap_or_default());
            line.push_str(" ...");
        }
        if line.is_empty() {
            line.push_str("unknown error");
        }
        Self::Error(line)
    }

    /// Reads the status text of the index and the API.
    #[must_use]
    pub fn parse(status: &str) -> Self {
        match status {
            "OK" => Self::Ok,
            "unknown" => Self::Unknown,
            other => match other.strip_prefix("WARNINGS: ").map(str::parse) {
                Some(Ok(count)) => Self::Warnings(count),
                _ => Self::error(other),
            },
        }
    }

    /// Reads the message of a log line, if it is one that ends a log.
    #[must_use]
    pub fn parse_final_line(message: &str) -> Option<Self> {
        let rest = message.strip_prefix("TASK ")?;
        if let Some(error) = rest.strip_prefix("ERROR: ") {
            return Some(Self::error(error));
        }
        match Self::parse(rest) {
            Self::Error(_) => None,
            state => Some(state),
        }
    }

    /// The message of the last log line.
    #[must_use]
    pub fn final_line(&self) -> String {
        match self {
            Self::Error(message) => format!("TASK ERROR: {message}"),
            other => format!("TASK {other}"),
        }
    }

    /// Whether the task did what it was asked for.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Ok | Self::Warnings(_))
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("OK"),
            Self::Warnings(count) => write!(f, "WARNINGS: {count}"),
            Self::Error(message) => f.write_str(message),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn final_lines_and_status_texts_are_upstreams() {
        for (state, status, line) in [
            (TaskState::Ok, "OK", "TASK OK"),
            (TaskState::Warnings(3), "WARNINGS: 3", "TASK WARNINGS: 3"),
            (TaskState::Unknown, "unknown", "TASK unknown"),
            (
                TaskState::error("no\nspace"),
                "no space",
                "TASK ERROR: no space",
            ),
        ] {
            assert_eq!(state.to_string(), status);
            assert_eq!(state.final_line(), line);
            assert_eq!(TaskState::parse(status), state);
            assert_eq!(TaskState::parse_final_line(line), Some(state));
        }
    }

    #[test]
    fn ordinary_lines_do_not_end_a_log() {
        for line in [
            "TASK",
            "TASK of the day",
            "starting",
            "TASK OK?",
            "TASK WARNINGS: x",
        ] {
            assert_eq!(TaskState::parse_final_line(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_error_is_one_line_that_reads_back(message: String) {
            let state = TaskState::error(&message);
            let line = state.final_line();
            prop_assert!(!line.contains('\n') && line.len() < MAX_ERROR_LEN + 32);
            prop_assert_eq!(TaskState::parse_final_line(&line), Some(state));
        }
    }
}

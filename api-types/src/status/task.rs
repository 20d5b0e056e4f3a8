//! Worker tasks: how they end, and their item in the list.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ParseError;
use crate::auth::Authid;
use crate::macros::serde_as_string;
use crate::upid::Upid;

/// How a task ended. Prints as in the task index and the API.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TaskStatus {
    /// Without a complaint.
    Ok,
    /// Done, with that many warnings.
    Warnings(u64),
    /// Not done; one line of text.
    Error(String),
    /// The process died before it could say.
    Unknown,
}

impl TaskStatus {
    /// A failure with that message, brought into one line that cannot be mistaken for another
    /// status.
    #[must_use]
    pub fn error(message: &str) -> Self {
        let line: Vec<&str> = message
            .split(char::is_control)
            .filter(|s| !s.is_empty())
            .collect();
        let line = line.join(" ").trim().to_owned();
        if line.is_empty() {
            return Self::Error("the task failed without a message".to_owned());
        }
        match Self::parse(&line) {
            Self::Error(_) => Self::Error(line),
            _ => Self::Error(format!("error: {line}")),
        }
    }

    /// Whether the task did what it should, warnings included.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Ok | Self::Warnings(_))
    }

    /// The last line of the log, without the time.
    #[must_use]
    pub fn final_line(&self) -> String {
        match self {
            Self::Error(message) => format!("TASK ERROR: {message}"),
            other => format!("TASK {other}"),
        }
    }

    /// Reads the last line of a log, without the time; none if it is not a final line.
    #[must_use]
    pub fn from_final_line(line: &str) -> Option<Self> {
        let status = line.strip_prefix("TASK ")?;
        if let Some(message) = status.strip_prefix("ERROR: ") {
            return Some(Self::error(message));
        }
        match Self::parse(status) {
            Self::Error(_) => None,
            status => Some(status),
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "OK" => Self::Ok,
            "unknown" => Self::Unknown,
            _ => match text.strip_prefix("WARNINGS: ").map(str::parse) {
                Some(Ok(count)) => Self::Warnings(count),
                _ => Self::Error(text.to_owned()),
            },
        }
    }
}

impl FromStr for TaskStatus {
    type Err = ParseError;

    /// Whatever is none of the fixed texts is the message of an error.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(ParseError::new(
                "task status",
                text,
                "expected one line of text",
            ));
        }
        Ok(Self::parse(text))
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.pad("OK"),
            Self::Warnings(count) => f.pad(&format!("WARNINGS: {count}")),
            Self::Error(message) => f.pad(message),
            Self::Unknown => f.pad("unknown"),
        }
    }
}

serde_as_string!(TaskStatus, "a task status");

/// One task of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskListItem {
    /// The task's id.
    pub upid: Upid,
    /// Always `localhost` in an answer.
    pub node: String,
    /// Process that ran it.
    pub pid: u32,
    /// When that process started, in clock ticks since boot.
    pub pstart: u64,
    /// When the task started.
    pub starttime: i64,
    /// Kind of task.
    pub worker_type: String,
    /// What it works on.
    pub worker_id: Option<String>,
    /// Who started it.
    pub user: Authid,
    /// When it ended; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endtime: Option<i64>,
    /// How it ended; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<TaskStatus>,
}

impl TaskListItem {
    /// The item of a task and, if it is over, when and how it ended.
    #[must_use]
    pub fn new(upid: Upid, end: Option<(i64, TaskStatus)>) -> Self {
        let (endtime, status) = end.unzip();
        Self {
            node: "localhost".into(),
            pid: upid.pid(),
            pstart: upid.pstart(),
            starttime: upid.starttime(),
            worker_type: upid.worker_type().to_owned(),
            worker_id: upid.worker_id().map(str::to_owned),
            user: upid.auth_id().clone(),
            upid,
            endtime,
            status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_written_and_read() {
        for (status, text, line) in [
            (TaskStatus::Ok, "OK", "TASK OK"),
            (TaskStatus::Warnings(3), "WARNINGS: 3", "TASK WARNINGS: 3"),
            (TaskStatus::Unknown, "unknown", "TASK unknown"),
            (
                TaskStatus::error("no room"),
                "no room",
                "TASK ERROR: no room",
            ),
        ] {
            assert_eq!(status.to_string(), text);
            assert_eq!(text.parse(), Ok(status.clone()));
            assert_eq!(status.final_line(), line);
            assert_eq!(TaskStatus::from_final_line(line), Some(status));
        }
        assert_eq!(TaskStatus::from_final_line("TASK whatever"), None);
        assert_eq!(TaskStatus::from_final_line("starting"), None);
        assert!("".parse::<TaskStatus>().is_err());
    }

    #[test]
    fn an_error_message_stays_an_error() {
        for message in [
            "OK",
            "unknown",
            "WARNINGS: 7",
            "",
            "\n",
            "a\nTASK OK",
            "  x\r\n\0y ",
        ] {
            let status = TaskStatus::error(message);
            assert!(!status.is_success());
            let text = status.to_string();
            assert!(!text.contains('\n'), "{text:?}");
            assert_eq!(text.parse(), Ok(status.clone()), "{message:?}");
            assert_eq!(
                TaskStatus::from_final_line(&status.final_line()),
                Some(status)
            );
        }
        assert_eq!(TaskStatus::error("a\nb").to_string(), "a b");
    }

    #[test]
    fn the_item_is_that_of_the_real_system() {
        let json = r#"{"upid":"UPID:vm:00000B5D:00032AF6:00000094:6B02A923:verify_group:samples\\x3a-vm-100:test@pbs:","node":"localhost","pid":2909,"pstart":207606,"starttime":1795336483,"worker_type":"verify_group","worker_id":"samples:/vm/100","user":"test@pbs","endtime":1795336483,"status":"OK"}"#;
        let item: TaskListItem = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&item).unwrap(), json);
        assert_eq!(
            TaskListItem::new(item.upid.clone(), Some((1_795_336_483, TaskStatus::Ok))),
            item
        );
    }
}

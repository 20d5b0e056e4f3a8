//! Following a worker task of the server.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use datastore::env::Env;
use s3_client::encode::encode_component;
use serde_json::Value;

use super::output::print;
use crate::remote::Remote;

const PAUSE: Duration = Duration::from_secs(1);
const PAGE: u64 = 500;

/// What is printed of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lines {
    /// Nothing.
    None,
    /// Without the time that each begins with.
    Text,
    /// As they are.
    Whole,
}

/// The path of a call on a task.
pub(super) fn task_path(upid: &str, call: &str) -> String {
    format!("/nodes/localhost/tasks/{}{call}", encode_component(upid))
}

/// Prints the log of a task until it ends; fails if the task has.
pub(super) async fn follow(remote: &Remote, upid: &str, lines: Lines, env: &Env) -> Result<()> {
    let mut next = 1;
    loop {
        let start = next.to_string();
        let limit = PAGE.to_string();
        let query = [
            ("limit", limit.as_str()),
            ("start", &start),
            ("test-status", "true"),
        ];
        let answer = remote.get_answer(&task_path(upid, "/log"), &query).await?;
        let page = answer.get("data").and_then(Value::as_array);
        let page = page.context("the server's answer is no task log")?;
        let fresh = page.iter().filter(|line| number(line, "n") >= Some(next));
        let fresh: Vec<_> = fresh.collect();
        for line in &fresh {
            let text = line.get("t").and_then(Value::as_str).unwrap_or_default();
            // An empty log has one line that says so.
            let text = text.replace(|c: char| c.is_control() && c != '\t', " ");
            match lines {
                Lines::None => {}
                Lines::Text => print(without_time(&text))?,
                Lines::Whole => print(&text)?,
            }
        }
        if let Some(last) = fresh.iter().filter_map(|line| number(line, "n")).max() {
            next = last + 1;
        }
        let active = answer.get("active").and_then(Value::as_bool);
        let complete = fresh.is_empty() || next > number(&answer, "total").unwrap_or(0);
        if active != Some(true) && complete {
            break;
        }
        if fresh.is_empty() {
            env.sleep(PAUSE).await;
        }
    }
    let status = remote.get(&task_path(upid, "/status"), &[]).await?;
    match status.get("exitstatus").and_then(Value::as_str) {
        Some(text) if text == "OK" || text.starts_with("WARNINGS") => Ok(()),
        Some(text) => bail!("the task has failed: {text}"),
        None => bail!("how the task has ended is not known"),
    }
}

fn number(value: &Value, name: &str) -> Option<u64> {
    value.get(name).and_then(Value::as_u64)
}

/// The text behind `2026-11-22T08:34:27+00:00: `.
fn without_time(line: &str) -> &str {
    match line.split_once(": ") {
        Some((time, text)) if time.parse::<jiff::Timestamp>().is_ok() => text,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_cut_off_if_it_is_one() {
        let line = "2026-11-22T08:34:27+00:00: moving group: done";
        assert_eq!(without_time(line), "moving group: done");
        assert_eq!(without_time("error: x"), "error: x");
        assert_eq!(without_time("no output"), "no output");
    }

    #[test]
    fn a_upid_is_one_component_of_a_path() {
        let path = task_path("UPID:vm:0:0:0:0:prune:a\\x3a:x@pbs:", "/log");
        assert!(
            path.starts_with("/nodes/localhost/tasks/UPID%3Avm%3A"),
            "{path}"
        );
        assert!(path.ends_with("%3A/log"), "{path}");
    }
}

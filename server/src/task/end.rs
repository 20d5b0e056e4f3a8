//! How and when a task ended.

use api_types::status::TaskStatus;

/// Longest error text of a final log line; the last line is looked for near the end of the log.
const MAX_ERROR_LEN: usize = 4096;

/// Result and time of a finished task.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TaskEnd {
    /// Unix seconds.
    pub endtime: i64,
    /// The result.
    pub status: TaskStatus,
}

/// A failure, its message short enough for a final log line.
#[must_use]
pub fn failure(message: &str) -> TaskStatus {
    let cut = (0..=MAX_ERROR_LEN.min(message.len()))
        .rev()
        .find(|end| message.is_char_boundary(*end));
    match message.split_at(cut.unwrap_or_default()) {
        (whole, "") => TaskStatus::error(whole),
        (start, _) => TaskStatus::error(&format!("{start} ...")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_message_is_cut() {
        let line = failure(&"ä\n".repeat(MAX_ERROR_LEN)).final_line();
        assert!(line.len() < MAX_ERROR_LEN + 32 && line.ends_with(" ..."));
    }

    proptest! {
        #[test]
        fn any_failure_is_one_line_that_reads_back(message: String) {
            let status = failure(&message);
            let line = status.final_line();
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(TaskStatus::from_final_line(&line), Some(status));
        }
    }
}

//! Which process a task belongs to: process id and start time, as in a UPID.

/// A process, told apart from a later one with the same id by its start time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot (field 22 of `/proc/<pid>/stat`).
    pub pstart: u64,
}

impl Process {
    /// The calling process.
    pub fn current() -> std::io::Result<Self> {
        let pid = std::process::id();
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        let pstart = parse_start_time(&stat).ok_or_else(|| {
            std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                "no start time in /proc/self/stat",
            )
        })?;
        Ok(Self { pid, pstart })
    }

    /// Whether the process still exists.
    #[must_use]
    pub fn is_running(&self) -> bool {
        std::fs::read_to_string(format!("/proc/{}/stat", self.pid))
            .ok()
            .and_then(|stat| parse_start_time(&stat))
            .is_some_and(|pstart| pstart == self.pstart)
    }
}

/// The second field, the command in parentheses, may itself hold spaces and parentheses.
fn parse_start_time(stat: &str) -> Option<u64> {
    let (_, after_command) = stat.rsplit_once(')')?;
    after_command.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_runs_and_one_with_another_start_time_does_not() {
        let process = Process::current().unwrap();
        assert!(process.is_running());
        assert!(
            !Process {
                pstart: process.pstart + 1,
                ..process
            }
            .is_running()
        );
    }

    #[test]
    fn an_odd_command_name_does_not_shift_the_fields() {
        let stat = "7 (a ) b (c) S 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 207606 1 2 3";
        assert_eq!(parse_start_time(stat), Some(207_606));
        assert_eq!(parse_start_time("7 (x"), None);
    }
}

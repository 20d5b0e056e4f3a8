//! Other processes: this program once more, and what it uses.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::children::Task;

/// Ticks of a second in `/proc/PID/stat`, the same on every Linux.
const TICKS: u64 = 100;

/// The allocator's settings of the package's service (`debian/coffer-server.service`).
pub const SERVICE: [(&str, &str); 4] = [
    ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
    ("MALLOC_ARENA_MAX", "2"),
    ("MALLOC_MMAP_THRESHOLD_", "262144"),
    ("MALLOC_TRIM_THRESHOLD_", "262144"),
];

/// This program at a task of its own. Ends with this.
#[derive(Debug)]
pub struct Process {
    child: Child,
    first_line: String,
}

/// Processor time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// In the program.
    pub user: Duration,
    /// In the kernel for it.
    pub system: Duration,
}

impl Process {
    /// Starts the program, and waits for the first line that it says.
    pub fn start(task: &Task) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let settings: &[_] = match task {
            Task::Daemon(_) => &SERVICE,
            _ => &[],
        };
        let mut child = Command::new(program)
            .arg("--child")
            .arg(serde_json::to_string(task)?)
            .env("COFFER_LOG", "warn")
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run this program again")?;
        let mut first_line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut first_line)?;
        }
        let process = Self { child, first_line };
        ensure!(
            !process.first_line.is_empty(),
            "the process failed: {task:?}"
        );
        Ok(process)
    }

    /// What it said first.
    #[must_use]
    pub fn first_line(&self) -> &str {
        self.first_line.trim()
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lets it end in order.
    pub fn end(&mut self) -> Result<()> {
        drop(self.child.stdin.take());
        self.child.wait().context("cannot wait for the process")?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only when the process is gone already.
        let _ = self.end();
    }
}

impl Used {
    /// All of it.
    #[must_use]
    pub fn total(self) -> Duration {
        self.user + self.system
    }

    /// What was used since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }
}

/// What a process has used, in all its threads.
pub fn used(id: u32) -> Result<Used> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The name, in brackets, may have anything in it.
    let (_, fields) = text.rsplit_once(')').context("/proc/PID/stat")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || -> Result<Duration> {
        let ticks: u64 = fields.next().context("/proc/PID/stat")?.parse()?;
        Ok(Duration::from_millis(ticks * 1000 / TICKS))
    };
    Ok(Used {
        user: next()?,
        system: next()?,
    })
}

/// The processes that a process has started.
pub fn started_by(id: u32) -> Result<Vec<u32>> {
    let mut all = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{id}/task"))? {
        let text = std::fs::read_to_string(thread?.path().join("children"))?;
        all.extend(
            text.split_whitespace()
                .filter_map(|id| id.parse::<u32>().ok()),
        );
    }
    Ok(all)
}

/// `VmHWM`: the most memory that a process (a number, or `self`) ever had resident.
pub fn peak_memory(id: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.context("there is no VmHWM in /proc/PID/status")? * 1024)
}

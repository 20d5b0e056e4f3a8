//! What rows do in a process of its own, so that its memory is only theirs.

use anyhow::{Result, bail};

/// Does `task`, as named by the row that started this process.
pub fn run(task: &str) -> Result<()> {
    bail!("there is no task '{task}'")
}

//! `coffer-client`, as a user runs it.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::world::process;

/// Begins the line that says how much memory was needed.
pub const PEAK: &str = "peak memory:";

/// A command.
#[derive(Debug, Deserialize, Serialize)]
pub struct Task {
    /// What follows the program's name.
    pub arguments: Vec<String>,
}

/// Runs it.
pub fn run(task: Task) -> Result<()> {
    let program = OsString::from("coffer-client");
    let arguments = task.arguments.into_iter().map(OsString::from);
    let code = client::cli::run(std::iter::once(program).chain(arguments));
    ensure!(code == ExitCode::SUCCESS, "the client failed");
    println!("{PEAK} {}", process::peak_memory("self")?);
    Ok(())
}

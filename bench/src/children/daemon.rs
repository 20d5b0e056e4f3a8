//! The daemon, as `coffer-server --dev` runs it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser as _;
use serde::{Deserialize, Serialize};
use server::daemon::command::{self, Cli};

/// An installation.
#[derive(Debug, Deserialize, Serialize)]
pub struct Task {
    /// Where it is.
    pub dir: PathBuf,
    /// The program of its S3 server.
    pub minio: PathBuf,
}

/// Runs it until the input ends.
pub async fn run(task: &Task) -> Result<()> {
    super::end_with_parent();
    let arguments = ["coffer-server", "--shutdown-time", "10", "--dev"].map(Into::into);
    let more = [
        task.dir.clone().into(),
        "--minio".into(),
        task.minio.clone().into(),
    ];
    let cli = Cli::parse_from(arguments.into_iter().chain::<[std::ffi::OsString; 3]>(more));
    ensure!(
        command::run(cli).await == ExitCode::SUCCESS,
        "the daemon failed"
    );
    Ok(())
}

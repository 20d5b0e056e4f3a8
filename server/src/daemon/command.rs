//! The command line of `coffer-server`.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use s3_client::env::Env;
use tracing_subscriber::EnvFilter;

use super::dev::{DevOptions, Development};
use super::run::{Daemon, DaemonOptions, OnlyDaemon};
use super::server::Server;
use crate::console;
use crate::paths::{PathOptions, Paths, create_dir};
use crate::privileges::become_owner;
use crate::s3::S3Options;

/// A backup server that the clients of Proxmox Backup Server use unchanged.
#[derive(Debug, Parser)]
#[command(name = "coffer-server", version)]
pub struct Cli {
    /// How it runs.
    #[command(flatten)]
    pub daemon: DaemonOptions,
    /// Try it out: everything below this directory, with an S3 server, datastores `dev` (S3) and
    /// `local`, and an administrator. How to reach it is in DIR/env.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["dir", "config_dir", "state_dir", "log_dir", "run_dir"])]
    pub dev: Option<PathBuf>,
    /// With `--dev`.
    #[command(flatten)]
    pub development: DevOptions,
    /// Where the installation lives.
    #[command(flatten)]
    pub paths: PathOptions,
    /// How S3 endpoints are reached.
    #[command(flatten)]
    pub s3: S3Options,
}

/// Runs the daemon to its end. `COFFER_LOG` sets what is logged to standard error.
pub async fn run(cli: Cli) -> ExitCode {
    log_to_stderr();
    match execute(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::error_line(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn execute(cli: Cli) -> Result<()> {
    let env = Env::system();
    match cli.dev {
        None => {
            let paths = cli.paths.resolve()?;
            become_owner(&paths.config)?;
            let only = OnlyDaemon::of(&paths, &env).await?;
            let server = Server::open(paths, &cli.s3, env)?;
            Daemon::start(server, &cli.daemon, only).await?.run().await
        }
        Some(dir) => {
            let dir = std::path::absolute(&dir)
                .with_context(|| format!("failed to make the path {} absolute", dir.display()))?;
            create_dir(&dir, 0o700)?;
            let only = OnlyDaemon::of(&Paths::below(&dir), &env).await?;
            let development = Development::start(&dir, &cli.development, &cli.s3, env).await?;
            let options = development.daemon(&cli.daemon);
            let daemon = Daemon::start(development.server(), &options, only).await?;
            let env_file = development.write_env(daemon.address()?)?;
            console::line(&format!("ready: . {}", env_file.display()));
            daemon.run().await
        }
    }
}

/// Lines on standard error; the journal knows the time itself.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("COFFER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        lines.without_time().init();
    } else {
        lines.init();
    }
}

//! `coffer-test-client`: backs up whole files and restores them, by the thin client. For trying a
//! server out; it reads `PBS_REPOSITORY`, `PBS_PASSWORD` and `PBS_FINGERPRINT`.

mod command;

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    match command::run(command::Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

//! The daemon of a Coffer backup server.

use std::process::ExitCode;

use clap::Parser as _;
use server::daemon::command::{self, Cli};

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(command::run(Cli::parse())),
        Err(error) => {
            server::console::error_line(&format!("error: failed to start: {error}"));
            ExitCode::FAILURE
        }
    }
}

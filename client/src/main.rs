//! The program `coffer-client`; see the library.

fn main() -> std::process::ExitCode {
    client::cli::run(std::env::args_os())
}

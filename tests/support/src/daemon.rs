//! `coffer-server` as a process.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// Looks until a test gives up: a minute on an idle machine, since nothing else depends on it.
const LOOKS: usize = 600;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// A running `coffer-server --dev`, with the datastores `dev`, in a bucket, and `local`, in a
/// directory. Killed on drop.
#[derive(Debug)]
pub struct DevDaemon {
    process: Child,
    /// On 127.0.0.1.
    pub port: u16,
    /// Of `admin@pbs`.
    pub password: String,
    /// Of its certificate.
    pub fingerprint: String,
    /// `user!name:secret`.
    pub token: String,
}

impl Drop for DevDaemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// That program, without anything of the caller's environment.
#[must_use]
pub fn server_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for variable in [
        "DIR",
        "CONFIG_DIR",
        "STATE_DIR",
        "LOG_DIR",
        "RUN_DIR",
        "LISTEN",
    ] {
        command.env_remove(format!("COFFER_{variable}"));
    }
    command
        .env_remove("NOTIFY_SOCKET")
        .env("COFFER_LOG", "warn");
    command
}

/// The arguments that make it a [`DevDaemon`].
#[must_use]
pub fn dev_command(program: &Path, dir: &Path) -> Command {
    let mut command = server_command(program);
    command.args(["--shutdown-time", "5", "--dev"]).arg(dir);
    command
}

impl DevDaemon {
    /// Runs that command, and waits until it is ready; `dir` is that of its `--dev`.
    ///
    /// # Errors
    /// If it does not get ready.
    pub fn start(command: &mut Command, dir: &Path) -> anyhow::Result<Self> {
        let mut process = command
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run the server")?;
        let output = process.stdout.take().context("it has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line.starts_with("ready: . "), "it is not ready: {line:?}");
        let env = std::fs::read_to_string(dir.join("env"))?;
        let repository = exported(&env, "PBS_REPOSITORY")?;
        let port = repository
            .strip_prefix("admin@pbs@127.0.0.1:")
            .and_then(|rest| rest.strip_suffix(":dev"))
            .with_context(|| format!("not the repository of --dev: {repository}"))?;
        Ok(Self {
            process,
            port: port.parse()?,
            password: exported(&env, "PBS_PASSWORD")?,
            fingerprint: exported(&env, "PBS_FINGERPRINT")?,
            token: exported(&env, "COFFER_API_TOKEN")?,
        })
    }

    /// The process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it like a power failure.
    pub fn kill(&mut self) {
        // Both fail only when the process is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// If that cannot be waited for.
    pub fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.process.wait()
    }
}

/// A value of the file `env` that the daemon writes for shells.
///
/// # Errors
/// If it is not there.
pub fn exported(env: &str, name: &str) -> anyhow::Result<String> {
    let start = format!("export {name}='");
    let line = env.lines().find_map(|line| line.strip_prefix(&start));
    line.and_then(|line| line.strip_suffix('\''))
        .map(str::to_owned)
        .with_context(|| format!("there is no {name} in the daemon's environment file"))
}

/// Waits, by looking, until something of another process is as it should be; whether it came.
pub fn comes(mut reached: impl FnMut() -> bool) -> bool {
    (0..LOOKS).any(|_| {
        let came = reached();
        if !came {
            std::thread::park_timeout(BETWEEN_LOOKS);
        }
        came
    })
}

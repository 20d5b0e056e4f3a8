//! The two programs, each in a process of its own.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use s3_client::env::Env;

use crate::children::{Task, client};
use crate::rows::session::place::Place;

/// What a command needed.
#[derive(Clone, Copy, Debug)]
pub struct Needed {
    /// From its start to its end.
    pub took: Duration,
    /// Of the processor, in all its threads.
    pub cpu: Duration,
}

impl Needed {
    /// How many cores were busy with it.
    pub fn cores(self) -> f64 {
        self.cpu.as_secs_f64() / self.took.as_secs_f64().max(0.001)
    }
}

/// `coffer-client`, as a user of this daemon.
pub fn coffer<S: AsRef<OsStr>>(place: &Place, store: &str, arguments: &[S]) -> Result<Coffer> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let task = Task::Client(client::Task {
        arguments: arguments
            .iter()
            .map(|argument| argument.as_ref().to_string_lossy().into_owned())
            .collect(),
    });
    let mut command = Command::new(program);
    command
        .arg("--child")
        .arg(serde_json::to_string(&task)?)
        .envs(place.client_environment(store)?);
    let (needed, said) = run(&mut command)?;
    let peak = said
        .lines()
        .find_map(|line| line.strip_prefix(client::PEAK)?.trim().parse().ok())
        .context("the client did not say what memory it needed")?;
    Ok(Coffer { needed, peak })
}

/// What `coffer-client` needed.
#[derive(Clone, Copy, Debug)]
pub struct Coffer {
    /// Time.
    pub needed: Needed,
    /// Most memory at any time, in bytes.
    pub peak: u64,
}

/// A repository of `restic` in the daemon's MinIO, beside its datastore.
#[derive(Debug)]
pub struct Restic {
    binary: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl Restic {
    /// Makes a new repository of that name.
    pub fn create(place: &Place, name: &str, cache: &Path) -> Result<Self> {
        let s3 = place.s3()?;
        let repository = format!("s3:http://127.0.0.1:{}/{}/{name}", s3.port, s3.bucket);
        let environment: [(&str, OsString); 6] = [
            ("RESTIC_REPOSITORY", repository.into()),
            ("RESTIC_PASSWORD", "bench".into()),
            ("RESTIC_CACHE_DIR", cache.join(name).into()),
            ("AWS_ACCESS_KEY_ID", s3.access_key.into()),
            ("AWS_SECRET_ACCESS_KEY", s3.secret_key.into()),
            ("AWS_DEFAULT_REGION", s3.region.into()),
        ];
        let restic = Self {
            binary: find_restic()?,
            environment: environment
                .into_iter()
                .map(|(name, value)| (name.into(), value))
                .collect(),
        };
        restic.run(&["init", "--quiet"])?;
        Ok(restic)
    }

    /// Runs it.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Needed> {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(run(&mut command)?.0)
    }
}

fn find_restic() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("RESTIC_BIN").filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let mut candidates: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|list| std::env::split_paths(&list).collect())
        .unwrap_or_default();
    candidates.extend(std::env::var_os("HOME").map(|home| PathBuf::from(home).join("go/bin")));
    candidates
        .into_iter()
        .map(|dir| dir.join("restic"))
        .find(|path| path.is_file())
        .context("restic is neither in PATH nor in ~/go/bin; run `make restic` or set RESTIC_BIN")
}

/// Runs a command to its end; what it needed, and what it said.
fn run(command: &mut Command) -> Result<(Needed, String)> {
    let env = Env::system();
    let before = children_used()?;
    let begun = env.now();
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let took = env.now() - begun;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let cpu = children_used()?.saturating_sub(before);
    Ok((Needed { took, cpu }, said))
}

/// Processor time of all processes that this one has started and that have ended.
fn children_used() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}

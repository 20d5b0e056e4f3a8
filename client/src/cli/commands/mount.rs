//! An archive as a file system.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use api_types::names::ArchiveName;
use clap::Args;
use datastore::env::Env;

use crate::cli::options::{ReadArguments, archive_name};
use crate::tree::mount::spawn;

/// How often it is looked whether somebody has unmounted the file system.
const LOOK: Duration = Duration::from_millis(250);
/// The process in the background, by its command line, and what it says when it is ready.
const IN_BACKGROUND: &str = "--in-background";
const MOUNTED: &str = "mounted\n";

/// Mount an archive of files, read only
///
/// Goes on in the background until it is unmounted by `fusermount3 -u` or umount(8).
#[derive(Clone, Debug, Args)]
pub struct MountArguments {
    /// Which snapshot.
    #[command(flatten)]
    pub read: ReadArguments,
    /// The archive, like root.pxar
    #[arg(value_parser = archive_name)]
    pub archive_name: ArchiveName,
    /// The directory to mount it at
    pub target: PathBuf,
    /// Stay in the foreground
    #[arg(long, short, alias = "foreground")]
    pub verbose: bool,
    /// Go to the background when it is mounted
    #[arg(long, hide = true)]
    pub in_background: bool,
}

impl MountArguments {
    pub(crate) async fn run(&self) -> Result<()> {
        let target = self.target.canonicalize();
        let target = target.with_context(|| format!("there is no directory {:?}", self.target))?;
        ensure!(target.is_dir(), "{target:?} is no directory");
        ensure!(
            Path::new("/dev/fuse").exists(),
            "this machine has no /dev/fuse: archives cannot be mounted here; use `restore` or \
             `catalog shell`"
        );
        if !self.verbose && !self.in_background {
            return in_background().await;
        }
        let session = self.read.open().await?;
        let archive = session.pxar(&self.archive_name).await?;
        let env = Env::system();
        let mount = move || anyhow::Ok(spawn(archive.accessor()?, &target)?);
        // Whatever ends this command unmounts.
        let mounted = env.blocking(mount).await?;
        if self.in_background {
            detach().context("failed to go to the background")?;
        }
        while !mounted.is_finished() {
            env.sleep(LOOK).await;
        }
        // Dropping it would unmount once more, and hit what somebody has mounted here since.
        std::mem::forget(mounted);
        Ok(())
    }
}

/// Starts this very command in a process of its own, which asks for passwords on this terminal and
/// leaves it when the file system is there.
async fn in_background() -> Result<()> {
    let program = std::env::current_exe().context("failed to find this program")?;
    let mut arguments = std::env::args_os().skip(1);
    let mut child = Command::new(program)
        .args(arguments.next())
        .arg(IN_BACKGROUND)
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to start a process for the file system")?;
    let wait = move || {
        let said = child.stdout.take().map(std::io::read_to_string);
        if said.transpose()?.as_deref() == Some(MOUNTED) {
            return Ok(());
        }
        let status = child.wait()?;
        bail!("the archive was not mounted ({status})")
    };
    Env::system().blocking(wait).await
}

/// Tells the process that has started this one, if it is still there, and leaves its terminal, its
/// directory and its output.
fn detach() -> Result<()> {
    nix::unistd::setsid()?;
    std::env::set_current_dir("/")?;
    let mut out = std::io::stdout();
    out.write_all(MOUNTED.as_bytes())?;
    out.flush()?;
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&nothing)?;
    nix::unistd::dup2_stderr(&nothing)?;
    nix::unistd::dup2_stdout(&nothing)?;
    Ok(())
}

/// Which image would be a block device.
#[derive(Clone, Debug, Args)]
pub struct MapArguments {
    /// Which snapshot.
    #[command(flatten)]
    pub read: ReadArguments,
    /// The image, like disk.img
    pub archive_name: String,
}

/// Which block device would be given up.
#[derive(Clone, Debug, Args)]
pub struct UnmapArguments {
    /// The device
    pub name: Option<String>,
}

/// Says what to do instead.
pub(crate) fn no_block_devices() -> Result<()> {
    bail!(
        "coffer-client does not make images block devices; restore the image to a file and use \
         `losetup --partscan --read-only --find --show FILE`"
    )
}

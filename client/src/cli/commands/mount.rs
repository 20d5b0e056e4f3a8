//! An archive as a file system.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use api_types::names::ArchiveName;
use clap::Args;
use datastore::env::Env;

use crate::cli::options::{ReadArguments, archive_name};
use crate::tree::mount::mount;

/// How often it is looked whether the file system is there.
const LOOK: Duration = Duration::from_millis(50);

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
        if !self.verbose {
            // What a person must be asked about the server is asked here, and remembered.
            self.read.repository.connect().await?;
            return in_background(&target).await;
        }
        let session = self.read.open().await?;
        let archive = session.pxar(&self.archive_name).await?;
        let serve = move || Ok(mount(archive.accessor()?, &target)?);
        Env::system().blocking(serve).await
    }
}

/// Starts this very command in the foreground of a process of its own, and leaves it alone when the
/// file system is there. A key's password is asked for by that process, on the same terminal.
async fn in_background(target: &Path) -> Result<()> {
    let before = device(target)?;
    let program = std::env::current_exe().context("failed to find this program")?;
    let mut arguments = std::env::args_os().skip(1);
    let mut child = Command::new(program)
        .args(arguments.next())
        .arg("--verbose")
        .args(arguments)
        .stdout(Stdio::null())
        // Not ours: whoever waits for the end of our output would wait for it.
        .stderr(Stdio::piped())
        .spawn()
        .context("failed to start a process for the file system")?;
    let env = Env::system();
    loop {
        if device(target)? != before {
            return Ok(());
        }
        let ended = child.try_wait();
        if let Some(status) = ended.context("failed to wait for the file system")? {
            let said = child.stderr.take().map(std::io::read_to_string);
            let said = said.transpose()?.unwrap_or_default();
            let said = said.trim().trim_start_matches("Error: ");
            bail!("the archive was not mounted ({status}): {said}");
        }
        env.sleep(LOOK).await;
    }
}

fn device(path: &Path) -> Result<u64> {
    let metadata = std::fs::metadata(path);
    let metadata = metadata.with_context(|| format!("failed to look at {path:?}"))?;
    Ok(metadata.dev())
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

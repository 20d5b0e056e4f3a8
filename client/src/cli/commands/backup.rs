//! Making a backup.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use api_types::human::ByteSize;
use api_types::names::{BackupGroup, BackupId, BackupTime, BackupType};
use clap::Args;
use datastore::env::Env;

use crate::backup::{ChangeDetection, MasterKey, Options, Protection, Spec, run};
use crate::cli::Outcome;
use crate::cli::options::{CryptArguments, NamespaceOptions, RepositoryOptions};
use crate::cli::progress::Console;
use crate::keys::{BackupKeys, KeyOptions};
use crate::remote::dirs::Dirs;
use crate::session::Crypt;
use crate::tree::chunker::ChunkSize;
use crate::tree::create::{CreateOptions, DEFAULT_ENTRIES_MAX, Devices};
use crate::tree::pattern::Pattern;

/// Back up directories, images and files
#[derive(Clone, Debug, Args)]
pub struct BackupArguments {
    /// What to back up: NAME.pxar:DIRECTORY, NAME.img:DEVICE-OR-FILE, NAME.conf:FILE, NAME.log:FILE
    #[arg(required = true, value_name = "BACKUPSPEC")]
    pub backupspec: Vec<Spec>,
    /// Type of the group: vm, ct or host
    #[arg(long, value_name = "TYPE", default_value = "host")]
    pub backup_type: BackupType,
    /// Id of the group [default: the name of this machine]
    #[arg(long, value_name = "ID")]
    pub backup_id: Option<BackupId>,
    /// When the backup is said to be made, in seconds since 1970 [default: now]
    #[arg(long, value_name = "SECONDS")]
    pub backup_time: Option<i64>,
    /// How unchanged files are found: legacy, data or metadata
    #[arg(long, value_name = "MODE", default_value_t)]
    pub change_detection_mode: ChangeDetection,
    /// Leave out what matches this pattern; may be repeated
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    pub exclude: Vec<Pattern>,
    /// Enter the file system that is mounted at this path; may be repeated
    #[arg(long, value_name = "PATH", conflicts_with = "all_file_systems")]
    pub include_dev: Vec<PathBuf>,
    /// Enter all file systems that are mounted below
    #[arg(long)]
    pub all_file_systems: bool,
    /// Leave out what is in directories lost+found
    #[arg(long)]
    pub skip_lost_and_found: bool,
    /// Only warn of files whose extended attributes are larger than the system gives out
    #[arg(long)]
    pub skip_e2big_xattr: bool,
    /// How many files an archive may have
    #[arg(long, value_name = "N", default_value_t = DEFAULT_ENTRIES_MAX)]
    pub entries_max: u64,
    /// Average size of chunks in KiB: 64, 128, ... 4096
    #[arg(long, value_name = "KIB", value_parser = chunk_size)]
    pub chunk_size: Option<ChunkSize>,
    /// How it is protected.
    #[command(flatten)]
    pub crypt: CryptArguments,
    /// File with the master key that can open the backup too
    #[arg(long, value_name = "FILE")]
    pub master_pubkey_file: Option<PathBuf>,
    /// File descriptor with that master key
    #[arg(long, value_name = "NUMBER")]
    pub master_pubkey_fd: Option<u32>,
    /// How fast it is transferred.
    #[command(flatten)]
    pub rate: RateArguments,
    /// Have the server not keep the chunks in its cache
    #[arg(long)]
    pub no_cache: bool,
    /// Only say what would be backed up
    #[arg(long)]
    pub dry_run: bool,
    /// Only say what goes wrong
    #[arg(long)]
    pub quiet: bool,
    /// Where.
    #[command(flatten)]
    pub repository: RepositoryOptions,
    /// In which namespace.
    #[command(flatten)]
    pub ns: NamespaceOptions,
}

/// How fast is fast enough.
#[derive(Clone, Debug, Args)]
pub struct RateArguments {
    /// Most bytes in a second, like 10MiB
    #[arg(long, value_name = "SIZE")]
    pub rate: Option<ByteSize>,
    /// Bytes that may pass at once after a pause
    #[arg(long, value_name = "SIZE", requires = "rate")]
    pub burst: Option<ByteSize>,
}

pub(crate) fn pattern(text: &str) -> Result<Pattern, crate::tree::pattern::Invalid> {
    Pattern::parse(text.as_bytes())
}

fn chunk_size(text: &str) -> Result<ChunkSize, String> {
    let size = text.parse().ok().and_then(ChunkSize::from_kib);
    size.ok_or_else(|| "expected 64, 128, 256, 512, 1024, 2048 or 4096".to_owned())
}

impl BackupArguments {
    pub(crate) async fn run(&self) -> Result<Outcome> {
        let env = Env::system();
        let options = self.options(&env).await?;
        let remote = self.repository.connect().await?;
        let console = Arc::new(Console::new(self.quiet));
        let outcome = run(&remote, &options, console, &env).await?;
        Ok(Outcome::with_problems(outcome.problems))
    }

    async fn options(&self, env: &Env) -> Result<Options> {
        let id = match &self.backup_id {
            Some(id) => id.clone(),
            None => this_machine()?,
        };
        let time = self.backup_time.map(BackupTime::from_secs).transpose()?;
        let keys = KeyOptions {
            master_pubkey_file: self.master_pubkey_file.clone(),
            master_pubkey_fd: self.master_pubkey_fd,
            ..KeyOptions::from(&self.crypt)
        };
        // It may wait for a key, ask for its password, and derive another from it.
        let protect = move || protection(&keys.for_backup(&Dirs::of_user()?)?);
        let protection = env.blocking(protect).await?;
        Ok(Options {
            specs: self.backupspec.clone(),
            ns: self.ns.ns.clone(),
            group: BackupGroup::new(self.backup_type, id),
            time,
            detection: self.change_detection_mode,
            chunk_size: self.chunk_size.unwrap_or(ChunkSize::ARCHIVE),
            tree: CreateOptions {
                exclude: self.exclude.clone(),
                devices: match self.all_file_systems {
                    true => Devices::All,
                    false => Devices::Listed(self.include_dev.clone()),
                },
                skip_lost_and_found: self.skip_lost_and_found,
                entries_max: self.entries_max,
            },
            skip_large_attributes: self.skip_e2big_xattr,
            protection,
            dry_run: self.dry_run,
            no_cache: self.no_cache,
            rate: self.rate.rate.map(ByteSize::bytes),
            burst: self.rate.burst.map(ByteSize::bytes),
        })
    }
}

fn this_machine() -> Result<BackupId> {
    let name = nix::unistd::gethostname().context("failed to ask for this machine's name")?;
    let name = name.to_string_lossy();
    let id = name.parse();
    id.context("this machine's name cannot be the id of a group: give --backup-id")
}

fn protection(keys: &BackupKeys) -> Result<Protection> {
    let Some(key) = &keys.key else {
        return Ok(Protection::default());
    };
    let crypt = key.open()?;
    let master = keys.master.as_ref().map(|master| {
        anyhow::Ok(MasterKey {
            source: master.source().label(),
            encrypted: master.encrypt(key.config(), &crypt)?,
        })
    });
    Ok(Protection {
        crypt: Crypt::new(keys.mode, Some(crypt))?,
        key_source: Some(key.source().label()),
        master: master.transpose()?,
    })
}

//! Encryption keys.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand, ValueEnum};
use datastore::env::Env;
use datastore::format::{CryptConfig, Kdf, KeyConfig};
use serde_json::json;

use crate::cli::output::{OutputOptions, print};
use crate::cli::show::stated_time;
use crate::cli::table::Table;
use crate::dialogue::tell;
use crate::keys::file::path_or_default;
use crate::keys::paper::{self, Form};
use crate::keys::passphrase::{self, NEW, OF_KEY, OF_MASTER};
use crate::keys::{KeyFile, MasterKey, Source, master};
use crate::remote::dirs::{Dirs, create_private, write_private};

/// What to do with keys. Without a path, the key is the one in the configuration directory, which
/// backups use if no other is named.
#[derive(Clone, Debug, Subcommand)]
pub enum KeyCommand {
    /// Change the password of a key
    ChangePassphrase(ProtectedKeyArguments),
    /// Make a key
    Create(ProtectedKeyArguments),
    /// Make a master key: master-private.pem and master-public.pem in this directory
    CreateMasterKey,
    /// Use a master key for backups from now on
    ImportMasterPubkey {
        /// File with the public half
        path: PathBuf,
    },
    /// Get a key back that a snapshot keeps for the master key
    ImportWithMasterKey(RecoverArguments),
    /// Print a key on paper
    Paperkey(PaperArguments),
    /// Show what a key file says of itself
    #[command(alias = "info")]
    Show(ShowArguments),
    /// Show the public half of a master key
    ShowMasterPubkey(ShowArguments),
}

impl KeyCommand {
    pub(crate) fn run(&self) -> Result<()> {
        let dirs = Dirs::of_user()?;
        match self {
            Self::ChangePassphrase(arguments) => arguments.change(&dirs),
            Self::Create(arguments) => arguments.create(&dirs),
            Self::CreateMasterKey => create_master_key(),
            Self::ImportMasterPubkey { path } => import_master_key(path, &dirs),
            Self::ImportWithMasterKey(arguments) => arguments.run(&dirs),
            Self::Paperkey(arguments) => arguments.run(&dirs),
            Self::Show(arguments) => arguments.key(&dirs),
            Self::ShowMasterPubkey(arguments) => arguments.master_key(&dirs),
        }
    }
}

/// How a key is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KdfArgument {
    /// Not at all
    None,
    /// By a password, through scrypt
    #[default]
    Scrypt,
    /// By a password, through PBKDF2
    Pbkdf2,
}

impl From<KdfArgument> for Kdf {
    fn from(argument: KdfArgument) -> Self {
        match argument {
            KdfArgument::None => Self::None,
            KdfArgument::Scrypt => Self::Scrypt,
            KdfArgument::Pbkdf2 => Self::Pbkdf2,
        }
    }
}

fn kdf_name(kdf: Kdf) -> &'static str {
    match kdf {
        Kdf::None => "none",
        Kdf::Scrypt => "scrypt",
        Kdf::Pbkdf2 => "pbkdf2",
    }
}

/// A key and its protection.
#[derive(Clone, Debug, Args)]
pub struct ProtectedKeyArguments {
    /// File with the key
    pub path: Option<PathBuf>,
    /// How the key is protected
    #[arg(long, value_enum, default_value_t)]
    pub kdf: KdfArgument,
    /// What reminds of the password; readable for everybody who has the key file
    #[arg(long)]
    pub hint: Option<String>,
}

impl ProtectedKeyArguments {
    fn create(&self, dirs: &Dirs) -> Result<()> {
        let path = path_or_default(self.path.clone(), dirs)?;
        anyhow::ensure!(
            !path.exists(),
            "{path:?} exists: it is not replaced by a new key"
        );
        let env = Env::system();
        let mut key = [0; 32];
        openssl::rand::rand_bytes(&mut key).context("there are no random numbers for a key")?;
        let crypt = CryptConfig::new(key)?;
        let passphrase = self.new_passphrase(&[OF_KEY], "Encryption Key Password")?;
        let hint = self.hint.clone();
        let config = KeyConfig::new(&crypt, self.kdf.into(), &passphrase, hint, &env)?;
        let written = create_private(&path, &config.to_json()?);
        written.with_context(|| format!("failed to write the key to {path:?}"))
    }

    fn change(&self, dirs: &Dirs) -> Result<()> {
        let path = path_or_default(self.path.clone(), dirs)?;
        let file = KeyFile::at(&path)?;
        let crypt = file.open()?;
        let passphrase = self.new_passphrase(&[NEW], "New Password")?;
        let hint = self.hint.clone();
        let kdf = self.kdf.into();
        let config = file
            .config()
            .protect(&crypt, kdf, &passphrase, hint, &Env::system())?;
        let written = write_private(&path, &config.to_json()?);
        written.with_context(|| format!("failed to write the key to {path:?}"))
    }

    fn new_passphrase(&self, variables: &[&str], question: &str) -> Result<Vec<u8>> {
        match self.kdf {
            KdfArgument::None => Ok(Vec::new()),
            KdfArgument::Scrypt | KdfArgument::Pbkdf2 => passphrase::new(variables, question),
        }
    }
}

fn create_master_key() -> Result<()> {
    let (private, public) = (
        Path::new("master-private.pem"),
        Path::new("master-public.pem"),
    );
    for path in [private, public] {
        anyhow::ensure!(
            !path.exists(),
            "{path:?} exists: it is not replaced by a new key"
        );
    }
    let passphrase = passphrase::new(&[OF_MASTER], "Master Key Password")?;
    let (public_pem, private_pem) = master::create(&passphrase)?;
    for (path, pem) in [(public, public_pem), (private, private_pem)] {
        let written = create_private(path, &pem);
        written.with_context(|| format!("failed to write {path:?}"))?;
        tell(format_args!("Written: {}", path.display()));
    }
    Ok(())
}

fn import_master_key(path: &Path, dirs: &Dirs) -> Result<()> {
    let key = MasterKey::read(Source::Path(path.to_owned()))?;
    let target = master::default_path(dirs).context("there is no home directory")?;
    let written = write_private(&target, key.pem());
    written.with_context(|| format!("failed to write {target:?}"))?;
    tell(format_args!("Imported public master key to {target:?}"));
    Ok(())
}

/// What is needed to get a key back.
#[derive(Clone, Debug, Args)]
pub struct RecoverArguments {
    /// The new key and its protection.
    #[command(flatten)]
    pub key: ProtectedKeyArguments,
    /// File with the private half of the master key
    #[arg(long, value_name = "FILE")]
    pub master_keyfile: PathBuf,
    /// File with what the snapshot has as rsa-encrypted.key
    #[arg(long, value_name = "FILE")]
    pub encrypted_keyfile: PathBuf,
}

impl RecoverArguments {
    fn run(&self, dirs: &Dirs) -> Result<()> {
        let path = path_or_default(self.key.path.clone(), dirs)?;
        anyhow::ensure!(!path.exists(), "{path:?} exists: it is not replaced");
        let encrypted = Source::Path(self.encrypted_keyfile.clone());
        let private = Source::Path(self.master_keyfile.clone());
        let passphrase = || passphrase::current(OF_MASTER, "Master Key Password");
        let (config, crypt) = master::recover(&encrypted, &private, passphrase)?;
        let passphrase = self.key.new_passphrase(&[NEW, OF_KEY], "New Password")?;
        let (kdf, hint) = (self.key.kdf.into(), self.key.hint.clone());
        let config = config.protect(&crypt, kdf, &passphrase, hint, &Env::system())?;
        let written = create_private(&path, &config.to_json()?);
        written.with_context(|| format!("failed to write the key to {path:?}"))
    }
}

/// What is printed.
#[derive(Clone, Debug, Args)]
pub struct PaperArguments {
    /// File with the key
    pub path: Option<PathBuf>,
    /// What stands above the key
    #[arg(long)]
    pub subject: Option<String>,
    /// A text, or a page for a browser
    #[arg(long, value_enum, default_value_t)]
    pub output_format: Form,
}

impl PaperArguments {
    fn run(&self, dirs: &Dirs) -> Result<()> {
        let file = KeyFile::at(&path_or_default(self.path.clone(), dirs)?)?;
        let page = paper::page(file.config(), self.subject.as_deref(), self.output_format)?;
        print(&page)
    }
}

/// Which key is shown.
#[derive(Clone, Debug, Args)]
pub struct ShowArguments {
    /// File with the key
    pub path: Option<PathBuf>,
    /// In which form.
    #[command(flatten)]
    pub output: OutputOptions,
}

impl ShowArguments {
    fn key(&self, dirs: &Dirs) -> Result<()> {
        let path = path_or_default(self.path.clone(), dirs)?;
        let file = KeyFile::at(&path)?;
        let config = file.config();
        let fingerprint = config.fingerprint().map(ToString::to_string);
        let mut value = json!({
            "path": path.to_string_lossy(),
            "kdf": kdf_name(config.kdf()),
            "created": seconds(config.created()),
            "modified": seconds(config.modified()),
        });
        if let Some(fingerprint) = &fingerprint {
            value["fingerprint"] = fingerprint.as_str().into();
        }
        if let Some(hint) = config.hint() {
            value["hint"] = hint.into();
        }
        self.output.print(&value, || {
            let mut table = Table::of_values();
            let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
            row("path", format!("{path:?}"));
            row("kdf", kdf_name(config.kdf()).to_owned());
            row("created", stated_time(config.created()));
            row("modified", stated_time(config.modified()));
            for (name, value) in [
                ("fingerprint", fingerprint.as_deref()),
                ("hint", config.hint()),
            ] {
                if let Some(value) = value {
                    row(name, value.to_owned());
                }
            }
            Ok(table.render())
        })
    }

    fn master_key(&self, dirs: &Dirs) -> Result<()> {
        let path = self.path.clone().or_else(|| master::default_path(dirs));
        let path = path.context("there is no home directory: name a file")?;
        let key = MasterKey::read(Source::Path(path.clone()))?;
        let (bits, fingerprint) = (key.bits(), key.fingerprint()?.to_string());
        let value = json!({
            "path": path.to_string_lossy(),
            "bits": bits,
            "fingerprint": fingerprint,
        });
        self.output.print(&value, || {
            let mut table = Table::of_values();
            table.row(["path".to_owned(), format!("{path:?}")]);
            table.row(["bits".to_owned(), bits.to_string()]);
            table.row(["fingerprint".to_owned(), fingerprint]);
            Ok(table.render())
        })
    }
}

/// A time of a key file in seconds, as programs get times.
fn seconds(text: &str) -> serde_json::Value {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => time.as_second().into(),
        Err(_) => text.into(),
    }
}

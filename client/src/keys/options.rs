//! Which key a command line means.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use api_types::status::CryptMode;

use super::file::{self, KeyFile, Source};
use super::master::{self, MasterKey};
use crate::remote::dirs::{Dirs, is_there};

/// Keys as they are given.
#[derive(Clone, Debug, Default)]
pub struct KeyOptions {
    /// `--keyfile`
    pub keyfile: Option<PathBuf>,
    /// `--keyfd`
    pub keyfd: Option<u32>,
    /// `--master-pubkey-file`
    pub master_pubkey_file: Option<PathBuf>,
    /// `--master-pubkey-fd`
    pub master_pubkey_fd: Option<u32>,
    /// `--crypt-mode`
    pub crypt_mode: Option<CryptMode>,
}

/// What a backup is protected with.
#[derive(Debug)]
pub struct BackupKeys {
    /// How.
    pub mode: CryptMode,
    /// The key; always there unless the mode is `none`.
    pub key: Option<KeyFile>,
    /// Who else can read it.
    pub master: Option<MasterKey>,
}

impl KeyOptions {
    /// For a backup: a key that is named, or lies where it does by default, means that it is
    /// encrypted, unless a mode is given.
    pub fn for_backup(&self, dirs: &Dirs) -> Result<BackupKeys> {
        let named = named(
            ("--keyfile", self.keyfile.as_ref()),
            ("--keyfd", self.keyfd),
        )?;
        let master = self.named_master()?;
        if self.crypt_mode == Some(CryptMode::None) {
            if named.is_some() {
                bail!("--crypt-mode none needs no key: leave --keyfile and --keyfd away");
            }
            if master.is_some() {
                bail!("--crypt-mode none encrypts nothing: leave the master key away");
            }
            return Ok(BackupKeys {
                mode: CryptMode::None,
                key: None,
                master: None,
            });
        }
        let key = match named {
            Some(key) => Some(key),
            None => existing(file::default_path(dirs))?,
        };
        let Some(key) = key else {
            return match self.crypt_mode {
                Some(mode) => bail!(
                    "--crypt-mode {mode} needs a key: give --keyfile, or make one by `key create`"
                ),
                // Who names one takes the backup for encrypted.
                None if master.is_some() => bail!(
                    "a master key opens what a key has encrypted, and there is no key: give \
                     --keyfile, or make one by `key create`"
                ),
                None => Ok(BackupKeys {
                    mode: CryptMode::None,
                    key: None,
                    master: None,
                }),
            };
        };
        let master = match master {
            Some(master) => Some(master),
            None => existing(master::default_path(dirs))?,
        };
        Ok(BackupKeys {
            mode: self.crypt_mode.unwrap_or(CryptMode::Encrypt),
            key: Some(KeyFile::read(key)?),
            master: master.map(MasterKey::read).transpose()?,
        })
    }

    /// For reading: the key that is named, or lies where it does by default.
    pub fn for_restore(&self, dirs: &Dirs) -> Result<Option<KeyFile>> {
        let key = named(
            ("--keyfile", self.keyfile.as_ref()),
            ("--keyfd", self.keyfd),
        )?;
        if self.crypt_mode == Some(CryptMode::None) {
            return Ok(None);
        }
        let key = match key {
            Some(key) => Some(key),
            None => existing(file::default_path(dirs))?,
        };
        key.map(KeyFile::read).transpose()
    }

    fn named_master(&self) -> Result<Option<Source>> {
        named(
            ("--master-pubkey-file", self.master_pubkey_file.as_ref()),
            ("--master-pubkey-fd", self.master_pubkey_fd),
        )
    }
}

fn named(path: (&str, Option<&PathBuf>), fd: (&str, Option<u32>)) -> Result<Option<Source>> {
    match (path.1, fd.1) {
        (Some(_), Some(_)) => bail!("{} and {} exclude each other", path.0, fd.0),
        (Some(path), None) => Ok(Some(Source::Path(path.clone()))),
        (None, fd) => Ok(fd.map(Source::Fd)),
    }
}

/// The default one, if it is there. Without it nothing is encrypted, so what may be there counts as
/// there.
fn existing(path: Option<PathBuf>) -> Result<Option<Source>> {
    let Some(path) = path else {
        return Ok(None);
    };
    let there = is_there(&path).with_context(|| {
        format!(
            "failed to look for a key at '{}'; make it readable, name one by --keyfile, or give \
             --crypt-mode none",
            path.display()
        )
    })?;
    Ok(there.then_some(Source::Default(path)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use datastore::env::Env;
    use datastore::format::{CryptConfig, Kdf, KeyConfig};

    use super::*;

    fn key_file(path: &std::path::Path) {
        let crypt = CryptConfig::new([1; 32]).unwrap();
        let key = KeyConfig::new(&crypt, Kdf::None, b"", None, &Env::system()).unwrap();
        std::fs::write(path, key.to_json().unwrap()).unwrap();
    }

    #[test]
    fn a_named_key_counts_before_the_default_one_and_the_mode_before_both() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = |name: &str| Dirs {
            config: Some(dir.path().join(name)),
            runtime: None,
        };
        let (empty, full) = (dirs("empty"), dirs("full"));
        std::fs::create_dir(dir.path().join("full")).unwrap();
        key_file(&dir.path().join("full/encryption-key.json"));
        key_file(&dir.path().join("named"));
        let named = Some(dir.path().join("named"));
        let encrypt = Some(CryptMode::Encrypt);
        let sign = Some(CryptMode::SignOnly);
        // (key, mode, directory) -> mode, and whether the default key is used
        for (keyfile, crypt_mode, dirs, expected) in [
            (None, None, &empty, Ok((CryptMode::None, None))),
            (None, None, &full, Ok((CryptMode::Encrypt, Some(true)))),
            (
                named.clone(),
                None,
                &full,
                Ok((CryptMode::Encrypt, Some(false))),
            ),
            (
                named.clone(),
                sign,
                &empty,
                Ok((CryptMode::SignOnly, Some(false))),
            ),
            (None, sign, &full, Ok((CryptMode::SignOnly, Some(true)))),
            (
                None,
                Some(CryptMode::None),
                &full,
                Ok((CryptMode::None, None)),
            ),
            (None, encrypt, &empty, Err("needs a key")),
            (
                named.clone(),
                Some(CryptMode::None),
                &full,
                Err("needs no key"),
            ),
        ] {
            let case = format!("{keyfile:?} {crypt_mode:?}");
            let options = KeyOptions {
                keyfile,
                crypt_mode,
                ..KeyOptions::default()
            };
            let found = options.for_backup(dirs);
            match expected {
                Ok((mode, default)) => {
                    let found = found.unwrap();
                    assert_eq!(found.mode, mode, "{case}");
                    let is_default = |key: &KeyFile| matches!(key.source(), Source::Default(_));
                    assert_eq!(found.key.as_ref().map(is_default), default, "{case}");
                }
                Err(reason) => {
                    let error = found.unwrap_err().to_string();
                    assert!(error.contains(reason), "{case}: {error}");
                }
            }
        }
    }

    /// A backup that should be encrypted does not go out in clear because its key cannot be read.
    #[test]
    fn a_default_key_that_cannot_be_had_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs {
            config: Some(dir.path().join("config")),
            runtime: None,
        };
        let lost = |path: &str| symlink("/nowhere/at/all", dir.path().join(path)).unwrap();
        let backup = || KeyOptions::default().for_backup(&dirs);
        let fails = |part: &str| {
            let error = format!("{:#}", backup().unwrap_err());
            assert!(error.contains(part), "{error}");
            let none = KeyOptions {
                crypt_mode: Some(CryptMode::None),
                ..KeyOptions::default()
            };
            assert!(none.for_backup(&dirs).unwrap().key.is_none());
        };
        lost("config");
        fails("look for a key");
        assert!(KeyOptions::default().for_restore(&dirs).is_err());
        std::fs::remove_file(dir.path().join("config")).unwrap();
        std::fs::create_dir(dir.path().join("config")).unwrap();
        assert!(backup().unwrap().key.is_none());
        lost("config/encryption-key.json");
        fails("encryption-key.json");
        std::fs::remove_file(dir.path().join("config/encryption-key.json")).unwrap();
        key_file(&dir.path().join("config/encryption-key.json"));
        assert!(backup().unwrap().master.is_none());
        lost("config/master-public.pem");
        fails("master-public.pem");
    }

    #[test]
    fn a_master_key_that_would_open_nothing_is_refused() {
        let none = Some(CryptMode::None);
        for (path, fd, crypt_mode, reason) in [
            (Some("/m.pem"), None, None, "there is no key"),
            (None, Some(3), None, "there is no key"),
            (Some("/m.pem"), None, none, "encrypts nothing"),
        ] {
            let options = KeyOptions {
                master_pubkey_file: path.map(PathBuf::from),
                master_pubkey_fd: fd,
                crypt_mode,
                ..KeyOptions::default()
            };
            let error = options.for_backup(&Dirs::default()).unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
    }

    #[test]
    fn a_key_is_named_once_and_is_one() {
        let both = KeyOptions {
            keyfile: Some("/nowhere".into()),
            keyfd: Some(3),
            ..KeyOptions::default()
        };
        let error = both.for_restore(&Dirs::default()).unwrap_err().to_string();
        assert!(error.contains("exclude each other"), "{error}");
        let missing = KeyOptions {
            keyfile: Some("/nowhere".into()),
            ..KeyOptions::default()
        };
        let error = format!("{:#}", missing.for_restore(&Dirs::default()).unwrap_err());
        assert!(error.contains("/nowhere"), "{error}");
        let none = KeyOptions::default().for_restore(&Dirs::default());
        assert!(none.unwrap().is_none());
    }
}

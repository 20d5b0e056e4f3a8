//! Asking for passphrases: those that are set, and new ones.

use std::io::IsTerminal as _;

use anyhow::{Result, bail, ensure};
use datastore::format::KeyConfig;
use datastore::format::key::MIN_PASSPHRASE_LEN;

use crate::remote::Secret;

/// Of the key that is used.
pub const OF_KEY: &str = "PBS_ENCRYPTION_PASSWORD";
/// That a key gets.
pub const NEW: &str = "PBS_ENCRYPTION_PASSWORD_NEW";
/// Of a master key.
pub const OF_MASTER: &str = "PBS_MASTER_PASSWORD";

/// The passphrase of an encryption key.
pub fn of_key(config: &KeyConfig) -> Result<Vec<u8>> {
    let hint = config.hint().map(|hint| format!(" (hint: {hint})"));
    current(
        OF_KEY,
        &format!("Encryption Key Password{}", hint.unwrap_or_default()),
    )
}

/// A passphrase that was set before, from the environment or the terminal.
pub fn current(variable: &str, question: &str) -> Result<Vec<u8>> {
    let secret = match Secret::from_environment(variable)? {
        Some(secret) => secret,
        None => {
            ensure_terminal(variable)?;
            Secret::ask(question)?
        }
    };
    Ok(secret.expose().as_bytes().to_vec())
}

/// A passphrase to be set, from the first variable that is, or twice the same from the terminal.
pub fn new(variables: &[&str], question: &str) -> Result<Vec<u8>> {
    for variable in variables {
        if let Some(secret) = Secret::from_environment(variable)? {
            return checked(&secret);
        }
    }
    ensure_terminal(variables.first().copied().unwrap_or_default())?;
    let secret = Secret::ask(question)?;
    let passphrase = checked(&secret)?;
    ensure!(
        Secret::ask("Verify Password")? == secret,
        "the passwords are not the same"
    );
    Ok(passphrase)
}

fn checked(secret: &Secret) -> Result<Vec<u8>> {
    let passphrase = secret.expose().as_bytes().to_vec();
    ensure!(
        passphrase.len() >= MIN_PASSPHRASE_LEN,
        "the password is too short: it needs at least {MIN_PASSPHRASE_LEN} bytes"
    );
    Ok(passphrase)
}

fn ensure_terminal(variable: &str) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        bail!(
            "a password is needed, and there is no terminal to ask for it: set {variable}, \
             {variable}_FILE, {variable}_FD or {variable}_CMD"
        );
    }
    Ok(())
}

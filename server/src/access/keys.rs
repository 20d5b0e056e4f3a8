//! The keys of the installation: made once, kept on disk, since clients keep their tickets over a
//! restart (`auth.md` §3.1, §5).

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::csrf::CsrfKey;
use super::ticket::TicketKey;

/// Name of the private key of tickets.
const TICKET_KEY: &str = "authkey.key";
/// Name of its public half.
const TICKET_PUBLIC: &str = "authkey.pub";
/// Name of the key against request forgery.
const CSRF_KEY: &str = "csrf.key";

/// Reads the key of tickets, or makes one.
pub fn ticket_key(config: &Path) -> Result<TicketKey> {
    let path = config.join(TICKET_KEY);
    let pem = read_or_create(&path, 0o600, || {
        TicketKey::generate()
            .and_then(|key| key.to_pem())
            .context("failed to make a key for tickets")
    })?;
    let key = TicketKey::from_pem(&pem)
        .with_context(|| format!("failed to read the key {}", path.display()))?;
    let public = config.join(TICKET_PUBLIC);
    read_or_create(&public, 0o640, || Ok(key.public_pem()?))?;
    Ok(key)
}

/// Reads the key against request forgery, or makes one.
pub fn csrf_key(config: &Path) -> Result<CsrfKey> {
    let path = config.join(CSRF_KEY);
    let text = read_or_create(&path, 0o600, || Ok(CsrfKey::generate()?.to_text().into()))?;
    std::str::from_utf8(&text)
        .ok()
        .and_then(CsrfKey::from_text)
        .with_context(|| format!("{} is not a key", path.display()))
}

/// The content of `path`; what `make` makes if there is no such file. Of two processes that start
/// at the same time one makes it, and both use it.
pub(crate) fn read_or_create(
    path: &Path,
    mode: u32,
    make: impl FnOnce() -> Result<Vec<u8>>,
) -> Result<Vec<u8>> {
    let read = || match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
    };
    if let Some(content) = read()? {
        return Ok(content);
    }
    let content = make()?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".tmp_{}", std::process::id()));
    let temporary = Path::new(&temporary);
    let linked = write_new(temporary, &content, mode)
        // A link does not replace.
        .and_then(|()| std::fs::hard_link(temporary, path));
    // It has served its purpose, or is not there.
    let _ = std::fs::remove_file(temporary);
    match linked {
        Ok(()) => Ok(content),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            read()?.with_context(|| format!("{} vanished while reading", path.display()))
        }
        Err(error) => Err(error).with_context(|| format!("failed to write {}", path.display())),
    }
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::access::ticket::LOGIN;

    #[test]
    fn keys_are_made_once_and_for_nobody_else() {
        let dir = support::scratch().unwrap();
        let user = "a@pbs".parse().unwrap();
        let ticket = ticket_key(dir.path()).unwrap().issue(&user, 1).unwrap();
        let token = csrf_key(dir.path()).unwrap().issue(&user, 1).unwrap();
        assert!(
            ticket_key(dir.path())
                .unwrap()
                .verify(&ticket, 1, LOGIN)
                .is_ok()
        );
        assert!(csrf_key(dir.path()).unwrap().is_valid(&token, &user, 1));
        for name in [TICKET_KEY, CSRF_KEY] {
            let data = std::fs::metadata(dir.path().join(name)).unwrap();
            assert_eq!(data.permissions().mode() & 0o777, 0o600, "{name}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_damaged_key_is_not_replaced() {
        let dir = support::scratch().unwrap();
        for name in [TICKET_KEY, CSRF_KEY] {
            std::fs::write(dir.path().join(name), "oops").unwrap();
        }
        assert!(ticket_key(dir.path()).is_err());
        assert!(csrf_key(dir.path()).is_err());
    }
}

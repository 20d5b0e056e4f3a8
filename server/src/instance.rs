//! The identity of this installation: a UUID that never changes.
//!
//! S3 datastores carry it in their in-use marker, so that two installations never delete from one
//! prefix. It lives in the state directory: whoever copies only the configuration to another
//! machine gets another identity there, and has to take the prefixes over on purpose.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use s3_client::env::Env;
use uuid::{Builder, Uuid};

const FILE_NAME: &str = "instance-id";

/// Reads the instance id from the state directory, or makes one.
pub fn instance_id(state: &Path, env: &Env) -> Result<Uuid> {
    let path = state.join(FILE_NAME);
    if let Some(id) = read(&path)? {
        return Ok(id);
    }
    let mut random = [0; 16];
    env.fill_random(&mut random);
    let id = Builder::from_random_bytes(random).into_uuid();
    let temporary = state.join(format!(".{FILE_NAME}.tmp_{}", std::process::id()));
    let created = write(&temporary, &id)
        // Unlike a rename, a link does not replace: of two processes that start at the same time
        // one wins and both use its id.
        .and_then(|()| std::fs::hard_link(&temporary, &path));
    // It has served its purpose, or is not there.
    let _ = std::fs::remove_file(&temporary);
    match created {
        Ok(()) => Ok(id),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(&path)?
            .with_context(|| format!("the instance id {} vanished while reading", path.display())),
        Err(error) => Err(error)
            .with_context(|| format!("failed to write the instance id {}", path.display())),
    }
}

fn read(path: &Path) -> Result<Option<Uuid>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("failed to read the instance id {}", path.display()));
        }
    };
    match text.trim().parse() {
        Ok(id) => Ok(Some(id)),
        // Making a new one in its place would fence this installation off from its own buckets.
        Err(_) => bail!(
            "the instance id in {} is not a uuid; restore the file",
            path.display()
        ),
    }
}

fn write(path: &Path, id: &Uuid) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(path)?;
    writeln!(file, "{id}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_made_once() {
        let dir = support::scratch().unwrap();
        let env = Env::system();
        let id = instance_id(dir.path(), &env).unwrap();
        assert_eq!(instance_id(dir.path(), &env).unwrap(), id);
        assert_eq!(id.get_version_num(), 4);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_id_is_not_replaced() {
        let dir = support::scratch().unwrap();
        std::fs::write(dir.path().join(FILE_NAME), "oops").unwrap();
        assert!(instance_id(dir.path(), &Env::system()).is_err());
    }
}

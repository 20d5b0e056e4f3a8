//! Whose work it is: root's commands work as the user that the installation belongs to.
//!
//! The daemon runs without privileges. A file that root's `coffer-manager` made would be one that
//! the daemon cannot read or replace. So a process of root gives its privileges up for good before
//! it touches the installation, unless that is root's own.

use std::ffi::CString;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::unistd::{Gid, Uid, User, geteuid, initgroups, setgid, setgroups, setuid};

/// If this process is root's and the directory `config` somebody else's, it is theirs from now on.
pub fn become_owner(config: &Path) -> Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let owner = match std::fs::metadata(config) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("failed to look at {}", config.display()));
        }
    };
    let uid = Uid::from_raw(owner.uid());
    if uid.is_root() {
        return Ok(());
    }
    give_up(uid, Gid::from_raw(owner.gid()))
        .with_context(|| format!("failed to become user {uid}, who owns {}", config.display()))
}

/// Groups first: a user may not change them.
fn give_up(uid: Uid, gid: Gid) -> Result<()> {
    match User::from_uid(uid)? {
        Some(user) => {
            initgroups(&CString::new(user.name)?, user.gid)?;
            setgid(user.gid)?;
        }
        None => {
            setgroups(&[gid])?;
            setgid(gid)?;
        }
    }
    Ok(setuid(uid)?)
}

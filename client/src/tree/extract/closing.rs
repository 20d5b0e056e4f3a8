//! Directories that are closed when all else is done.

use std::os::fd::OwnedFd;

use super::attributes::{Attributes, Inherited, Made};
use super::place::refused;
use crate::tree::sys::open::{open_parent, open_path};

/// The right of an owner to reach what is in a directory.
pub const SEARCH: u32 = 0o100;

/// Directories that their permissions will close to whoever restores. Files in them may get names
/// elsewhere, and are looked for until then.
#[derive(Debug, Default)]
pub struct Closing(Vec<(Vec<u8>, u32)>);

impl Closing {
    /// One that will have this mode; those in it came before.
    pub fn add(&mut self, path: &[u8], mode: u32) {
        self.0.push((path.to_vec(), mode));
    }

    /// Closes them, from the innermost on, or the others could not be reached.
    pub fn close(self, target: &OwnedFd, attributes: &Attributes<'_>) {
        for (path, mode) in self.0 {
            let opened =
                open_parent(target, &path).and_then(|(parent, name)| open_path(parent, name));
            match opened {
                Ok(file) => {
                    let made = Made {
                        file: &file,
                        open: false,
                        inherited: Inherited::default(),
                        lent: 0,
                    };
                    attributes.mode(&path, &made, mode);
                }
                Err(error) => {
                    let problem = refused("set permissions", error);
                    attributes.reporter.problem(&path, problem);
                }
            }
        }
    }
}

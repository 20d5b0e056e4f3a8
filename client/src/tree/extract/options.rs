//! How an archive is restored.

use crate::tree::pattern::Pattern;

/// How an archive is restored.
#[derive(Clone, Debug, Default)]
pub struct ExtractOptions {
    /// What may be replaced.
    pub overwrite: Overwrite,
    /// Restores into directories that exist, `--allow-existing-dirs`; the target itself may
    /// always exist.
    pub allow_existing_dirs: bool,
    /// What is not restored.
    pub ignore: Ignore,
    /// Only what matches, `--pattern`; everything if empty. What is in a directory that matches
    /// does too.
    pub patterns: Vec<Pattern>,
    /// The first problem with a single file ends the restore. Otherwise it is reported.
    pub strict: bool,
}

/// What may be replaced. `--overwrite` is all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overwrite {
    /// Files by files, `--overwrite-files`.
    pub files: bool,
    /// Whatever is no directory by symbolic links, `--overwrite-symlinks`.
    pub symlinks: bool,
    /// Whatever is no directory by hard links, `--overwrite-hardlinks`.
    pub hardlinks: bool,
}

impl Overwrite {
    /// `--overwrite`.
    pub const ALL: Self = Self {
        files: true,
        symlinks: true,
        hardlinks: true,
    };
}

/// What is not restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    /// Access lists, `--ignore-acls`.
    pub acls: bool,
    /// Extended attributes, `--ignore-xattrs`.
    pub xattrs: bool,
    /// Owner and group, `--ignore-ownership`.
    pub ownership: bool,
    /// Permissions, `--ignore-permissions`.
    pub permissions: bool,
    /// That devices cannot be made, `--ignore-extract-device-errors`.
    pub device_errors: bool,
}

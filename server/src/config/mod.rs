//! Configuration files: section-config text, guarded by locks and digests, replaced atomically.
//!
//! [`section`] is the grammar, [`ConfigFile`] one typed file; [`Config`] is all files of
//! an installation with the rules that span them (an endpoint in use is not removed, datastores
//! do not nest).

mod error;
mod file;
mod files;
pub mod jobs;
mod lock;
pub mod node;
pub mod properties;
pub mod remotes;
mod replace;
pub mod section;
pub mod sync;
pub mod traffic;
pub mod users;

pub use error::ConfigError;
pub(crate) use file::read_bounded;
pub use file::{ConfigFile, Entries};
pub use files::{Config, directory_of};
pub use lock::ConfigLock;
pub(crate) use replace::{replace_file, replace_volatile};

/// What lives in a section of a configuration file.
pub trait Entity: Sized {
    /// Name of the file without its extension `.cfg`.
    const FILE: &'static str;
    /// What the word in the section header can be.
    const TYPES: &'static [&'static str];
    /// Whether the file holds secrets, so that nobody but its owner may read it.
    const SECRET: bool;

    /// The name in the section header.
    fn id(&self) -> &str;

    /// The word in the section header, one of [`Self::TYPES`].
    fn section_type(&self) -> &'static str;

    /// Makes the entity from a section of this type, or says what is wrong with it.
    fn from_section(
        section_type: &str,
        id: &str,
        properties: &[(String, String)],
    ) -> Result<Self, String>;

    /// The properties of the section; a repeated key is an array.
    fn to_section(&self) -> Vec<(String, String)>;

    /// Upstream's words for something that is asked for but not there.
    fn no_such(id: &str) -> String {
        let what = Self::TYPES.first().unwrap_or(&"entry");
        format!("no such {what} '{id}'")
    }

    /// Upstream's words for the removal of `id` where there is no such entry.
    fn nothing_to_remove(id: &str) -> String;
}

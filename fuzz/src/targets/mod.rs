//! The targets, by what they read.

mod backup_session;
mod blob;
mod catalog;
mod configuration;
mod delete_journal;
mod extract;
mod gc_files;
mod index;
mod index_cache;
mod key_file;
mod manifest;
mod names;
mod object_key;
mod other_journals;
mod pxar;
mod task_files;
mod text;
mod upid;
mod xml;

use crate::Target;

/// All of them.
pub const TARGETS: &[Target] = &[
    blob::TARGET,
    index::FIXED,
    index::DYNAMIC,
    manifest::MANIFEST,
    manifest::CANONICAL_JSON,
    catalog::TARGET,
    key_file::TARGET,
    configuration::SECTION_CONFIG,
    configuration::PROPERTY_STRING,
    xml::LISTING,
    xml::DELETION,
    xml::OTHER_ANSWERS,
    object_key::TARGET,
    names::TARGET,
    upid::TARGET,
    task_files::TARGET,
    delete_journal::TARGET,
    other_journals::TARGET,
    gc_files::TARGET,
    index_cache::TARGET,
    backup_session::TARGET,
    pxar::TARGET,
    extract::TARGET,
];

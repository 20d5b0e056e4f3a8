//! Encryption keys: where they lie, and who may read them.
//!
//! | module | what |
//! |---|---|
//! | [`options`] | which key a command line means |
//! | [`file`](mod@file) | a key file that was found, and opening it |
//! | [`passphrase`] | asking for passphrases, old and new |
//! | [`master`] | the RSA key pair that can give a lost key back |
//! | `paper` | keys on paper, with the feature `cli` |

pub mod file;
pub mod master;
pub mod options;
#[cfg(feature = "cli")]
pub mod paper;
pub mod passphrase;

pub use file::{KeyFile, Source};
pub use master::MasterKey;
pub use options::{BackupKeys, KeyOptions};

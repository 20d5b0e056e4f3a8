//! A whole restore: an archive of files to a directory, anything else to a file, a device or
//! standard output.

mod files;
mod options;
mod output;
mod raw;
mod run;

pub use options::{Options, Target};
pub use run::{Outcome, run};

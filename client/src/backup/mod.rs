//! A whole backup: its archives one after the other, then the manifest.

mod directory;
mod image;
mod options;
mod run;
pub mod spec;
pub mod text;

pub use options::{ChangeDetection, MasterKey, Options, Protection};
pub use run::{Outcome, run};
pub use spec::Spec;

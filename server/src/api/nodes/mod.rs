//! `/nodes`: tasks, and the machine.

pub mod config;
pub mod dns;
pub mod machine;
pub mod node;
pub mod tasks;

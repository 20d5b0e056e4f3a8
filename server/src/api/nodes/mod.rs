//! `/nodes`: tasks, and the machine.

pub mod machine;
pub mod node;
pub mod tasks;

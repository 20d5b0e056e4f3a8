//! The rows of the table, in its order.

mod collect;
mod mark;
mod memory;

use crate::row::Row;

/// All of them.
#[must_use]
pub fn all() -> Vec<Box<dyn Row>> {
    vec![
        Box::new(mark::First),
        Box::new(mark::Again),
        Box::new(collect::Latency),
        Box::new(collect::Minio),
        Box::new(collect::Requests),
        Box::new(memory::Memory),
    ]
}

//! The rows of the table, in its order.

mod mark;

use crate::row::Row;

/// All of them.
#[must_use]
pub fn all() -> Vec<Box<dyn Row>> {
    vec![Box::new(mark::First), Box::new(mark::Again)]
}

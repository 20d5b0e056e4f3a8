//! The rows of the table, in its order.

mod beside;
mod client;
mod collect;
mod filesystem;
mod mark;
mod memory;
mod refresh;
mod session;
mod transfer;

use crate::row::Row;

/// All of them.
#[must_use]
pub fn all() -> Vec<Box<dyn Row>> {
    let mut rows: Vec<Box<dyn Row>> = vec![
        Box::new(mark::First),
        Box::new(mark::Again),
        Box::new(collect::Latency),
        Box::new(collect::Minio),
        Box::new(collect::Requests),
        Box::new(memory::Memory),
        Box::new(transfer::Throughput),
        Box::new(filesystem::Filesystem),
        Box::new(refresh::Refresh),
        Box::new(beside::Beside),
        Box::new(transfer::Cpu),
    ];
    rows.extend(session::all());
    rows.extend(client::all());
    rows
}

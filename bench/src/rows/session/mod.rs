//! `backup-*`, `restore-*`, `memory-8-sessions`: the daemon as a client sees it, through TLS and
//! HTTP/2; against the ceiling, which is the same transfer with the same settings where the server
//! only computes the SHA-256 of each chunk and throws it away (`children/sink.rs`).
//!
//! | module | what |
//! |---|---|
//! | `place` | the daemon and its datastores |
//! | `client` | backups and restores |
//! | `transfer` | the rows of throughput |
//! | `memory` | the row of memory |

mod client;
mod memory;
pub(super) mod place;
mod transfer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;

use crate::row::{Row, Setup};
use crate::world::load::{Data, Load};

use place::Home;
use transfer::{Direction, Transfer};

/// 4 GiB.
const CHUNKS: usize = 1024;
const QUICK_CHUNKS: usize = 4;

/// Chunks, kept from one row to the next.
#[derive(Default)]
struct Loads(Mutex<Option<Arc<Load>>>);

impl Loads {
    fn get(&self, setup: &Setup, data: Data) -> Result<Arc<Load>> {
        let mut last = self.last();
        if let Some(load) = last.as_ref().filter(|load| load.data() == data) {
            return Ok(Arc::clone(load));
        }
        let load = Load::new(data, setup.size(CHUNKS, QUICK_CHUNKS))?;
        Ok(Arc::clone(last.insert(Arc::new(load))))
    }

    fn last(&self) -> MutexGuard<'_, Option<Arc<Load>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rows, in the order of the table.
pub fn all() -> Vec<Box<dyn Row>> {
    let loads = Arc::new(Loads::default());
    let mut rows: Vec<Box<dyn Row>> = Vec::new();
    for data in [Data::Random, Data::Text] {
        for home in [Home::Filesystem, Home::Minio] {
            for direction in [Direction::Backup, Direction::Restore] {
                rows.push(Box::new(Transfer {
                    direction,
                    home,
                    data,
                    loads: Arc::clone(&loads),
                }));
            }
        }
    }
    rows.push(Box::new(memory::Memory));
    rows
}

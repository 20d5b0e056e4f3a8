//! Requests that the client has given up and that the server still holds.

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::journal::RequestId;
use crate::op::Op;
use crate::request::Request;

/// A request that is still to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateRequest {
    /// Its id, for `release_late`.
    pub id: RequestId,
    /// Its operation.
    pub op: Op,
    /// Its keys.
    pub keys: Vec<String>,
}

/// A held request; `verify` = its signature is to be checked at delivery.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) request: Request,
    pub(crate) verify: bool,
}

/// All requests that are still to be applied.
#[derive(Debug)]
pub(crate) struct LateRequests {
    held: BTreeMap<RequestId, Held>,
    /// How many have come so far.
    arrived: watch::Sender<u64>,
}

impl Default for LateRequests {
    fn default() -> Self {
        Self {
            held: BTreeMap::new(),
            arrived: watch::Sender::new(0),
        }
    }
}

impl LateRequests {
    pub(crate) fn hold(&mut self, held: Held) {
        self.held.insert(held.request.id, held);
        self.arrived.send_modify(|count| *count += 1);
    }

    pub(crate) fn take(&mut self, id: RequestId) -> Option<Held> {
        self.held.remove(&id)
    }

    pub(crate) fn pending(&self) -> Vec<LateRequest> {
        let describe = |(id, held): (&RequestId, &Held)| LateRequest {
            id: *id,
            op: held.request.op,
            keys: held.request.keys(),
        };
        self.held.iter().map(describe).collect()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.arrived.subscribe()
    }
}

//! The fault script: which requests meet which mishap.

use std::time::Duration;

use crate::answer::Reply;
use crate::gate::Gate;
use crate::op::Op;
use crate::pattern::Pattern;

/// A mishap.
#[derive(Clone, Debug)]
pub enum Action {
    /// Answer this; the request is not applied.
    Reply(Reply),
    /// Drop the connection; the request is not applied.
    Drop,
    /// Apply the request, then drop the connection.
    ApplyThenDrop,
    /// Apply the request, but answer this.
    ApplyThenReply(Reply),
    /// Never answer; the request is not applied.
    Hang,
    /// Apply the request, then never answer.
    ApplyThenHang,
    /// The client gets nothing (or a lie) now; the request is applied later.
    Late {
        /// When: after this time, or when the test calls `release_late`.
        after: Option<Duration>,
        /// What the client sees.
        client: ClientSees,
    },
    /// Wait at the gate before applying; goes on even when the client has given up.
    Pause(Gate),
    /// Apply, then wait at the gate before answering.
    ApplyThenPause(Gate),
    /// Wait so long before applying.
    Delay(Duration),
    /// Send only so many bytes of the answer's body, then drop the connection.
    TruncateBody {
        /// How many.
        keep: usize,
    },
    /// Send so many bytes of the answer's body, then nothing more.
    StallBody {
        /// How many.
        keep: usize,
    },
    /// Declare a `Content-Length` that is off by so much; a declared length that is too small cuts
    /// the body, one that is too large ends in a dropped connection.
    WrongLength {
        /// The difference.
        delta: i64,
    },
    /// Flip a bit in the middle of the answer's body.
    CorruptBody,
}

impl Action {
    /// The connection is dropped; the request is applied when the test releases it.
    #[must_use]
    pub fn late() -> Self {
        Self::Late {
            after: None,
            client: ClientSees::Drop,
        }
    }

    /// The connection is dropped; the request is applied after this time.
    #[must_use]
    pub fn late_after(after: Duration) -> Self {
        Self::Late {
            after: Some(after),
            client: ClientSees::Drop,
        }
    }
}

/// What the client sees of a request that is applied later.
#[derive(Clone, Debug)]
pub enum ClientSees {
    /// A dropped connection.
    Drop,
    /// No answer.
    Hang,
    /// This answer.
    Reply(Reply),
}

/// A mishap and the requests that meet it.
#[derive(Clone, Debug)]
pub struct Fault {
    ops: Vec<Op>,
    keys: Option<Pattern>,
    skip: u64,
    times: Option<u64>,
    in_network: bool,
    action: Action,
}

impl Fault {
    /// The next request of this operation meets `action`.
    #[must_use]
    pub fn on(op: Op, action: Action) -> Self {
        Self {
            ops: vec![op],
            ..Self::on_any(action)
        }
    }

    /// The next request of any operation meets `action`.
    #[must_use]
    pub fn on_any(action: Action) -> Self {
        Self {
            ops: Vec::new(),
            keys: None,
            skip: 0,
            times: Some(1),
            in_network: false,
            action,
        }
    }

    /// The next request of one of these operations meets `action`.
    #[must_use]
    pub fn on_ops(ops: &[Op], action: Action) -> Self {
        Self {
            ops: ops.to_vec(),
            ..Self::on_any(action)
        }
    }

    /// Only requests for such a key count: a batch by any of its keys, a listing by its prefix.
    #[must_use]
    pub fn keys(mut self, pattern: impl Into<Pattern>) -> Self {
        self.keys = Some(pattern.into());
        self
    }

    /// Only the `nth` matching request (1 = the next).
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        self.skip = nth.saturating_sub(1);
        self.times = Some(1);
        self
    }

    /// Lets `count` matching requests pass first.
    #[must_use]
    pub fn skip(mut self, count: u64) -> Self {
        self.skip = count;
        self
    }

    /// So many matching requests in place of one.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Every matching request from now on.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.times = None;
        self
    }

    /// A [`Action::Pause`], [`Action::Delay`] or [`Action::Late`] happens on the way to the
    /// server: signature and date are checked after it, not before.
    #[must_use]
    pub fn in_network(mut self) -> Self {
        self.in_network = true;
        self
    }
}

/// Identifies a scripted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FaultId(u64);

#[derive(Debug)]
struct Active {
    id: FaultId,
    fault: Fault,
    hits: u64,
}

/// The faults that a request chose.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) action: Action,
    pub(crate) in_network: bool,
}

/// All scripted faults.
#[derive(Debug, Default)]
pub(crate) struct FaultScript {
    active: Vec<Active>,
    last_id: u64,
}

impl FaultScript {
    pub(crate) fn add(&mut self, fault: Fault) -> FaultId {
        self.last_id += 1;
        let id = FaultId(self.last_id);
        self.active.push(Active { id, fault, hits: 0 });
        id
    }

    pub(crate) fn remove(&mut self, id: FaultId) {
        self.active.retain(|active| active.id != id);
    }

    pub(crate) fn clear(&mut self) {
        self.active.clear();
    }

    /// How often a fault has struck.
    pub(crate) fn hits(&self, id: FaultId) -> u64 {
        self.active
            .iter()
            .find(|active| active.id == id)
            .map_or(0, |active| active.hits)
    }

    /// The first fault whose turn it is. Faults before it count the request as passed.
    pub(crate) fn choose(&mut self, op: Op, keys: &[String]) -> Option<Chosen> {
        for Active { fault, hits, .. } in &mut self.active {
            let op_fits = fault.ops.is_empty() || fault.ops.contains(&op);
            let key_fits = |pattern: &Pattern| keys.iter().any(|key| pattern.matches(key));
            if !op_fits || !fault.keys.as_ref().is_none_or(key_fits) || fault.times == Some(0) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if let Some(times) = &mut fault.times {
                *times -= 1;
            }
            *hits += 1;
            return Some(Chosen {
                action: fault.action.clone(),
                in_network: fault.in_network,
            });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_operation_and_key() {
        let mut script = FaultScript::default();
        let id = script.add(Fault::on(Op::PutObject, Action::Drop).keys("a/*").nth(2));
        let mut put = |key: &str| script.choose(Op::PutObject, &[key.to_owned()]).is_some();
        assert!(!put("a/1"));
        assert!(!put("b/1"));
        assert!(put("a/2"));
        assert!(!put("a/3"));
        assert_eq!(script.hits(id), 1);
        assert!(script.choose(Op::GetObject, &["a/1".to_owned()]).is_none());
    }

    #[test]
    fn the_first_due_fault_strikes_alone() {
        let mut script = FaultScript::default();
        let first = script.add(Fault::on_any(Action::Drop).times(1));
        let second = script.add(Fault::on_any(Action::Hang).always());
        for _ in 0..3 {
            assert!(script.choose(Op::GetObject, &[]).is_some());
        }
        assert_eq!((script.hits(first), script.hits(second)), (1, 2));
        script.remove(second);
        assert!(script.choose(Op::GetObject, &[]).is_none());
    }
}

//! What is to happen to which request.

use std::collections::BTreeMap;
use std::fmt;

use hyper::Method;

use crate::content::Choices;

/// Kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// An upload.
    Put,
    /// A download.
    Get,
    /// A listing.
    List,
    /// A batch of deletes.
    DeleteObjects,
    /// Everything else.
    Other,
}

impl Op {
    /// Those that a plan may be about.
    pub const ALL: [Self; 4] = [Self::Put, Self::Get, Self::List, Self::DeleteObjects];

    /// The kind of a request.
    #[must_use]
    pub fn of(method: &Method, query: Option<&str>) -> Self {
        let query = query.unwrap_or_default();
        match *method {
            Method::PUT => Self::Put,
            Method::GET if query.contains("list-type") => Self::List,
            Method::GET => Self::Get,
            Method::POST if query.starts_with("delete") => Self::DeleteObjects,
            _ => Self::Other,
        }
    }
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The connection is closed in the middle of the request's body.
    CutRequest,
    /// The same with a reset.
    ResetRequest,
    /// The server answers, but the client never hears of it.
    LoseAnswer,
    /// The connection is closed in the middle of the answer's body.
    Truncate,
    /// The same with a reset.
    ResetAnswer,
    /// Nothing comes in the middle of the answer's body, for longer than the client waits.
    Stall,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::CutRequest,
        Self::ResetRequest,
        Self::LoseAnswer,
        Self::Truncate,
        Self::ResetAnswer,
        Self::Stall,
    ];

    /// Whether the client gets a reset rather than an end.
    pub(super) fn resets(self) -> bool {
        matches!(self, Self::ResetRequest | Self::ResetAnswer)
    }
}

/// How often which fault struck which kind of request.
pub type FaultCounts = BTreeMap<(Op, Fault), u64>;

/// When something is to be done from outside: at a request, before the server sees it or after it
/// has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The server does not see that request.
    Before(u64),
    /// The server has done what was asked; the client does not hear of it.
    After(u64),
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before(request) => write!(f, "before request {request}"),
            Self::After(request) => write!(f, "after request {request}"),
        }
    }
}

/// A round's plan.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// When something is to be done from outside.
    pub moment: Option<Moment>,
    /// What the network does, to which kind of request, once in how many of them.
    pub fault: Option<(Op, Fault, u64)>,
    /// Which requests those are, and where in their bodies.
    pub choices: Option<Choices>,
}

/// What is to become of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub fault: Option<Fault>,
    /// Where in the body, in thousandths of its length.
    pub at: u64,
    pub moment: Option<Moment>,
}

impl Plan {
    pub(super) fn decide(&self, number: u64, op: Op) -> Planned {
        let moment = self.moment.filter(|moment| match moment {
            Moment::Before(request) | Moment::After(request) => *request == number,
        });
        let struck = self
            .choices
            .as_ref()
            .zip(self.fault)
            .filter(|(choices, (struck, _, times))| *struck == op && choices.once_in(*times));
        Planned {
            fault: struck.map(|(_, (_, fault, _))| fault),
            at: struck.map_or(0, |(choices, _)| choices.below(1000)),
            moment,
        }
    }
}

//! `client-*`: `coffer-client` against `restic`, both with the same MinIO in the same run. Coffer's
//! client talks to the daemon, which talks to MinIO; restic talks to MinIO itself. Further figures
//! are of the daemon's filesystem datastore.
//!
//! | module | what |
//! |---|---|
//! | `source` | what is backed up |
//! | `tools` | the two programs |
//! | `bench` | the rows' work |

mod bench;
mod source;
mod tools;

use futures_util::future::BoxFuture;

use anyhow::Result;

use crate::row::{Bench, Row, Setup, Target, Unit};

use source::Content;

/// What a row measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// The first backup.
    First,
    /// The second one, one file in a hundred changed.
    Again(Detection),
    /// All of it.
    Restore,
    /// One file of all.
    OneFile,
}

/// How the client finds what is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detection {
    Legacy,
    Data,
    Metadata,
}

impl Detection {
    fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Data => "data",
            Self::Metadata => "metadata",
        }
    }
}

/// A row.
struct Client {
    id: &'static str,
    measures: &'static str,
    text: &'static str,
    content: Content,
    action: Action,
    target: f64,
}

impl Row for Client {
    fn id(&self) -> &'static str {
        self.id
    }

    fn measures(&self) -> &'static str {
        self.measures
    }

    fn unit(&self) -> Unit {
        Unit::cost("s")
    }

    fn target(&self) -> Target {
        Target::Ratio(self.target)
    }

    fn text(&self) -> &'static str {
        self.text
    }

    fn prepare<'a>(&'a self, setup: &'a Setup) -> BoxFuture<'a, Result<Box<dyn Bench>>> {
        Box::pin(async move {
            let bench = bench::ClientBench::new(setup, self.content, self.action)?;
            Ok(Box::new(bench) as Box<dyn Bench>)
        })
    }
}

/// The rows, in the order of the table.
pub fn all() -> Vec<Box<dyn Row>> {
    let rows = [
        Client {
            id: "client-small",
            measures: "First backup of 100 000 small files, against restic",
            text: include_str!("../../../texts/client-small.md"),
            content: Content::Small,
            action: Action::First,
            target: 1.0,
        },
        Client {
            id: "client-large",
            measures: "First backup of 20 large files, against restic",
            text: include_str!("../../../texts/client-large.md"),
            content: Content::Large,
            action: Action::First,
            target: 1.0,
        },
        Client {
            id: "client-image",
            measures: "First backup of an image of 4 GiB, against restic",
            text: include_str!("../../../texts/client-image.md"),
            content: Content::Image,
            action: Action::First,
            target: 1.0,
        },
        Client {
            id: "client-again-legacy",
            measures: "Second backup of 100 000 small files, 1 % changed, all read; against restic's",
            text: include_str!("../../../texts/client-again-legacy.md"),
            content: Content::Small,
            action: Action::Again(Detection::Legacy),
            target: 1.0,
        },
        Client {
            id: "client-again-data",
            measures: "The same in two streams, all read; against restic's",
            text: include_str!("../../../texts/client-again-data.md"),
            content: Content::Small,
            action: Action::Again(Detection::Data),
            target: 1.0,
        },
        Client {
            id: "client-again-metadata",
            measures: "The same, only what has changed is read; against restic's",
            text: include_str!("../../../texts/client-again-metadata.md"),
            content: Content::Small,
            action: Action::Again(Detection::Metadata),
            target: 1.0,
        },
        Client {
            id: "client-restore",
            measures: "Restore of 100 000 small files, against restic",
            text: include_str!("../../../texts/client-restore.md"),
            content: Content::Small,
            action: Action::Restore,
            target: 1.0,
        },
        Client {
            id: "client-one-file",
            measures: "Restore of one file out of 100 000, against restic",
            text: include_str!("../../../texts/client-one-file.md"),
            content: Content::Small,
            action: Action::OneFile,
            target: 1.0,
        },
    ];
    rows.into_iter()
        .map(|row| Box::new(row) as Box<dyn Row>)
        .collect()
}

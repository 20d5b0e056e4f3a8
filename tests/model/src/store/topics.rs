//! The configurations explored, each around a topic of `gc.md` §5.

use super::config::{Config, Start};
use super::state::Budget;

use Start as S;

const NOTHING: Budget = Config::PLAIN.budget;

/// Deletes whose answers are lost, denied or never waited for, and whoever uploads meanwhile.
pub const AMBIGUOUS: Config = Config {
    name: "ambiguous deletes",
    starts: &[&[S::Garbage], &[S::Unknown], &[S::Absent], &[S::Live]],
    sessions: 2,
    prune: true,
    dry: true,
    budget: Budget {
        collections: 2,
        lost_answers: 2,
        denials: 1,
        aborts: 1,
        ..NOTHING
    },
    ..Config::PLAIN
};

/// The process dies at any point; PUTs that were given up are applied late.
pub const CRASHES: Config = Config {
    name: "crashes",
    starts: &[&[S::Garbage], &[S::Unknown], &[S::Absent], &[S::Live]],
    sessions: 2,
    prune: true,
    late_puts: true,
    dry: true,
    budget: Budget {
        collections: 2,
        lost_answers: 1,
        crashes: 1,
        cancels: 1,
        ..NOTHING
    },
    ..Config::PLAIN
};

/// The same with a second crash, one session.
pub const TWO_CRASHES: Config = Config {
    name: "two crashes",
    sessions: 1,
    late_puts: false,
    budget: Budget {
        collections: 3,
        crashes: 2,
        lost_answers: 1,
        ..NOTHING
    },
    ..CRASHES
};

/// The power fails: what was not synced is there or not.
pub const POWER: Config = Config {
    name: "power loss",
    starts: &[
        &[S::CachedGarbage],
        &[S::Garbage],
        &[S::Unknown],
        &[S::CachedLive],
    ],
    sessions: 2,
    cache: true,
    prune: true,
    dry: true,
    budget: Budget {
        collections: 2,
        lost_answers: 1,
        power_losses: 1,
        ..NOTHING
    },
    ..Config::PLAIN
};

/// Payloads come and go.
pub const CACHE: Config = Config {
    name: "fills and evictions",
    starts: &[
        &[S::CachedGarbage],
        &[S::Garbage],
        &[S::CachedLive],
        &[S::Live],
    ],
    sessions: 2,
    cache: true,
    prune: true,
    budget: Budget {
        collections: 1,
        lost_answers: 1,
        fills: 1,
        evictions: 1,
        crashes: 1,
        ..NOTHING
    },
    ..Config::PLAIN
};

/// Listings that show what is gone, or not what is there.
pub const STALE: Config = Config {
    name: "stale listings",
    starts: &[
        &[S::Garbage],
        &[S::Unknown],
        &[S::Absent],
        &[S::Live],
        &[S::CachedLive],
        &[S::LiveUnknown],
        &[S::LiveLost],
        &[S::LiveLostUnmarked],
    ],
    sessions: 2,
    prune: true,
    dry: true,
    budget: Budget {
        collections: 2,
        stale: 2,
        lost_answers: 1,
        ..NOTHING
    },
    ..Config::PLAIN
};

/// Chunks are lost outside; healed, or reported, and who may reference them then.
pub const MISSING: Config = Config {
    name: "missing chunks",
    starts: &[&[S::LiveLost], &[S::LiveLostUnmarked], &[S::Live]],
    sessions: 2,
    bases: true,
    slow_commit: true,
    cache: true,
    prune: true,
    budget: Budget {
        collections: 1,
        losses: 1,
        ..NOTHING
    },
    ..Config::PLAIN
};

/// Damaged objects, uploads that meet them, verify that moves them away.
pub const VERIFY: Config = Config {
    name: "verify",
    starts: &[&[S::BadUnknown], &[S::Bad], &[S::LiveBad]],
    sessions: 1,
    prune: true,
    budget: Budget {
        collections: 1,
        verifies: 1,
        lost_answers: 1,
        aborts: 1,
        crashes: 1,
        ..NOTHING
    },
    ..Config::PLAIN
};

/// Presence is rebuilt from a listing.
pub const REBUILD: Config = Config {
    name: "rebuild",
    starts: &[
        &[S::Garbage],
        &[S::CachedLive],
        &[S::LiveUnknown],
        &[S::LiveLost],
    ],
    sessions: 1,
    prune: true,
    cache: true,
    dry: true,
    budget: Budget {
        collections: 2,
        rebuilds: 1,
        lost_answers: 1,
        crashes: 1,
        ..NOTHING
    },
    ..Config::PLAIN
};

/// The disk is set back to a copy of itself that was made while no collection ran.
pub const RESTORE: Config = Config {
    name: "restored disk",
    starts: &[&[S::Garbage], &[S::CachedLive], &[S::Unknown]],
    sessions: 1,
    prune: true,
    budget: Budget {
        collections: 2,
        lost_answers: 1,
        copies: 1,
        restores: 1,
        ..NOTHING
    },
    ..Config::PLAIN
};

/// Two processes have the store open, as after a reload or with a command beside the server.
pub const PROCESSES: Config = Config {
    name: "two processes",
    starts: &[&[S::Garbage], &[S::Unknown], &[S::Live]],
    sessions: 1,
    processes: 2,
    prune: true,
    budget: Budget {
        collections: 1,
        lost_answers: 1,
        aborts: 1,
        crashes: 1,
        ..NOTHING
    },
    ..Config::PLAIN
};

/// The same with cached payloads.
pub const PROCESSES_CACHE: Config = Config {
    name: "two processes and the cache",
    starts: &[&[S::CachedGarbage], &[S::CachedLive]],
    cache: true,
    budget: Budget {
        collections: 1,
        lost_answers: 1,
        fills: 1,
        evictions: 1,
        ..NOTHING
    },
    ..PROCESSES
};

/// Verify beside another process.
pub const PROCESSES_VERIFY: Config = Config {
    name: "two processes and verify",
    starts: &[&[S::BadUnknown], &[S::LiveBad]],
    budget: Budget {
        collections: 1,
        verifies: 1,
        lost_answers: 1,
        ..NOTHING
    },
    ..PROCESSES
};

/// Two digests.
pub const TWO_DIGESTS: Config = Config {
    name: "two digests",
    starts: &[
        &[S::Garbage, S::Live],
        &[S::Unknown, S::Garbage],
        &[S::CachedGarbage, S::Absent],
    ],
    sessions: 1,
    prune: true,
    budget: Budget {
        collections: 1,
        lost_answers: 1,
        crashes: 1,
        ..NOTHING
    },
    ..Config::PLAIN
};

/// The same with more of everything: minutes and gigabytes instead of seconds.
#[must_use]
pub const fn deep(mut config: Config) -> Config {
    config.sessions = 2;
    config.budget.aborts = 1;
    config.budget.collections = 2;
    config
}

/// All of them.
pub const ALL: &[Config] = &[
    AMBIGUOUS,
    CRASHES,
    TWO_CRASHES,
    POWER,
    CACHE,
    STALE,
    MISSING,
    VERIFY,
    REBUILD,
    RESTORE,
    PROCESSES,
    PROCESSES_CACHE,
    PROCESSES_VERIFY,
    TWO_DIGESTS,
];

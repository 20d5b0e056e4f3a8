//! Actors that came later: each can be left out, and adds to what happens without changing the rest
//! of the plan.

use crate::dice::{Dice, mix};
use crate::universe::PLAIN;

use super::generate::{lane, plan};
use super::{
    Act, Collect, Copy, GROUPS, MoveGroup, MoveNamespace, Plan, Resync, Source, Step, Trouble,
    Weather,
};

/// An actor that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guest {
    /// A short-lived second process.
    Beside,
    /// Moves of groups and namespaces.
    Moves,
    /// Syncs of snapshots that are here, and copies.
    Copies,
    /// Owner, notes, protection and client log.
    Labels,
    /// Requests for metadata that arrive when nobody expects them any more, more often than else.
    Late,
}

impl Guest {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Beside,
        Self::Moves,
        Self::Copies,
        Self::Labels,
        Self::Late,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Beside => "beside",
            Self::Moves => "moves",
            Self::Copies => "copies",
            Self::Labels => "labels",
            Self::Late => "late",
        }
    }
}

/// The plan of one world of a seed, with these guests.
#[must_use]
pub fn plan_with(seed: u64, world: u64, guests: &[Guest]) -> Plan {
    let mut plan = plan(seed, world);
    for &guest in guests {
        for episode in &mut plan.episodes {
            let number = episode.number;
            let parts = [seed, world, number, mix(&[guest as u64, 0x67])];
            let mut dice = Dice::of(&parts);
            // The others keep the larger share of what happens.
            if !dice.percent(60) {
                continue;
            }
            episode.lanes.extend(lanes(guest, &mut dice));
            if guest == Guest::Late {
                episode.weather.push(late_metadata(&mut dice));
            }
        }
    }
    plan
}

fn lanes(guest: Guest, dice: &mut Dice) -> Vec<Vec<Step>> {
    match guest {
        Guest::Beside => vec![lane(dice, 1, 3, 8000, beside)],
        Guest::Moves => vec![lane(dice, 2, 5, 5000, moving)],
        Guest::Copies => vec![lane(dice, 2, 5, 5000, copying)],
        Guest::Labels => vec![lane(dice, 3, 7, 4000, labelling)],
        Guest::Late => Vec::new(),
    }
}

fn late_metadata(dice: &mut Dice) -> Weather {
    Weather {
        id: 100,
        from: dice.below(20_000),
        length: dice.pick(&[20_000, 120_000, 900_000]),
        percent: dice.pick(&[5, 20]),
        most: dice.pick(&[1, 3]),
        kind: Trouble::LateMetadata {
            after: dice.pick(&[2, 60, 400, 1200]),
        },
    }
}

fn beside(dice: &mut Dice) -> Act {
    let what = match dice.below(10) {
        0..2 => Act::Prune {
            group: dice.small(GROUPS),
            keep: dice.small(2) + 1,
        },
        2..5 => Act::Forget {
            pick: dice.small(50),
        },
        5..8 => Act::Collect(Collect {
            force: true,
            full: dice.percent(20),
            dry_run: false,
            abort: None,
            meanwhile: Vec::new(),
        }),
        8 => Act::Verify {
            quick: dice.percent(30),
            abort: None,
        },
        _ => moving(dice),
    };
    Act::Beside {
        what: Box::new(what),
        kill: dice.percent(40).then(|| dice.within(1, 150)),
    }
}

fn moving(dice: &mut Dice) -> Act {
    let abort = |dice: &mut Dice| dice.percent(20).then(|| dice.below(3000));
    if dice.percent(25) {
        return Act::MoveNamespace(MoveNamespace {
            from: dice.small(5),
            to: dice.small(5),
            merge: dice.percent(70),
            delete_source: dice.percent(60),
            abort: abort(dice),
        });
    }
    Act::MoveGroup(MoveGroup {
        group: dice.small(GROUPS),
        from: dice.small(5),
        to: dice.small(5),
        merge: dice.percent(80),
        abort: abort(dice),
    })
}

fn copying(dice: &mut Dice) -> Act {
    let chunks = |dice: &mut Dice| {
        let count = dice.within(1, 4);
        (0..count).map(|_| dice.small(PLAIN)).collect()
    };
    if dice.percent(35) {
        return Act::Copy(Copy {
            group: dice.small(GROUPS),
            again: dice.percent(60),
            chunks: chunks(dice),
            give_up: dice.percent(15),
        });
    }
    Act::Resync(Resync {
        pick: dice.small(50),
        source: dice.weighted(&[(5, Source::Same), (2, Source::Damaged), (3, Source::Other)]),
        corrupt: dice.percent(50),
        chunks: chunks(dice),
        verified: dice.percent(50),
        give_up: dice.percent(10),
    })
}

fn labelling(dice: &mut Dice) -> Act {
    match dice.below(10) {
        0..3 => Act::Owner {
            group: dice.small(GROUPS),
            owner: dice.small(3),
        },
        3..6 => Act::GroupNotes {
            group: dice.small(GROUPS),
            text: dice.small(4),
        },
        6 => Act::Protect {
            pick: dice.small(50),
            on: dice.percent(30),
        },
        7 => Act::Notes {
            pick: dice.small(50),
        },
        _ => Act::ClientLog {
            pick: dice.small(50),
        },
    }
}

//! From a seed to a plan.

use crate::dice::Dice;
use crate::universe::{CRYPT, PLAIN};

use super::{
    Act, Backup, Collect, End, Episode, GROUPS, Move, Oddity, Plan, Setting, Step, Trouble, Weather,
};

/// Episodes of a world.
pub const EPISODES: u64 = 6;

/// The plan of one world of a seed.
#[must_use]
pub fn plan(seed: u64, world: u64) -> Plan {
    let mut dice = Dice::of(&[seed, world]);
    let setting = setting(&mut dice);
    let episodes = (0..EPISODES)
        .map(|number| episode(&mut Dice::of(&[seed, world, number, 1]), number))
        .collect();
    Plan {
        seed,
        world,
        setting,
        episodes,
    }
}

fn setting(dice: &mut Dice) -> Setting {
    Setting {
        page_size: dice.pick(&[2, 3, 5, 10, 1000]),
        grace: dice.weighted(&[(9, 0), (1, 60), (1, 3600), (1, 86_700)]),
        max_cache: dice.pick(&[None, None, Some(0), Some(200), Some(600), Some(2000)]),
        latency: dice.pick(&[1, 10, 50, 200]),
        single_deletes: dice.percent(15),
        ignores_conditions: dice.percent(15),
        sharded: dice.percent(50),
        delete_latency: dice.pick(&[0, 1000, 5000, 20_000]),
    }
}

fn episode(dice: &mut Dice, number: u64) -> Episode {
    // Some episodes are calm: what needs to be alone gets its turn.
    let rough = !dice.percent(20);
    if dice.percent(10) {
        return maintenance(dice, number);
    }
    let mut lanes = Vec::new();
    for _ in 0..dice.within(1, 3) {
        lanes.push(lane(dice, 3, 7, 3000, |dice| Act::Backup(backup(dice))));
    }
    lanes.push(lane(dice, 3, 8, 4000, collecting));
    if dice.percent(50) {
        lanes.push(lane(dice, 1, 5, 6000, collecting));
    }
    lanes.push(lane(dice, 3, 9, 4000, managing));
    if dice.percent(50) {
        lanes.push(lane(dice, 2, 6, 2000, |dice| Act::Forget {
            pick: dice.small(50),
        }));
    }
    if dice.percent(60) {
        lanes.push(lane(dice, 1, 4, 6000, reading));
    }
    lanes.push(lane(dice, 3, 8, 90_000, |_| Act::Tend));
    if rough {
        lanes.push(lane(dice, 1, 5, 15_000, meddling));
    }
    let weather = match rough {
        true => (0..dice.within(0, 4)).map(|id| weather(dice, id)).collect(),
        false => Vec::new(),
    };
    Episode {
        number,
        lanes,
        weather,
    }
}

/// An episode with little traffic: a rebuild gets its turn, and is disturbed.
fn maintenance(dice: &mut Dice, number: u64) -> Episode {
    let lanes = vec![
        lane(dice, 1, 2, 2000, |dice| Act::Backup(backup(dice))),
        lane(dice, 1, 3, 3000, |dice| Act::Forget {
            pick: dice.small(50),
        }),
        lane(dice, 2, 4, 5000, |_| Act::Refresh),
        lane(dice, 1, 3, 10_000, |dice| Act::Crash {
            after: dice.within(1, 200),
            down: dice.pick(&[10, 30_000]),
            power: dice.percent(40),
            on_delete: false,
            lose_journal: dice.percent(10),
        }),
    ];
    Episode {
        number,
        lanes,
        weather: Vec::new(),
    }
}

pub(super) fn lane(
    dice: &mut Dice,
    least: u64,
    most: u64,
    pause: u64,
    mut act: impl FnMut(&mut Dice) -> Act,
) -> Vec<Step> {
    (0..dice.within(least, most))
        .map(|_| {
            let pause = match dice.below(10) {
                0..4 => dice.below(50),
                4..8 => dice.below(pause),
                _ => dice.below(pause * 20),
            };
            let act = act(dice);
            Step { pause, act }
        })
        .collect()
}

fn backup(dice: &mut Dice) -> Backup {
    let encrypted = dice.percent(25);
    let limit = if encrypted { CRYPT } else { PLAIN };
    let mut moves = Vec::new();
    for _ in 0..dice.within(1, 5) {
        moves.push(match dice.below(10) {
            0..6 => {
                let count = dice.within(1, 4);
                Move::Insert((0..count).map(|_| dice.small(limit)).collect())
            }
            6..8 => Move::Ask(dice.small(limit)),
            _ => Move::Wait(dice.pick(&[1, 20, 500, 5000, 60_000, 900_000])),
        });
    }
    Backup {
        group: dice.small(GROUPS),
        encrypted,
        compressed: dice.percent(70),
        cache: dice.percent(60),
        base: dice.percent(40),
        moves,
        archives: dice.weighted(&[(5, 1), (2, 2), (1, 3)]),
        blobs: dice.weighted(&[(3, 0), (1, 1)]),
        linger: dice.weighted(&[(6, 0), (2, 300), (2, 5000), (1, 120_000), (1, 2_000_000)]),
        end: dice.weighted(&[
            (12, End::Commit),
            (2, End::CommitOrDrop),
            (2, End::Abort),
            (2, End::Drop),
            (1, End::DropEarly),
        ]),
    }
}

fn collecting(dice: &mut Dice) -> Act {
    let mut meanwhile = Vec::new();
    for _ in 0..dice.weighted(&[(5, 0), (2, 1), (2, 2)]) {
        let act = match dice.below(5) {
            0..2 => Act::Forget {
                pick: dice.small(50),
            },
            2 => Act::Prune {
                group: dice.small(GROUPS),
                keep: dice.small(2) + 1,
            },
            _ => {
                let mut backup = backup(dice);
                backup.moves.retain(|step| !matches!(step, Move::Wait(_)));
                backup.base = true;
                backup.linger = 0;
                Act::Backup(backup)
            }
        };
        meanwhile.push((dice.small(40), act));
    }
    meanwhile.sort_by_key(|(step, _)| *step);
    Act::Collect(Collect {
        force: dice.percent(50),
        full: dice.percent(20),
        dry_run: dice.percent(5),
        abort: dice.percent(15).then(|| dice.below(4000)),
        meanwhile,
    })
}

fn managing(dice: &mut Dice) -> Act {
    match dice.below(20) {
        0..6 => Act::Prune {
            group: dice.small(GROUPS),
            keep: dice.small(3) + 1,
        },
        6..13 => Act::Forget {
            pick: dice.small(50),
        },
        13..15 => Act::Protect {
            pick: dice.small(50),
            on: dice.percent(60),
        },
        15..17 => Act::Notes {
            pick: dice.small(50),
        },
        17..19 => Act::DestroyGroup {
            group: dice.small(GROUPS),
        },
        _ => Act::DestroyNamespace {
            inner: dice.percent(60),
        },
    }
}

fn reading(dice: &mut Dice) -> Act {
    match dice.below(10) {
        0..6 => Act::Read {
            pick: dice.small(50),
            fill: dice.percent(70),
        },
        6..9 => Act::Verify {
            quick: dice.percent(30),
            abort: dice.percent(20).then(|| dice.below(3000)),
        },
        _ => Act::Refresh,
    }
}

fn meddling(dice: &mut Dice) -> Act {
    match dice.below(40) {
        0..14 => Act::Crash {
            after: dice.within(1, 150),
            down: dice.pick(&[10, 1000, 30_000, 600_000, 4_000_000]),
            power: dice.percent(40),
            on_delete: dice.percent(40),
            lose_journal: dice.percent(8),
        },
        14..19 => Act::Reload,
        19..21 => Act::Takeover,
        21..25 => Act::Corrupt {
            digest: dice.small(PLAIN + CRYPT),
            same_size: dice.percent(50),
        },
        25..28 => Act::Vanish {
            digest: dice.small(PLAIN + CRYPT),
        },
        28..31 => Act::Retain {
            // Given free again when the world runs dry.
            digests: match dice.below(3) {
                0 => (0..3).map(|_| dice.small(PLAIN + CRYPT)).collect(),
                _ => (0..PLAIN + CRYPT).collect(),
            },
        },
        31..34 => Act::KeyTrouble {
            digest: dice.small(PLAIN + CRYPT),
            applied: dice.percent(50),
            times: dice.small(5) + 1,
        },
        34 => Act::Unmark {
            digest: dice.small(PLAIN + CRYPT),
        },
        35 => Act::WallClock(dice.pick(&[-172_800, -3600, -60, 30, 3600, 172_800])),
        36..38 => Act::ServerClock(dice.pick(&[-300, -20, 0, 20, 300, 3600])),
        _ => Act::Refresh,
    }
}

fn weather(dice: &mut Dice, id: u64) -> Weather {
    let kind = match dice.below(24) {
        0 => Trouble::LostAnswer,
        1 => Trouble::NoAnswer,
        2 => Trouble::Lost,
        3 => Trouble::Hang,
        4 => Trouble::Unavailable,
        5 => Trouble::TooMany,
        6 => Trouble::LyingError,
        7 => Trouble::Truncated,
        8..17 => Trouble::LateDelete {
            after: dice.pick(&[2, 30, 120, 300, 840, 1200]),
            in_network: dice.percent(40),
        },
        17..20 => Trouble::LatePut {
            after: dice.pick(&[2, 60, 400]),
        },
        20 => Trouble::LateMetadata {
            after: dice.pick(&[2, 60, 400]),
        },
        _ => Trouble::Listing(dice.pick(&[
            Oddity::Stale(60),
            Oddity::Stale(600),
            Oddity::Disordered,
            Oddity::Backwards,
            Oddity::Cut,
            Oddity::RepeatedToken,
            Oddity::NoToken,
            Oddity::Offsets,
            Oddity::Overlap,
            Oddity::Undated,
        ])),
    };
    Weather {
        id,
        from: dice.below(40_000),
        length: dice.pick(&[2000, 20_000, 120_000, 900_000]),
        percent: dice.pick(&[10, 30, 100]),
        most: dice.pick(&[1, 3, 10, 1000]),
        kind,
    }
}

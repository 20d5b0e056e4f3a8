//! Which snapshots of a group are to be transferred, and why others are not: pure
//! (`jobs-and-sync.md` §7.2).

use std::collections::BTreeSet;

use api_types::names::{ArchiveName, BackupTime};
use api_types::status::{CryptMode, SnapshotListItem, VerifyState};

use super::options::Selection;

/// The snapshots of the source, as the filters leave them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// Those that pass, oldest first.
    pub times: Vec<BackupTime>,
    /// Those that are being made. Never taken, and never counted as vanished.
    pub in_progress: Vec<BackupTime>,
    /// How many are not encrypted, where only those are wanted.
    pub not_encrypted: usize,
    /// How many are not verified, where only those are wanted.
    pub not_verified: usize,
}

/// What there is at the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// The newest finished snapshot.
    pub last: Option<BackupTime>,
    /// Those to be transferred once more, since they are damaged.
    pub corrupt: BTreeSet<BackupTime>,
}

/// A snapshot to be transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub time: BackupTime,
    /// It is at the target, damaged.
    pub corrupt: bool,
}

/// What is transferred, and what is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// To be transferred, oldest first.
    pub candidates: Vec<Candidate>,
    /// Older than the newest one of the target.
    pub already_synced: Vec<BackupTime>,
    /// Not among the last ones that are wanted.
    pub not_last: Vec<BackupTime>,
}

impl Offered {
    /// Filters what the source lists of a group.
    #[must_use]
    pub fn of(listed: &[SnapshotListItem], selection: &Selection) -> Self {
        let mut offered = Self::default();
        for item in listed {
            let verified = item.verification.as_ref();
            if item.size.is_none() {
                offered.in_progress.push(item.backup_time);
            } else if selection.verified_only
                && verified.is_none_or(|verified| verified.state != VerifyState::Ok)
            {
                offered.not_verified += 1;
            } else if selection.encrypted_only && !is_encrypted(item) {
                offered.not_encrypted += 1;
            } else {
                offered.times.push(item.backup_time);
            }
        }
        offered.times.sort_unstable();
        offered.times.dedup();
        offered
    }

    /// Which of the target's snapshots the source has no more, as far as the filters show them.
    #[must_use]
    pub fn vanished(&self, here: &[BackupTime]) -> Vec<BackupTime> {
        let offered = |time: &BackupTime| self.times.binary_search(time).is_ok();
        let gone = |time: &&BackupTime| !offered(time) && !self.in_progress.contains(time);
        here.iter().filter(gone).copied().collect()
    }

    /// Chooses for a pull: what is newer than all the target has, its newest one again, for a log
    /// or notes that came late, and what is damaged there.
    #[must_use]
    pub fn choose(&self, present: &Present, transfer_last: Option<usize>) -> Chosen {
        let wanted = transfer_last.unwrap_or(usize::MAX);
        let first_wanted = self.times.len().saturating_sub(wanted);
        let mut chosen = Chosen::default();
        for (place, time) in self.times.iter().copied().enumerate() {
            let corrupt = present.corrupt.contains(&time);
            if corrupt {
                chosen.candidates.push(Candidate { time, corrupt });
            } else if present.last.is_some_and(|last| time < last) {
                chosen.already_synced.push(time);
            } else if place < first_wanted && present.last != Some(time) {
                chosen.not_last.push(time);
            } else {
                chosen.candidates.push(Candidate { time, corrupt });
            }
        }
        chosen
    }
}

impl Chosen {
    /// What the log says of those that are left out.
    #[must_use]
    pub fn skipped_lines(&self) -> Vec<String> {
        let reasons = [
            (
                &self.already_synced,
                "older than the newest snapshot present on sync target",
            ),
            (&self.not_last, "due to transfer-last"),
        ];
        let line = |(times, reason): (&Vec<BackupTime>, &str)| {
            let (first, last) = (times.first()?, times.last()?);
            let count = times.len();
            Some(format!(
                "skipped: {count} snapshot(s) ({first} .. {last}) - {reason}"
            ))
        };
        reasons.into_iter().filter_map(line).collect()
    }
}

/// All files but the manifest, which must be signed, and the client's log, which nobody lists.
fn is_encrypted(item: &SnapshotListItem) -> bool {
    item.files.iter().all(|file| {
        let name = file.filename.as_str();
        match name {
            ArchiveName::CLIENT_LOG => true,
            ArchiveName::MANIFEST => file.crypt_mode == Some(CryptMode::SignOnly),
            _ => file.crypt_mode == Some(CryptMode::Encrypt),
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn time(secs: i64) -> BackupTime {
        BackupTime::from_secs(secs).unwrap()
    }

    fn item(secs: i64, more: &Value) -> SnapshotListItem {
        let mut item = json!({
            "backup-type": "host", "backup-id": "a", "backup-time": secs,
            "files": [], "size": 1, "protected": false,
        });
        let (Value::Object(all), Value::Object(more)) = (&mut item, more) else {
            panic!();
        };
        all.extend(more.clone());
        serde_json::from_value(item).unwrap()
    }

    fn files(modes: &[(&str, &str)]) -> Value {
        let file = |(name, mode): &(&str, &str)| json!({ "filename": name, "crypt-mode": mode });
        json!({ "files": modes.iter().map(file).collect::<Vec<_>>() })
    }

    fn secs(candidates: &[Candidate]) -> Vec<i64> {
        candidates.iter().map(|c| c.time.secs()).collect()
    }

    fn offered(times: &[i64]) -> Offered {
        let listed: Vec<_> = times.iter().map(|secs| item(*secs, &json!({}))).collect();
        Offered::of(&listed, &Selection::default())
    }

    fn last(secs: i64) -> Present {
        Present {
            last: Some(time(secs)),
            corrupt: BTreeSet::new(),
        }
    }

    #[test]
    fn what_is_being_made_is_neither_taken_nor_gone() {
        let listed = [item(300, &json!({ "size": null })), item(200, &json!({}))];
        let offered = Offered::of(&listed, &Selection::default());
        assert_eq!(offered.times, [time(200)]);
        let gone = offered.vanished(&[time(100), time(200), time(300)]);
        assert_eq!(gone, [time(100)]);
    }

    #[test]
    fn only_encrypted_ones() {
        let selection = Selection {
            encrypted_only: true,
            ..Selection::default()
        };
        let log = (ArchiveName::CLIENT_LOG, "none");
        let signed = (ArchiveName::MANIFEST, "sign-only");
        for (modes, passes) in [
            (&[("a.img.fidx", "encrypt"), signed, log][..], true),
            (
                &[("a.img.fidx", "encrypt"), ("b.conf.blob", "none"), signed],
                false,
            ),
            (&[("a.img.fidx", "sign-only"), signed], false),
            (
                &[("a.img.fidx", "encrypt"), (ArchiveName::MANIFEST, "none")],
                false,
            ),
        ] {
            let offered = Offered::of(&[item(1, &files(modes))], &selection);
            assert_eq!(offered.times.len(), usize::from(passes), "{modes:?}");
            assert_eq!(offered.not_encrypted, usize::from(!passes));
        }
    }

    #[test]
    fn only_verified_ones_and_the_others_count_as_vanished() {
        let selection = Selection {
            verified_only: true,
            ..Selection::default()
        };
        let upid = "UPID:vm:00000001:00000002:00000003:00000000:verify:s1:root@pam:";
        let verified = |state: &str| json!({ "verification": { "upid": upid, "state": state } });
        let listed = [
            item(1, &verified("ok")),
            item(2, &verified("failed")),
            item(3, &json!({})),
        ];
        let offered = Offered::of(&listed, &selection);
        assert_eq!(offered.times, [time(1)]);
        assert_eq!(offered.not_verified, 2);
        assert_eq!(offered.vanished(&[time(1), time(2)]), [time(2)]);
    }

    #[test]
    fn the_newest_one_is_looked_at_again_and_older_ones_are_not() {
        let offered = offered(&[400, 300, 200, 100]);
        let chosen = offered.choose(&Present::default(), None);
        assert_eq!(secs(&chosen.candidates), [100, 200, 300, 400]);
        let chosen = offered.choose(&last(300), None);
        assert_eq!(secs(&chosen.candidates), [300, 400]);
        assert_eq!(
            chosen.skipped_lines(),
            [
                "skipped: 2 snapshot(s) (1970-01-01T00:01:40Z .. 1970-01-01T00:03:20Z) - older \
                 than the newest snapshot present on sync target"
            ]
        );
        // The source has lost the newest one.
        let chosen = offered.choose(&last(350), None);
        assert_eq!(secs(&chosen.candidates), [400]);
    }

    #[test]
    fn the_last_ones_and_the_newest_that_is_there() {
        let offered = offered(&[100, 200, 300, 400]);
        let chosen = offered.choose(&Present::default(), Some(2));
        assert_eq!(secs(&chosen.candidates), [300, 400]);
        assert_eq!(chosen.not_last, [time(100), time(200)]);
        assert!(chosen.skipped_lines()[0].ends_with("due to transfer-last"));
        let chosen = offered.choose(&last(100), Some(1));
        assert_eq!(secs(&chosen.candidates), [100, 400]);
    }

    #[test]
    fn damaged_ones_come_again_wherever_they_are() {
        let present = Present {
            corrupt: BTreeSet::from([time(100), time(250)]),
            ..last(300)
        };
        let chosen = offered(&[100, 200, 300, 400]).choose(&present, Some(1));
        assert_eq!(secs(&chosen.candidates), [100, 300, 400]);
        let corrupt: Vec<bool> = chosen.candidates.iter().map(|c| c.corrupt).collect();
        assert_eq!(corrupt, [true, false, false]);
    }

    proptest! {
        #[test]
        fn each_is_chosen_or_skipped_once(
            times in proptest::collection::btree_set(1_i64..50, 0..12),
            newest in proptest::option::of(1_i64..50),
            wanted in proptest::option::of(1_usize..6),
        ) {
            let times: Vec<i64> = times.into_iter().collect();
            let offered = offered(&times);
            let present = Present { last: newest.map(time), corrupt: BTreeSet::new() };
            let chosen = offered.choose(&present, wanted);
            let mut all: Vec<BackupTime> = chosen.candidates.iter().map(|c| c.time).collect();
            prop_assert!(all.is_sorted());
            // Nothing older than what is there is ever written.
            prop_assert!(all.iter().all(|t| present.last.is_none_or(|last| *t >= last)));
            all.extend(chosen.already_synced.iter().chain(&chosen.not_last));
            all.sort_unstable();
            prop_assert_eq!(all, offered.times);
        }
    }
}

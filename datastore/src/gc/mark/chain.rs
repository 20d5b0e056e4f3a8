//! The indexes of one archive from snapshot to snapshot: of each, only what it has beyond the one
//! read before it need be sorted, marked and kept.
//!
//! A backup changes a few per cent of an archive. Compared with the index of the snapshot after it,
//! entry by entry and without sorting, an index comes down to those few. ◆ What is left out is
//! marked: the index compared with was marked by this run, before, from entries whose checksum was
//! compared, or from a list of exactly those (ADR 0012).

use std::collections::HashMap;
use std::ffi::OsString;

use api_types::digest::Digest;

use super::read_index::Entries;
use crate::gc::index_cache::{IndexDigests, ListId};
use crate::gc::mark_set::sort_unique;

/// How far around the expected place a digest is looked for.
const WINDOW: usize = 32;

/// What each archive of a group had in the snapshot read last.
#[derive(Debug)]
pub(super) struct Chains {
    last: HashMap<OsString, Link>,
    /// Longer lists are not kept in memory.
    max_entries: usize,
}

/// An index that is marked, as far as it is still in memory.
#[derive(Debug)]
struct Link {
    id: ListId,
    /// Its entries in their order; empty if unknown.
    entries: Vec<Digest>,
    /// All its digests, ascending; empty if unknown.
    sorted: Vec<Digest>,
}

impl Chains {
    /// Nothing read yet. Of each archive, up to `max_entries` entries are remembered.
    pub(super) fn new(max_entries: usize) -> Self {
        Self {
            last: HashMap::new(),
            max_entries,
        }
    }

    /// The list of an index that was read: what it has beyond the one before it, or all.
    pub(super) fn list_of(&mut self, name: OsString, id: ListId, entries: Entries) -> IndexDigests {
        let references = entries.references();
        let data_bytes = entries.data_bytes;
        let remember = entries.digests.len() <= self.max_entries;
        let before = self.last.remove(&name).filter(|_| remember);
        let list = |base, digests| IndexDigests {
            references,
            data_bytes,
            base,
            digests,
        };
        if let Some(before) = before.as_ref().filter(|link| !link.entries.is_empty()) {
            let mut digests = beyond(&before.entries, &entries.digests);
            sort_unique(&mut digests);
            if is_worth_it(&digests, entries.digests.len()) {
                let base = before.id;
                self.remember(name, id, entries.digests, Vec::new());
                return list(Some(base), digests);
            }
        }
        let mut sorted = entries.digests.clone();
        sort_unique(&mut sorted);
        let shorter = before.and_then(|before| before.beyond_sorted(&sorted));
        if let Some((base, digests)) = shorter {
            self.remember(name, id, entries.digests, sorted);
            return list(Some(base), digests);
        }
        if remember {
            self.remember(name, id, entries.digests, sorted.clone());
        }
        list(None, sorted)
    }

    /// Learns of an index whose list was in the cache; the same list, shortened, if that is
    /// possible.
    pub(super) fn shorten(
        &mut self,
        name: OsString,
        id: ListId,
        list: &IndexDigests,
    ) -> Option<IndexDigests> {
        let before = self.last.remove(&name);
        if list.base.is_some() || list.digests.len() > self.max_entries {
            // Its other digests are in memory nowhere: nothing to compare the next one with.
            return None;
        }
        let shorter = before.and_then(|before| before.beyond_sorted(&list.digests));
        self.remember(name, id, Vec::new(), list.digests.clone());
        shorter.map(|(base, digests)| IndexDigests {
            base: Some(base),
            digests,
            ..*list
        })
    }

    fn remember(&mut self, name: OsString, id: ListId, entries: Vec<Digest>, sorted: Vec<Digest>) {
        let link = Link {
            id,
            entries,
            sorted,
        };
        self.last.insert(name, link);
    }
}

impl Link {
    /// What ascending `digests` have that this one has not.
    fn beyond_sorted(&self, digests: &[Digest]) -> Option<(ListId, Vec<Digest>)> {
        if self.sorted.is_empty() {
            return None;
        }
        let mut own = self.sorted.iter().peekable();
        let is_new = |digest: &&Digest| {
            while own.next_if(|first| first < digest).is_some() {}
            own.peek() != Some(digest)
        };
        let more: Vec<Digest> = digests.iter().filter(is_new).copied().collect();
        is_worth_it(&more, digests.len()).then_some((self.id, more))
    }
}

/// Whether a list saves enough to depend on another one.
fn is_worth_it(list: &[Digest], whole: usize) -> bool {
    list.len() <= whole / 2
}

/// The entries that are not found near their place in `base`: each digest that `base` has not got,
/// and perhaps some that it has.
fn beyond(base: &[Digest], entries: &[Digest]) -> Vec<Digest> {
    let mut more = Vec::new();
    let mut expected = 0;
    let mut missed = 0;
    let mut places = Places::default();
    for digest in entries {
        if base.get(expected) == Some(digest) {
            expected += 1;
            missed = 0;
            continue;
        }
        let from = expected.saturating_sub(WINDOW).min(base.len());
        let to = expected.saturating_add(WINDOW).min(base.len());
        let near = base[from..to].iter().position(|other| other == digest);
        let found = near.map(|place| from + place).or_else(|| {
            // Out of step: more was inserted or removed than the window holds.
            (missed >= WINDOW)
                .then(|| places.find(base, digest))
                .flatten()
        });
        if let Some(place) = found {
            expected = place + 1;
            missed = 0;
        } else {
            more.push(*digest);
            expected += 1;
            missed += 1;
        }
    }
    more
}

/// Where each digest is, made when it is first needed.
#[derive(Debug, Default)]
struct Places(HashMap<Digest, usize>);

impl Places {
    fn find(&mut self, base: &[Digest], digest: &Digest) -> Option<usize> {
        if self.0.is_empty() {
            let place = |(place, digest): (usize, &Digest)| (*digest, place);
            self.0.extend(base.iter().enumerate().map(place));
        }
        self.0.get(digest).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use api_types::names::ArchiveType;
    use proptest::prelude::*;

    use super::*;

    fn digest(number: u16) -> Digest {
        let mut bytes = [7; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        Digest::from_bytes(bytes)
    }

    fn entries(numbers: &[u16]) -> Entries {
        Entries {
            data_bytes: 1,
            digests: numbers.iter().map(|number| digest(*number)).collect(),
        }
    }

    fn id(number: u8) -> ListId {
        ListId {
            kind: ArchiveType::FixedIndex,
            csum: [number; 32],
        }
    }

    fn set(digests: &[Digest]) -> BTreeSet<Digest> {
        digests.iter().copied().collect()
    }

    #[test]
    fn insertions_removals_and_replacements_cost_what_they_change() {
        let numbers: Vec<u16> = (0..1000).collect();
        let base = entries(&numbers).digests;
        let mut changed = numbers.clone();
        changed.drain(10..15);
        changed.splice(100..100, 2000..2010);
        changed.splice(500..520, 3000..3005);
        changed.splice(700..700, 4000..4100);
        let expected: BTreeSet<Digest> = (2000..2010)
            .chain(3000..3005)
            .chain(4000..4100)
            .map(digest)
            .collect();
        let more = beyond(&base, &entries(&changed).digests);
        assert!(set(&more).is_superset(&expected));
        assert!(more.len() < expected.len() + 2 * WINDOW, "{}", more.len());
    }

    #[test]
    fn a_list_names_the_index_it_depends_on() {
        let mut chains = Chains::new(100);
        let name = || OsString::from("a.fidx");
        let first = chains.list_of(name(), id(1), entries(&[3, 1, 2, 4]));
        assert_eq!((first.base, first.digests.len()), (None, 4));
        let second = chains.list_of(name(), id(2), entries(&[3, 1, 9, 4]));
        assert_eq!(second.base, Some(id(1)));
        assert_eq!(second.digests, [digest(9)]);
        // Nothing in common: no dependence.
        let third = chains.list_of(name(), id(3), entries(&[10, 11]));
        assert_eq!(third.base, None);
        // Another archive of the group has its own chain.
        let other = chains.list_of("b.fidx".into(), id(4), entries(&[10, 11]));
        assert_eq!(other.base, None);
        // A whole list from the cache is shortened by what came before it; a short one is not.
        let list = entries(&[10, 11]).into_list();
        let shorter = chains.shorten(name(), id(5), &list).unwrap();
        assert_eq!((shorter.base, shorter.digests.len()), (Some(id(3)), 0));
        assert!(chains.shorten(name(), id(6), &shorter).is_none());
        assert!(chains.shorten(name(), id(7), &list).is_none());
    }

    #[test]
    fn long_indexes_are_not_remembered() {
        let mut chains = Chains::new(3);
        let name = || OsString::from("a.fidx");
        chains.list_of(name(), id(1), entries(&[1, 2, 3, 4]));
        let second = chains.list_of(name(), id(2), entries(&[1, 2, 3]));
        assert_eq!(second.base, None);
        let third = chains.list_of(name(), id(3), entries(&[1, 2, 3, 4]));
        assert_eq!(third.base, None);
    }

    proptest! {
        /// ◆ Whatever the indexes are, no digest is lost: base and list together have all.
        #[test]
        fn nothing_is_left_out_that_the_base_has_not_got(
            base in prop::collection::vec(0_u16..300, 1..200),
            cuts in prop::collection::vec((0_usize..200, 0_usize..60, prop::collection::vec(0_u16..600, 0..60)), 0..5),
            cached in any::<bool>(),
        ) {
            let mut changed = base.clone();
            for (at, len, with) in cuts {
                let at = at.min(changed.len());
                let end = (at + len).min(changed.len());
                changed.splice(at..end, with);
            }
            prop_assume!(!changed.is_empty());
            let mut chains = Chains::new(10_000);
            let name = || OsString::from("a.didx");
            let first = chains.list_of(name(), id(1), entries(&base));
            let all = entries(&changed).digests;
            let second = if cached {
                let list = entries(&changed).into_list();
                chains.shorten(name(), id(2), &list).unwrap_or(list)
            } else {
                chains.list_of(name(), id(2), entries(&changed))
            };
            let mut marked = set(&second.digests);
            prop_assert!(second.base.is_none_or(|base| base == id(1)));
            if second.base.is_some() {
                marked.extend(first.digests);
            }
            prop_assert!(marked.is_superset(&set(&all)));
            prop_assert!(crate::gc::mark_set::is_strictly_sorted(&second.digests));
        }
    }
}

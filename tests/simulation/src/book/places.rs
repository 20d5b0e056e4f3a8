//! Where a snapshot is while it moves, and after a move that somebody was not told the end of.

use api_types::names::{BackupDir, BackupGroup, BackupNamespace, SnapshotPath};
use datastore::store::DataStore;

use super::{Book, Snapshot, Status};

/// A move of groups from one namespace to another that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journey {
    /// Only this group.
    pub group: Option<BackupGroup>,
    /// From here, and, of all groups, from the namespaces below.
    pub from: BackupNamespace,
    /// To here.
    pub to: BackupNamespace,
}

impl Journey {
    /// Where it takes a snapshot.
    #[must_use]
    pub fn target(&self, path: &SnapshotPath) -> Option<SnapshotPath> {
        let concerned = match &self.group {
            Some(group) => path.ns == self.from && path.dir.group == *group,
            None => self.from.contains(&path.ns),
        };
        let below = path.ns.components().get(self.from.depth()..);
        let mut below = below.filter(|_| concerned)?.iter().cloned();
        let to = below.try_fold(self.to.clone(), |to, name| to.join(name).ok())?;
        Some(SnapshotPath::new(to, path.dir.clone()))
    }
}

/// The directory of a snapshot.
#[must_use]
pub fn directory(path: &SnapshotPath) -> String {
    path.ns.path_of(&path.dir.path())
}

impl Snapshot {
    /// Every place where it may be: where it was last, and where moves may have taken it.
    pub fn places(&self) -> impl Iterator<Item = &SnapshotPath> {
        std::iter::once(&self.path).chain(&self.elsewhere)
    }

    /// Whether it may be below this directory.
    #[must_use]
    pub fn may_be_below(&self, directory: &str) -> bool {
        let below = |path: &SnapshotPath| self::directory(path).starts_with(directory);
        self.places().any(below)
    }

    /// Whether it may be in this very directory.
    #[must_use]
    pub fn may_be_at(&self, directory: &str) -> bool {
        self.places().any(|path| self::directory(path) == directory)
    }

    /// The first of its places where it is in the local tree.
    #[must_use]
    pub fn standing(&self, store: &DataStore) -> Option<SnapshotPath> {
        let stands = |path: &&SnapshotPath| {
            let exists = store.snapshots().snapshot_exists(&path.ns, &path.dir);
            exists.unwrap_or(false)
        };
        self.places().find(stands).cloned()
    }

    fn may_go_to(&mut self, path: SnapshotPath) {
        if self.path != path && !self.elsewhere.contains(&path) {
            self.elsewhere.push(path);
        }
    }
}

impl Book {
    /// A move begins: its snapshots may be at either place from now on, and may be lost if the
    /// target is being removed.
    pub fn set_out(&mut self, journey: &Journey) {
        for index in 0..self.snapshots.len() {
            self.follow(index, journey);
        }
        self.journeys.push(journey.clone());
    }

    /// The move is over, in whatever way.
    pub fn arrive(&mut self, journey: &Journey) {
        if let Some(place) = self.journeys.iter().position(|it| it == journey) {
            self.journeys.swap_remove(place);
        }
    }

    /// A new snapshot may be caught by moves under way.
    pub(super) fn follow_all(&mut self, index: usize) {
        for journey in self.journeys.clone() {
            self.follow(index, &journey);
        }
    }

    fn follow(&mut self, index: usize, journey: &Journey) {
        let snapshot = &self.snapshots[index];
        if snapshot.status == Status::Gone {
            return;
        }
        let Some(to) = snapshot.places().find_map(|path| journey.target(path)) else {
            return;
        };
        let relative = directory(&to);
        let is_doomed = self.is_doomed(&relative);
        let taken = self
            .find(&relative)
            .is_some_and(|other| other != index && self.snapshots[other].status != Status::Gone);
        if !taken {
            self.by_path.insert(relative, index);
        }
        let snapshot = &mut self.snapshots[index];
        snapshot.may_go_to(to);
        snapshot.doomed |= is_doomed;
        if is_doomed && snapshot.status == Status::Committed {
            self.set_status(index, Status::Doubtful);
        }
    }

    /// A move says that it has moved a snapshot: that is where it is now, and its old place is being
    /// cleared.
    pub fn moved(&mut self, journey: &Journey, dir: &BackupDir) {
        // All snapshots have times of their own; one whose name was used again is the last.
        let on_its_way = |snapshot: &Snapshot| {
            let mut ways = snapshot.places().map(|path| (path, journey.target(path)));
            ways.find_map(|(from, to)| Some((from.clone(), to?)))
        };
        let all = self.snapshots.iter_mut().rev();
        let mut candidates = all.filter(|it| it.path.dir == *dir);
        let found = candidates.find_map(|it| Some((on_its_way(it)?, it)));
        let Some(((from, to), snapshot)) = found else {
            return;
        };
        let old = snapshot.path.clone();
        snapshot.elsewhere.retain(|path| *path != to);
        snapshot.relative = directory(&to);
        snapshot.path = to;
        snapshot.may_go_to(old);
        snapshot.may_go_to(from);
    }

    /// It is known where the snapshot is.
    pub fn settle(&mut self, index: usize, place: &SnapshotPath) {
        let snapshot = &mut self.snapshots[index];
        snapshot.path = place.clone();
        snapshot.relative = directory(place);
        snapshot.elsewhere.clear();
    }
}

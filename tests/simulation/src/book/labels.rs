//! What the book knows of groups besides their snapshots, and the changes of all that is written
//! beside snapshots.

use std::sync::Arc;

use api_types::names::ArchiveName;
use datastore::snapshot::PROTECTED_MARKER;

use crate::bucket::{MANIFEST, ProcId, split};
use crate::invariants::live::is_owner;
use crate::sim::Sim;

use super::{Book, Register};

/// What is written on a group.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// The owner.
    pub owner: Register<String>,
    /// The notes.
    pub notes: Register<String>,
}

impl Book {
    /// What is written on the group in this directory.
    pub fn labels(&mut self, directory: &str) -> &mut Labels {
        self.labels.entry(directory.to_owned()).or_default()
    }

    /// All groups that something was written on, by directory.
    pub fn labelled(&self) -> impl Iterator<Item = (&String, &Labels)> {
        self.labels.iter()
    }

    /// Nothing is known of what is written on a group.
    pub fn unlabel(&mut self, directory: &str) {
        if let Some(labels) = self.labels.get_mut(directory) {
            labels.owner.forget();
            labels.notes.forget();
        }
    }

    /// Nothing is known of what is written on groups here and below.
    pub fn unlabel_below(&mut self, directory: &str) {
        let below = format!("{directory}/");
        for (of, labels) in &mut self.labels {
            if of == directory || of.starts_with(&below) {
                labels.owner.forget();
                labels.notes.forget();
            }
        }
    }

    /// A file was deleted from the bucket: a removal of the group may have begun.
    pub fn unwritten(&mut self, path: &str) {
        let (directory, name) = split(path);
        match name {
            "owner" => self.unlabel(directory),
            "notes" => self.labels(directory).notes.may_be(String::new()),
            _ => {}
        }
    }

    /// A file holds what nobody was told last: nothing is known any more of what is written in it.
    pub fn disown(&mut self, path: &str) {
        let (directory, name) = split(path);
        match name {
            "owner" => self.labels(directory).owner.forget(),
            "notes" => self.labels(directory).notes.forget(),
            _ => {}
        }
        let Some(index) = self.find(directory) else {
            return;
        };
        let snapshot = &mut self.snapshots[index];
        match name {
            MANIFEST => {
                snapshot.notes.forget();
                snapshot.failed = 0;
            }
            ArchiveName::CLIENT_LOG => snapshot.logged = false,
            PROTECTED_MARKER => snapshot.protected.forget(),
            _ => {}
        }
    }
}

/// Where a register is in the book.
type Place<T> = Box<dyn Fn(&mut Book) -> &mut Register<T> + Send>;

/// A change of a register that is under way. Not to be dropped while the core is locked.
pub struct Change<T: Clone + PartialEq> {
    sim: Arc<Sim>,
    proc: ProcId,
    place: Place<T>,
    id: Option<u64>,
}

impl<T: Clone + PartialEq> Change<T> {
    /// A process begins to change it.
    pub fn begin(
        sim: &Arc<Sim>,
        proc: ProcId,
        value: T,
        place: impl Fn(&mut Book) -> &mut Register<T> + Send + 'static,
    ) -> Self {
        let id = place(&mut sim.core().book).begin(value);
        Self {
            sim: Arc::clone(sim),
            proc,
            place: Box::new(place),
            id: Some(id),
        }
    }

    /// It was acknowledged. What somebody is told who has lost the prefix need not last.
    pub fn done(mut self) {
        let Some(id) = self.id.take() else { return };
        let mut core = self.sim.core();
        let lasts = is_owner(&core, self.proc);
        let register = (self.place)(&mut core.book);
        match lasts {
            true => register.done(id),
            false => register.failed(id),
        }
    }
}

impl<T: Clone + PartialEq> Drop for Change<T> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            (self.place)(&mut self.sim.core().book).failed(id);
        }
    }
}

//! Work that is done once, beside those whose requests need it.
//!
//! Who comes first begins it, nobody waits for it. The [`Turn`] goes with the work, to a thread if
//! that is where it is done. Work that fails is begun again by the next one who comes.

use std::sync::{Arc, Mutex, PoisonError};

/// Whether the work is done.
#[derive(Debug, Default)]
pub struct Once {
    stage: Arc<Mutex<Stage>>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Stage {
    #[default]
    Open,
    Running,
    Done,
}

/// The right to do the work. Dropped before it is [`done`](Turn::done), it goes to another one.
#[derive(Debug)]
pub struct Turn {
    stage: Arc<Mutex<Stage>>,
    after: Stage,
}

impl Once {
    /// Begins the work, unless it is done or somebody is at it.
    #[must_use]
    pub fn begin(&self) -> Option<Turn> {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if *stage != Stage::Open {
            return None;
        }
        *stage = Stage::Running;
        Some(Turn {
            stage: Arc::clone(&self.stage),
            after: Stage::Open,
        })
    }
}

impl Turn {
    /// The work is done, for good.
    pub fn done(mut self) {
        self.after = Stage::Done;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = self.after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_until_it_is_done() {
        let once = Once::default();
        let failed = once.begin().unwrap();
        assert!(once.begin().is_none(), "begun a second time");
        drop(failed);
        let turn = once.begin().unwrap();
        // It goes on although whoever began it is gone.
        drop(once.begin());
        assert!(once.begin().is_none());
        turn.done();
        assert!(once.begin().is_none(), "it is done");
    }
}

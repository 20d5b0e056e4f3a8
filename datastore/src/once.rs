//! Work that is done once for all who need it.
//!
//! Who comes first does it, the others wait for that, as tasks and not as threads. The [`Turn`] goes
//! with the work, to a thread if that is where it is done: it goes on there when whoever began it is
//! dropped, and those who wait have it all the same. Work that fails is begun again by the next one
//! who comes.

use tokio::sync::watch;

/// Whether the work is done.
#[derive(Debug, Default)]
pub struct Once {
    stage: watch::Sender<Stage>,
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
    stage: watch::Sender<Stage>,
    after: Stage,
}

impl Once {
    /// Begins the work, unless it is done or somebody is at it.
    #[must_use]
    pub fn begin(&self) -> Option<Turn> {
        let is_mine = self.stage.send_if_modified(|stage| {
            let is_open = *stage == Stage::Open;
            if is_open {
                *stage = Stage::Running;
            }
            is_open
        });
        is_mine.then(|| Turn {
            stage: self.stage.clone(),
            after: Stage::Open,
        })
    }

    /// Waits until nobody is at it; says whether it is done.
    pub async fn settled(&self) -> bool {
        let mut stage = self.stage.subscribe();
        let settled = stage.wait_for(|stage| *stage != Stage::Running).await;
        settled.is_ok_and(|stage| *stage == Stage::Done)
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
        self.stage.send_replace(self.after);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::oneshot;

    use super::*;
    use crate::env::Env;

    /// Does the work, or waits for it; says whether it is done.
    async fn ask(once: &Once, work: impl FnOnce() -> bool + Send + 'static) -> bool {
        let Some(turn) = once.begin() else {
            return once.settled().await;
        };
        let work = move || {
            let is_done = work();
            if is_done {
                turn.done();
            }
            is_done
        };
        Env::system().blocking(work).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn all_who_come_wait_for_the_first() {
        let once = Arc::new(Once::default());
        let runs = Arc::new(AtomicU32::new(0));
        let (go, wait) = oneshot::channel();
        let first = tokio::spawn({
            let (once, runs) = (Arc::clone(&once), Arc::clone(&runs));
            async move {
                let work = move || {
                    runs.fetch_add(1, Ordering::SeqCst);
                    wait.blocking_recv().is_ok()
                };
                ask(&once, work).await
            }
        });
        while runs.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let others: Vec<_> = (0..50)
            .map(|_| {
                let (once, runs) = (Arc::clone(&once), Arc::clone(&runs));
                tokio::spawn(async move {
                    let work = move || runs.fetch_add(1, Ordering::SeqCst) < u32::MAX;
                    ask(&once, work).await
                })
            })
            .collect();
        assert!(others.iter().all(|other| !other.is_finished()));
        go.send(()).unwrap();
        for waiting in others.into_iter().chain([first]) {
            assert!(waiting.await.unwrap());
        }
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        assert!(once.begin().is_none() && once.settled().await);
    }

    #[tokio::test]
    async fn it_goes_on_without_whoever_began_it() {
        let once = Arc::new(Once::default());
        let (go, wait) = oneshot::channel();
        let begun = tokio::spawn({
            let once = Arc::clone(&once);
            async move { ask(&once, move || wait.blocking_recv().is_ok()).await }
        });
        tokio::task::yield_now().await;
        begun.abort();
        assert!(begun.await.unwrap_err().is_cancelled());
        assert!(once.begin().is_none(), "begun a second time");
        go.send(()).unwrap();
        assert!(once.settled().await);
    }

    #[tokio::test]
    async fn what_failed_is_begun_again() {
        let once = Once::default();
        assert!(!ask(&once, || false).await);
        assert!(!once.settled().await);
        let panicked = once.begin().unwrap();
        let waiting = once.settled();
        drop(panicked);
        assert!(!waiting.await);
        assert!(ask(&once, || true).await);
        assert!(once.begin().is_none());
    }
}

//! The checker's types under the names of `datastore::sync`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

pub use shuttle::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
pub use shuttle::sync::{Arc, Mutex, MutexGuard};
pub use std::sync::PoisonError;

/// As much of `tokio::sync::Notify` as the table uses, with the same promise: a [`Notified`] that
/// was enabled before [`notify_waiters`](Notify::notify_waiters) resolves.
#[derive(Debug, Default)]
pub struct Notify {
    inner: Mutex<Waiters>,
}

#[derive(Debug, Default)]
struct Waiters {
    /// Calls of `notify_waiters`.
    calls: u64,
    wakers: Vec<Waker>,
}

/// A wait for the next call.
#[derive(Debug)]
pub struct Notified<'a> {
    notify: &'a Notify,
    /// Calls when it was made.
    since: u64,
}

impl Notify {
    /// Wakes everybody who waits.
    pub fn notify_waiters(&self) {
        let wakers = {
            let mut inner = self.inner.lock().unwrap();
            inner.calls += 1;
            std::mem::take(&mut inner.wakers)
        };
        for waker in wakers {
            waker.wake();
        }
    }

    /// Like tokio's, it hears of calls from its creation on, polled or not.
    pub fn notified(&self) -> Notified<'_> {
        let since = self.inner.lock().unwrap().calls;
        Notified {
            notify: self,
            since,
        }
    }
}

impl Notified<'_> {
    /// Nothing left to do: see [`Notify::notified`].
    pub fn enable(self: Pin<&mut Self>) -> bool {
        false
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.notify.inner.lock().unwrap();
        if inner.calls != self.since {
            return Poll::Ready(());
        }
        inner.wakers.push(context.waker().clone());
        Poll::Pending
    }
}

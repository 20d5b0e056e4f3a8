//! How much of clients' data is in memory: of each session and download, and of all together.
//!
//! Every one of them may have a little. What it has beyond that it takes from a pool that all share, up
//! to a limit of its own, so that one session alone is fast, and many at once stay small.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::Notify;

/// What a session may have in any case.
const OWN: u64 = 8 << 20;
/// What it may have if the pool has it.
const MOST: u64 = 64 << 20;
/// What all sessions together may have beyond their own.
const POOL: u64 = 128 << 20;

/// The pool.
#[derive(Debug, Default)]
pub struct Memory {
    borrowed: AtomicU64,
    changed: Notify,
}

/// What one side of a session has.
#[derive(Debug)]
pub struct Account {
    memory: Arc<Memory>,
    held: Mutex<u64>,
}

/// Some of it; given back when dropped.
#[derive(Debug)]
pub struct Share {
    account: Arc<Account>,
    bytes: u64,
}

impl Memory {
    /// An account that has nothing yet.
    #[must_use]
    pub fn account(self: &Arc<Self>) -> Arc<Account> {
        Arc::new(Account {
            memory: Arc::clone(self),
            held: Mutex::default(),
        })
    }

    /// What all sessions have beyond their own.
    #[must_use]
    pub fn borrowed(&self) -> u64 {
        self.borrowed.load(Ordering::Relaxed)
    }

    /// Wakes whoever waits for room, by a reason of his own too.
    pub fn wake(&self) {
        self.changed.notify_waiters();
    }

    /// Waits for `work`, which is polled again whenever there may be more room.
    pub async fn retry<T>(&self, mut work: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let worked = poll_fn(|context| match work(context) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending => changed.as_mut().poll(context).map(|()| None),
            });
            if let Some(done) = worked.await {
                return done;
            }
        }
    }
}

impl Account {
    /// The pool that it belongs to.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// How much it has.
    #[must_use]
    pub fn holds(&self) -> u64 {
        *self.held()
    }

    /// Whether it may take more.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let held = *self.held();
        let pooled = self.memory.borrowed.load(Ordering::Relaxed);
        held < OWN || (held < MOST && pooled < POOL)
    }

    /// Takes so much, whether there is room or not.
    #[must_use]
    pub fn take(self: &Arc<Self>, bytes: u64) -> Share {
        let mut share = Share {
            account: Arc::clone(self),
            bytes: 0,
        };
        share.grow(bytes);
        share
    }

    /// Waits until there is room, then takes so much.
    pub async fn wait_for(self: &Arc<Self>, bytes: u64) -> Share {
        self.memory
            .retry(|_| match self.has_room() {
                true => Poll::Ready(self.take(bytes)),
                false => Poll::Pending,
            })
            .await
    }

    fn change(&self, change: impl FnOnce(u64) -> u64) {
        let mut held = self.held();
        let before = held.saturating_sub(OWN);
        *held = change(*held);
        let after = held.saturating_sub(OWN);
        let borrowed = &self.memory.borrowed;
        if after > before {
            borrowed.fetch_add(after - before, Ordering::Relaxed);
        } else {
            borrowed.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    fn held(&self) -> MutexGuard<'_, u64> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that are accounted for as long as any part of them is in memory.
struct Counted {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Share {
    /// The same bytes, which this is given back with: once nobody has any part of them any more.
    #[must_use]
    pub fn count(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Counted {
            bytes,
            _share: self,
        })
    }

    /// Takes more.
    pub fn grow(&mut self, by: u64) {
        self.bytes += by;
        self.account.change(|held| held + by);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.account.change(|held| held - self.bytes);
        self.account.memory.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn alone_a_session_has_its_most() {
        let account = Arc::<Memory>::default().account();
        let mut shares = Vec::new();
        while account.has_room() {
            shares.push(account.take(4 * MIB));
        }
        assert_eq!(shares.len(), 16);
        shares.pop();
        assert!(account.has_room());
    }

    #[test]
    fn together_they_have_the_pool_and_their_own() {
        let memory = Arc::<Memory>::default();
        let accounts: Vec<_> = (0..8).map(|_| memory.account()).collect();
        let mut shares = Vec::new();
        while let Some(account) = accounts.iter().find(|account| account.has_room()) {
            shares.push(account.take(4 * MIB));
        }
        let held: u64 = shares.iter().map(|share| share.bytes).sum();
        assert_eq!(held, POOL + 8 * OWN);
        // A new one has its own all the same.
        let late = memory.account();
        let _share = late.take(OWN);
        assert!(!late.has_room());
        drop(shares);
        assert!(late.has_room());
        assert_eq!(memory.borrowed.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn bytes_count_until_their_last_part_is_gone() {
        let account = Arc::<Memory>::default().account();
        let mut bytes = account.take(3).count(Bytes::from_static(b"abc"));
        let part = bytes.split_to(1);
        drop(bytes);
        assert_eq!((account.holds(), &part[..]), (3, &b"a"[..]));
        drop(part);
        assert_eq!(account.holds(), 0);
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let memory = Arc::<Memory>::default();
        let account = memory.account();
        let mut shares: Vec<_> = (0..16).map(|_| account.take(4 * MIB)).collect();
        let waiting = tokio::spawn({
            let account = Arc::clone(&account);
            async move { account.wait_for(4 * MIB).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        shares.pop();
        waiting.await.unwrap();
    }
}

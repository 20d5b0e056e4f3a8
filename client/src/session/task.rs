//! A task that ends with whoever waits for it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use anyhow::{Context as _, Result};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// A task. Aborted when dropped.
#[derive(Debug)]
pub struct Task<T>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    /// Starts it.
    pub fn spawn(handle: &Handle, work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(handle.spawn(work))
    }
}

impl<T> Future for Task<Result<T>> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = ready!(Pin::new(&mut self.0).poll(context));
        // A panic's message was printed where it happened.
        Poll::Ready(ended.context("a task of the session has failed").flatten())
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

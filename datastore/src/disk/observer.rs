//! Who is told of each operation, and may refuse it.

use std::cell::RefCell;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use super::Operation;

/// Sees the operations of its thread.
pub trait Observer {
    /// Called before the operation is done.
    ///
    /// # Errors
    /// An error refuses the operation: it has no effect, and its caller is given the error.
    fn before(&self, operation: &Operation<'_>) -> io::Result<()>;

    /// Called when an operation that was not refused is over.
    fn after(&self, operation: &Operation<'_>, result: Result<(), &io::Error>) {
        let _ = (operation, result);
    }
}

thread_local! {
    static OBSERVER: RefCell<Option<Arc<dyn Observer>>> = const { RefCell::new(None) };
}

/// The observation lasts until this is dropped; an earlier one goes on then.
#[must_use = "the observation ends when this is dropped"]
pub struct Observation {
    before: Option<Arc<dyn Observer>>,
    /// It belongs to its thread.
    not_send: PhantomData<*const ()>,
}

/// Lets `observer` see every operation of this thread.
pub fn observe(observer: Arc<dyn Observer>) -> Observation {
    let before = OBSERVER.with_borrow_mut(|current| current.replace(observer));
    Observation {
        before,
        not_send: PhantomData,
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let before = self.before.take();
        // A thread that ends drops its observations after its thread-local variables.
        let _ = OBSERVER.try_with(|current| current.replace(before));
    }
}

fn current() -> Option<Arc<dyn Observer>> {
    OBSERVER.try_with(|current| current.borrow().clone()).ok()?
}

/// Whether somebody looks.
pub(super) fn is_observed() -> bool {
    current().is_some()
}

pub(super) fn perform<T>(
    operation: &Operation<'_>,
    action: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let Some(observer) = current() else {
        return action();
    };
    observer.before(operation)?;
    let result = action();
    observer.after(operation, result.as_ref().map(|_| ()));
    result
}

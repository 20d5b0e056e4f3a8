//! What threads share out among them: the indexes of one group are read by one thread, newest
//! first; groups are read side by side.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::gc::error::GcResult;
use crate::gc::walk::FoundIndex;

/// Splits what a walk found into the groups it came from, in the order of the walk.
pub(super) fn by_group(indexes: &[FoundIndex]) -> Vec<&[FoundIndex]> {
    indexes
        .chunk_by(|one, next| group_of(one) == group_of(next))
        .collect()
}

fn group_of(index: &FoundIndex) -> Option<&Path> {
    index.relative.parent().and_then(Path::parent)
}

/// Does `work` for each of `units` on up to `threads` threads, this one among them. After an error
/// no further unit is begun; the first error is returned.
pub(super) fn for_each<T: Sync>(
    units: &[T],
    threads: usize,
    work: impl Fn(&T) -> GcResult<()> + Sync,
) -> GcResult<()> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let worker = || -> GcResult<()> {
        while !failed.load(Ordering::Relaxed) {
            let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) else {
                break;
            };
            work(unit).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    };
    let helpers = threads.min(units.len()).saturating_sub(1);
    if helpers == 0 {
        return worker();
    }
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..helpers).map(|_| scope.spawn(worker)).collect();
        let own = worker();
        handles
            .into_iter()
            .map(|handle| match handle.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .fold(own, Result::and)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use super::*;
    use crate::gc::error::GcError;

    #[test]
    fn each_unit_is_done_once_whatever_the_number_of_threads() {
        let units: Vec<usize> = (0..100).collect();
        for threads in [0, 1, 2, 7, 200] {
            let done = Mutex::new(Vec::new());
            let note = |unit: &usize| {
                done.lock().unwrap().push(*unit);
                Ok(())
            };
            for_each(&units, threads, note).unwrap();
            let done = done.into_inner().unwrap();
            assert_eq!(done.len(), 100);
            assert_eq!(done.iter().copied().collect::<BTreeSet<_>>().len(), 100);
            if threads < 2 {
                assert_eq!(done, units, "one thread keeps the order");
            }
        }
    }

    #[test]
    fn an_error_ends_it() {
        let units: Vec<usize> = (0..10_000).collect();
        for threads in [1, 2] {
            let done = AtomicUsize::new(0);
            let fail = |unit: &usize| {
                done.fetch_add(1, Ordering::Relaxed);
                if *unit == 3 {
                    return Err(GcError::Restless { passes: 1 });
                }
                Ok(())
            };
            assert!(for_each(&units, threads, fail).is_err());
            assert!(done.load(Ordering::Relaxed) < 10_000);
        }
    }
}

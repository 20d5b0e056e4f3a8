//! Others change the store at every step of a mark.

use super::*;

/// Marks fresh stores of `set_up`, with `changes` made in order at every combination of steps of
/// the mark, and checks each outcome. A change returns `false` if it cannot be made right now; it
/// is tried again at the next step.
async fn at_every_interleaving(
    set_up: impl Fn(&Store),
    changes: &[fn(&Store, &Host) -> bool],
    check: impl Fn(&Store, GcResult<Marked>, &[usize]),
) {
    // How many steps a mark has at most is found out as we go.
    let mut plan = vec![0; changes.len()];
    loop {
        let store = Store::new();
        set_up(&store);
        let run = Run::new(store);
        let (shared, host) = (Arc::clone(&run.store), Arc::clone(&run.host));
        let steps = Arc::new(AtomicUsize::new(0));
        let (counted, at, todo) = (Arc::clone(&steps), plan.clone(), changes.to_vec());
        let next = Mutex::new(0);
        let action = move |step: usize, _: MarkStep<'_>| {
            counted.store(step + 1, Ordering::SeqCst);
            let mut next = next.lock().unwrap();
            while *next < todo.len() && at[*next] <= step && todo[*next](&shared, &host) {
                *next += 1;
            }
        };
        let outcome = run.mark_while(Box::new(action)).await;
        check(&run.store, outcome, &plan);
        let steps = steps.load(Ordering::SeqCst);
        if !advance(&mut plan, steps) {
            return;
        }
    }
}

/// The next non-decreasing sequence of numbers up to `limit`.
fn advance(plan: &mut [usize], limit: usize) -> bool {
    for position in (0..plan.len()).rev() {
        if plan[position] < limit {
            let value = plan[position] + 1;
            plan[position..].fill(value);
            return true;
        }
    }
    false
}

/// T15: a new snapshot reuses the chunks of the one before, which is pruned, at any time.
#[tokio::test]
async fn prune_after_reuse_at_every_step() {
    at_every_interleaving(
        |store| {
            store.index(&format!("vm/1/{T1}/a.didx"), &[1, 2]);
            store.index("vm/2/2024-01-01T00:00:00Z/a.didx", &[9]);
        },
        &[
            |store, _| {
                store.mkdir(&format!("vm/1/{T2}"));
                true
            },
            |store, _| {
                store.index(&format!("vm/1/{T2}/a.didx"), &[1, 2]);
                true
            },
            |store, _| {
                store.remove(&format!("vm/1/{T1}"));
                true
            },
        ],
        |_, outcome, plan| {
            let marked = outcome.unwrap();
            assert!(
                marked_numbers(&marked).is_superset(&[1, 2, 9].into()),
                "{plan:?}"
            );
        },
    )
    .await;
}

/// The base of a running session is removed by hand before the session's index is visible: only
/// its pin still knows the chunks.
#[tokio::test]
async fn pins_outlive_their_snapshot_at_every_step() {
    at_every_interleaving(
        |store| store.index(&format!("vm/1/{T1}/a.didx"), &[1, 2]),
        &[
            |store, host| {
                host.pin(store.path(&format!("vm/1/{T1}/a.didx")));
                store.mkdir(&format!("vm/1/{T2}"));
                true
            },
            |store, _| {
                store.remove(&format!("vm/1/{T1}"));
                true
            },
            |store, _| {
                store.index(&format!("vm/1/{T2}/a.didx"), &[1, 2]);
                true
            },
        ],
        |_, outcome, plan| {
            let marked = outcome.unwrap();
            assert!(
                marked_numbers(&marked).is_superset(&[1, 2].into()),
                "{plan:?}"
            );
        },
    )
    .await;
}

/// T16: a group of two snapshots moves, into a namespace that is walked before or after its own;
/// a churning directory forces more than one pass in some of the runs.
#[tokio::test]
async fn moves_at_every_step() {
    fn note(store: &Store, to: &str) -> bool {
        // The mark reads the journal at this step: the mover waits.
        let Ok(mut journal) = store.journal().try_lock() else {
            return false;
        };
        journal.append(&[store.path(to)]).unwrap();
        true
    }
    fn check(_: &Store, outcome: GcResult<Marked>, plan: &[usize]) {
        let marked = outcome.unwrap();
        assert!(
            marked_numbers(&marked).is_superset(&[1, 2].into()),
            "{plan:?}"
        );
        assert_eq!(marked.counts.index_files, 2, "each once: {plan:?}");
    }
    at_every_interleaving(
        |store| {
            store.index("ns/b/vm/1/2024-01-01T00:00:00Z/a.didx", &[1]);
            store.index("ns/b/vm/1/2024-01-02T00:00:00Z/a.didx", &[2]);
            store.mkdir("ns/a/vm/1");
        },
        &[
            |store, _| {
                let first = note(store, "ns/a/vm/1/2024-01-01T00:00:00Z/a.didx");
                first && note(store, "ns/a/vm/1/2024-01-02T00:00:00Z/a.didx")
            },
            |store, _| {
                store.rename(
                    "ns/b/vm/1/2024-01-01T00:00:00Z",
                    "ns/a/vm/1/2024-01-01T00:00:00Z",
                );
                true
            },
            |store, _| {
                store.rename(
                    "ns/b/vm/1/2024-01-02T00:00:00Z",
                    "ns/a/vm/1/2024-01-02T00:00:00Z",
                );
                true
            },
        ],
        check,
    )
    .await;
    at_every_interleaving(
        |store| {
            store.index("ns/a/vm/1/2024-01-01T00:00:00Z/a.didx", &[1]);
            store.index("ns/c/vm/1/2024-01-01T00:00:00Z/a.didx", &[2]);
            store.mkdir("ns/z/vm/churn/2024-01-01T00:00:00Z");
            store.mkdir("ns/b/vm/1");
        },
        &[
            |store, _| note(store, "ns/b/vm/1/2024-01-01T00:00:00Z/a.didx"),
            |store, _| {
                store.remove("ns/z/vm/churn");
                true
            },
            |store, _| {
                store.rename(
                    "ns/c/vm/1/2024-01-01T00:00:00Z",
                    "ns/b/vm/1/2024-01-01T00:00:00Z",
                );
                true
            },
        ],
        check,
    )
    .await;
}

/// T17: a re-sync replaces an index at any time: the old or the new version is marked, and the new
/// one for sure if it was there before the mark opened the file.
#[tokio::test]
async fn replaced_indexes_at_every_step() {
    at_every_interleaving(
        |store| store.index(&format!("vm/1/{T1}/a.didx"), &[1, 2]),
        &[|store, _| {
            store.index(&format!("vm/1/{T1}/a.didx"), &[2, 3]);
            true
        }],
        |_, outcome, plan| {
            let numbers = marked_numbers(&outcome.unwrap());
            assert!(
                numbers == [1, 2].into() || numbers == [2, 3].into(),
                "{plan:?}"
            );
            if plan[0] == 0 {
                assert_eq!(numbers, [2, 3].into());
            }
        },
    )
    .await;
}

/// T18: destroying a namespace at any time is no error and harms nobody else.
#[tokio::test]
async fn destroyed_namespaces_at_every_step() {
    at_every_interleaving(
        |store| {
            store.index("ns/a/vm/1/2024-01-01T00:00:00Z/a.didx", &[1]);
            store.index("ns/a/ns/b/vm/1/2024-01-01T00:00:00Z/a.didx", &[2]);
            store.index("ns/c/vm/1/2024-01-01T00:00:00Z/a.didx", &[3]);
        },
        &[
            |store, _| {
                store.remove("ns/a/ns/b");
                true
            },
            |store, _| {
                store.remove("ns/a");
                true
            },
        ],
        |_, outcome, plan| {
            assert!(marked_numbers(&outcome.unwrap()).contains(&3), "{plan:?}");
        },
    )
    .await;
}

/// A directory that appears and vanishes in every pass: from the tenth on, its maker must wait.
#[tokio::test]
async fn the_tenth_pass_is_quiet() {
    let churn = |run: &Run, heed: bool| -> Action<'static> {
        let (store, host) = (Arc::clone(&run.store), Arc::clone(&run.host));
        Box::new(move |_, step| {
            if heed && host.quiet.load(Ordering::SeqCst) {
                return;
            }
            let snapshot = format!("vm/1/{T2}");
            match step {
                MarkStep::PassStarted(_) => store.mkdir(&snapshot),
                MarkStep::Listed(path) if path.ends_with("vm/1") => store.remove(&snapshot),
                _ => {}
            }
        })
    };
    for heed in [true, false] {
        let store = Store::new();
        store.index(&format!("vm/1/{T1}/a.didx"), &[1]);
        let run = Run::new(store);
        let outcome = run.mark_while(churn(&run, heed)).await;
        assert!(run.host.quiet.load(Ordering::SeqCst));
        if heed {
            let marked = outcome.unwrap();
            assert_eq!(
                (marked.counts.passes, marked.counts.index_files),
                (FIRST_QUIET_PASS, 1)
            );
        } else {
            assert!(matches!(
                outcome,
                Err(GcError::Restless { passes: MAX_PASSES })
            ));
        }
    }
}

#[tokio::test]
async fn an_abort_is_heeded_at_every_step() {
    for cancel_at in 0.. {
        let store = Store::new();
        store.index(&format!("vm/1/{T1}/a.didx"), &[1]);
        store.index("vm/2/2024-01-01T00:00:00Z/a.didx", &[2]);
        let run = Run::new(store);
        let token = run.task.cancel().clone();
        let reached = Arc::new(AtomicUsize::new(0));
        let last = Arc::clone(&reached);
        let action = move |step: usize, _: MarkStep<'_>| {
            last.store(step, Ordering::SeqCst);
            if step == cancel_at {
                token.cancel();
            }
        };
        let outcome = run.mark_while(Box::new(action)).await;
        let steps = reached.load(Ordering::SeqCst);
        if steps < cancel_at {
            outcome.unwrap();
            return;
        }
        // At the last steps there is nothing left that could be skipped.
        if let Err(error) = outcome {
            let aborted = matches!(error, GcError::Aborted(_) | GcError::Local(_));
            assert!(aborted, "{error}");
        } else {
            assert!(
                steps <= cancel_at + 2,
                "went on after {cancel_at} to {steps}"
            );
        }
    }
}

/// A moved index that is removed while the journal is read: whoever reused it may have become
/// visible after the walk, so there must be another pass, and the journal must survive till then.
#[tokio::test]
async fn an_index_of_the_journal_that_vanishes_asks_for_another_pass() {
    let store = Store::new();
    store.index(".elsewhere/a.didx", &[1]);
    let moved = format!("vm/1/{T1}/a.didx");
    let path = store.path(&moved);
    store
        .journal()
        .try_lock()
        .unwrap()
        .append(std::slice::from_ref(&path))
        .unwrap();
    let run = Run::new(store);
    let store = Arc::clone(&run.store);
    let (action_path, done) = (path.clone(), AtomicBool::new(false));
    let action = move |_: usize, step: MarkStep<'_>| match step {
        MarkStep::DrainingJournal if !done.swap(true, Ordering::SeqCst) => {
            store.rename(".elsewhere/a.didx", &format!("vm/1/{T1}/a.didx"));
        }
        MarkStep::Opening(opened) if opened == action_path => {
            store.index(&format!("vm/1/{T2}/a.didx"), &[1]);
            store.remove(&format!("vm/1/{T1}"));
        }
        _ => {}
    };
    let marked = run.mark_while(Box::new(action)).await.unwrap();
    assert_eq!(marked_numbers(&marked), [1].into());
    assert_eq!(marked.counts.passes, 2);
}

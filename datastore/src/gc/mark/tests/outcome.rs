//! What a mark of a store at rest gives.

use super::*;

#[tokio::test]
async fn counts_log_lines_and_odd_places() {
    let store = Store::new();
    for number in 0..15_u8 {
        store.index(&format!("vm/{number}/{T1}/a.didx"), &[number, 100, number]);
    }
    store.index("odd/place.didx", &[200]);
    let run = Run::new(store);
    let marked = run.mark().await.unwrap();
    assert_eq!(marked.set.len(), 17);
    assert!(marked.set.contains(&digest(200)).unwrap());
    let counts = marked.counts;
    assert_eq!(
        (counts.index_files, counts.data_bytes, counts.references),
        (16, 46_000, 46)
    );
    assert_eq!(
        (counts.passes, counts.unexpected, counts.pinned_only),
        (1, 1, 0)
    );
    assert_eq!(run.task.warning_texts().len(), 1);
    assert!(run.task.warning_texts()[0].contains("odd/place.didx"));
    let lines: Vec<String> = run
        .task
        .lines()
        .iter()
        .map(|line| line.text().to_owned())
        .filter(|text| text.starts_with("marked ") && text.ends_with("index files)"))
        .collect();
    assert_eq!(lines.len(), 16);
    assert_eq!(lines[0], "marked 6% (1 of 16 index files)");
    assert_eq!(lines[6], "marked 43% (7 of 16 index files)");
    assert_eq!(lines[15], "marked 100% (16 of 16 index files)");
}

#[tokio::test]
async fn an_empty_store_has_an_empty_mark() {
    let run = Run::new(Store::new());
    let marked = run.mark().await.unwrap();
    assert!(marked.set.is_empty());
    assert_eq!(marked.counts.index_files, 0);
}

#[tokio::test]
async fn the_journal_is_empty_after_a_complete_mark_only() {
    let store = Store::new();
    store.index(&format!("vm/1/{T1}/a.didx"), &[1]);
    let path = store.path(&format!("vm/1/{T1}/a.didx"));
    store
        .journal()
        .try_lock()
        .unwrap()
        .append(&[path.clone(), store.path("gone.didx")])
        .unwrap();
    std::fs::write(store.path("broken.didx"), b"no index").unwrap();
    let run = Run::new(store);
    assert!(run.mark().await.is_err());
    let recorded = || {
        let mut paths = Vec::new();
        let mut journal = run.store.journal().try_lock().unwrap();
        let kept: GcResult<()> = journal.drain(|path| {
            paths.push(path.to_path_buf());
            Err(GcError::Host("keep".to_owned()))
        });
        assert_eq!(kept.is_err(), !paths.is_empty());
        paths
    };
    assert_eq!(recorded(), [path]);
    run.store.remove("broken.didx");
    run.mark().await.unwrap();
    assert_eq!(recorded(), [] as [PathBuf; 0]);
}

/// T19: an index that is not whole ends the mark and is named.
#[tokio::test]
async fn damaged_indexes_end_the_mark() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 6] = [
        ("empty", Vec::clear),
        ("header cut", |bytes| bytes.truncate(4000)),
        ("entry cut", |bytes| bytes.truncate(4096 + 60)),
        ("entries missing", |bytes| bytes.truncate(4096 + 40)),
        ("magic", |bytes| bytes[0] ^= 1),
        ("digest", |bytes| bytes[4096 + 20] ^= 1),
    ];
    for (name, damage) in damages {
        let store = Store::new();
        let relative = format!("vm/1/{T1}/a.didx");
        store.index(&relative, &[1, 2]);
        store.index("vm/2/2024-01-01T00:00:00Z/a.didx", &[3]);
        let path = store.path(&relative);
        let mut bytes = std::fs::read(&path).unwrap();
        damage(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        let mut run = Run::new(store);
        let error = run.mark().await.unwrap_err();
        assert!(
            matches!(&error, GcError::BadIndex { path: named, .. } if *named == path),
            "{name}"
        );
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );

        run.options.skip_unreadable = vec![PathBuf::from(&relative)];
        let marked = run.mark().await.unwrap();
        assert_eq!(marked_numbers(&marked), [3].into(), "{name}");
        assert!(run.task.warning_texts()[0].contains(&relative));
    }
}

#[tokio::test]
async fn unchanged_indexes_come_from_the_cache() {
    let store = Store::new();
    store.index(&format!("vm/1/{T1}/a.didx"), &[1, 2, 2]);
    store.index(&format!("vm/1/{T2}/a.didx"), &[2, 3]);
    let mut run = Run::new(store);
    let first = run.mark().await.unwrap();
    assert_eq!((first.counts.cache.hits, first.counts.cache.misses), (0, 2));

    let second = run.mark().await.unwrap();
    assert_eq!(
        (second.counts.cache.hits, second.counts.cache.misses),
        (2, 0)
    );
    assert_eq!(marked_numbers(&second), [1, 2, 3].into());
    assert_eq!(second.counts.references, first.counts.references);
    assert_eq!(second.counts.data_bytes, first.counts.data_bytes);

    // A replaced index is another one; that of a removed snapshot is forgotten.
    run.store.index(&format!("vm/1/{T1}/a.didx"), &[7]);
    run.store.remove(&format!("vm/1/{T2}"));
    let third = run.mark().await.unwrap();
    assert_eq!((third.counts.cache.hits, third.counts.cache.misses), (0, 1));
    assert_eq!(marked_numbers(&third), [7].into());
    assert_eq!(
        std::fs::read_dir(&run.options.cache_dir).unwrap().count(),
        1
    );

    run.options.full = true;
    assert_eq!(run.mark().await.unwrap().counts.cache.hits, 0);
}

#[tokio::test]
async fn indexes_of_the_bucket_are_marked_and_known() {
    let store = Store::new();
    let here = format!("vm/1/{T1}/a.didx");
    store.index(&here, &[1]);
    store.index("other.didx", &[5, 6]);
    let bytes = Bytes::from(std::fs::read(store.path("other.didx")).unwrap());
    store.remove("other.didx");
    let run = Run::new(store);
    let mut marker = run.marker(Box::new(|_, _| {})).await.unwrap();
    let read = marker.state_read(Path::new(&here)).unwrap();
    assert_eq!(read.size, 4096 + 40);
    let there = PathBuf::from(format!("vm/1/{T2}/a.didx"));
    assert_eq!(marker.state_read(&there), None);
    marker.mark_bytes(&there, bytes.clone()).unwrap();
    assert!(marker.mark_bytes(&there, bytes.slice(..4100)).is_err());
    assert!(marker.mark_bytes(Path::new("x.blob"), bytes).is_err());
    run.store.index("late.didx", &[8]);
    assert!(marker.mark_path(Path::new("late.didx")).unwrap());
    assert!(!marker.mark_path(Path::new("gone.didx")).unwrap());
    let marked = marker.finish().unwrap();
    assert_eq!(marked_numbers(&marked), [1, 5, 6, 8].into());
    assert_eq!(marked.counts.index_files, 3);

    let affected = marked
        .affected_snapshots(&[digest(6)], 10, run.task.as_ref())
        .unwrap();
    assert_eq!(affected.len(), 1);
    assert_eq!(
        affected[0].snapshot.as_ref().unwrap().path(),
        format!("vm/1/{T2}")
    );
}

#[tokio::test]
async fn missing_digests_lead_to_their_snapshots_newest_first() {
    let store = Store::new();
    store.index(&format!("vm/1/{T1}/a.didx"), &[1, 2]);
    store.index(&format!("vm/1/{T2}/a.didx"), &[1, 2, 3]);
    store.index(&format!("vm/1/{T2}/b.didx"), &[3, 4]);
    store.index(&format!("ct/1/{T1}/a.didx"), &[3]);
    store.index(&format!("ct/2/{T1}/a.didx"), &[5]);
    store.index("odd.didx", &[3]);
    let run = Run::new(store);
    let marked = run.mark().await.unwrap();
    for cached in [true, false] {
        if !cached {
            std::fs::remove_dir_all(&run.options.cache_dir).unwrap();
        }
        let missing = [digest(3), digest(2), digest(3), digest(77)];
        let affected = marked
            .affected_snapshots(&missing, 2, run.task.as_ref())
            .unwrap();
        let summary: Vec<_> = affected
            .iter()
            .map(|entry| {
                let snapshot = entry.snapshot.as_ref().map(ToString::to_string);
                let samples: Vec<u8> = entry.samples.iter().map(|d| d.as_bytes()[0]).collect();
                (snapshot, entry.indexes.len(), entry.missing, samples)
            })
            .collect();
        assert_eq!(
            summary,
            [
                (Some(format!("ct/1/{T1}")), 1, 1, vec![3]),
                (Some(format!("vm/1/{T2}")), 2, 3, vec![2, 3]),
                (Some(format!("vm/1/{T1}")), 1, 1, vec![2]),
                (None, 1, 1, vec![3]),
            ]
        );
    }
    run.store.remove(&format!("ct/1/{T1}"));
    let affected = marked
        .affected_snapshots(&[digest(3)], 0, run.task.as_ref())
        .unwrap();
    assert_eq!(affected.len(), 2, "what is gone needs no chunk");
    assert_eq!(
        marked
            .affected_snapshots(&[], 5, run.task.as_ref())
            .unwrap(),
        []
    );
}

/// ◆ What an index shares with a newer one is not in its cached list: with the newer one gone, the
/// list says too little.
#[tokio::test]
async fn a_list_is_not_used_without_the_index_it_depends_on() {
    let store = Store::new();
    let (older, newer) = (format!("vm/1/{T1}/a.didx"), format!("vm/1/{T2}/a.didx"));
    store.index(&older, &[1, 2, 3, 4, 5, 6]);
    store.index(&newer, &[1, 2, 3, 4, 5, 7]);
    let run = Run::new(store);
    let first = run.mark().await.unwrap();
    assert_eq!(marked_numbers(&first), (1..=7).collect());
    let again = run.mark().await.unwrap();
    assert_eq!(marked_numbers(&again), (1..=7).collect());
    assert_eq!((again.counts.cache.hits, again.counts.cache.misses), (2, 0));
    // Replaced: another index stands where the base was.
    run.store.index(&newer, &[8, 9]);
    let replaced = run.mark().await.unwrap();
    assert_eq!(
        marked_numbers(&replaced),
        (1..=6).chain([8, 9]).collect::<BTreeSet<u8>>()
    );
    assert_eq!(replaced.counts.references, 8);
    run.store.index(&newer, &[1, 2, 3, 4, 5, 7]);
    run.mark().await.unwrap();
    run.store.remove(&format!("vm/1/{T2}"));
    let alone = run.mark().await.unwrap();
    assert_eq!(marked_numbers(&alone), (1..=6).collect());
}

/// Several threads give what one gives.
#[tokio::test]
async fn threads_make_no_difference() {
    let store = Store::new();
    for group in 0..20_u8 {
        for (number, time) in (0_u8..).zip([T1, T2]) {
            let own = 40 + group * 2 + number;
            store.index(&format!("vm/{group}/{time}/a.didx"), &[1, 2, 3, own, group]);
        }
    }
    let mut run = Run::new(store);
    let one = run.mark().await.unwrap();
    run.options.threads = 3;
    for full in [true, false] {
        run.options.full = full;
        let many = run.mark().await.unwrap();
        assert_eq!(marked_numbers(&many), marked_numbers(&one));
        let (mut counts, mut other) = (many.counts, one.counts);
        (counts.cache, other.cache) = Default::default();
        assert_eq!(counts, other);
        assert_eq!(many.indexes().len(), one.indexes().len());
    }
}

use super::*;

/// The closing lines of a run of the real system on the same numbers.
#[test]
fn closing_lines_are_upstreams() {
    let status = GarbageCollectionStatus {
        index_data_bytes: 5_508_327_375,
        disk_bytes: 1_436_193_324,
        disk_chunks: 746,
        cache_stats: Some(GarbageCollectionCacheStats {
            hits: 943,
            misses: 746,
        }),
        ..Default::default()
    };
    assert_eq!(
        closing_lines(&status),
        [
            "Chunk cache: hits 943, misses 746 (hit ratio 55.83%)",
            "Removed garbage: 0 B",
            "Removed chunks: 0",
            "Original data usage: 5.13 GiB",
            "On-Disk usage: 1.338 GiB (26.07%)",
            "On-Disk chunks: 746",
            "Deduplication factor: 3.84",
            "Average chunk size: 1.836 MiB",
        ]
    );
}

#[test]
fn closing_lines_of_an_empty_and_of_a_dirty_store() {
    assert_eq!(
        closing_lines(&GarbageCollectionStatus::default()),
        [
            "Removed garbage: 0 B",
            "Removed chunks: 0",
            "Original data usage: 0 B",
            "On-Disk chunks: 0",
            "Deduplication factor: 1.00",
        ]
    );
    let dirty = GarbageCollectionStatus {
        removed_bytes: 2048,
        removed_chunks: 2,
        pending_bytes: 1024,
        pending_chunks: 1,
        removed_bad: 3,
        still_bad: 4,
        ..Default::default()
    };
    assert_eq!(
        closing_lines(&dirty)[..5],
        [
            "Removed garbage: 2 KiB",
            "Removed chunks: 2",
            "Pending removals: 1 KiB (in 1 chunks)",
            "Removed bad chunks: 3",
            "Leftover bad chunks: 4",
        ]
    );
}

/// 10 live, 8 garbage (2 deleted, 1 young, 2 in use, 1 retained, 1 suspect, 1 failed), 3 bad
/// (1 deleted), 1 unknown.
fn report() -> GcReport {
    let mut report = GcReport {
        listing: MergeCounts {
            listed: 22,
            listed_bytes: 2200,
            live: 10,
            live_bytes: 1000,
            candidates: 8,
            candidate_bytes: 800,
            bad: 3,
            bad_bytes: 300,
            unknown: 1,
            unknown_bytes: 100,
            unknown_samples: vec!["x".to_owned()],
            ..Default::default()
        },
        deleted: Tally {
            count: 2,
            bytes: 200,
        },
        retained: Tally {
            count: 1,
            bytes: 100,
        },
        suspect: Tally {
            count: 1,
            bytes: 100,
        },
        failed: Tally {
            count: 1,
            bytes: 100,
        },
        removed_bad: Tally {
            count: 1,
            bytes: 100,
        },
        kept_bad: Tally {
            count: 2,
            bytes: 200,
        },
        ..Default::default()
    };
    report.add_pending(PendingReason::Session, 100);
    report.add_pending(PendingReason::Young, 100);
    report.add_pending(PendingReason::Session, 100);
    report
}

const MARK: MarkCounts = MarkCounts {
    index_files: 4,
    data_bytes: 5000,
    references: 30,
    passes: 1,
    unexpected: 0,
    pinned_only: 0,
    cache: crate::gc::index_cache::IndexCacheStats {
        hits: 0,
        misses: 0,
        trouble: 0,
    },
};

#[test]
fn every_candidate_has_one_outcome() {
    assert!(report().adds_up());
    assert_eq!(
        report().left(),
        Tally {
            count: 6,
            bytes: 600
        }
    );
    let changes: [fn(&mut GcReport); 4] = [
        |report| report.deleted.count += 1,
        |report| report.add_pending(PendingReason::Busy, 0),
        |report| report.listing.live += 1,
        |report| report.listing.unknown_bytes += 1,
    ];
    for change in changes {
        let mut wrong = report();
        change(&mut wrong);
        assert!(!wrong.adds_up());
    }
}

#[test]
fn upstreams_fields_come_from_our_counts() {
    let mut report = report();
    report.fill_status(Some("UPID:x".to_owned()), &MARK, 12);
    let expected = GarbageCollectionStatus {
        upid: Some("UPID:x".to_owned()),
        index_file_count: 4,
        index_data_bytes: 5000,
        disk_bytes: 1200,
        disk_chunks: 10,
        removed_bytes: 300,
        removed_chunks: 2,
        pending_bytes: 600,
        pending_chunks: 6,
        removed_bad: 1,
        still_bad: 2,
        cache_stats: Some(GarbageCollectionCacheStats {
            hits: 18,
            misses: 12,
        }),
    };
    assert_eq!(report.status, expected);

    report.dry_run = true;
    report.fill_status(None, &MARK, 12);
    let status = &report.status;
    assert_eq!(
        (
            status.removed_bytes,
            status.removed_chunks,
            status.removed_bad
        ),
        (0, 0, 0)
    );
    assert_eq!(
        (
            status.pending_bytes,
            status.pending_chunks,
            status.still_bad
        ),
        (900, 8, 3)
    );
    let lines = report.dry_run_lines(&PriceTable::typical());
    assert_eq!(lines[0], "Dry run: nothing was deleted");
    assert_eq!(lines[1], "Would delete: 200 B (in 2 chunks)");
    assert_eq!(lines[3], "Would send: 1 delete requests (0.00 USD)");
}

#[test]
fn details_say_what_there_is_and_nothing_else() {
    assert_eq!(GcReport::default().detail_lines(), [] as [String; 0]);
    assert_eq!(GcReport::default().missing_lines(), [] as [String; 0]);
    let mut report = report();
    report.requests = RequestCounts {
        list: 2,
        read: 1,
        ..Default::default()
    };
    let mut latencies = Latencies::default();
    assert_eq!(latencies.summary(), None);
    for millis in 1..=100 {
        latencies.add(Duration::from_millis(millis));
    }
    report.list_latency = latencies.summary();
    report.price = Some(PriceTable::typical().requests(&report.requests));
    report.healed = 1;
    report.missing = 4;
    report.missing_confirmed = vec![Digest::from_bytes([1; 32])];
    report.affected = vec![
        AffectedSnapshot {
            snapshot: Some("vm/1/2024-01-01T00:00:00Z".parse().unwrap()),
            indexes: vec!["a.fidx".into()],
            missing: 4,
            samples: Vec::new(),
        };
        60
    ];
    assert_eq!(
        report.detail_lines(),
        [
            "Pending (young): 100 B (in 1 chunks)",
            "Pending (session): 200 B (in 2 chunks)",
            "Retained: 100 B (in 1 chunks)",
            "Suspect: 100 B (in 1 chunks)",
            "Failed: 100 B (in 1 chunks)",
            "Unknown objects left alone: 1 (e.g. x)",
            "Healed chunks: 1",
            "Requests: 2 list, 1 read, 0 write, 0 delete; 0 B received",
            "List requests took: median 50 ms, 95 % 95 ms, most 100 ms",
            "Price of the requests: 0.0000 USD",
        ]
    );
    let missing = report.missing_lines();
    assert_eq!(missing.len(), 52);
    assert!(missing[0].starts_with("4 referenced chunks are missing in the bucket (1 confirmed)"));
    assert_eq!(
        missing[1],
        "snapshot vm/1/2024-01-01T00:00:00Z references 4 missing chunks"
    );
    assert_eq!(missing[51], "and 10 more snapshots");
}

#[test]
fn the_report_is_json_with_kebab_names() {
    let json = serde_json::to_value(report()).unwrap();
    assert_eq!(json["pending"]["session"]["count"], 2);
    assert_eq!(json["listing"]["candidate-bytes"], 800);
    assert_eq!(json["status"]["index-file-count"], 0);
}

use api_types::status::TaskStatus;

use super::*;
use crate::task::end::failure;

fn upid(process: Process, task_id: u64) -> Upid {
    let Process { pid, pstart } = process;
    let text = format!("UPID:vm:{pid:08X}:{pstart:08X}:{task_id:08X}:6B02A4FC:prune:s1:root@pam:");
    text.parse().unwrap()
}

/// The first tasks of this process run.
fn own_tasks() -> OwnTasks {
    let own = OwnTasks::new();
    let process = Process::current().unwrap();
    (0..10).for_each(|task_id| own.begin(&upid(process, task_id)));
    own
}

fn ok(endtime: i64) -> TaskEnd {
    TaskEnd {
        endtime,
        status: TaskStatus::Ok,
    }
}

fn listed(index: &TaskIndex) -> Vec<(u64, Option<TaskStatus>)> {
    let entry = |entry: IndexEntry| (entry.upid.task_id(), entry.end.map(|end| end.status));
    index.entries().unwrap().map(entry).collect()
}

#[test]
fn a_task_moves_from_active_to_archive() {
    let dir = tempfile::tempdir().unwrap();
    let index = TaskIndex::new(dir.path().join("tasks"), Rotation::default(), own_tasks());
    let own = Process::current().unwrap();
    index.register(&upid(own, 0)).unwrap();
    index.register(&upid(own, 1)).unwrap();
    assert_eq!(listed(&index), [(1, None), (0, None)]);
    index.finish(&upid(own, 1), &ok(0x6B02_A4FF)).unwrap();
    assert_eq!(listed(&index), [(0, None), (1, Some(TaskStatus::Ok))]);
    let archive = std::fs::read_to_string(dir.path().join("tasks/archive")).unwrap();
    assert_eq!(archive, format!("{} 6B02A4FF OK\n", upid(own, 1)));
    let active = std::fs::read_to_string(dir.path().join("tasks/active")).unwrap();
    assert_eq!(active, format!("{}\n", upid(own, 0)));
}

#[test]
fn a_task_whose_process_died_is_settled_from_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let index = TaskIndex::new(dir.path().to_owned(), Rotation::default(), own_tasks());
    let own = Process::current().unwrap();
    let dead = Process {
        pstart: own.pstart + 1,
        ..own
    };
    for (task_id, line) in [(0, "half way"), (1, "TASK ERROR: disk full")] {
        let upid = upid(dead, task_id);
        index.create_log_dir(&upid).unwrap();
        let line = format!("2026-11-22T08:37:39+00:00: {line}\n");
        std::fs::write(index.log_path(&upid), line).unwrap();
    }
    let active = format!("{}\n{}\nrubbish\n", upid(dead, 0), upid(dead, 1));
    std::fs::write(dir.path().join("active"), active).unwrap();

    let expected = [
        (1, Some(failure("disk full"))),
        (0, Some(TaskStatus::Unknown)),
    ];
    assert_eq!(listed(&index), expected);
    // The next change writes it down.
    index.register(&upid(own, 7)).unwrap();
    let archive = std::fs::read_to_string(dir.path().join("archive")).unwrap();
    assert!(archive.contains("6B02A9D3 unknown\n") && archive.contains(" disk full\n"));
    assert_eq!(listed(&index)[0], (7, None));
    assert_eq!(listed(&index).len(), 3);
}

#[test]
fn a_line_that_broke_off_takes_no_other_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let index = TaskIndex::new(dir.path().to_owned(), Rotation::default(), own_tasks());
    let own = Process::current().unwrap();
    let archive = dir.path().join("archive");
    let line = |id: u64| format!("{} 6B02A4FF OK", upid(own, id));
    // Wherever it broke off.
    for cut in 1..line(1).len() - 3 {
        let half = &line(1)[..cut];
        // By a server that did not start a new line.
        let glued = format!("{}\n{half}{}\n", line(0), line(2));
        std::fs::write(&archive, glued).unwrap();
        let ok = Some(TaskStatus::Ok);
        assert_eq!(listed(&index), [(2, ok.clone()), (0, ok.clone())], "{half}");
        std::fs::write(&archive, half).unwrap();
        index.finish(&upid(own, 3), &self::ok(0x6B02_A5FF)).unwrap();
        let text = std::fs::read_to_string(&archive).unwrap();
        assert_eq!(text, format!("{half}\n{} 6B02A5FF OK\n", upid(own, 3)));
        assert_eq!(listed(&index), [(3, ok)]);
    }
}

#[test]
fn with_a_limit_of_days_the_age_decides_what_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let env = Env::system();
    let rotation = Rotation {
        max_size: 10,
        keep_files: 3,
    };
    let node = NodeFile::new(dir.path(), env.clone());
    let index = TaskIndex::new(dir.path().join("tasks"), rotation, own_tasks())
        .with_age_limit(node, env.clone());
    std::fs::write(dir.path().join("node.cfg"), "task-log-max-days: 8\n").unwrap();
    let own = Process::current().unwrap();
    for task_id in 0..10 {
        let upid = upid(own, task_id);
        index.register(&upid).unwrap();
        // Nine days ago, eight, seven, ...
        let days = 9 - i64::try_from(task_id).unwrap();
        let end = ok(env.unix_secs() - days * DAY - 3600);
        index.finish(&upid, &end).unwrap();
    }
    let kept: Vec<_> = listed(&index).into_iter().map(|(id, _)| id).collect();
    assert_eq!(kept, [9, 8, 7, 6, 5, 4, 3, 2]);
}

#[test]
fn rotation_keeps_the_newest_files_and_removes_the_logs_of_the_oldest() {
    let dir = tempfile::tempdir().unwrap();
    // Each finished task makes the archive large enough to be rotated.
    let index = TaskIndex::new(
        dir.path().to_owned(),
        Rotation {
            max_size: 10,
            keep_files: 3,
        },
        own_tasks(),
    );
    let own = Process::current().unwrap();
    for task_id in 0..6 {
        let upid = upid(own, task_id);
        index.create_log_dir(&upid).unwrap();
        std::fs::write(index.log_path(&upid), "x").unwrap();
        index.register(&upid).unwrap();
        index
            .finish(&upid, &ok(i64::try_from(task_id).unwrap() + 1))
            .unwrap();
    }
    let there = |name: &str| dir.path().join(name).exists();
    assert!(there("archive.1") && there("archive.2.zst") && there("archive.3.zst"));
    assert!(!there("archive.4.zst") && !there("archive.2") && !there("archive"));
    let ids: Vec<u64> = listed(&index).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [5, 4, 3]);
    let logs: Vec<bool> = (0..6)
        .map(|id| index.log_path(&upid(own, id)).exists())
        .collect();
    assert_eq!(logs, [false, false, false, true, true, true]);
}

#[test]
fn the_fixture_archive_is_read() {
    let Some(folder) = crate::testing::fixtures("task-logs") else {
        return;
    };
    let text = std::fs::read_to_string(folder.join("archive")).unwrap();
    for line in text.lines() {
        assert_eq!(IndexEntry::parse(line).unwrap().to_line().trim_end(), line);
    }
    let index = TaskIndex::new(folder, Rotation::default(), own_tasks());
    let entries: Vec<_> = index.entries().unwrap().collect();
    assert_eq!(entries.len(), text.lines().count());
    assert!(entries.iter().all(|entry| entry.end.is_some()));
}

#[test]
fn odd_lines_are_not_entries() {
    for line in ["", "x", "UPID:x", "UPID:vm:1:2:3:4:a:b:c: 00000001 OK"] {
        assert_eq!(IndexEntry::parse(line), None, "{line}");
    }
    let upid = upid(Process { pid: 1, pstart: 2 }, 3);
    assert_eq!(IndexEntry::parse(&format!("{upid} 1")), None);
    assert_eq!(IndexEntry::parse(&format!("{upid} +1 OK")), None);
    assert!(IndexEntry::parse(&format!("{upid}")).unwrap().end.is_none());
}

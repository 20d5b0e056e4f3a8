use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::file_time::FileTime;

#[test]
fn directories_are_created_as_far_as_they_are_missing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/c");
    create_dir_all(&path, 0o750).unwrap();
    create_dir_all(&path, 0o750).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o750);
    std::fs::write(path.join("file"), "").unwrap();
    assert!(create_dir_all(&path.join("file"), 0o755).is_err());
    assert!(create_dir_all(&path.join("file/below"), 0o755).is_err());
}

#[test]
fn a_file_is_written_at_places_appended_to_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let file = DiskFile::create_new(&path, 0o640).unwrap();
    assert!(DiskFile::create_new(&path, 0o640).is_err());
    file.set_len(4).unwrap();
    file.write_all_at(b"ab", 1).unwrap();
    let mut appended = DiskFile::append_or_create(&path, 0o640).unwrap();
    appended.write_all(b"cd").unwrap();
    let mut text = Vec::new();
    let mut reader = &file;
    reader.seek(SeekFrom::Start(0)).unwrap();
    reader.read_to_end(&mut text).unwrap();
    assert_eq!(text, b"\0ab\0cd");
}

#[test]
fn an_open_directory_knows_its_entries_and_changes_them() {
    let dir = tempfile::tempdir().unwrap();
    let open = DiskDir::open(dir.path()).unwrap();
    assert!(open.names().unwrap().is_empty());
    std::fs::write(dir.path().join("a"), "123").unwrap();
    std::fs::write(dir.path().join("b"), "").unwrap();
    let mut names = open.names().unwrap();
    names.sort();
    assert_eq!(names, ["a", "b"]);
    let (a, time) = (Path::new("a"), FileTime::from_millis(7_001));
    open.set_access_time(a, time).unwrap();
    let stat = open.stat(a).unwrap();
    assert_eq!((stat.st_size, FileTime::accessed_at(&stat)), (3, time));
    let mtime = FileTime::modified(&dir.path().join("a").metadata().unwrap());
    assert_eq!(FileTime::modified_at(&stat), mtime);
    open.remove_file(a).unwrap();
    assert!(open.stat(a).is_err() && open.set_access_time(a, time).is_err());
    assert_eq!(open.names().unwrap(), ["b"]);
    assert!(DiskDir::open(&dir.path().join("b")).is_err());
}

#[cfg(feature = "simulation")]
mod observed {
    use std::cell::{Cell, RefCell};
    use std::sync::Arc;

    use super::*;

    /// Writes down what it sees; refuses once the count is used up.
    struct Recorder {
        left: Cell<u64>,
        base: std::path::PathBuf,
        seen: RefCell<Vec<String>>,
    }

    impl Observer for Recorder {
        fn before(&self, _operation: &Operation<'_>) -> io::Result<()> {
            let left = self.left.get().checked_sub(1);
            self.left.set(left.unwrap_or(0));
            left.map(|_| ())
                .ok_or_else(|| io::Error::other("power cut"))
        }

        fn after(&self, operation: &Operation<'_>, result: Result<(), &io::Error>) {
            let base = format!("{}/", self.base.display());
            let text = operation.to_string().replace(&base, "");
            let failed = if result.is_err() { " failed" } else { "" };
            self.seen.borrow_mut().push(text + failed);
        }
    }

    fn recorder(base: &Path, left: u64) -> Arc<Recorder> {
        #[expect(clippy::arc_with_non_send_sync, reason = "it stays on this thread")]
        Arc::new(Recorder {
            left: Cell::new(left),
            base: base.to_path_buf(),
            seen: RefCell::default(),
        })
    }

    fn work(base: &Path) -> io::Result<()> {
        create_dir_all(&base.join("a/b"), 0o755)?;
        let file = DiskFile::create_new(&base.join("a/b/x"), 0o644)?;
        (&file).write_all(b"12345")?;
        file.sync_data()?;
        set_access_time(&base.join("a/b/x"), FileTime::from_secs(7))?;
        let open = DiskDir::open(&base.join("a/b"))?;
        open.set_access_time(Path::new("x"), FileTime::from_secs(8))?;
        rename(&base.join("a/b/x"), &base.join("a/y"))?;
        hard_link(&base.join("a/y"), &base.join("a/b/z"))?;
        hard_link(&base.join("a/y"), &base.join("a/b/x"))?;
        open.remove_file(Path::new("x"))?;
        sync_dir(&base.join("a"))?;
        remove_dir_all(&base.join("a"))?;
        sync_file_system(base)
    }

    const STEPS: [&str; 18] = [
        "create directory a/b failed",
        "create directory a",
        "create directory a/b",
        "create file a/b/x",
        "write 5 bytes to a/b/x",
        "sync file a/b/x",
        "set access time of a/b/x to 7",
        "set access time of a/b/x to 8",
        "rename a/b/x to a/y",
        "link a/y as a/b/z",
        "link a/y as a/b/x",
        "remove file a/b/x",
        "sync directory a",
        "remove file a/b/z",
        "remove directory a/b",
        "remove file a/y",
        "remove directory a",
        "sync file system of ",
    ];

    #[test]
    fn every_step_is_seen_and_none_happens_after_a_refusal() {
        for allowed in 0..=STEPS.len() {
            let dir = tempfile::tempdir().unwrap();
            let recorder = recorder(dir.path(), allowed.try_into().unwrap());
            let observation = observe(recorder.clone());
            let result = work(dir.path());
            assert_eq!(result.is_ok(), allowed == STEPS.len(), "{result:?}");
            assert!(allowed == STEPS.len() || remove_dir(dir.path()).is_err());
            drop(observation);
            let seen = recorder.seen.borrow().join("\n");
            let seen = seen.replace(&dir.path().display().to_string(), "");
            assert_eq!(seen, STEPS[..allowed].join("\n"));
        }
    }

    #[test]
    fn an_observation_ends_and_the_one_before_it_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (outer, inner) = (recorder(dir.path(), 9), recorder(dir.path(), 9));
        let observation = observe(outer.clone());
        drop(observe(inner.clone()));
        create_dir(&dir.path().join("a"), 0o755).unwrap();
        drop(observation);
        create_dir(&dir.path().join("b"), 0o755).unwrap();
        assert_eq!(*outer.seen.borrow(), ["create directory a"]);
        assert!(inner.seen.borrow().is_empty());
    }
}

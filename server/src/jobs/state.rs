//! The last run of each job: `<state>/jobstates/<type>-<id>.json` (`jobs-and-sync.md` §3).

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use api_types::status::TaskStatus;
use api_types::upid::Upid;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::config::replace_file;
use crate::daemon::Server;
use crate::paths::{Paths, create_dir};
use crate::task::{TaskEnd, Tasks};

/// A job that never ran counts as if it had been made so long ago.
const NEVER_RUN_SECS: i64 = 30;
/// No state comes near it.
const MAX_FILE_SIZE: u64 = 64 * 1024;
const FILE_MODE: u32 = 0o640;

/// Kind of a job; also the type of its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobType {
    /// Garbage collection of a datastore, whose name is the id.
    GarbageCollection,
    /// A prune job.
    Prune,
    /// A verify job.
    Verify,
    /// A sync job.
    Sync,
}

impl JobType {
    /// Its name in file names and task ids.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GarbageCollection => "garbage_collection",
            Self::Prune => "prunejob",
            Self::Verify => "verificationjob",
            Self::Sync => "syncjob",
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
enum EndState {
    #[serde(rename = "OK")]
    Ok {
        endtime: i64,
    },
    Warning {
        count: u64,
        endtime: i64,
    },
    Error {
        message: String,
        endtime: i64,
    },
    Unknown {
        endtime: i64,
    },
}

impl From<TaskEnd> for EndState {
    fn from(TaskEnd { endtime, status }: TaskEnd) -> Self {
        match status {
            TaskStatus::Ok => Self::Ok { endtime },
            TaskStatus::Warnings(count) => Self::Warning { count, endtime },
            TaskStatus::Error(message) => Self::Error { message, endtime },
            TaskStatus::Unknown => Self::Unknown { endtime },
        }
    }
}

impl From<EndState> for TaskEnd {
    fn from(end: EndState) -> Self {
        let (endtime, status) = match end {
            EndState::Ok { endtime } => (endtime, TaskStatus::Ok),
            EndState::Warning { count, endtime } => (endtime, TaskStatus::Warnings(count)),
            EndState::Error { message, endtime } => (endtime, TaskStatus::error(&message)),
            EndState::Unknown { endtime } => (endtime, TaskStatus::Unknown),
        };
        Self { endtime, status }
    }
}

/// The file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum StateFile {
    Created {
        time: i64,
    },
    Started {
        upid: Upid,
        /// When the schedule was changed, if that was since. Not upstream's, which forgets it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        updated: Option<i64>,
    },
    Finished {
        upid: Upid,
        state: EndState,
        updated: Option<i64>,
    },
    Unknown,
}

/// What is known about the runs of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It has not run since then, when it was made.
    Created {
        /// Seconds since the epoch.
        time: i64,
    },
    /// It runs.
    Running {
        /// Its task.
        upid: Upid,
    },
    /// It has run.
    Finished {
        /// Its task.
        upid: Upid,
        /// How that ended.
        end: TaskEnd,
        /// When its schedule was changed, if that was since.
        updated: Option<i64>,
    },
}

impl JobState {
    /// The moment from which the next run is looked for when deciding whether one is due.
    #[must_use]
    pub fn last_run(&self) -> i64 {
        match self {
            Self::Created { time } => *time,
            Self::Running { upid } => upid.starttime(),
            Self::Finished { upid, updated, .. } => updated.unwrap_or_else(|| upid.starttime()),
        }
    }

    /// The moment from which the next run is looked for when it is shown.
    #[must_use]
    pub fn last_end(&self) -> i64 {
        match self {
            Self::Finished { end, updated, .. } => updated.unwrap_or(end.endtime),
            other => other.last_run(),
        }
    }
}

/// The states of the jobs of an installation.
#[derive(Clone, Debug)]
pub struct JobStates {
    dir: PathBuf,
    tasks: Tasks,
}

/// A job that nobody else can run meanwhile.
#[derive(Debug)]
pub struct JobLock {
    state: PathBuf,
    tasks: Tasks,
    _lock: Flock<File>,
}

impl JobStates {
    /// The states below the state directory.
    #[must_use]
    pub fn new(paths: &Paths, tasks: Tasks) -> Self {
        Self {
            dir: paths.state.join("jobstates"),
            tasks,
        }
    }

    /// Those of the daemon's installation.
    #[must_use]
    pub fn of(server: &Server) -> Self {
        Self::new(&server.paths, server.tasks.clone())
    }

    fn path(&self, ty: JobType, id: &str, extension: &str) -> PathBuf {
        self.dir.join(format!("{}-{id}.{extension}", ty.as_str()))
    }

    /// What is known about a job. A missing or damaged file is one of a job that was just made.
    #[must_use]
    pub fn get(&self, ty: JobType, id: &str) -> JobState {
        let path = self.path(ty, id, "json");
        let now = self.tasks.env().unix_secs();
        let never = JobState::Created {
            time: now - NEVER_RUN_SECS,
        };
        match read(&path) {
            Ok(None) | Ok(Some(StateFile::Unknown)) => never,
            Ok(Some(StateFile::Created { time })) => JobState::Created { time },
            Ok(Some(StateFile::Started { upid, .. })) if self.tasks.is_running(&upid) => {
                JobState::Running { upid }
            }
            Ok(Some(StateFile::Started { upid, updated })) => JobState::Finished {
                end: self.tasks.end(&upid),
                upid,
                updated,
            },
            Ok(Some(StateFile::Finished {
                upid,
                state,
                updated,
            })) => JobState::Finished {
                upid,
                end: state.into(),
                updated,
            },
            Err(error) => {
                tracing::warn!("unable to read the job state {}: {error}", path.display());
                never
            }
        }
    }

    /// Whether there is a state that says something.
    #[must_use]
    pub fn is_known(&self, ty: JobType, id: &str) -> bool {
        let state = read(&self.path(ty, id, "json"));
        !matches!(state, Err(_) | Ok(None | Some(StateFile::Unknown)))
    }

    /// Whether a run of the job is under way: somebody holds its lock.
    pub fn is_locked(&self, ty: JobType, id: &str) -> Result<bool> {
        Ok(self.try_lock(ty, id)?.is_none())
    }

    /// Takes the lock of a job for a run; none if somebody else holds it.
    pub fn try_lock(&self, ty: JobType, id: &str) -> Result<Option<JobLock>> {
        create_dir(&self.dir, 0o750)?;
        let path = self.path(ty, id, "lck");
        let attempt = || format!("failed to lock the job by {}", path.display());
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .with_context(attempt)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(JobLock {
                state: self.path(ty, id, "json"),
                tasks: self.tasks.clone(),
                _lock: lock,
            })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(io::Error::from(errno)).with_context(attempt),
        }
    }

    /// Notes that a job was made or its schedule changed: its next run is counted from now on.
    pub fn touch(&self, ty: JobType, id: &str) -> Result<()> {
        let now = self.tasks.env().unix_secs();
        let Some(lock) = self.try_lock(ty, id)? else {
            // The run under way keeps that in its own state when it ends.
            let path = self.path(ty, id, "json");
            return match read(&path) {
                Ok(Some(StateFile::Started { upid, .. })) => {
                    let updated = Some(now);
                    write(&path, &StateFile::Started { upid, updated })
                }
                _ => Ok(()),
            };
        };
        let state = match self.get(ty, id) {
            JobState::Finished { upid, end, .. } => StateFile::Finished {
                upid,
                state: end.into(),
                updated: Some(now),
            },
            _ => StateFile::Created { time: now },
        };
        lock.write(&state)
    }

    /// Forgets a job that is no more.
    pub fn remove(&self, ty: JobType, id: &str) -> Result<()> {
        for extension in ["json", "lck"] {
            let path = self.path(ty, id, extension);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("failed to remove {}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl JobLock {
    /// Notes that the run has begun as this task.
    pub fn started(&self, upid: &Upid) -> Result<()> {
        self.write(&StateFile::Started {
            upid: upid.clone(),
            updated: None,
        })
    }

    /// Notes how the run ended.
    pub fn finished(self, upid: &Upid, status: TaskStatus) -> Result<()> {
        let end = TaskEnd {
            endtime: self.tasks.env().unix_secs(),
            status,
        };
        self.write(&StateFile::Finished {
            upid: upid.clone(),
            state: end.into(),
            updated: match read(&self.state) {
                Ok(Some(StateFile::Started { updated, .. })) => updated,
                _ => None,
            },
        })
    }

    fn write(&self, state: &StateFile) -> Result<()> {
        write(&self.state, state)
    }
}

fn write(path: &Path, state: &StateFile) -> Result<()> {
    let text = serde_json::to_vec(state)?;
    replace_file(path, &text, FILE_MODE)
        .with_context(|| format!("failed to write the job state {}", path.display()))
}

fn read(path: &Path) -> io::Result<Option<StateFile>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(MAX_FILE_SIZE).read_to_end(&mut text)?;
    Ok(Some(serde_json::from_slice(&text)?))
}

#[cfg(test)]
mod tests {
    use s3_client::env::Env;

    use super::*;

    const JOB: JobType = JobType::Prune;

    struct World {
        dir: tempfile::TempDir,
        states: JobStates,
    }

    fn world() -> World {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        paths.create().unwrap();
        let states = JobStates::new(&paths, Tasks::new(&paths, Env::system()));
        World { dir, states }
    }

    fn write(world: &World, text: &str) {
        let dir = world.dir.path().join("state/jobstates");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("prunejob-j1.json"), text).unwrap();
    }

    fn upid() -> Upid {
        "UPID:vm:00000001:00000002:00000003:6553F100:prunejob:s1:root@pam:"
            .parse()
            .unwrap()
    }

    #[test]
    fn files_of_the_real_system_are_read_and_written() {
        for text in [
            r#"{"created":{"time":1700000000}}"#,
            r#"{"started":{"upid":"UPID:vm:00000001:00000002:00000003:6553F100:prunejob:s1:root@pam:"}}"#,
            r#"{"finished":{"upid":"UPID:vm:00000001:00000002:00000003:6553F100:prunejob:s1:root@pam:","state":{"OK":{"endtime":7}},"updated":null}}"#,
            r#"{"finished":{"upid":"UPID:vm:00000001:00000002:00000003:6553F100:prunejob:s1:root@pam:","state":{"Error":{"message":"no","endtime":7}},"updated":8}}"#,
            r#""unknown""#,
        ] {
            let state: StateFile = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&state).unwrap(), text);
        }
    }

    #[test]
    fn a_missing_or_damaged_state_is_that_of_a_new_job() {
        let world = world();
        let now = Env::system().unix_secs();
        for text in [None, Some("{"), Some(r#""unknown""#)] {
            if let Some(text) = text {
                write(&world, text);
            }
            let JobState::Created { time } = world.states.get(JOB, "j1") else {
                panic!("{text:?}");
            };
            assert!((now - 35..=now - 29).contains(&time), "{time} {now}");
        }
    }

    #[test]
    fn a_run_is_noted_from_beginning_to_end() {
        let world = world();
        let lock = world.states.try_lock(JOB, "j1").unwrap().unwrap();
        assert!(world.states.try_lock(JOB, "j1").unwrap().is_none());
        lock.started(&upid()).unwrap();
        // The process of that task is not ours: it has died, and its log is not there.
        let JobState::Finished { end, .. } = world.states.get(JOB, "j1") else {
            panic!();
        };
        assert_eq!(end.status, TaskStatus::Unknown);
        // Its schedule is changed meanwhile.
        world.states.touch(JOB, "j1").unwrap();
        lock.finished(&upid(), TaskStatus::Ok).unwrap();
        let changed = world.states.get(JOB, "j1");
        assert!(
            matches!(changed, JobState::Finished { updated: Some(at), .. }
            if at == changed.last_run() && at > 0x6553_F100)
        );

        let lock = world.states.try_lock(JOB, "j1").unwrap().unwrap();
        lock.started(&upid()).unwrap();
        lock.finished(&upid(), TaskStatus::Warnings(2)).unwrap();
        let state = world.states.get(JOB, "j1");
        assert_eq!(state.last_run(), 0x6553_F100);
        let JobState::Finished { end, updated, .. } = &state else {
            panic!();
        };
        assert_eq!(end.status, TaskStatus::Warnings(2));
        assert_eq!((*updated, state.last_end()), (None, end.endtime));
        assert!(world.states.try_lock(JOB, "j1").unwrap().is_some());

        world.states.touch(JOB, "j1").unwrap();
        let touched = world.states.get(JOB, "j1");
        assert!(touched.last_run() >= end.endtime);
        world.states.remove(JOB, "j1").unwrap();
        assert!(!world.states.is_known(JOB, "j1"));
        world.states.touch(JOB, "j1").unwrap();
        assert!(matches!(
            world.states.get(JOB, "j1"),
            JobState::Created { .. }
        ));
    }
}

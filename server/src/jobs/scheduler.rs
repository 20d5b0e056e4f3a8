//! The clock: once a minute, at its beginning, what is due is started (`jobs-and-sync.md` §3).
//!
//! A job is due when the first time of its schedule after its last run has come, so one that was
//! missed while the daemon was down runs once as soon as it is up again.

use std::sync::Arc;
use std::time::Duration;

use api_types::auth::Authid;
use api_types::upid::Upid;
use jiff::tz::TimeZone;

use super::calendar::CalendarEvent;
use super::run::{self, Runnable};
use super::state::JobType;
use crate::config::ConfigFile;
use crate::daemon::Server;
use crate::operations::background::start_prepared;
use crate::operations::prepared::Prepared;
use crate::site::Site;

const MINUTE: u64 = 60;

/// Starts what is due until the daemon is to end.
pub async fn run_clock(server: Arc<Server>) {
    loop {
        let now = u64::try_from(server.env.unix_secs()).unwrap_or_default();
        let wait = Duration::from_secs(MINUTE - now % MINUTE);
        tokio::select! {
            () = server.shutdown.cancelled() => return,
            () = server.env.sleep(wait) => {}
        }
        server.tasks.record_missed_ends();
        for started in tick(&server).await {
            tracing::info!("started by the clock: {started}");
        }
    }
}

/// Starts what is due now. What cannot be started is in the log.
pub async fn tick(server: &Arc<Server>) -> Vec<Upid> {
    let mut clock = Clock {
        server,
        site: server.site(),
        now: server.env.unix_secs(),
        zone: TimeZone::system(),
        started: Vec::new(),
    };
    clock.collect_garbage().await;
    clock.jobs(server.config.prune_jobs(), "pruned").await;
    clock.jobs(server.config.sync_jobs(), "synced").await;
    clock.jobs(server.config.verify_jobs(), "verified").await;
    clock.started
}

/// One look at all jobs.
struct Clock<'a> {
    server: &'a Arc<Server>,
    site: Site,
    now: i64,
    zone: TimeZone,
    started: Vec<Upid>,
}

impl Clock<'_> {
    async fn collect_garbage(&mut self) {
        let datastores = match self.site.config.datastores().load() {
            Ok(content) => content.entries,
            Err(error) => return tracing::error!("no garbage is collected: {error}"),
        };
        for config in datastores {
            let Some(schedule) = config.gc_schedule.as_ref().map(ToString::to_string) else {
                continue;
            };
            let (ty, id) = (JobType::GarbageCollection, config.name.as_str());
            if self.is_due(ty, id, &schedule) {
                let run =
                    run::garbage_collection(&self.site, &config.name, root(), Some(&schedule));
                let prepared = run.await;
                self.start(ty, id, prepared);
            }
        }
    }

    /// Starts the jobs of this file that are due; without it nothing is `done`.
    async fn jobs<T: Runnable>(&mut self, file: &ConfigFile<T>, done: &str) {
        let jobs = match file.load() {
            Ok(content) => content.entries,
            Err(error) => return tracing::error!("nothing is {done}: {error}"),
        };
        for job in jobs {
            let Some(schedule) = job.schedule() else {
                continue;
            };
            if self.is_due(T::TYPE, job.id(), schedule) {
                let prepared = job.prepare(&self.site, root(), Some(schedule)).await;
                self.start(T::TYPE, job.id(), prepared);
            }
        }
    }

    fn is_due(&self, ty: JobType, id: &str, schedule: &str) -> bool {
        let event: CalendarEvent = match schedule.parse() {
            Ok(event) => event,
            Err(error) => {
                tracing::error!("{} '{id}' never runs: {error}", ty.as_str());
                return false;
            }
        };
        // Not what the state says: that it has ended may never have been written.
        match self.site.jobs.is_locked(ty, id) {
            Ok(false) => {}
            Ok(true) => return false,
            Err(error) => {
                tracing::error!("{} '{id}' does not run: {error:#}", ty.as_str());
                return false;
            }
        }
        let state = self.site.jobs.get(ty, id);
        if !self.site.jobs.is_known(ty, id) {
            // Or its age would always be the same, and its time never come.
            if let Err(error) = self.site.jobs.touch(ty, id) {
                tracing::error!("{error:#}");
            }
        }
        event
            .next_after(state.last_run(), &self.zone)
            .is_some_and(|next| next <= self.now)
    }

    fn start(&mut self, ty: JobType, id: &str, prepared: anyhow::Result<Prepared>) {
        match prepared.and_then(|prepared| start_prepared(self.server, prepared)) {
            Ok(upid) => self.started.push(upid),
            // It stays due, and the next minute tries again.
            Err(error) => tracing::error!("unable to start {} '{id}': {error:#}", ty.as_str()),
        }
    }
}

fn root() -> Authid {
    Authid::root()
}

#[cfg(test)]
mod tests {
    use api_types::datastore::DatastoreConfig;
    use api_types::status::TaskStatus;
    use s3_client::env::Env;

    use super::*;
    use crate::config::jobs::PruneJob;
    use crate::config::sync::SyncJob;
    use crate::config::{ConfigError, Entity as _};
    use crate::datastores::create::CreateRequest;
    use crate::jobs::state::{JobState, JobStates};
    use crate::paths::Paths;
    use crate::s3::S3Options;

    struct World {
        server: Arc<Server>,
        _dir: tempfile::TempDir,
    }

    async fn world(gc_schedule: &str) -> World {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let server = Server::open(paths, &S3Options::default(), Env::system()).unwrap();
        let path = dir.path().join("data").display().to_string();
        let properties = [("path", path.as_str()), ("gc-schedule", gc_schedule)];
        let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let request = CreateRequest {
            config: DatastoreConfig::from_properties("store1", &properties).unwrap(),
            reuse: false,
            overwrite_in_use: false,
        };
        let task = datastore::task::SilentTask::new();
        server.stores.create(&task, &request).await.unwrap();
        World { server, _dir: dir }
    }

    impl World {
        /// Notes that the job ran at this time.
        fn ran_at(&self, ty: JobType, id: &str, time: i64) {
            let upid: Upid = format!("UPID:vm:00000001:00000002:00000003:{time:08X}:x:y:root@pam:")
                .parse()
                .unwrap();
            let lock = JobStates::of(&self.server)
                .try_lock(ty, id)
                .unwrap()
                .unwrap();
            lock.finished(&upid, TaskStatus::Ok).unwrap();
        }

        async fn wait(&self, upid: &Upid) -> TaskStatus {
            while self.server.tasks.is_running(upid) {
                self.server.env.sleep(Duration::from_millis(20)).await;
            }
            self.server.tasks.end(upid).status
        }
    }

    const GC: JobType = JobType::GarbageCollection;

    #[tokio::test]
    async fn a_missed_run_is_made_up_for_once() {
        let world = world("hourly").await;
        let now = world.server.env.unix_secs();
        world.ran_at(GC, "store1", now - 5 * 3600);
        let started = tick(&world.server).await;
        let [upid] = started.as_slice() else {
            panic!("{started:?}");
        };
        assert_eq!(upid.worker_type(), "garbage_collection");
        assert_eq!(upid.auth_id(), &Authid::root());
        assert_eq!(world.wait(upid).await, TaskStatus::Ok);
        let log = world.server.tasks.log(upid, 0, 0).unwrap();
        let text = "task triggered by schedule 'hourly'";
        assert!(log.lines.iter().any(|line| line.t.ends_with(text)));
        let JobState::Finished { end, .. } = JobStates::of(&world.server).get(GC, "store1") else {
            panic!();
        };
        assert_eq!(end.status, TaskStatus::Ok);
        assert_eq!(tick(&world.server).await, []);
    }

    #[tokio::test]
    async fn a_run_whose_end_was_not_written_does_not_stop_the_job() {
        let world = world("minutely").await;
        let process = crate::task::Process::current().unwrap();
        let (pid, pstart) = (process.pid, process.pstart);
        let begun = world.server.env.unix_secs() - 600;
        // One of this process, and nothing says that it has ended.
        let text = format!("UPID:vm:{pid:08X}:{pstart:08X}:FFFFFFFF:{begun:08X}:x:y:root@pam:");
        let upid: Upid = text.parse().unwrap();
        let lock = JobStates::of(&world.server).try_lock(GC, "store1").unwrap();
        let lock = lock.unwrap();
        lock.started(&upid).unwrap();
        assert_eq!(tick(&world.server).await, []);
        drop(lock);
        let started = tick(&world.server).await;
        assert_eq!(started.len(), 1);
        assert_eq!(world.wait(&started[0]).await, TaskStatus::Ok);
    }

    #[tokio::test]
    async fn what_is_new_or_rests_or_runs_is_left_alone() {
        let world = world("yearly").await;
        let job = |id: &str, more: &[(&str, &str)]| {
            let mut properties = vec![("store", "store1"), ("schedule", "minutely")];
            properties.extend(more);
            let properties: Vec<_> = properties
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
            PruneJob::from_section("prune", id, &properties).unwrap()
        };
        world
            .server
            .config
            .prune_jobs()
            .update::<_, ConfigError>(None, |content| {
                content.insert(job("resting", &[("disable", "true")]))?;
                content.insert(job("running", &[]))?;
                content.insert(job("due", &[("keep-last", "1")]))
            })
            .await
            .unwrap();
        let copy = [
            ("store", "store1"),
            ("remote-store", "store2"),
            ("schedule", "minutely"),
        ];
        let copy = copy.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let copy = SyncJob::from_section("sync", "copy", &copy).unwrap();
        world
            .server
            .config
            .sync_jobs()
            .update::<_, ConfigError>(None, |content| content.insert(copy))
            .await
            .unwrap();
        let now = world.server.env.unix_secs();
        for id in ["resting", "running", "due"] {
            world.ran_at(JobType::Prune, id, now - 120);
        }
        world.ran_at(JobType::Sync, "copy", now - 120);
        let states = JobStates::of(&world.server);
        let _running = states.try_lock(JobType::Prune, "running").unwrap().unwrap();
        let started = tick(&world.server).await;
        let types: Vec<&str> = started.iter().map(Upid::worker_type).collect();
        assert_eq!(types, ["prunejob", "syncjob"]);
        assert_eq!(started[0].worker_id(), Some("store1"));
        assert_eq!(started[1].worker_id(), Some("-:store2:store1::copy"));
        // There is no such datastore: that is the end of the run, not of the job.
        let TaskStatus::Error(why) = world.wait(&started[1]).await else {
            panic!();
        };
        assert!(why.contains("store2"), "{why}");
        let JobState::Finished { end, .. } = states.get(JobType::Sync, "copy") else {
            panic!();
        };
        assert!(matches!(end.status, TaskStatus::Error(_)));
        assert_eq!(world.wait(&started[0]).await, TaskStatus::Ok);
        let log = world.server.tasks.log(&started[0], 0, 0).unwrap();
        assert!(log.lines[0].t.ends_with(": prune job 'due'"), "{log:?}");
        // The garbage collection that was never run has an age now.
        assert!(states.is_known(GC, "store1"));
    }
}

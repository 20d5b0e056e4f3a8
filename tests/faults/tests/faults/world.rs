//! MinIO, the proxy before it, and the worker's processes.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use datastore::env::Env;
use faults::check::Checked;
use faults::ledger::Account;
use faults::place::{Place, STORE};
use faults::proxy::{Fault, FaultCounts, Op, Plan, Proxy};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use s3_client::{DirPrefix, ListOptions};
use support::MinioServer;
use tempfile::TempDir;
use tokio::process::{Child, Command};

const BUCKET: &str = "faults";
/// Much longer than a round ever takes, on a busy machine too; only a hang takes longer.
const PATIENCE: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(20);

/// A whole number from the environment.
pub fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Everything that a test needs.
pub struct World {
    minio: MinioServer,
    proxy: Proxy,
    dir: Option<TempDir>,
    place: PathBuf,
    log: PathBuf,
    env: Env,
}

impl World {
    /// Starts MinIO and the proxy, and makes the store.
    pub async fn start(quarantine: Duration) -> Result<Self> {
        let minio = MinioServer::start_plain().await?;
        minio.create_bucket(BUCKET)?;
        let proxy = Proxy::start(minio.port()).await?;
        let dir = tempfile::Builder::new()
            .prefix("coffer-faults-")
            .tempdir()?;
        let endpoint = minio.endpoint(BUCKET);
        let place = Place {
            dir: dir.path().to_owned(),
            port: proxy.port(),
            region: endpoint.region,
            access_key: endpoint.access_key,
            secret_key: endpoint.secret_key,
            bucket: endpoint.bucket,
            quarantine_millis: u64::try_from(quarantine.as_millis())?,
        };
        let file = dir.path().join("place");
        place.save(&file)?;
        File::create(place.ledger())?;
        let world = Self {
            minio,
            proxy,
            log: dir.path().join("log"),
            dir: Some(dir),
            place: file,
            env: Env::system(),
        };
        world.run(&["create"]).await.context("create the store")?;
        Ok(world)
    }

    pub fn minio(&mut self) -> &mut MinioServer {
        &mut self.minio
    }

    /// Stops MinIO where it is, or lets it go on.
    pub fn freeze_minio(&self, frozen: bool) -> Result<()> {
        let signal = if frozen {
            Signal::SIGSTOP
        } else {
            Signal::SIGCONT
        };
        let process = i32::try_from(self.minio.process_id())?;
        Ok(kill(Pid::from_raw(process), signal)?)
    }

    pub fn fault_counts(&self) -> FaultCounts {
        self.proxy.counts()
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_faults-worker"));
        command
            .arg("--place")
            .arg(&self.place)
            .args(arguments)
            // The end of the log is looked at for the error, not for where it came from.
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        Ok(command)
    }

    /// Runs the worker to its end; gives its output.
    async fn run(&self, arguments: &[&str]) -> Result<String> {
        drop(self.proxy.begin(Plan::default()));
        let output = self.command(arguments)?.output();
        let output = tokio::time::timeout(PATIENCE, output)
            .await
            .with_context(|| format!("{arguments:?} hangs, {}", self.log_tail()))??;
        // Tokio captures it here, whatever the command says.
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?} failed: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts a worker that backs up and collects until it is killed.
    pub fn worker(&self, seed: u64) -> Result<Child> {
        let seed = seed.to_string();
        Ok(self.command(&["work", "--seed", &seed])?.spawn()?)
    }

    /// Waits until the plan's moment has come.
    pub async fn wait_for(&self, plan: Plan, worker: &mut Child) -> Result<()> {
        let moment = self.proxy.begin(plan);
        tokio::select! {
            moment = moment => Ok(moment?),
            ended = worker.wait() => bail!("the worker ended with {}, {}", ended?, self.log_tail()),
            () = self.env.sleep(PATIENCE) => bail!("the worker hangs, {}", self.log_tail()),
        }
    }

    /// Waits until the worker has made so many more requests.
    pub async fn wait_for_more(&self, requests: u64, worker: &mut Child) -> Result<()> {
        let until = self.proxy.seen() + requests;
        self.poll(worker, || self.proxy.seen() >= until).await
    }

    /// Lets the network be bad until it has struck so often; gives how often it did.
    pub async fn strike(
        &self,
        plan: Plan,
        kind: (Op, Fault),
        times: u64,
        worker: &mut Child,
    ) -> Result<u64> {
        let count = || self.proxy.counts().get(&kind).copied().unwrap_or(0);
        let before = count();
        drop(self.proxy.begin(plan));
        self.poll(worker, || count() >= before + times).await?;
        // And on for a while, so that it is seen how the worker goes on.
        self.wait_for_more(50, worker).await?;
        Ok(count() - before)
    }

    async fn poll(&self, worker: &mut Child, done: impl Fn() -> bool) -> Result<()> {
        let deadline = self.env.now() + PATIENCE;
        while !done() {
            if let Some(status) = worker.try_wait()? {
                bail!("the worker ended with {status}, {}", self.log_tail());
            }
            ensure!(self.env.now() < deadline, "no end, {}", self.log_tail());
            self.env.sleep(POLL).await;
        }
        Ok(())
    }

    /// kill -9
    pub async fn kill(&self, mut process: Child) -> Result<()> {
        process.kill().await.context("kill the worker")
    }

    pub async fn kill_worker_at(&self, seed: u64, plan: Plan) -> Result<()> {
        // Counted from its first request on.
        let moment = self.proxy.begin(plan);
        let mut worker = self.worker(seed)?;
        tokio::select! {
            moment = moment => moment?,
            ended = worker.wait() => {
                bail!("the worker ended with {}, {}", ended?, self.log_tail())
            }
            () = self.env.sleep(PATIENCE) => bail!("the worker hangs, {}", self.log_tail()),
        }
        self.kill(worker).await
    }

    /// Whether the check was still at work when the moment came.
    pub async fn kill_check_at(&self, plan: Plan) -> Result<bool> {
        let moment = self.proxy.begin(plan);
        let mut check = self.command(&["check"])?.spawn()?;
        tokio::select! {
            moment = moment => moment?,
            ended = check.wait() => {
                ensure!(ended?.success(), "the check failed, {}", self.log_tail());
                return Ok(false);
            }
            () = self.env.sleep(PATIENCE) => bail!("the check hangs, {}", self.log_tail()),
        }
        self.kill(check).await?;
        Ok(true)
    }

    /// The full check, without any fault; gives what it printed.
    pub async fn try_check(&self) -> Result<String> {
        self.run(&["check"]).await
    }

    /// The full check, which must find nothing wrong.
    pub async fn check(&mut self, seed: u64, story: &str) -> Result<()> {
        let output = match self.try_check().await {
            Ok(output) => output,
            Err(error) => {
                // To be looked at: the store stays.
                let kept = self.dir.take().map(TempDir::keep).unwrap_or_default();
                let kept = kept.display();
                return Err(error.context(format!("seed {seed}: {story}; the store is in {kept}")));
            }
        };
        let Checked {
            snapshots,
            chunks,
            collections,
            tripped,
            refreshes,
        } = serde_json::from_str(&output)?;
        eprintln!(
            "seed {seed}: {story}: {snapshots} snapshots, {chunks} chunks, clean after \
             {collections} collections ({tripped} stopped by a tripwire first) and {refreshes} refreshes"
        );
        Ok(())
    }

    /// Removes the directory of a committed snapshot, behind the worker's back.
    pub fn lose_a_snapshot(&self) -> Result<()> {
        let place = Place::load(&self.place)?;
        let account = Account::read(&place.ledger())?;
        let path = account.committed.first().context("nothing was committed")?;
        Ok(std::fs::remove_dir_all(
            place.dir.join("store").join(path.path()),
        )?)
    }

    /// Removes all chunk objects and cached payloads, behind the worker's back.
    pub async fn lose_all_chunks(&self) -> Result<()> {
        drop(self.proxy.begin(Plan::default()));
        let place = Place::load(&self.place)?;
        let client = place.client(&self.env)?;
        let chunks = DirPrefix::new(STORE)?.child(".chunks")?;
        let mut listing = client.list(&chunks, ListOptions::default());
        while let Some(page) = listing.next_page().await {
            for object in page?.objects {
                client.delete_object(&object.key).await?;
                let local = place.dir.join("store").join(".chunks");
                let name = object.key.relative_to(&chunks).unwrap_or_default();
                let file = local.join(name);
                // Not there if the worker was killed between the upload and the local file.
                if file.exists() {
                    File::create(file)?;
                }
            }
        }
        Ok(())
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let tail = String::from_utf8_lossy(&log[log.len().saturating_sub(3000)..]).into_owned();
        format!("its log ends with:\n{tail}")
    }
}

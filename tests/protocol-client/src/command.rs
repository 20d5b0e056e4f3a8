//! The commands of `coffer-test-client`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use api_types::names::{ArchiveName, ArchiveType, BackupDir, BackupGroup, BackupTime};
use clap::{Parser, Subcommand};
use hyper::Method;
use protocol_client::{Archive, Backup, Repository, Rest};
use s3_client::env::Env;
use serde_json::{Value, json};

/// A stream is cut into chunks of this size: a real client cuts by content.
const CHUNK: usize = 1 << 20;

/// Backs up whole files and restores them, for trying a server out.
#[derive(Debug, Parser)]
#[command(name = "coffer-test-client")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a snapshot of the group.
    Backup {
        /// `host/NAME`, `vm/100`
        group: BackupGroup,
        /// Each with the name of its archive, which ends with `.didx` (a stream), `.fidx` (an
        /// image) or `.blob`: `ARCHIVE=FILE`.
        #[arg(required = true)]
        files: Vec<String>,
    },
    /// Write an archive of a snapshot, of the newest one of a group, into a file.
    Restore {
        /// `host/NAME/TIME`, or `host/NAME`
        snapshot: String,
        /// Name of the archive.
        archive: ArchiveName,
        /// The new file.
        file: PathBuf,
    },
    /// List the snapshots.
    List,
    /// Forget all but the newest snapshots of a group.
    Prune {
        /// `host/NAME`
        group: BackupGroup,
        /// How many to keep.
        #[arg(long)]
        keep_last: u32,
    },
    /// Collect garbage, and wait for the end.
    GarbageCollect,
}

/// A server, and a datastore of it.
struct Client {
    rest: Rest,
    store: String,
    env: Env,
}

/// Runs a command.
pub async fn run(cli: Cli) -> Result<()> {
    let (repository, rest) = Repository::from_environment().await?;
    let client = Client {
        rest,
        store: repository.store,
        env: Env::system(),
    };
    match cli.command {
        Command::Backup { group, files } => client.back_up(&group, &files).await,
        Command::Restore {
            snapshot,
            archive,
            file,
        } => client.restore(&snapshot, &archive, &file).await,
        Command::List => client.list().await,
        Command::Prune { group, keep_last } => client.prune(&group, keep_last).await,
        Command::GarbageCollect => client.collect_garbage().await,
    }
}

impl Client {
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let path = format!("/api2/json/admin/datastore/{}/{path}", self.store);
        let answer = self.rest.request(method, &path, body).await?;
        answer.data().with_context(|| format!("{path} failed"))
    }

    /// The snapshots, of a group or of all, oldest first.
    async fn snapshots(&self, group: Option<&BackupGroup>) -> Result<Vec<(BackupDir, Value)>> {
        let query = match group {
            Some(group) => format!("?backup-type={}&backup-id={}", group.ty, group.id),
            None => String::new(),
        };
        let listed = self
            .call(Method::GET, &format!("snapshots{query}"), None)
            .await?;
        let mut snapshots = Vec::new();
        for item in listed.as_array().into_iter().flatten() {
            let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
            let group = format!("{}/{}", text("backup-type"), text("backup-id"));
            let time = BackupTime::from_secs(item["backup-time"].as_i64().unwrap_or_default())?;
            snapshots.push((BackupDir::new(group.parse()?, time), item.clone()));
        }
        snapshots.sort_by_key(|(dir, _)| (dir.to_string(), dir.time));
        Ok(snapshots)
    }

    /// Query parameters of a snapshot.
    fn query(&self, dir: &BackupDir) -> String {
        let (group, time) = (&dir.group, dir.time.secs());
        let (store, ty, id) = (&self.store, group.ty, &group.id);
        format!("store={store}&backup-type={ty}&backup-id={id}&backup-time={time}")
    }

    async fn back_up(&self, group: &BackupGroup, files: &[String]) -> Result<()> {
        let before = self.snapshots(Some(group)).await?;
        let newest = before.last().map(|(dir, _)| dir.time.secs());
        // Times are in seconds, and each snapshot has one of its own.
        while newest >= Some(self.env.unix_secs()) {
            self.env.sleep(Duration::from_millis(100)).await;
        }
        let time = BackupTime::from_secs(self.env.unix_secs())?;
        let dir = BackupDir::new(group.clone(), time);
        let session = self.rest.backup(&self.query(&dir)).await?;
        let mut archives = Vec::new();
        for file in files {
            let (name, path) = file
                .split_once('=')
                .with_context(|| format!("{file}: expected ARCHIVE=FILE"))?;
            archives.push(upload(&session, &name.parse()?, Path::new(path)).await?);
        }
        session.manifest(&dir, &archives).await?;
        session.finish().await?.data()?;
        println!("{dir}: finished");
        Ok(())
    }

    async fn restore(&self, snapshot: &str, archive: &ArchiveName, file: &Path) -> Result<()> {
        let dir = match snapshot.parse::<BackupDir>() {
            Ok(dir) => dir,
            Err(_) => {
                let group: BackupGroup = snapshot.parse()?;
                let last = self.snapshots(Some(&group)).await?.pop();
                last.with_context(|| format!("{group} has no snapshots"))?.0
            }
        };
        let reader = self.rest.reader(&self.query(&dir)).await?;
        let listed = reader.manifest().await?;
        let known = listed.lookup_file(archive.as_str());
        let known = known.with_context(|| format!("{dir} has no {archive}"))?;
        let content = if archive.is_index() {
            let content = reader.archive(archive.as_str()).await?;
            ensure!(
                content.len() as u64 == known.size,
                "{archive} is not as long as the manifest says"
            );
            content
        } else {
            reader.blob(archive.as_str()).await?
        };
        let write = std::fs::write(file, &content);
        write.with_context(|| format!("failed to write {}", file.display()))?;
        println!("{dir}: {archive}: {} bytes", content.len());
        Ok(())
    }

    async fn list(&self) -> Result<()> {
        for (dir, item) in self.snapshots(None).await? {
            let size = item["size"].as_u64();
            let size = size.map_or_else(|| "unfinished".to_owned(), |size| format!("{size} bytes"));
            let files = item["files"].as_array().into_iter().flatten();
            let names: Vec<_> = files.filter_map(|file| file["filename"].as_str()).collect();
            println!("{dir}  {size}  {}", names.join(" "));
        }
        Ok(())
    }

    async fn prune(&self, group: &BackupGroup, keep_last: u32) -> Result<()> {
        let body = json!({
            "backup-type": group.ty, "backup-id": group.id, "keep-last": keep_last,
        });
        let decided = self.call(Method::POST, "prune", Some(body)).await?;
        for item in decided.as_array().into_iter().flatten() {
            let time = BackupTime::from_secs(item["backup-time"].as_i64().unwrap_or_default())?;
            let kept = item["keep"] == true || item["protected"] == true;
            println!("{group}/{time}  {}", if kept { "kept" } else { "removed" });
        }
        Ok(())
    }

    async fn collect_garbage(&self) -> Result<()> {
        let upid = self.call(Method::POST, "gc", None).await?;
        let upid = upid.as_str().context("no UPID")?;
        let mut start = 1;
        loop {
            let path = format!(
                "/api2/json/nodes/localhost/tasks/{upid}/log?start={start}&limit=500&test-status=1"
            );
            let log = self.rest.request(Method::GET, &path, None).await?.json()?;
            let lines = log["data"].as_array().context("no log")?;
            for line in lines {
                println!("{}", line["t"].as_str().unwrap_or_default());
            }
            start += lines.len();
            if log["active"] == false && lines.len() < 500 {
                break;
            }
            self.env.sleep(Duration::from_millis(200)).await;
        }
        let path = format!("/api2/json/nodes/localhost/tasks/{upid}/status");
        let status = self.rest.request(Method::GET, &path, None).await?.data()?;
        match status["exitstatus"].as_str() {
            Some(end) if end == "OK" || end.starts_with("WARNINGS") => Ok(()),
            other => bail!("the garbage collection ended with {other:?}"),
        }
    }
}

/// A file as an archive. Chunks of the last backup of that name are not sent again.
async fn upload(session: &Backup, name: &ArchiveName, path: &Path) -> Result<Archive> {
    let content = std::fs::read(path);
    let content = content.with_context(|| format!("failed to read {}", path.display()))?;
    let name = match name.archive_type() {
        Some(ArchiveType::Blob) => return session.blob(name.as_str(), &content).await,
        Some(_) => name.as_str(),
        None => bail!("{name}: an archive's name ends with .didx, .fidx or .blob"),
    };
    // Without a backup before, or this archive in it, everything is new.
    let known = session.learn(name).await.is_ok();
    let archive = if name.ends_with(".fidx") {
        session.image(name, &content, true).await?
    } else {
        let chunks: Vec<_> = content.chunks(CHUNK).collect();
        session.stream(name, &chunks).await?
    };
    let how = if known { "what is new of them" } else { "all" };
    println!("{name}: {} bytes, sent {how}", archive.size);
    Ok(archive)
}

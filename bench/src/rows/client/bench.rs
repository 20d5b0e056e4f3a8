//! The rows' work.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::BoxFuture;

use super::source::{Content, Source};
use super::tools::{Coffer, Needed, Restic, coffer};
use super::{Action, Detection};
use crate::row::{Bench, Round, Setup, Side};
use crate::rows::session::place::{Home, Place};

/// More is not to be seen: a round writes and reads gigabytes.
const RUNS: usize = 3;
/// Time of the first backup; each further one is an hour later.
const START: i64 = 1_750_000_000;
const GROUP: &str = "host/bench";

/// A row with its data.
pub struct ClientBench {
    content: Content,
    action: Action,
    source: Source,
    /// For daemons and caches.
    scratch: PathBuf,
    /// In memory, for what is restored.
    memory: PathBuf,
    /// The daemon, and what it has stored.
    world: Option<World>,
    round: usize,
    details: Vec<String>,
}

/// A daemon, and a repository of restic in its MinIO.
struct World {
    place: Place,
    restic: Restic,
    /// The time of the newest snapshot.
    time: i64,
    /// How long the first backup took, by home.
    first: Vec<(Home, Needed)>,
}

impl ClientBench {
    /// Makes what is to be backed up.
    pub fn new(setup: &Setup, content: Content, action: Action) -> Result<Self> {
        let scratch = setup.dir("client");
        std::fs::create_dir_all(&scratch)?;
        let memory = setup.memory_dir("client")?;
        Ok(Self {
            content,
            action,
            source: Source::make(content, &memory, setup.quick)?,
            scratch,
            memory,
            world: None,
            round: 0,
            details: Vec::new(),
        })
    }

    fn archive(&self) -> &'static str {
        match self.content {
            Content::Small | Content::Large => "tree.pxar",
            Content::Image => "disk.img",
        }
    }

    fn detection(&self) -> Detection {
        match self.action {
            Action::Again(detection) => detection,
            Action::First => Detection::Legacy,
            // What a client that looks for one file among many would have.
            Action::Restore | Action::OneFile => Detection::Metadata,
        }
    }

    fn back_up(&self, world: &World, home: Home, time: i64) -> Result<Coffer> {
        let spec = format!("{}:{}", self.archive(), self.source.path.display());
        let time = time.to_string();
        let mut arguments = vec![
            "backup",
            &spec,
            "--backup-id",
            "bench",
            "--backup-time",
            &time,
        ];
        if self.content != Content::Image {
            arguments.extend(["--change-detection-mode", self.detection().name()]);
        }
        coffer(&world.place, home.store(), &arguments)
    }

    /// A new daemon and a new repository; with a first backup, unless that is to be measured.
    fn new_world(&mut self) -> Result<World> {
        self.round += 1;
        let place = Place::start(&self.scratch)?;
        let restic = Restic::create(&place, &format!("restic{}", self.round), &self.scratch)?;
        let mut world = World {
            place,
            restic,
            time: START,
            first: Vec::new(),
        };
        if self.action != Action::First {
            world.restic.run(&restic_backup(&self.source.path))?;
            for home in [Home::Minio, Home::Filesystem] {
                let first = self.back_up(&world, home, world.time)?;
                world.first.push((home, first.needed));
            }
        }
        world.place.settle();
        Ok(world)
    }

    fn restic(&self, world: &World) -> Result<Needed> {
        match self.action {
            Action::First | Action::Again(_) => world.restic.run(&restic_backup(&self.source.path)),
            Action::Restore => {
                let target = self.empty_target()?;
                let target = target.display().to_string();
                world
                    .restic
                    .run(&["restore", "latest", "--quiet", "--target", &target])
            }
            Action::OneFile => {
                let path = self.source.path.join(self.source.one());
                let target = self.empty_target()?;
                let needed = world.restic.run(&[
                    "restore",
                    "latest",
                    "--quiet",
                    "--include",
                    &path.display().to_string(),
                    "--target",
                    &target.display().to_string(),
                ])?;
                let restored = target.join(path.strip_prefix("/").unwrap_or(&path));
                ensure!(
                    restored.is_file(),
                    "restic did not restore {}",
                    path.display()
                );
                Ok(needed)
            }
        }
    }

    fn coffer(&self, world: &World, home: Home) -> Result<Coffer> {
        let time = world.time.to_string();
        let snapshot = format!("{GROUP}/{}", rfc3339(world.time)?);
        match self.action {
            Action::First => self.back_up(world, home, world.time),
            Action::Again(_) => self.back_up(world, home, world.time + 3600),
            Action::Restore => {
                let target = self.empty_target()?.display().to_string();
                let arguments = ["restore", &snapshot, self.archive(), &target];
                coffer(&world.place, home.store(), &arguments)
            }
            Action::OneFile => {
                let one = self.source.one().display().to_string();
                let target = self.empty_target()?;
                let into = target.display().to_string();
                let arguments = ["restore", &snapshot, self.archive(), &into, "--path", &one];
                let needed = coffer(&world.place, home.store(), &arguments)
                    .with_context(|| format!("snapshot of {time}"))?;
                ensure!(finds_file(&target)?, "{one} was not restored");
                Ok(needed)
            }
        }
    }

    fn empty_target(&self) -> Result<PathBuf> {
        let target = self.memory.join("restored");
        if target.exists() {
            std::fs::remove_dir_all(&target)?;
        }
        std::fs::create_dir(&target)?;
        Ok(target)
    }

    fn describe(&mut self, world: &World, name: &str, home: Home, coffer: Coffer) {
        let Needed { took, cpu } = coffer.needed;
        let mut line = format!(
            "{name}: {:.2} s, {:.2} s of the processor in the client ({:.2} cores busy with it), \
             peak memory {} MiB",
            took.as_secs_f64(),
            cpu.as_secs_f64(),
            coffer.needed.cores(),
            coffer.peak >> 20
        );
        if matches!(self.action, Action::Again(_))
            && let Some((_, first)) = world.first.iter().find(|(at, _)| *at == home)
        {
            line += &format!(
                "; the first backup took {:.1} times as long",
                first.took.as_secs_f64() / took.as_secs_f64()
            );
        }
        self.details.push(line);
    }

    fn round(&mut self) -> Result<Round> {
        let world = match self.world.take() {
            // What only reads can be done again.
            Some(world) if matches!(self.action, Action::Restore | Action::OneFile) => world,
            _ => self.new_world()?,
        };
        if matches!(self.action, Action::Again(_)) {
            self.source.change(self.round)?;
        }
        let restic = self.restic(&world)?;
        let ours = self.coffer(&world, Home::Minio)?;
        let local = self.coffer(&world, Home::Filesystem)?;
        self.details.clear();
        self.describe(&world, "MinIO", Home::Minio, ours);
        self.describe(&world, "filesystem datastore", Home::Filesystem, local);
        self.details.push(format!(
            "restic: {:.2} s, {:.2} s of the processor",
            restic.took.as_secs_f64(),
            restic.cpu.as_secs_f64()
        ));
        self.world = Some(world);
        Ok(Round {
            ours: ours.needed.took.as_secs_f64(),
            baseline: restic.took.as_secs_f64(),
        })
    }
}

impl Bench for ClientBench {
    fn run(&mut self, side: Side) -> BoxFuture<'_, Result<f64>> {
        Box::pin(async move {
            let Round { ours, baseline } = self.round()?;
            Ok(match side {
                Side::Ours => ours,
                Side::Baseline => baseline,
            })
        })
    }

    fn rounds(&mut self, runs: usize) -> BoxFuture<'_, Result<Vec<Round>>> {
        Box::pin(async move { (0..runs.min(RUNS)).map(|_| self.round()).collect() })
    }

    fn details(&self) -> Vec<String> {
        self.details.clone()
    }
}

fn restic_backup(path: &Path) -> [String; 3] {
    [
        "backup".to_owned(),
        "--quiet".to_owned(),
        path.display().to_string(),
    ]
}

fn finds_file(dir: &Path) -> Result<bool> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() || finds_file(&entry.path())? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn rfc3339(time: i64) -> Result<String> {
    let time = api_types::names::BackupTime::from_secs(time)?;
    Ok(time.to_string())
}

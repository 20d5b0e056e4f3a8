//! The commands of `coffer-manager`.
//!
//! Words and options are upstream's. The tool works on the files of the installation itself and
//! runs long operations as worker tasks in the foreground.

mod acl;
mod cert;
mod configured;
mod datastore;
mod entries;
mod garbage_collection;
mod group;
mod jobs;
mod named_file;
mod namespace;
mod node;
mod options;
pub mod output;
mod prune;
mod s3;
mod snapshot;
mod sync;
mod table;
mod task;
mod user;
mod verify;
mod work;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use clap::{Parser, Subcommand};
use s3_client::env::Env;
use tracing_subscriber::EnvFilter;

use crate::access::control::AccessControl;
use crate::config::Config;
use crate::config::jobs::{PruneJob, VerifyJob};
use crate::config::remotes::Remote;
use crate::config::sync::SyncJob;
use crate::config::traffic::TrafficRule;
use crate::console;
use crate::datastores::Datastores;
use crate::jobs::state::JobStates;
use crate::paths::{PathOptions, Paths};
use crate::privileges::become_owner;
use crate::s3::{S3Clients, S3Options};
use crate::site::Site;
use crate::task::Tasks;
use output::OutputFormat;

/// Administration of a Coffer backup server.
#[derive(Debug, Parser)]
#[command(name = "coffer-manager", version, propagate_version = true)]
pub struct Cli {
    /// Format of the results.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub output_format: OutputFormat,
    /// Where the installation lives.
    #[command(flatten)]
    pub paths: PathOptions,
    /// How S3 endpoints are reached.
    #[command(flatten)]
    pub s3: S3Options,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Access rights.
    #[command(subcommand)]
    Acl(acl::AclCommand),
    /// The server's certificate.
    #[command(subcommand)]
    Cert(cert::CertCommand),
    /// Datastores.
    #[command(subcommand)]
    Datastore(datastore::DatastoreCommand),
    /// Remove chunks that no snapshot references.
    #[command(subcommand)]
    GarbageCollection(garbage_collection::GarbageCollectionCommand),
    /// Groups of snapshots.
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Namespaces.
    #[command(subcommand)]
    Namespace(namespace::NamespaceCommand),
    /// The configuration of the machine.
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Remove snapshots that no rule keeps.
    Prune(Box<prune::PruneArguments>),
    /// Removing by the clock the snapshots that no rule keeps.
    #[command(subcommand)]
    PruneJob(jobs::JobCommand<PruneJob>),
    /// Copy snapshots of another datastore into one here.
    Pull(sync::SyncArguments<sync::Pull>),
    /// Copy snapshots to a datastore of another server.
    Push(sync::SyncArguments<sync::Push>),
    /// Other servers.
    #[command(subcommand)]
    Remote(entries::EntriesCommand<Remote>),
    /// S3 endpoints and buckets.
    #[command(subcommand)]
    S3(s3::S3Command),
    /// Snapshots.
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    /// Copying from and to other datastores.
    #[command(subcommand)]
    SyncJob(jobs::JobCommand<SyncJob>),
    /// Worker tasks.
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// How fast connections may be.
    #[command(subcommand)]
    TrafficControl(entries::EntriesCommand<TrafficRule>),
    /// Users and API tokens.
    #[command(subcommand)]
    User(Box<user::UserCommand>),
    /// Check that what the snapshots promise is really there.
    Verify(Box<verify::VerifyArguments>),
    /// Checking by the clock that what the snapshots promise is there.
    #[command(subcommand)]
    VerifyJob(jobs::JobCommand<VerifyJob>),
}

/// What the commands work with.
#[derive(Debug)]
pub struct Session {
    /// Directories of the installation.
    pub paths: Paths,
    /// Format of results.
    pub format: OutputFormat,
    /// Clock and randomness.
    pub env: Env,
    /// Configuration files.
    pub config: Config,
    /// Clients of the S3 endpoints.
    pub s3: Arc<S3Clients>,
    /// Datastores.
    pub datastores: Arc<Datastores>,
    /// Worker tasks.
    pub tasks: Tasks,
}

impl Session {
    /// Opens the installation; missing directories are created.
    pub fn open(paths: Paths, s3: &S3Options, format: OutputFormat, env: Env) -> Result<Self> {
        paths.create()?;
        let config = Config::new(&paths, &env);
        let s3 = Arc::new(S3Clients::new(s3, config.node().clone(), &env)?);
        Ok(Self {
            datastores: Arc::new(Datastores::new(
                config.clone(),
                Arc::clone(&s3),
                paths.clone(),
                env.clone(),
            )),
            config,
            s3,
            tasks: Tasks::new(&paths, env.clone()),
            paths,
            format,
            env,
        })
    }

    /// What jobs and syncs work with.
    fn site(&self) -> Result<Site> {
        let access = AccessControl::open(&self.paths, self.env.clone())?;
        Ok(Site {
            env: self.env.clone(),
            config: self.config.clone(),
            stores: Arc::clone(&self.datastores),
            access: Arc::new(access),
            jobs: self.jobs(),
        })
    }

    /// The states of the jobs.
    fn jobs(&self) -> JobStates {
        JobStates::new(&self.paths, self.tasks.clone())
    }
}

/// Parses the command line, runs the command and makes its exit code: 0 for success (warnings
/// included), 1 for failure, 2 for a wrong command line. `COFFER_LOG` sets what is logged to standard
/// error; `s3_requests=info` in it counts the requests to S3.
pub async fn run() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("COFFER_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match execute(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::error_line(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn execute(cli: Cli) -> Result<()> {
    let paths = cli.paths.resolve()?;
    become_owner(&paths.config)?;
    let session = Session::open(paths, &cli.s3, cli.output_format, Env::system())?;
    let result = match cli.command {
        Command::Acl(command) => command.run(&session).await,
        Command::Cert(command) => command.run(&session),
        Command::Datastore(command) => command.run(&session).await,
        Command::GarbageCollection(command) => command.run(&session).await,
        Command::Group(command) => command.run(&session).await,
        Command::Namespace(command) => command.run(&session).await,
        Command::Node(command) => command.run(&session).await,
        Command::Prune(arguments) => arguments.run(&session).await,
        Command::PruneJob(command) => command.run(&session).await,
        Command::Pull(arguments) => arguments.run(&session).await,
        Command::Push(arguments) => arguments.run(&session).await,
        Command::Remote(command) => command.run(&session).await,
        Command::S3(command) => command.run(&session).await,
        Command::Snapshot(command) => command.run(&session).await,
        Command::SyncJob(command) => command.run(&session).await,
        Command::Task(command) => command.run(&session).await,
        Command::TrafficControl(command) => command.run(&session).await,
        Command::User(command) => command.run(&session).await,
        Command::Verify(arguments) => arguments.run(&session).await,
        Command::VerifyJob(command) => command.run(&session).await,
    };
    tracing::info!(target: "s3_requests", "{}", session.s3.counters());
    result
}

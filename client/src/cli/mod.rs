//! The command line. Words and options are those of `proxmox-backup-client`.
//!
//! Results go to standard output, as tables or JSON; what happens meanwhile goes to standard error.

mod commands;
mod flags;
mod options;
mod output;
mod progress;
mod show;
mod spelling;
mod table;
mod task_log;

use std::ffi::OsString;
use std::process::ExitCode;

use ::datastore::env::Env;
use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use nix::sys::termios::{SetArg, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};
use tokio::signal::unix::{SignalKind, signal};

use crate::dialogue::tell;
use commands::{
    backup, benchmark, catalog, datastore, diff, group, identity, key, login, mount, namespace,
    prune, restore, snapshot, task, version,
};

/// Back up and restore a machine
#[derive(Debug, Parser)]
#[command(
    name = "coffer-client",
    version,
    propagate_version = true,
    infer_subcommands = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Back up directories, images and files
    Backup(Box<backup::BackupArguments>),
    /// Measure how fast this machine and the server are
    Benchmark(benchmark::BenchmarkArguments),
    /// The files in the archives of a snapshot
    #[command(subcommand)]
    Catalog(catalog::CatalogCommand),
    /// Give a group to another owner
    ChangeOwner(group::ChangeOwnerArguments),
    /// Show what differs between the archives of two snapshots
    Diff(diff::DiffArguments),
    /// Remove the chunks that no snapshot needs
    GarbageCollect(datastore::GarbageCollectArguments),
    /// Groups of snapshots
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Encryption keys
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// List the groups of a namespace
    List(datastore::ListArguments),
    /// Log in, so that commands of the next two hours need no password
    Login(login::LoginArguments),
    /// Forget a login
    Logout(login::LogoutArguments),
    /// Make an image a block device; not available, see the message
    Map(mount::MapArguments),
    /// Mount an archive of files, read only
    Mount(mount::MountArguments),
    /// Namespaces
    #[command(subcommand)]
    Namespace(namespace::NamespaceCommand),
    /// Remove the snapshots of a group that no rule keeps
    Prune(Box<prune::PruneArguments>),
    /// Restore an archive
    Restore(Box<restore::RestoreArguments>),
    /// Show what tells this server from all others
    ServerIdentity(identity::IdentityArguments),
    /// Snapshots
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    /// Show how full the datastore is
    Status(datastore::StatusArguments),
    /// Worker tasks of the server
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// Undo `map`; not available, see the message
    Unmap(mount::UnmapArguments),
    /// Show the versions of client and server
    Version(version::VersionArguments),
}

impl Command {
    async fn run(&self) -> Result<Outcome> {
        let done = match self {
            Self::Backup(arguments) => return arguments.run().await,
            Self::Restore(arguments) => return arguments.run().await,
            Self::Benchmark(arguments) => arguments.run().await,
            Self::Catalog(command) => command.run().await,
            Self::ChangeOwner(arguments) => arguments.run().await,
            Self::Diff(arguments) => arguments.run().await,
            Self::GarbageCollect(arguments) => arguments.run().await,
            Self::Group(command) => command.run().await,
            Self::Key(command) => {
                let command = command.clone();
                // It asks for passwords: signals are seen meanwhile.
                Env::system().blocking(move || command.run()).await
            }
            Self::List(arguments) => arguments.run().await,
            Self::Login(arguments) => arguments.run().await,
            Self::Logout(arguments) => arguments.run(),
            Self::Map(_) | Self::Unmap(_) => mount::no_block_devices(),
            Self::Mount(arguments) => arguments.run().await,
            Self::Namespace(command) => command.run().await,
            Self::Prune(arguments) => arguments.run().await,
            Self::ServerIdentity(arguments) => arguments.run().await,
            Self::Snapshot(command) => command.run().await,
            Self::Status(arguments) => arguments.run().await,
            Self::Task(command) => command.run().await,
            Self::Version(arguments) => arguments.run().await,
        };
        done.map(|()| Outcome::Done)
    }
}

/// How a command has ended, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is done.
    Done,
    /// The command has failed.
    Failed,
    /// The backup or restore is done, but for single files; each was named.
    Incomplete,
    /// Ended by a signal, by its number.
    Interrupted(u8),
}

impl Outcome {
    /// Of work that has had problems with so many files.
    const fn with_problems(count: u64) -> Self {
        match count {
            0 => Self::Done,
            _ => Self::Incomplete,
        }
    }

    /// 0, 1, 3, and 128 + the signal, as shells have it. 2 means that the command line is wrong.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Incomplete => 3,
            Self::Interrupted(signal) => 128 + signal,
        }
    }
}

/// Runs a command line, its program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = Cli::command();
    let arguments = flags::normalise(&command, spelling::current(arguments));
    let parsed = command.try_get_matches_from(arguments);
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        // Help and version come this way too.
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            // Nobody is left to tell.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let outcome = perform(&cli.command).unwrap_or_else(|error| {
        report(&error);
        Outcome::Failed
    });
    ExitCode::from(outcome.code())
}

fn perform(command: &Command) -> Result<Outcome> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start")?;
    // Whoever is interrupted while a password is typed gets the echo back.
    let terminal = tcgetattr(std::io::stdin());
    let outcome = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // What is dropped here ends in order: a session that is not finished leaves nothing behind.
        tokio::select! {
            result = command.run() => result,
            _ = interrupt.recv() => Ok(interrupted(SignalKind::interrupt())),
            _ = terminate.recv() => Ok(interrupted(SignalKind::terminate())),
        }
    });
    if let (Ok(Outcome::Interrupted(_)), Ok(terminal)) = (&outcome, terminal)
        // Others are stopped when they try.
        && tcgetpgrp(std::io::stdin()) == Ok(getpgrp())
    {
        // It may be gone.
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &terminal);
    }
    // Threads that read a file or a terminal may do so for long yet.
    runtime.shutdown_background();
    outcome
}

fn interrupted(kind: SignalKind) -> Outcome {
    tell("Interrupted.");
    Outcome::Interrupted(u8::try_from(kind.as_raw_value()).unwrap_or(2))
}

fn report(error: &anyhow::Error) {
    if !error.is::<output::ReaderGone>() {
        tell(format_args!("Error: {error:#}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        let arguments = line.split(' ').map(OsString::from);
        let command = Cli::command();
        let arguments = flags::normalise(&command, spelling::current(arguments));
        Cli::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    /// The command lines of the recordings, and older ones.
    #[test]
    fn upstream_s_command_lines_are_understood() {
        for line in [
            "version",
            "login",
            "logout --repository a@pbs@host:store",
            "namespace create ns1/sub",
            "namespace list",
            "namespace delete ns2moved",
            "namespace move ns2 --target-ns ns2moved",
            "snapshot protected update host/plain/2026-11-22T08:34:13Z true",
            "snapshot protected show host/plain/2026-11-22T08:34:13Z",
            "snapshot notes update vm/100/2026-11-22T08:34:18Z note",
            "snapshot notes show vm/100/2026-11-22T08:34:18Z",
            "snapshot list vm/100 --output-format json",
            "snapshots --output-format json-pretty --ns a/b",
            "snap list",
            "list --ns ns1",
            "snapshot files vm/100/2026-11-22T08:34:18Z",
            "files vm/100/2026-11-22T08:34:18Z",
            "upload-log vm/100/2026-11-22T08:34:18Z client.log",
            "backup root.pxar:dir conf.conf:pct.conf --backup-id plain --backup-type host",
            "backup root.pxar:dir --backup-id split --change-detection-mode=metadata",
            "backup root.pxar:small --keyfile k --crypt-mode sign-only --ns ns1",
            "backup a.pxar:/ --exclude /tmp --exclude *.o --include-dev /a --include-dev /b",
            "backup a.img:/dev/vda --rate 10MB --burst 20MB --backup-time 7 --master-pubkey-file m",
            "backup a.pxar:/ --all-file-systems true --entries-max 7 --chunk-size 1024",
            "restore host/split/2026-11-22T08:34:16Z root.pxar dir --pattern **/many/f00*",
            "restore vm/100/2026-11-22T08:34:18Z index.json -",
            "restore host/a root.pxar . --allow-existing-dirs --overwrite --ignore-acls true",
            "catalog dump host/plain/2026-11-22T08:34:13Z",
            "catalog shell host/plain/2026-11-22T08:34:13Z root.pxar",
            "mount host/plain/2026-11-22T08:34:13Z root.pxar /mnt --verbose",
            "map host/plain/2026-11-22T08:34:13Z disk.img",
            "unmap /dev/loop0",
            "diff host/a/2026-11-22T08:34:13Z host/a/2026-11-22T08:34:14Z root.pxar --color never",
            "benchmark --output-format json",
            "server-identity --output-format json",
            "status",
            "prune host/split --keep-last 1 --dry-run",
            "prune host/split --keep-last 1 --dry-run true --ns a",
            "prune --group host/split --keep-daily=7",
            "snapshot forget host/throw/2026-11-22T08:34:25Z",
            "forget host/throw/2026-11-22T08:34:25Z",
            "change-owner host/signed test@pbs!tok1",
            "group move host/moveme --ns ns2 --target-ns ns1",
            "group forget host/throw",
            "garbage-collect",
            "task list --all",
            "task list --all 0 --limit 7",
            "key show /srv/samples/keys/plain.key",
            "key create --kdf none",
            "key paperkey --output-format html --subject x",
        ] {
            if let Err(error) = parse(&format!("coffer-client {line}")) {
                panic!("{line}: {error}");
            }
        }
        for line in [
            "",
            "snapshot",
            "prune",
            "forget vm/100",
            "task list --limit x",
        ] {
            assert!(parse(&format!("coffer-client {line}")).is_err(), "{line}");
        }
    }

    #[test]
    fn codes_are_those_of_shells() {
        assert_eq!(Outcome::Done.code(), 0);
        assert_eq!(Outcome::Failed.code(), 1);
        assert_eq!(Outcome::with_problems(0), Outcome::Done);
        assert_eq!(Outcome::with_problems(7).code(), 3);
        assert_eq!(interrupted(SignalKind::interrupt()).code(), 130);
        assert_eq!(interrupted(SignalKind::terminate()).code(), 143);
    }
}

//! `prune-job`, `sync-job` and `verify-job`: the commands of all entries, and `run`.

use anyhow::Result;
use api_types::auth::Authid;
use clap::{ArgMatches, Command, FromArgMatches, Subcommand};

use super::Session;
use super::entries::{CliEntity, EntriesCommand};
use super::options::text;
use crate::jobs::run::Runnable;

const RUN: &str = "run";

/// What to do with which job.
#[derive(Debug)]
pub enum JobCommand<T> {
    /// Change or show the configuration.
    Configure(EntriesCommand<T>),
    /// Run the job of this name.
    Run(String),
}

impl<T: CliEntity + Runnable> JobCommand<T> {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<()> {
        let id = match self {
            Self::Configure(command) => return command.run(session).await,
            Self::Run(id) => id,
        };
        let content = T::file(&session.config).load()?;
        let (job, site) = (content.get(&id)?, session.site()?);
        let prepared = job.prepare(&site, Authid::root(), None).await?;
        session.run_prepared(prepared).await
    }
}

impl<T: CliEntity> FromArgMatches for JobCommand<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.subcommand() {
            Some((RUN, matches)) => Ok(Self::Run(text(matches, T::ID).unwrap_or_default())),
            _ => EntriesCommand::from_arg_matches(matches).map(Self::Configure),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<T: CliEntity> Subcommand for JobCommand<T> {
    fn augment_subcommands(command: Command) -> Command {
        let run = Command::new(RUN)
            .about("Run one now, to its end; its log is shown")
            .arg(EntriesCommand::<T>::id());
        EntriesCommand::<T>::augment_subcommands(command).subcommand(run)
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        name == RUN || EntriesCommand::<T>::has_subcommand(name)
    }
}

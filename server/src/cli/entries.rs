//! `create | list | show | update | remove` for entries of configuration files whose options follow
//! from the table of the REST interface.

use std::io::Read;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Arg, ArgMatches, Command, FromArgMatches, Subcommand};
use serde::Serialize;

use super::Session;
use super::options::{given, options, text, texts};
use super::table::Column;
use crate::config::properties::Given;
use crate::config::{Config, ConfigError, ConfigFile, Entity};
use crate::jobs::state::JobType;
use crate::rest::endpoint::Param;

/// Longer than any secret; keeps a wrong file from being read to its end.
const MAX_SECRET_FILE: u64 = 4096;
const DELETE: &str = "delete";
const DIGEST: &str = "digest";

/// Entries as the commands have them.
pub trait CliEntity: Entity + Serialize + Send + Sync + 'static {
    /// What the entries are, for the help.
    const ABOUT: &'static str;
    /// The parameter with an entry's name.
    const ID: &'static str;
    /// The parameters of a new one.
    const NEW: &'static [Param];
    /// The parameters of a change.
    const CHANGED: &'static [Param];
    /// A parameter that is read from a file, and the option that names that.
    const FROM_FILE: Option<(&'static str, &'static str)> = None;
    /// What the list shows.
    const COLUMNS: &'static [&'static str];
    /// What kind of jobs they are, if they are jobs: these have a state.
    const JOB: Option<JobType> = None;

    /// Their file.
    fn file(config: &Config) -> &ConfigFile<Self>;

    /// A secret as the file has it.
    fn encode_secret(plain: &str) -> String {
        plain.to_owned()
    }

    /// Removes one.
    fn remove(
        config: &Config,
        id: &str,
        digest: Option<&str>,
    ) -> impl Future<Output = Result<()>> + Send {
        async move {
            let removed = Self::file(config)
                .update::<_, ConfigError>(digest, |content| content.remove(id).map(|_| ()));
            Ok(removed.await?)
        }
    }

    /// When it runs, if it is a job that does.
    fn runs_at(&self) -> Option<&str> {
        None
    }

    /// Refuses an entry that names what is not there.
    fn check(&self, _config: &Config) -> Result<(), ConfigError> {
        Ok(())
    }
}

/// What to do with which entry.
#[derive(Debug)]
pub struct EntriesCommand<T> {
    action: Action,
    matches: ArgMatches,
    entity: PhantomData<fn() -> T>,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Create,
    List,
    Show,
    Update,
    Remove,
}

impl<T: CliEntity> EntriesCommand<T> {
    /// What is no option of its own.
    fn special() -> Vec<&'static str> {
        let mut special = vec![T::ID];
        special.extend(T::FROM_FILE.map(|(secret, _)| secret));
        special
    }

    fn secret_option(required: bool) -> Option<Arg> {
        let (secret, option) = T::FROM_FILE?;
        let help = format!("File with the {secret}, '-' for standard input");
        let file = Arg::new(secret).long(option).help(help).value_name("FILE");
        let parser = clap::value_parser!(PathBuf);
        Some(file.value_parser(parser).required(required))
    }

    /// The argument with an entry's name.
    pub fn id() -> Arg {
        let param = T::NEW.iter().find(|param| param.name == T::ID);
        let help = param.map_or("", |param| param.about.trim_end_matches('.'));
        Arg::new(T::ID).required(true).help(help)
    }

    /// With the properties that the command line sets.
    fn given(&self, params: &[Param]) -> Result<Given> {
        let mut special = Self::special();
        special.extend([DELETE, DIGEST]);
        let given = given(&self.matches, params, &special);
        let Some((secret, _)) = T::FROM_FILE else {
            return Ok(given);
        };
        let file = self.matches.get_one::<PathBuf>(secret);
        let plain = file.map(|path| read_secret(path)).transpose()?;
        Ok(given.set(secret, plain.map(|plain| T::encode_secret(&plain)).as_ref()))
    }

    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<()> {
        let file = T::file(&session.config);
        let id = text(&self.matches, T::ID).unwrap_or_default();
        let digest = text(&self.matches, DIGEST);
        let section_type = T::TYPES.first().copied().unwrap_or_default();
        match self.action {
            Action::List => {
                let columns: Vec<Column> = T::COLUMNS.iter().copied().map(Column::plain).collect();
                session.format.print_list(&file.load()?.entries, &columns)
            }
            Action::Show => {
                let content = file.load()?;
                session.format.print_object(content.get(&id)?)
            }
            Action::Create => {
                let properties = self.given(T::NEW)?.into_properties();
                let new =
                    T::from_section(section_type, &id, &properties).map_err(anyhow::Error::msg)?;
                new.check(&session.config)?;
                file.update::<_, ConfigError>(None, |content| content.insert(new))
                    .await?;
                scheduled::<T>(session, &id)
            }
            Action::Update => {
                let given = self.given(T::CHANGED)?;
                let delete = texts(&self.matches, DELETE);
                let rescheduled = file
                    .update(digest.as_deref(), |content| {
                        let entry = content.get_mut(&id)?;
                        let properties = given.merge_into(entry.to_section(), &delete)?;
                        let changed = T::from_section(entry.section_type(), &id, &properties)
                            .map_err(anyhow::Error::msg)?;
                        changed.check(&session.config)?;
                        let rescheduled = changed.runs_at() != entry.runs_at();
                        *entry = changed;
                        anyhow::Ok(rescheduled)
                    })
                    .await?;
                if rescheduled {
                    scheduled::<T>(session, &id)?;
                }
                Ok(())
            }
            Action::Remove => {
                T::remove(&session.config, &id, digest.as_deref()).await?;
                match T::JOB {
                    Some(ty) => session.jobs().remove(ty, &id),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Notes that a job is new, or runs at other times.
fn scheduled<T: CliEntity>(session: &Session, id: &str) -> Result<()> {
    match T::JOB {
        Some(ty) => session.jobs().touch(ty, id),
        None => Ok(()),
    }
}

fn read_secret(path: &Path) -> Result<String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin()
            .take(MAX_SECRET_FILE)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_SECRET_FILE).read_to_string(&mut text))
    };
    read.with_context(|| format!("failed to read the secret from {}", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

impl<T: CliEntity> FromArgMatches for EntriesCommand<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let missing = || clap::Error::new(clap::error::ErrorKind::MissingSubcommand);
        let (name, matches) = matches.subcommand().ok_or_else(missing)?;
        let action = match name {
            "create" => Action::Create,
            "list" => Action::List,
            "show" => Action::Show,
            "update" => Action::Update,
            "remove" => Action::Remove,
            _ => return Err(missing()),
        };
        Ok(Self {
            action,
            matches: matches.clone(),
            entity: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<T: CliEntity> Subcommand for EntriesCommand<T> {
    fn augment_subcommands(command: Command) -> Command {
        let digest = Arg::new(DIGEST)
            .long(DIGEST)
            .help("Change only if the configuration file still has this SHA-256 digest");
        let special = Self::special();
        command
            .about(T::ABOUT)
            .subcommand_required(true)
            .subcommand(
                Command::new("create")
                    .about("Add one")
                    .arg(Self::id())
                    .args(Self::secret_option(true))
                    .args(options(T::NEW, &special)),
            )
            .subcommand(Command::new("list").about("List them"))
            .subcommand(Command::new("show").about("Show one").arg(Self::id()))
            .subcommand(
                Command::new("update")
                    .about("Change one")
                    .arg(Self::id())
                    .args(Self::secret_option(false))
                    .args(options(T::CHANGED, &special)),
            )
            .subcommand(
                Command::new("remove")
                    .about("Remove one")
                    .arg(Self::id())
                    .arg(digest),
            )
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        ["create", "list", "show", "update", "remove"].contains(&name)
    }
}

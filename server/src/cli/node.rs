//! `node show | update`.

use anyhow::Result;
use clap::{Arg, ArgMatches, Command, FromArgMatches, Subcommand};
use serde_json::{Map, Value};

use super::Session;
use super::options::{options, texts};
use crate::api::nodes::config::PARAMS;
use crate::config::node::KEYS;

/// What is no property.
const OTHER: [&str; 3] = ["node", "delete", "digest"];

/// What concerns the machine as a whole.
#[derive(Debug)]
pub enum NodeCommand {
    /// Show the configuration.
    Show,
    /// Change the configuration.
    Update(ArgMatches),
}

impl NodeCommand {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<()> {
        let file = session.config.node();
        let matches = match self {
            Self::Show => {
                let (config, _) = file.load()?;
                let values: Map<String, Value> = config
                    .iter()
                    .map(|(key, value)| (key.to_owned(), value.into()))
                    .collect();
                return session.format.print_object(&values);
            }
            Self::Update(matches) => matches,
        };
        let digest = texts(&matches, "digest");
        file.update(digest.first().map(String::as_str), |config| {
            texts(&matches, "delete")
                .iter()
                .for_each(|key| config.unset(key));
            for key in KEYS {
                for value in texts(&matches, key) {
                    config.set(key, &value).map_err(anyhow::Error::msg)?;
                }
            }
            anyhow::Ok(())
        })
        .await
    }
}

impl FromArgMatches for NodeCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.subcommand() {
            Some(("show", _)) => Ok(Self::Show),
            Some(("update", matches)) => Ok(Self::Update(matches.clone())),
            _ => Err(clap::Error::new(clap::error::ErrorKind::MissingSubcommand)),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Subcommand for NodeCommand {
    fn augment_subcommands(command: Command) -> Command {
        let special: Vec<Arg> = options(PARAMS, KEYS)
            .into_iter()
            .filter(|option| option.get_id() != OTHER[0])
            .collect();
        let properties = options(PARAMS, &OTHER).into_iter();
        // The name is taken: by the proxy of this very command.
        let properties = properties.map(|option| match option.get_id().as_str() {
            "http-proxy" => option.long("node-http-proxy"),
            _ => option,
        });
        command
            .about("The configuration of the machine")
            .subcommand_required(true)
            .subcommand(Command::new("show").about("Show it"))
            .subcommand(
                Command::new("update")
                    .about("Change it")
                    .args(properties)
                    .args(special),
            )
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        ["show", "update"].contains(&name)
    }
}

//! `pull` and `push`: a sync without a job, its options from the tables of the REST interface.

use std::marker::PhantomData;

use anyhow::{Error, Result};
use api_types::auth::Authid;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::Session;
use super::options::{argument, given, options};
use crate::api::{pull, push};
use crate::config::properties::Given;
use crate::config::sync::SyncDirection;
use crate::rest::endpoint::Param;
use crate::sync::once;

/// In place of a remote: none. Task ids have it, too, and no remote can be called so.
const THIS_SERVER: &str = "-";
const REMOTE: &str = "remote";

/// Which way a sync goes, as the command line has it.
pub trait Way {
    /// The way.
    const DIRECTION: SyncDirection;
    /// The parameters.
    const PARAMS: &'static [Param];
    /// Those that are known by their place, in upstream's order.
    const PLACES: [&'static str; 3];
    /// Those that are not for people.
    const HIDDEN: &'static [&'static str] = &[];
}

/// `pull`.
#[derive(Debug)]
pub struct Pull;

impl Way for Pull {
    const DIRECTION: SyncDirection = SyncDirection::Pull;
    const PARAMS: &'static [Param] = &pull::PULL;
    const PLACES: [&'static str; 3] = [REMOTE, "remote-store", "store"];
    // It is there to be refused.
    const HIDDEN: &'static [&'static str] = &[pull::DECRYPTION_KEYS.name];
}

/// `push`.
#[derive(Debug)]
pub struct Push;

impl Way for Push {
    const DIRECTION: SyncDirection = SyncDirection::Push;
    const PARAMS: &'static [Param] = &push::PUSH;
    const PLACES: [&'static str; 3] = ["store", REMOTE, "remote-store"];
}

/// What to copy.
#[derive(Debug)]
pub struct SyncArguments<W> {
    given: Given,
    way: PhantomData<fn() -> W>,
}

impl<W: Way> SyncArguments<W> {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<()> {
        let root = Authid::root();
        let job = once::job(W::DIRECTION, self.given, &root).map_err(Error::msg)?;
        let prepared = once::prepare(&session.site()?, &job, root).await?;
        session.run_prepared(prepared).await
    }

    /// The arguments that are known by their place.
    fn places() -> impl Iterator<Item = Arg> {
        W::PLACES.iter().filter_map(|name| {
            let param = W::PARAMS.iter().find(|param| param.name == *name)?;
            let argument = argument(param).required(true);
            Some(if is_any_remote(param) {
                let schema = param.schema;
                let checked = move |text: &str| match text {
                    THIS_SERVER => Ok(text.to_owned()),
                    name => schema.parse(name).map(|_| text.to_owned()),
                };
                argument
                    .help("The other server, as 'remote' lists it; '-' is this one")
                    .value_parser(checked)
            } else {
                argument
            })
        })
    }
}

/// Whether it is the other server, where that may be this one.
fn is_any_remote(param: &Param) -> bool {
    param.name == REMOTE && param.optional
}

impl<W: Way> FromArgMatches for SyncArguments<W> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut without = W::HIDDEN.to_vec();
        let remote = matches.get_one::<String>(REMOTE);
        if remote.is_some_and(|remote| remote == THIS_SERVER) {
            without.push(REMOTE);
        }
        Ok(Self {
            given: given(matches, W::PARAMS, &without),
            way: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<W: Way> Args for SyncArguments<W> {
    fn augment_args(command: Command) -> Command {
        let mut without = W::HIDDEN.to_vec();
        without.extend(W::PLACES);
        command
            .args(Self::places())
            .args(options(W::PARAMS, &without))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

//! Logging in once for several commands.

use anyhow::{Result, bail};
use clap::Args;

use crate::cli::options::RepositoryOptions;
use crate::remote::{ConnectOptions, Remote};

/// Log in, so that commands of the next two hours need no password
#[derive(Clone, Debug, Args)]
pub struct LoginArguments {
    /// Where.
    #[command(flatten)]
    pub repository: RepositoryOptions,
}

impl LoginArguments {
    pub(crate) async fn run(&self) -> Result<()> {
        let repository = self.repository.repository()?;
        if repository.user().is_token() {
            bail!("an API token needs no login: its secret goes with each request");
        }
        let options = ConnectOptions {
            fresh_login: true,
            ..ConnectOptions::from_environment()?
        };
        let remote = Remote::connect(&repository, &options).await?;
        if !remote.ticket_is_kept() {
            bail!("the login cannot be remembered: there is no directory XDG_RUNTIME_DIR");
        }
        Ok(())
    }
}

/// Forget a login
#[derive(Clone, Debug, Args)]
pub struct LogoutArguments {
    /// Where.
    #[command(flatten)]
    pub repository: RepositoryOptions,
}

impl LogoutArguments {
    pub(crate) fn run(&self) -> Result<()> {
        let options = ConnectOptions::from_environment()?;
        Remote::forget_login(&self.repository.repository()?, &options)
    }
}

//! Versions.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use crate::cli::options::RepositoryOptions;
use crate::cli::output::OutputOptions;

/// Show the versions of client and server
#[derive(Clone, Debug, Args)]
pub struct VersionArguments {
    /// Where; without one only the client's version is shown.
    #[command(flatten)]
    pub repository: RepositoryOptions,
    /// In which form.
    #[command(flatten)]
    pub output: OutputOptions,
}

impl VersionArguments {
    pub(crate) async fn run(&self) -> Result<()> {
        let client = env!("CARGO_PKG_VERSION");
        let (version, release) = client.rsplit_once('.').unwrap_or((client, ""));
        let mut all = json!({ "client": { "version": version, "release": release, "repoid": "" } });
        let mut text = format!("client version: {client}");
        let mut failure = None;
        if self.repository.is_given() {
            match self.server().await {
                Ok(server) => {
                    let part = |name: &str| {
                        let part = server.get(name).and_then(Value::as_str);
                        part.unwrap_or("?").to_owned()
                    };
                    let line = format!("\nserver version: {}.{}", part("version"), part("release"));
                    text.push_str(&line);
                    all["server"] = server;
                }
                Err(error) => failure = Some(error),
            }
        }
        self.output.print(&all, || Ok(text))?;
        failure.map_or(Ok(()), Err)
    }

    async fn server(&self) -> Result<Value> {
        let remote = self.repository.connect().await?;
        remote.get("/version", &[]).await
    }
}

//! The process under test: creates the store, works in it until it is killed, or checks it.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};
use datastore::chunk_store::PrefixDirs;
use datastore::env::Env;
use datastore::store::DataStore;
use datastore::store::create::CreateOptions;
use datastore::task::SilentTask;
use faults::place::Place;

#[derive(Parser)]
struct Arguments {
    /// File that says where the store is.
    #[arg(long)]
    place: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the store.
    Create,
    /// Back up, remove, restore and collect until killed.
    Work {
        /// What is backed up depends on it.
        #[arg(long)]
        seed: u64,
    },
    /// Check everything; prints what was found.
    Check,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let place = Place::load(&arguments.place)?;
    match arguments.command {
        Command::Create => {
            let options = CreateOptions {
                prefix_dirs: PrefixDirs::OnDemand,
                ..CreateOptions::default()
            };
            let store = place.options(&Env::system())?;
            DataStore::create(store, options, &SilentTask::new()).await?;
        }
        Command::Work { seed } => faults::work::work(&place, seed).await?,
        Command::Check => {
            let checked = faults::check::check(&place).await?;
            println!("{}", serde_json::to_string(&checked)?);
        }
    }
    Ok(())
}

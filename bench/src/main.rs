//! The program behind `make bench`; see the library.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use bench::outcome::{self, Outcome};
use bench::row::{Row, Setup};
use bench::{children, machine, report, rows};
use clap::Parser;
use s3_client::env::Env;

/// Measures Coffer against the baseline.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only these rows, separated by commas; all unless told.
    #[arg(long, default_value = "")]
    rows: String,
    /// How often each is run; the median counts.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Small data, to see that everything works.
    #[arg(long)]
    quick: bool,
    /// Lists the rows.
    #[arg(long)]
    list: bool,
    /// Where the data to measure with goes; the system's directory for temporary files unless told.
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// Where `results.json` goes.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Where the document of a complete run goes.
    #[arg(long, default_value = "docs/benchmarks.md")]
    document: PathBuf,
    /// What a row has this program do in a process of its own.
    #[arg(long, hide = true)]
    child: Option<String>,
}

fn main() -> ExitCode {
    match start(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> Result<bool> {
    if let Some(task) = &arguments.child {
        children::run(task)?;
        return Ok(true);
    }
    let rows = selected(&arguments.rows)?;
    if arguments.list {
        for row in &rows {
            println!("{:18} {}", row.id(), row.measures());
        }
        return Ok(true);
    }
    ensure!(arguments.runs > 0, "--runs must be at least 1");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(measure(arguments, &rows))
}

/// The rows asked for, in the order of the table.
fn selected(list: &str) -> Result<Vec<Box<dyn Row>>> {
    let wanted: Vec<&str> = list.split(',').map(str::trim).collect();
    let mut rows = rows::all();
    if wanted == [""] {
        return Ok(rows);
    }
    for id in &wanted {
        if !rows.iter().any(|row| row.id() == *id) {
            bail!("there is no row '{id}'; --list shows all");
        }
    }
    rows.retain(|row| wanted.contains(&row.id()));
    Ok(rows)
}

/// Runs the rows; whether all of them could be measured. A row that fails does not stop the others.
async fn measure(arguments: &Arguments, rows: &[Box<dyn Row>]) -> Result<bool> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut complete = true;
    let env = Env::system();
    for row in rows {
        let started = env.now();
        eprintln!("{}: {}", row.id(), row.measures());
        let setup = Setup::new(
            arguments.scratch.as_deref(),
            arguments.quick,
            arguments.runs,
        )?;
        match outcome::measure(row.as_ref(), &setup).await {
            Ok(outcome) => {
                let seconds = (env.now() - started).as_secs();
                eprintln!("    {outcome} in {seconds} s");
                for detail in &outcome.details {
                    eprintln!("    - {detail}");
                }
                outcomes.push(outcome);
            }
            Err(error) => {
                complete = false;
                eprintln!("    error: {} could not be measured: {error:#}", row.id());
            }
        }
    }
    println!("{}", report::table(&outcomes));
    let results = arguments.out.join("results.json");
    report::write(&results, &report::json(&outcomes)?)?;
    let all = arguments.rows.trim().is_empty();
    if all && complete && !arguments.quick {
        let machine = machine::describe(&env)?;
        let text = report::document(&machine, arguments.runs, rows, &outcomes);
        report::write(&arguments.document, &text)?;
    }
    Ok(complete)
}

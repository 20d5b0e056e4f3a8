//! Worker tasks of the server.

use anyhow::Result;
use api_types::upid::Upid;
use clap::{Args, Subcommand};
use datastore::env::Env;
use serde_json::Value;

use crate::cli::options::RepositoryOptions;
use crate::cli::output::OutputOptions;
use crate::cli::show::local_time;
use crate::cli::table::{Align, Table};
use crate::cli::task_log::{Lines, follow, task_path};

/// What to do with tasks.
#[derive(Clone, Debug, Subcommand)]
pub enum TaskCommand {
    /// List tasks on the datastore
    List(ListArguments),
    /// Show the log of a task, to its end
    Log(TaskArguments),
    /// Ask a task to stop
    Stop(TaskArguments),
}

impl TaskCommand {
    pub(crate) async fn run(&self) -> Result<()> {
        match self {
            Self::List(arguments) => arguments.run().await,
            Self::Log(arguments) => {
                let remote = arguments.repository.connect().await?;
                follow(
                    &remote,
                    &arguments.upid.to_string(),
                    Lines::Whole,
                    &Env::system(),
                )
                .await
            }
            Self::Stop(arguments) => {
                let remote = arguments.repository.connect().await?;
                let path = task_path(&arguments.upid.to_string(), "");
                remote.delete(&path, &Value::Null).await?;
                Ok(())
            }
        }
    }
}

/// A task and where it is.
#[derive(Clone, Debug, Args)]
pub struct TaskArguments {
    /// The task's id
    pub upid: Upid,
    /// Where.
    #[command(flatten)]
    pub repository: RepositoryOptions,
}

/// Which tasks are listed.
#[derive(Clone, Debug, Args)]
pub struct ListArguments {
    /// How many at most
    #[arg(long, default_value_t = 50)]
    pub limit: u64,
    /// Also those that are over
    #[arg(long)]
    pub all: bool,
    /// Where.
    #[command(flatten)]
    pub repository: RepositoryOptions,
    /// In which form.
    #[command(flatten)]
    pub output: OutputOptions,
}

impl ListArguments {
    async fn run(&self) -> Result<()> {
        let remote = self.repository.connect().await?;
        let repository = remote.repository();
        let (limit, user) = (self.limit.to_string(), repository.user().to_string());
        let query = [
            ("limit", limit.as_str()),
            ("running", if self.all { "false" } else { "true" }),
            ("start", "0"),
            ("store", repository.store()),
            ("userfilter", &user),
        ];
        let list = remote.get("/nodes/localhost/tasks", &query).await?;
        self.output.print(&list, || Ok(of_tasks(&list)))
    }
}

fn of_tasks(list: &Value) -> String {
    let mut tasks: Vec<_> = list.as_array().into_iter().flatten().collect();
    let number = |task: &Value, name: &str| task.get(name).and_then(Value::as_i64);
    let text = |task: &Value, name: &str| {
        let text = task.get(name).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    tasks.sort_by_key(|task| (number(task, "starttime"), text(task, "upid")));
    let mut table = Table::new(&[
        ("starttime", Align::Left),
        ("endtime", Align::Left),
        ("upid", Align::Left),
        ("status", Align::Left),
    ]);
    for task in tasks {
        let time = |name: &str| number(task, name).map(local_time).unwrap_or_default();
        let status = match number(task, "endtime") {
            Some(_) => text(task, "status"),
            None => "running".to_owned(),
        };
        table.row([
            time("starttime"),
            time("endtime"),
            text(task, "upid"),
            status,
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tasks_are_shown_by_time() {
        let list = json!([
            { "upid": "UPID:b", "starttime": 20 },
            { "upid": "UPID:a", "starttime": 10, "endtime": 15, "status": "OK" },
        ]);
        let text = of_tasks(&list);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[3].ends_with("│ UPID:a │ OK      │"), "{text}");
        assert!(lines[5].ends_with("│ UPID:b │ running │"), "{text}");
    }
}

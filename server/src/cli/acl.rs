//! `acl list | update`.

use anyhow::Result;
use api_types::access::{AclPath, Role};
use api_types::auth::Authid;
use clap::Subcommand;
use serde_json::{Value, json};

use super::Session;
use super::table::Column;
use crate::access::control::AccessControl;
use crate::api::access::acl::{Change, change};

/// Access rights.
#[derive(Debug, Subcommand)]
pub enum AclCommand {
    /// List the access rights.
    List,
    /// Give or take a role on a path.
    Update {
        /// Where, for example '/datastore/store1'.
        path: AclPath,
        /// What, for example 'DatastoreBackup'.
        role: Role,
        /// To which user or token.
        #[arg(long)]
        auth_id: Authid,
        /// Whether it also counts below the path.
        #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
        propagate: bool,
        /// Take it instead.
        #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t, default_missing_value = "true", action = clap::ArgAction::Set)]
        delete: bool,
    },
}

impl AclCommand {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<()> {
        let access = AccessControl::open(&session.paths, session.env.clone())?;
        match self {
            Self::List => {
                let entries: Vec<Value> = access
                    .acl()
                    .load()?
                    .tree
                    .entries()
                    .into_iter()
                    .map(|entry| {
                        json!({
                            "ugid": entry.auth_id,
                            "path": entry.path,
                            "propagate": entry.propagate,
                            "roleid": entry.role,
                        })
                    })
                    .collect();
                let columns = ["ugid", "path", "propagate", "roleid"].map(Column::plain);
                session.format.print_list(&entries, &columns)
            }
            Self::Update {
                path,
                role,
                auth_id,
                propagate,
                delete,
            } => {
                let what = if delete {
                    Change::Take
                } else {
                    Change::Give { propagate }
                };
                Ok(change(&access, &path, &auth_id, role, what, None).await?)
            }
        }
    }
}

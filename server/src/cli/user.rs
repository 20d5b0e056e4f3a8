//! `user create | list | update | remove | generate-token | list-tokens | delete-token`.

use std::fmt;
use std::io::{BufRead as _, IsTerminal as _};

use anyhow::{Context, Result, bail};
use api_types::access::{Account, ApiToken, User};
use api_types::auth::{Authid, TokenName, Userid};
use api_types::text::SingleLine;
use clap::Subcommand;
use serde_json::{Value, json};

use super::Session;
use super::table::Column;
use crate::access::control::AccessControl;
use crate::api::access::tokens::{create_token, remove_token};
use crate::api::access::users::remove_user;
use crate::config::ConfigError;
use crate::console;

/// Characters of a password, as the API has it.
const PASSWORD_LEN: std::ops::RangeInclusive<usize> = 8..=64;

/// Users and their API tokens.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add a user. With `@pbs` the password is asked for, or read from standard input.
    Create {
        /// Who: NAME@REALM.
        userid: Userid,
        /// The password; whoever lists processes sees it, so better leave it out.
        #[arg(long, value_name = "PASSWORD")]
        password: Option<Password>,
        #[command(flatten)]
        account: AccountOptions,
        /// Given name.
        #[arg(long)]
        firstname: Option<SingleLine>,
        /// Family name.
        #[arg(long)]
        lastname: Option<SingleLine>,
        /// Where to write to.
        #[arg(long)]
        email: Option<SingleLine>,
    },
    /// List the users.
    List,
    /// Set a user's password, which is asked for, or read from standard input.
    Password {
        /// Who: NAME@pbs.
        userid: Userid,
    },
    /// Remove a user with tokens and access rights.
    Remove {
        /// Who: NAME@REALM.
        userid: Userid,
    },
    /// Add an API token and show its secret, this one time.
    GenerateToken {
        /// Whose.
        userid: Userid,
        /// Name of the token.
        token_name: TokenName,
        #[command(flatten)]
        account: AccountOptions,
    },
    /// List the tokens of a user.
    ListTokens {
        /// Whose.
        userid: Userid,
    },
    /// Remove a token with its access rights.
    DeleteToken {
        /// Whose.
        userid: Userid,
        /// Name of the token.
        token_name: TokenName,
    },
}

/// A password on the command line: it is not printed.
#[derive(Clone)]
pub struct Password(String);

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// What users and tokens have in common.
#[derive(Debug, clap::Args)]
pub struct AccountOptions {
    /// A remark.
    #[arg(long)]
    comment: Option<SingleLine>,
    /// Whether it may be used.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    enable: Option<bool>,
    /// Until when it may be used, seconds since the epoch; 0: for ever.
    #[arg(long, value_name = "TIME", value_parser = clap::value_parser!(i64).range(0..))]
    expire: Option<i64>,
}

impl From<AccountOptions> for Account {
    fn from(options: AccountOptions) -> Self {
        Self {
            comment: options.comment,
            enable: options.enable,
            expire: options.expire,
        }
    }
}

impl UserCommand {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<()> {
        let access = AccessControl::open(&session.paths, session.env.clone())?;
        match self {
            Self::Create {
                userid,
                password,
                account,
                firstname,
                lastname,
                email,
            } => {
                let user = User {
                    account: account.into(),
                    firstname,
                    lastname,
                    email,
                    ..User::new(userid)
                };
                create(&access, user, password).await
            }
            Self::List => list(session, &access),
            Self::Password { userid } => {
                let known = access.users().load()?;
                if !known.users().iter().any(|user| user.userid == userid) {
                    bail!("no such user '{userid}'");
                }
                if userid.realm().as_str() != "pbs" {
                    bail!("only users of the realm 'pbs' have their password here");
                }
                access.set_password(&userid, &read_password()?).await
            }
            Self::Remove { userid } => Ok(remove_user(&access, &userid, None).await?),
            Self::GenerateToken {
                userid,
                token_name,
                account,
            } => {
                let tokenid = token_id(userid, token_name);
                let entry = ApiToken {
                    tokenid: tokenid.clone(),
                    account: account.into(),
                };
                let secret = create_token(&access, entry, None).await?;
                let result = json!({ "tokenid": tokenid, "value": secret });
                session.format.print_object(&result)
            }
            Self::ListTokens { userid } => {
                let users = access.users().load()?;
                let tokens: Vec<&ApiToken> = users.tokens_of(&userid).collect();
                let columns = ["tokenid", "enable", "expire", "comment"].map(Column::plain);
                session.format.print_list(&tokens, &columns)
            }
            Self::DeleteToken { userid, token_name } => {
                let tokenid = token_id(userid, token_name);
                Ok(remove_token(&access, &tokenid, None).await?)
            }
        }
    }
}

fn token_id(user: Userid, name: TokenName) -> Authid {
    Authid {
        user,
        token: Some(name),
    }
}

async fn create(access: &AccessControl, user: User, password: Option<Password>) -> Result<()> {
    let userid = user.userid.clone();
    let password = match userid.realm().as_str() {
        "pbs" => Some(match password {
            Some(password) => checked(password.0)?,
            None => read_password()?,
        }),
        "pam" if password.is_none() => None,
        "pam" => bail!("the password of '{userid}' is the system's"),
        other => bail!("no such realm '{other}'"),
    };
    access
        .users()
        .update::<_, ConfigError>(None, |users| users.insert(user.into()))
        .await?;
    if let Some(password) = password {
        access.set_password(&userid, &password).await?;
    }
    Ok(())
}

fn list(session: &Session, access: &AccessControl) -> Result<()> {
    let users: Vec<Value> = access
        .users()
        .load()?
        .users()
        .iter()
        .map(serde_json::to_value)
        .collect::<Result<_, _>>()
        .context("failed to write json")?;
    let columns = [
        "userid",
        "enable",
        "expire",
        "firstname",
        "lastname",
        "email",
        "comment",
    ];
    session
        .format
        .print_list(&users, &columns.map(Column::plain))
}

/// One line of standard input. At a terminal it is seen as it is typed: whoever minds pipes it in.
fn read_password() -> Result<String> {
    let input = std::io::stdin();
    if input.is_terminal() {
        console::error_line("password (shown while you type):");
    }
    let mut line = String::new();
    input
        .lock()
        .read_line(&mut line)
        .context("failed to read the password from standard input")?;
    checked(line.trim_end_matches(['\n', '\r']).to_owned())
}

fn checked(password: String) -> Result<String> {
    if !PASSWORD_LEN.contains(&password.chars().count()) {
        bail!("a password has 8 to 64 characters");
    }
    if password.chars().any(char::is_control) {
        bail!("a password has no control characters");
    }
    Ok(password)
}

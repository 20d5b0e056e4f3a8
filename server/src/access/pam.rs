//! The realm `pam`: the users of this machine.
//!
//! PAM itself is a C library whose modules run in the process that asks. Its module for the local
//! password files has a program for those who may not read them, `unix_chkpwd`; that one is asked
//! here. So the passwords in `/etc/shadow` work, what else an administrator stacks into PAM does
//! not. It tells root about everybody, others only about themselves: a daemon without privileges
//! has no users of this realm but its own.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use s3_client::env::Env;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::control::AuthError;

/// Where it is, by distribution.
const PROGRAMS: &[&str] = &["/usr/sbin/unix_chkpwd", "/sbin/unix_chkpwd"];
/// An answer takes as long as one hash.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Whether `password` is that of the local user `name`, whose account is in order.
pub async fn check(name: &str, password: &str, env: &Env) -> Result<(), AuthError> {
    let program = PROGRAMS.iter().find(|path| Path::new(path).exists());
    let Some(program) = program else {
        return Err(AuthError::Realm(
            "realm 'pam' cannot check passwords: unix_chkpwd is not installed".into(),
        ));
    };
    if !is_user_name(name) || password.contains('\0') {
        return Err(AuthError::Wrong);
    }
    if !may_ask_about(name) {
        return Err(AuthError::Realm(
            "realm 'pam' cannot check passwords: the server does not run as root".into(),
        ));
    }
    let asked = async {
        Ok(ask(program, &[name, "nonull"], Some(password)).await?
            && ask(program, &[name, "chkexpiry"], None).await?)
    };
    let mut timeout = std::pin::pin!(env.sleep(TIMEOUT));
    let answer = tokio::select! {
        answer = asked => answer,
        () = &mut timeout => Err(anyhow!("{program} does not answer")),
    };
    match answer {
        Ok(true) => Ok(()),
        Ok(false) => Err(AuthError::Wrong),
        Err(error) => Err(AuthError::Failed(error)),
    }
}

async fn ask(program: &str, arguments: &[&str], password: Option<&str>) -> anyhow::Result<bool> {
    let failed = || format!("failed to ask {program}");
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(failed)?;
    if let (Some(mut input), Some(password)) = (child.stdin.take(), password) {
        // Whoever hangs up early has decided already.
        let _ = input.write_all(format!("{password}\0").as_bytes()).await;
    }
    Ok(child.wait().await.with_context(failed)?.success())
}

/// Whether the program answers this process about that user.
fn may_ask_about(name: &str) -> bool {
    let own = nix::unistd::geteuid();
    own.is_root()
        || nix::unistd::User::from_uid(own)
            .is_ok_and(|user| user.is_some_and(|user| user.name == name))
}

/// Nothing that could be an option, or a name of something else.
fn is_user_name(name: &str) -> bool {
    !name.starts_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_logs_in_without_a_password() {
        let env = Env::system();
        for (name, password) in [
            ("root", ""),
            ("root", "certainly not"),
            ("--help", "x"),
            ("no such user", "x"),
            ("nobody", "x"),
            ("root", "x\0y"),
        ] {
            assert!(check(name, password, &env).await.is_err(), "{name}");
        }
    }

    #[test]
    fn names() {
        assert!(is_user_name("root") && is_user_name("a.b-c_1"));
        assert!(!is_user_name("-x") && !is_user_name("a b") && !is_user_name("\u{e4}"));
    }
}

//! Passwords: where they are given, and that they are never printed.

use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

/// What a source may give: far beyond every password.
const MAX_LEN: u64 = 64 << 10;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the environment gives under `name`: as `NAME`, else the first line of the file
    /// descriptor `NAME_FD`, of the file `NAME_FILE`, or of what the command `NAME_CMD` prints.
    pub fn from_environment(name: &str) -> Result<Option<Self>> {
        Self::from_variables(name, &|variable| std::env::var_os(variable))
    }

    fn from_variables(
        name: &str,
        variable: &dyn Fn(&str) -> Option<std::ffi::OsString>,
    ) -> Result<Option<Self>> {
        for (suffix, read) in SOURCES {
            let variable_name = format!("{name}{suffix}");
            let Some(value) = variable(&variable_name) else {
                continue;
            };
            // The value may be the secret itself: it is in no message.
            let Ok(value) = value.into_string() else {
                bail!("{variable_name} is not UTF-8");
            };
            let text = read(&value)
                .with_context(|| format!("failed to read the secret that {variable_name} names"))?;
            return Ok(Some(Self(text)));
        }
        Ok(None)
    }

    /// Asks at the terminal; nothing of the answer is shown.
    #[cfg(feature = "cli")]
    pub fn ask(question: &str) -> Result<Self> {
        let answer = rpassword::prompt_password(format!("{question}: "));
        Ok(Self(answer.context("failed to ask for a password")?))
    }

    /// There is nobody to ask.
    #[cfg(not(feature = "cli"))]
    pub fn ask(question: &str) -> Result<Self> {
        bail!("{question}: nobody can be asked, since this program has no terminal")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

type Source = (&'static str, fn(&str) -> Result<String>);

/// In the order in which they count.
const SOURCES: [Source; 4] = [
    ("", |text| Ok(text.to_owned())),
    ("_FD", |fd| {
        let number: u32 = fd.parse().context("it is no number of a file descriptor")?;
        first_line(Path::new(&format!("/dev/fd/{number}")))
    }),
    ("_FILE", |path| first_line(Path::new(path))),
    ("_CMD", of_command),
];

/// The first line of a file, since comments may follow it.
fn first_line(path: &Path) -> Result<String> {
    let file = std::fs::File::open(path).with_context(|| format!("failed to open {path:?}"))?;
    let mut text = Vec::new();
    file.take(MAX_LEN)
        .read_to_end(&mut text)
        .with_context(|| format!("failed to read {path:?}"))?;
    line_of(text)
}

fn of_command(command: &str) -> Result<String> {
    let child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .context("failed to start the command")?;
    ensure!(
        child.status.success(),
        "the command ended with {}",
        child.status
    );
    line_of(child.stdout)
}

fn line_of(mut text: Vec<u8>) -> Result<String> {
    if let Some(end) = text.iter().position(|byte| *byte == b'\n') {
        text.truncate(end);
    }
    String::from_utf8(text).map_err(|_| anyhow::anyhow!("it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Secret>> {
        Secret::from_variables("X", &|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    fn text(variables: &[(&str, &str)]) -> String {
        read(variables).unwrap().unwrap().expose().to_owned()
    }

    #[test]
    fn every_source_gives_its_first_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "from file\na comment\n").unwrap();
        let path = path.to_str().unwrap();
        assert_eq!(text(&[("X", "direct"), ("X_FILE", path)]), "direct");
        assert_eq!(text(&[("X_FILE", path), ("X_CMD", "echo no")]), "from file");
        assert_eq!(text(&[("X_CMD", "echo 'a b'; echo c")]), "a b");
        let file = std::fs::File::open(path).unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file).to_string();
        assert_eq!(text(&[("X_FD", &fd)]), "from file");
        assert!(read(&[]).unwrap().is_none());
    }

    #[test]
    fn failures_name_the_variable_and_no_secret() {
        for (variable, value, reason) in [
            ("X_FD", "pizza", "no number"),
            ("X_FILE", "/nowhere", "/nowhere"),
            ("X_CMD", "exit 3", "3"),
            ("X_CMD", "printf '\\377'", "UTF-8"),
        ] {
            let error = format!("{:#}", read(&[(variable, value)]).unwrap_err());
            assert!(
                error.contains(variable) && error.contains(reason),
                "{error}"
            );
        }
        assert_eq!(format!("{:?}", Secret::new("x".into())), "<secret>");
    }
}

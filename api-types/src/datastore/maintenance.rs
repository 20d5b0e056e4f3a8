//! Maintenance: what may be done with a datastore while it is worked on.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::ParseError;
use crate::macros::{named_enum, serde_as_string, string_id};
use crate::property::{PropertyReader, PropertyWriter};

const WHAT: &str = "maintenance mode";
const MAX_MESSAGE_CHARS: usize = 64;

named_enum! {
    /// Kind of maintenance.
    MaintenanceType, "maintenance type" {
        /// Reads only.
        ReadOnly = "read-only",
        /// Neither reads nor writes.
        Offline = "offline",
        /// The datastore is being removed.
        Delete = "delete",
        /// A removable device is being detached.
        Unmount = "unmount",
        /// The local state is being rebuilt from the bucket.
        S3Refresh = "s3-refresh",
    }
}

/// What a datastore is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Look at the configuration or statuses only.
    Lookup,
    /// Read backups.
    Read,
    /// Write or remove anything.
    Write,
}

impl MaintenanceType {
    /// Whether the operation may go on.
    #[must_use]
    pub const fn allows(self, operation: Operation) -> bool {
        match self {
            Self::ReadOnly => !matches!(operation, Operation::Write),
            Self::Offline | Self::Unmount | Self::S3Refresh => {
                matches!(operation, Operation::Lookup)
            }
            Self::Delete => false,
        }
    }

    /// Whether an idle datastore is closed, so that its lock file is not held open.
    #[must_use]
    pub const fn closes_when_idle(self) -> bool {
        matches!(self, Self::Offline | Self::Unmount | Self::Delete)
    }

    /// Whether a datastore in this mode may get another one; from a removal there is no return.
    #[must_use]
    pub fn may_become(self, next: Option<Self>) -> bool {
        self != Self::Delete || next == Some(Self::Delete)
    }
}

fn check_message(text: &str) -> Result<(), Cow<'static, str>> {
    if text.chars().any(char::is_control) {
        return Err("must not contain control characters".into());
    }
    if text.chars().count() > MAX_MESSAGE_CHARS {
        return Err(format!("longer than {MAX_MESSAGE_CHARS} characters").into());
    }
    Ok(())
}

string_id! {
    /// What an operator says about the maintenance, in at most 64 characters.
    MaintenanceMessage, "maintenance message", check_message
}

/// The property string `maintenance-mode`. The message is percent-encoded in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MaintenanceMode {
    /// Kind of maintenance.
    pub ty: MaintenanceType,
    /// What the operator says about it.
    pub message: Option<MaintenanceMessage>,
}

impl MaintenanceMode {
    /// A mode without a message.
    #[must_use]
    pub const fn new(ty: MaintenanceType) -> Self {
        Self { ty, message: None }
    }

    /// Whether the operation may go on.
    #[must_use]
    pub const fn allows(&self, operation: Operation) -> bool {
        self.ty.allows(operation)
    }

    /// Why it may not, in the words that clients look for; goes after
    /// `datastore 'x' is unavailable: `.
    #[must_use]
    pub fn reason(&self) -> String {
        let mode = match self.ty {
            MaintenanceType::Delete => return "datastore is being deleted".into(),
            MaintenanceType::Unmount => return "datastore is being unmounted".into(),
            MaintenanceType::ReadOnly => "read-only",
            MaintenanceType::Offline => "offline",
            MaintenanceType::S3Refresh => "S3 refresh",
        };
        let message = self.message.as_ref().map_or("", MaintenanceMessage::as_str);
        format!("{mode} maintenance mode: {message}")
    }
}

impl FromStr for MaintenanceMode {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut reader = PropertyReader::from_string(WHAT, text, Some("type"))?;
        let ty = reader.require("type")?;
        let message = match reader.take_text("message")? {
            None => None,
            Some(raw) => Some(
                percent_decode(&raw)
                    .ok_or_else(|| reader.error("the message is not UTF-8"))?
                    .parse()?,
            ),
        };
        reader.finish()?;
        Ok(Self { ty, message })
    }
}

impl fmt::Display for MaintenanceMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut writer = PropertyWriter::default();
        writer.push("type", self.ty);
        if let Some(message) = &self.message {
            writer.push("message", percent_encode(message.as_str()));
        }
        f.pad(&writer.into_string())
    }
}

serde_as_string!(MaintenanceMode, "a maintenance mode like \"type=offline\"");

/// Encodes all but letters, digits and what is harmless in any file.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// A `%` without two hex digits stands for itself: messages may also be stored plain.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if let (b'%', [high, low, after @ ..]) = (byte, tail) {
            let mut decoded = [0];
            if hex::decode_to_slice([*high, *low], &mut decoded).is_ok() {
                bytes.extend(decoded);
                rest = after;
                continue;
            }
        }
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_are_read() {
        for text in ["read-only", "type=read-only"] {
            assert_eq!(
                text.parse::<MaintenanceMode>().unwrap(),
                MaintenanceMode::new(MaintenanceType::ReadOnly)
            );
        }
        for text in [
            r#"type=offline,message="disk swap""#,
            "offline,message=disk%20swap",
        ] {
            let mode: MaintenanceMode = text.parse().unwrap();
            assert_eq!(mode.message.unwrap().as_str(), "disk swap");
        }
        for bad in [
            "",
            "message=x",
            "type=nap",
            "type=offline,color=red",
            "offline,message=%00",
            "offline,message=%ff",
            &format!("offline,message={}", "x".repeat(65)),
        ] {
            assert!(bad.parse::<MaintenanceMode>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_each_mode_allows() {
        use MaintenanceType::{Delete, Offline, ReadOnly, S3Refresh, Unmount};
        for (ty, lookup, read, write, closes) in [
            (ReadOnly, true, true, false, false),
            (Offline, true, false, false, true),
            (Unmount, true, false, false, true),
            (S3Refresh, true, false, false, false),
            (Delete, false, false, false, true),
        ] {
            assert_eq!(ty.allows(Operation::Lookup), lookup, "{ty}");
            assert_eq!(ty.allows(Operation::Read), read, "{ty}");
            assert_eq!(ty.allows(Operation::Write), write, "{ty}");
            assert_eq!(ty.closes_when_idle(), closes, "{ty}");
            assert_eq!(ty.may_become(None), ty != Delete, "{ty}");
            assert_eq!(ty.may_become(Some(ReadOnly)), ty != Delete, "{ty}");
            assert!(ty.may_become(Some(Delete)));
        }
    }

    #[test]
    fn reasons_are_those_that_clients_look_for() {
        let mode: MaintenanceMode = "offline,message=disk%20swap".parse().unwrap();
        assert_eq!(mode.reason(), "offline maintenance mode: disk swap");
        let mode = MaintenanceMode::new(MaintenanceType::Delete);
        assert_eq!(mode.reason(), "datastore is being deleted");
    }

    proptest! {
        #[test]
        fn any_message_is_written_and_read(text in "\\PC{0,64}") {
            let mode = MaintenanceMode {
                ty: MaintenanceType::Offline,
                message: Some(text.parse().unwrap()),
            };
            prop_assert_eq!(mode.to_string().parse::<MaintenanceMode>().unwrap(), mode);
        }
    }
}

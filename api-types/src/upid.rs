//! Worker task ids (UPIDs), and the escaping they share with lock files.

use std::fmt;
use std::str::FromStr;

use crate::ParseError;
use crate::auth::Authid;
use crate::macros::serde_as_string;

const WHAT: &str = "upid";

/// Id of a worker task, unique over all hosts and times; it is also the name of the log file.
///
/// Values exist only checked, so the fields are read through methods.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Upid {
    parts: UpidParts,
}

/// The parts of a [`Upid`], not checked yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpidParts {
    /// Short host name.
    pub node: String,
    /// Process that ran the task.
    pub pid: u32,
    /// When that process started, in clock ticks since boot.
    pub pstart: u64,
    /// Counter within the process.
    pub task_id: u64,
    /// When the task started, seconds since the epoch.
    pub starttime: u32,
    /// Kind of task, like `garbage_collection`.
    pub worker_type: String,
    /// What it works on, like `store:vm/100`.
    pub worker_id: Option<String>,
    /// Who started it.
    pub auth_id: Authid,
}

impl Upid {
    /// Longest text form: it is used as a file name.
    pub const MAX_LEN: usize = 255;

    /// Checks the parts: whatever is accepted prints a text that parses to the same.
    pub fn new(parts: UpidParts) -> Result<Self, ParseError> {
        let reason = if !is_node_name(&parts.node) {
            Some("the node is not a short host name")
        } else if parts.pstart > 0xf_ffff_ffff {
            Some("the start time of the process has more than 9 hex digits")
        } else if !is_worker_type(&parts.worker_type) {
            Some("the worker type is not a plain word")
        } else if parts.worker_id.as_deref() == Some("") {
            Some("the worker id is present but empty")
        } else {
            None
        };
        let upid = Self { parts };
        let text = upid.to_string();
        match reason {
            Some(reason) => Err(ParseError::new(WHAT, &text, reason)),
            None if text.len() > Self::MAX_LEN => {
                let reason = format!("longer than a file name may be ({} bytes)", Self::MAX_LEN);
                Err(ParseError::new(WHAT, &text, reason))
            }
            None => Ok(upid),
        }
    }

    /// Short host name.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.parts.node
    }

    /// Process that ran the task.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.parts.pid
    }

    /// When that process started, in clock ticks since boot.
    #[must_use]
    pub const fn pstart(&self) -> u64 {
        self.parts.pstart
    }

    /// Counter within the process.
    #[must_use]
    pub const fn task_id(&self) -> u64 {
        self.parts.task_id
    }

    /// When the task started, seconds since the epoch.
    #[must_use]
    pub fn starttime(&self) -> i64 {
        i64::from(self.parts.starttime)
    }

    /// Kind of task.
    #[must_use]
    pub fn worker_type(&self) -> &str {
        &self.parts.worker_type
    }

    /// What it works on, not escaped.
    #[must_use]
    pub fn worker_id(&self) -> Option<&str> {
        self.parts.worker_id.as_deref()
    }

    /// Who started it.
    #[must_use]
    pub const fn auth_id(&self) -> &Authid {
        &self.parts.auth_id
    }

    /// Name of the log directory's sub-directory: the low byte of the process start time.
    #[must_use]
    pub fn log_subdir(&self) -> String {
        format!("{:02X}", self.parts.pstart & 0xff)
    }
}

fn is_node_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn is_worker_type(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// `digits` hex digits of either case; no sign, no prefix.
fn parse_hex(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u64> {
    if !digits.contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(text, 16).ok()
}

impl FromStr for Upid {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = |reason: &'static str| ParseError::new(WHAT, text, reason);
        if text.len() > Self::MAX_LEN {
            return Err(error("longer than a file name may be (255 bytes)"));
        }
        let fields: Vec<&str> = text.split(':').collect();
        let [
            "UPID",
            node,
            pid,
            pstart,
            task_id,
            starttime,
            worker_type,
            worker_id,
            auth_id,
            "",
        ] = fields[..]
        else {
            return Err(error(
                "expected UPID:NODE:PID:PSTART:TASKID:STARTTIME:TYPE:ID:AUTHID: with the colon at the end",
            ));
        };
        let number = |field: &str, digits, reason| parse_hex(field, digits).ok_or(error(reason));
        let short = |value: u64| u32::try_from(value).map_err(|_| error("number out of range"));
        Self::new(UpidParts {
            node: node.to_owned(),
            pid: short(number(pid, 8..=8, "the process id is not 8 hex digits")?)?,
            pstart: number(pstart, 8..=9, "the process start is not 8 or 9 hex digits")?,
            task_id: number(task_id, 8..=16, "the task id is not 8 to 16 hex digits")?,
            starttime: short(number(
                starttime,
                8..=8,
                "the start time is not 8 hex digits",
            )?)?,
            worker_type: worker_type.to_owned(),
            worker_id: parse_worker_id(worker_id)
                .ok_or_else(|| error("the worker id is not properly escaped"))?,
            auth_id: auth_id.parse()?,
        })
    }
}

fn parse_worker_id(escaped: &str) -> Option<Option<String>> {
    if escaped.is_empty() {
        return Some(None);
    }
    let id = String::from_utf8(unit_unescape(escaped)?).ok()?;
    // A second spelling of the same id would name a log file that does not exist.
    (unit_escape(id.as_bytes()) == escaped).then_some(Some(id))
}

impl fmt::Display for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UpidParts {
            node,
            pid,
            pstart,
            task_id,
            starttime,
            worker_type,
            worker_id,
            auth_id,
        } = &self.parts;
        let worker_id = unit_escape(worker_id.as_deref().unwrap_or_default().as_bytes());
        f.pad(&format!(
            "UPID:{node}:{pid:08X}:{pstart:08X}:{task_id:08X}:{starttime:08X}:{worker_type}:{worker_id}:{auth_id}:"
        ))
    }
}

impl fmt::Debug for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upid({self})")
    }
}

serde_as_string!(Upid, "a worker task id (UPID)");

/// Escapes like the names of systemd units: `/` becomes `-`, all but `[A-Za-z0-9_.]` (and a dot at
/// the beginning) becomes `\x` and two hex digits. The result is one path component.
#[must_use]
pub fn unit_escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for (index, &byte) in bytes.iter().enumerate() {
        match byte {
            b'/' => text.push('-'),
            b'.' if index == 0 => text.push_str("\\x2e"),
            b'.' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

/// The inverse of [`unit_escape`]; none if a backslash is not followed by `x` and two hex digits.
#[must_use]
pub fn unit_unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = match (byte, tail) {
            (b'-', _) => {
                bytes.push(b'/');
                tail
            }
            (b'\\', [b'x', high, low, after @ ..]) => {
                let mut decoded = [0];
                hex::decode_to_slice([*high, *low], &mut decoded).ok()?;
                bytes.extend(decoded);
                after
            }
            (b'\\', _) => return None,
            _ => {
                bytes.push(byte);
                tail
            }
        };
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_ids_made_by_the_real_system() {
        for (text, worker_type, worker_id, auth_id) in [
            (
                r"UPID:vm:00000B5D:00032AF6:0000008F:6B02A912:move-group:samples\x3ans2-host-moveme\x3ans1:test@pbs:",
                "move-group",
                Some("samples:ns2/host/moveme:ns1"),
                "test@pbs",
            ),
            (
                r"UPID:vm:00000B5D:00032AF6:000000AF:6B02AB07:prune:s3store\x3a\x3avm-100:test@pbs:",
                "prune",
                Some("s3store::vm/100"),
                "test@pbs",
            ),
            (
                "UPID:vm:00000B5D:00032AF6:00000000:6B02A4FC:logrotate::root@pam:",
                "logrotate",
                None,
                "root@pam",
            ),
        ] {
            let upid: Upid = text.parse().unwrap();
            assert_eq!(upid.to_string(), text);
            assert_eq!(upid.worker_type(), worker_type);
            assert_eq!(upid.worker_id(), worker_id);
            assert_eq!(upid.auth_id().to_string(), auth_id);
            assert_eq!(upid.node(), "vm");
            assert_eq!(upid.pid(), 0xb5d);
            assert_eq!(upid.log_subdir(), "F6");
        }
    }

    #[test]
    fn wide_numbers_keep_their_digits() {
        let text = "UPID:pbs1:00000B5D:132AF6AB0:123456789ABCDEF0:FFFFFFFF:backup::a@pbs!t:";
        let upid: Upid = text.parse().unwrap();
        assert_eq!(upid.to_string(), text);
        assert_eq!(upid.starttime(), 0xffff_ffff);
    }

    #[test]
    fn malformed_task_ids_are_refused() {
        let good = "UPID:vm:00000B5D:00032AF6:00000000:6B02A4FC:verify:s1:root@pam:";
        assert!(good.parse::<Upid>().is_ok());
        for bad in [
            String::new(),
            good.trim_end_matches(':').to_owned(),
            format!("{good}x"),
            good.replace("UPID", "upid"),
            good.replace(":vm:", "::"),
            good.replace(":vm:", ":../vm:"),
            good.replace(":vm:", ":a/b:"),
            good.replace("00000B5D", "B5D"),
            good.replace("00000B5D", "+0000B5D"),
            good.replace("00032AF6", "0000032AF6"),
            good.replace("verify", ""),
            good.replace("verify", "ver/ify"),
            good.replace("verify", "ver ify"),
            good.replace(":s1:", ":a/b:"),
            good.replace(":s1:", r":a\b:"),
            good.replace(":s1:", r":a\x4:"),
            good.replace(":s1:", r":\x41:"),
            good.replace(":s1:", r":\xff:"),
            good.replace("root@pam", "root"),
            good.replace("s1", &"x".repeat(255)),
        ] {
            assert!(bad.parse::<Upid>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn escaping_examples() {
        for (plain, escaped) in [
            ("", ""),
            ("vm/100", "vm-100"),
            (
                "vm/100/2022-05-02T08:11:33Z",
                r"vm-100-2022\x2d05\x2d02T08\x3a11\x3a33Z",
            ),
            ("s1:vm/100", r"s1\x3avm-100"),
            (".hidden/.x", r"\x2ehidden-.x"),
            ("ä", r"\xc3\xa4"),
        ] {
            assert_eq!(unit_escape(plain.as_bytes()), escaped);
            assert_eq!(unit_unescape(escaped).unwrap(), plain.as_bytes());
        }
        assert_eq!(
            unit_escape(b"vm/100/2022-05-02T08:11:33Z/.index.json.lck"),
            r"vm-100-2022\x2d05\x2d02T08\x3a11\x3a33Z-.index.json.lck"
        );
    }
}

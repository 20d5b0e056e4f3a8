//! Byte sizes as people write them: `10 MiB`, `1.5GB`, `4096`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::ParseError;
use crate::macros::serde_as_string;

/// Longest text that is read; an API limit.
const MAX_TEXT_LEN: usize = 64;

/// Units of a [`ByteSize`], powers of 1000 or of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum SizeUnit {
    B,
    KB,
    MB,
    GB,
    TB,
    PB,
    KiB,
    MiB,
    GiB,
    TiB,
    PiB,
}

impl SizeUnit {
    const BINARY: [Self; 6] = [
        Self::PiB,
        Self::TiB,
        Self::GiB,
        Self::MiB,
        Self::KiB,
        Self::B,
    ];

    const fn factor(self) -> u64 {
        match self {
            Self::B => 1,
            Self::KB => 1000,
            Self::MB => 1000_u64.pow(2),
            Self::GB => 1000_u64.pow(3),
            Self::TB => 1000_u64.pow(4),
            Self::PB => 1000_u64.pow(5),
            Self::KiB => 1 << 10,
            Self::MiB => 1 << 20,
            Self::GiB => 1 << 30,
            Self::TiB => 1 << 40,
            Self::PiB => 1 << 50,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::B => "B",
            Self::KB => "KB",
            Self::MB => "MB",
            Self::GB => "GB",
            Self::TB => "TB",
            Self::PB => "PB",
            Self::KiB => "KiB",
            Self::MiB => "MiB",
            Self::GiB => "GiB",
            Self::TiB => "TiB",
            Self::PiB => "PiB",
        }
    }

    /// The unit's letter in either case, then `i` for the binary one, then an optional `B`.
    fn parse(text: &str) -> Option<Self> {
        let stem = text.strip_suffix('B').unwrap_or(text);
        Some(match stem {
            "" => Self::B,
            "k" | "K" => Self::KB,
            "m" | "M" => Self::MB,
            "g" | "G" => Self::GB,
            "t" | "T" => Self::TB,
            "p" | "P" => Self::PB,
            "ki" | "Ki" => Self::KiB,
            "mi" | "Mi" => Self::MiB,
            "gi" | "Gi" => Self::GiB,
            "ti" | "Ti" => Self::TiB,
            "pi" | "Pi" => Self::PiB,
            _ => return None,
        })
    }
}

/// A number of bytes and the unit to show it in.
///
/// Prints the value rounded to three decimals, as the configuration files do (`1.309 MiB`), so
/// what is not a round number loses precision in a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ByteSize {
    bytes: u64,
    unit: SizeUnit,
}

impl ByteSize {
    /// Shown in the largest binary unit of which it is at least one.
    #[must_use]
    pub fn from_bytes(bytes: u64) -> Self {
        let fits = |unit: &SizeUnit| bytes >= unit.factor();
        let unit = SizeUnit::BINARY
            .into_iter()
            .find(fits)
            .unwrap_or(SizeUnit::B);
        Self { bytes, unit }
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.bytes
    }
}

impl From<u64> for ByteSize {
    fn from(bytes: u64) -> Self {
        Self::from_bytes(bytes)
    }
}

impl Ord for ByteSize {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes
            .cmp(&other.bytes)
            .then(self.unit.cmp(&other.unit))
    }
}

impl PartialOrd for ByteSize {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for ByteSize {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = |reason: &'static str| ParseError::new("byte size", text, reason);
        if text.len() > MAX_TEXT_LEN {
            return Err(error("longer than 64 characters"));
        }
        let trimmed = text.trim();
        let unit_at = trimmed
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(unit_at);
        let unit = SizeUnit::parse(unit.trim_start()).ok_or_else(|| {
            error("expected a number and a unit, one of B, KB, MB, GB, TB, PB, KiB, MiB, GiB, TiB, PiB")
        })?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return Err(error("there is no number"));
        }
        if fraction.contains('.') {
            return Err(error("there is more than one decimal point"));
        }
        let too_large = || error("larger than 16 EiB");
        let factor = u128::from(unit.factor());
        let whole: u128 = parse_digits(whole).ok_or_else(too_large)?;
        // Digits beyond the 15th are less than a byte of any unit.
        let fraction = &fraction[..fraction.len().min(15)];
        let scale = fraction.bytes().fold(1_u128, |scale, _| scale * 10);
        let fraction = parse_digits(fraction).ok_or_else(too_large)?;
        let bytes = whole
            .checked_mul(factor)
            .and_then(|bytes| bytes.checked_add((fraction * factor + scale / 2) / scale))
            .ok_or_else(too_large)?;
        // The largest numbers print as more than they are, since three decimals round up; what
        // was printed must be read again.
        let rounded_up = factor / 1000;
        if bytes > u128::from(u64::MAX) + rounded_up {
            return Err(too_large());
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        Ok(Self { bytes, unit })
    }
}

/// A run of digits, nothing counting as zero; none if it does not fit.
fn parse_digits(digits: &str) -> Option<u128> {
    if digits.is_empty() {
        Some(0)
    } else {
        digits.parse().ok()
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let factor = u128::from(self.unit.factor());
        let thousandths = (u128::from(self.bytes) * 1000 + factor / 2) / factor;
        let number = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
        let number = number.trim_end_matches('0').trim_end_matches('.');
        f.pad(&format!("{number} {}", self.unit.as_str()))
    }
}

impl fmt::Debug for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ByteSize({} = {self})", self.bytes)
    }
}

serde_as_string!(ByteSize, "a byte size like \"10 MiB\"");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_in_all_spellings_and_written_in_one() {
        for (text, bytes, shown) in [
            ("0", 0, "0 B"),
            ("4096", 4096, "4096 B"),
            ("10 B", 10, "10 B"),
            ("100 MB", 100_000_000, "100 MB"),
            ("1.5GiB", 1_610_612_736, "1.5 GiB"),
            ("1.5 Gi", 1_610_612_736, "1.5 GiB"),
            ("10k", 10_000, "10 KB"),
            ("10 kiB", 10_240, "10 KiB"),
            (" 2  tB ", 2_000_000_000_000, "2 TB"),
            (".5 KiB", 512, "0.5 KiB"),
            ("1. MB", 1_000_000, "1 MB"),
            ("1.0004 KB", 1000, "1 KB"),
            ("18446744073709551615", u64::MAX, "18446744073709551615 B"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(
                (size.bytes(), size.to_string().as_str()),
                (bytes, shown),
                "{text}"
            );
        }
    }

    #[test]
    fn automatic_unit() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1_372_587, "1.309 MiB"),
            (1 << 30, "1 GiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(ByteSize::from_bytes(bytes).to_string(), shown);
        }
    }

    #[test]
    fn what_rounds_up_beyond_all_numbers_is_read_again() {
        for unit in ["B", "KB", "TB", "PB", "KiB", "TiB", "PiB"] {
            let size = ByteSize {
                bytes: u64::MAX,
                unit: SizeUnit::parse(unit).unwrap(),
            };
            let printed = size.to_string();
            let read: ByteSize = printed.parse().unwrap();
            assert_eq!(read.to_string(), printed);
        }
        assert!("16384.002 PiB".parse::<ByteSize>().is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            " ",
            "MB",
            ".",
            ". MB",
            "-1",
            "+1",
            "1e3",
            "1,5 MB",
            "1.2.3",
            "1 XB",
            "1 mib",
            "2 tb",
            "1 b",
            "1 KBB",
            "1 MB x",
            "18446744073709551616",
            "20000 PiB",
            &"9".repeat(64),
            &"1".repeat(65),
            "١ MB",
            "inf",
            "NaN",
        ] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad:?}");
        }
    }
}

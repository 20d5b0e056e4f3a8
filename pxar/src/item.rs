//! Items: what an archive consists of (`pxar.md` §2). Each has a type, a length, and content.

use std::io::{self, Read};
use std::ops::RangeInclusive;

use crate::error::Error;
use crate::limits;
use crate::source::Input;

/// Bytes of an item's header.
pub const HEADER: u64 = 16;

/// Nearly all items are shorter: memory is taken for so many bytes before they are there.
const USUAL: u64 = 512;

/// The type of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    FormatVersion,
    Prelude,
    Entry,
    /// The stat of old archives.
    EntryV1,
    Filename,
    Symlink,
    Device,
    Xattr,
    AclUser,
    AclGroup,
    AclGroupObj,
    AclDefault,
    AclDefaultUser,
    AclDefaultGroup,
    Fcaps,
    QuotaProjectId,
    Hardlink,
    Payload,
    PayloadRef,
    Goodbye,
}

/// Each type with the number that stands for it.
const CODES: [(Item, u64); 20] = [
    (Item::FormatVersion, 0x730f_6c75_df16_a40d),
    (Item::Prelude, 0xe309_d79d_9f7b_771b),
    (Item::Entry, 0xd595_6474_e588_acef),
    (Item::EntryV1, 0x11da_850a_1c1c_ceff),
    (Item::Filename, 0x1670_1121_0639_17b3),
    (Item::Symlink, 0x27f9_71e7_dbf5_dc5f),
    (Item::Device, 0x9fc9_e906_586d_5ce9),
    (Item::Xattr, 0x0dab_0229_b57d_cd03),
    (Item::AclUser, 0x2ce8_540a_457d_55b8),
    (Item::AclGroup, 0x136e_3ece_b04c_03ab),
    (Item::AclGroupObj, 0x1086_8031_e958_2876),
    (Item::AclDefault, 0xbbbb_1341_5a68_96f5),
    (Item::AclDefaultUser, 0xc893_57b4_0532_cd1f),
    (Item::AclDefaultGroup, 0xf90a_8a58_1603_8ffe),
    (Item::Fcaps, 0x2da9_dd9d_b5f7_fb67),
    (Item::QuotaProjectId, 0xe075_40e8_2f7d_1cbb),
    (Item::Hardlink, 0x5126_9c84_22bd_7275),
    (Item::Payload, 0x2814_7a1b_0b7c_1a25),
    (Item::PayloadRef, 0x419d_3d6b_c4ba_977e),
    (Item::Goodbye, 0x2fec_4fa6_42d5_731d),
];

impl Item {
    fn of_code(code: u64) -> Option<Self> {
        let mut codes = CODES.iter();
        codes.find(|it| it.1 == code).map(|it| it.0)
    }

    /// The number that stands for it.
    pub fn code(self) -> u64 {
        let mut codes = CODES.iter();
        codes.find(|it| it.0 == self).map_or(0, |it| it.1)
    }

    /// How long its content may be.
    pub fn lengths(self) -> RangeInclusive<u64> {
        match self {
            Self::Prelude | Self::Payload => 0..=u64::MAX,
            Self::Goodbye => 24..=u64::MAX,
            Self::Entry => 40..=40,
            Self::EntryV1 | Self::AclDefault => 32..=32,
            Self::Filename | Self::Symlink => 2..=4097,
            Self::Hardlink => 10..=4105,
            Self::Xattr => 2..=65791,
            Self::Fcaps => 0..=65791,
            Self::FormatVersion | Self::AclGroupObj | Self::QuotaProjectId => 8..=8,
            Self::Device
            | Self::AclUser
            | Self::AclGroup
            | Self::AclDefaultUser
            | Self::AclDefaultGroup
            | Self::PayloadRef => 16..=16,
        }
    }
}

/// What stands before the content of an item.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Where the header is.
    pub at: u64,
    pub item: Item,
    /// Length of the content.
    pub len: u64,
}

impl Header {
    /// The header that was read at `at`.
    pub fn decode(bytes: [u8; 16], at: u64) -> Result<Self, Error> {
        let (code, full) = pair(bytes);
        let Some(item) = Item::of_code(code) else {
            return Err(Error::corrupt(
                at,
                format!("no item has the type {code:016x}"),
            ));
        };
        let len = full.checked_sub(HEADER);
        let len = len.filter(|len| item.lengths().contains(len) && at.checked_add(full).is_some());
        let Some(len) = len else {
            let why = format!("{item:?} cannot have a length of {full}");
            return Err(Error::corrupt(at, why));
        };
        Ok(Self { at, item, len })
    }

    /// Where the content is.
    pub fn content(&self) -> u64 {
        self.at + HEADER
    }

    /// Where the next item is.
    pub fn end(&self) -> u64 {
        self.content() + self.len
    }

    /// It is none of those that can be here.
    pub fn unexpected(&self, instead: &str) -> Error {
        Error::corrupt(self.at, format!("{:?} instead of {instead}", self.item))
    }
}

/// Two numbers.
pub fn pair(bytes: [u8; 16]) -> (u64, u64) {
    let (first, second) = bytes.split_at(8);
    (number(first), number(second))
}

/// The number in the first eight bytes.
pub fn number(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Items, one after the other.
#[derive(Debug)]
pub struct Items<I> {
    pub input: I,
    /// The header of the next item, if that was read already.
    ahead: Option<Header>,
}

impl<I: Input> Items<I> {
    pub fn new(input: I) -> Self {
        Self { input, ahead: None }
    }

    /// The next item's header; none at the end. The content of the last one must have been read or
    /// passed over.
    pub fn next(&mut self) -> Result<Option<Header>, Error> {
        if let Some(header) = self.ahead.take() {
            return Ok(Some(header));
        }
        let at = self.input.position();
        let mut bytes = [0; 16];
        match fill(&mut self.input, &mut bytes).map_err(Error::read(at))? {
            16 => Header::decode(bytes, at).map(Some),
            0 => Ok(None),
            _ => Err(Error::corrupt(at, "it ends here")),
        }
    }

    /// The next item's header, where there must be one.
    pub fn expect(&mut self) -> Result<Header, Error> {
        let header = self.next()?;
        header.ok_or_else(|| Error::corrupt(self.input.position(), "it ends here"))
    }

    /// Leaves an item to whoever asks next.
    pub fn put_back(&mut self, header: Header) {
        self.ahead = Some(header);
    }

    /// Where the next item begins, if no content is left to be read.
    pub fn position(&self) -> u64 {
        self.ahead
            .map_or_else(|| self.input.position(), |header| header.at)
    }

    /// The content of an item whose length is known.
    pub fn array<const N: usize>(&mut self, header: &Header) -> Result<[u8; N], Error> {
        let mut content = [0; N];
        let read = self.input.read_exact(&mut content);
        read.map_err(Error::read(header.at))?;
        Ok(content)
    }

    /// The content of an item that is not a file's. Memory is taken as it arrives.
    pub fn bytes(&mut self, header: &Header) -> Result<Vec<u8>, Error> {
        if header.len > limits::PRELUDE {
            return Err(Error::TooLarge {
                object: "an item",
                at: header.at,
                limit: limits::PRELUDE,
            });
        }
        let usual = header.len.min(USUAL);
        let mut content = vec![0; usize::try_from(usual).unwrap_or_default()];
        let read = fill(&mut self.input, &mut content).map_err(Error::read(header.at))?;
        content.truncate(read);
        let mut rest = (&mut self.input).take(header.len - usual);
        if read as u64 == usual && rest.limit() > 0 {
            let read = rest.read_to_end(&mut content);
            read.map_err(Error::read(header.at))?;
        }
        if content.len() as u64 != header.len {
            return Err(Error::corrupt(header.at, "it ends within this item"));
        }
        Ok(content)
    }

    /// Two numbers.
    pub fn pair(&mut self, header: &Header) -> Result<(u64, u64), Error> {
        Ok(pair(self.array(header)?))
    }

    /// A number.
    pub fn number(&mut self, header: &Header) -> Result<u64, Error> {
        Ok(number(&self.array::<8>(header)?))
    }

    /// A name or path, which ends with the only NUL in it.
    pub fn text(&mut self, header: &Header) -> Result<Vec<u8>, Error> {
        let content = self.bytes(header)?;
        text(content, header)
    }

    /// Passes over what is left of an item.
    pub fn skip(&mut self, header: &Header) -> Result<(), Error> {
        let moved = self.input.move_to(header.end());
        moved.map_err(Error::read(header.at))
    }
}

/// Reads until `buffer` is full or the input ends; how many bytes.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
        match input.read(room) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Takes the NUL off a name or path.
pub fn text(mut content: Vec<u8>, header: &Header) -> Result<Vec<u8>, Error> {
    let nul = content.pop();
    if nul != Some(0) || content.contains(&0) || content.is_empty() {
        let why = format!(
            "the text of {:?} does not end with its only NUL",
            header.item
        );
        return Err(Error::corrupt(header.at, why));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_a_number() {
        for (item, code) in CODES {
            assert_eq!((Item::of_code(code), item.code()), (Some(item), code));
        }
        assert_eq!(Item::of_code(0), None);
    }

    #[test]
    fn lengths_are_checked() {
        let header = |item: Item, full: u64, at: u64| {
            let bytes = [item.code().to_le_bytes(), full.to_le_bytes()].concat();
            Header::decode(bytes.try_into().unwrap(), at)
        };
        assert_eq!(header(Item::Entry, 56, 0).unwrap().end(), 56);
        for (item, full) in [
            (Item::Entry, 55),
            (Item::Filename, 16 + 4098),
            (Item::Xattr, 16 + 65792),
            (Item::Payload, 15),
            (Item::Goodbye, 16),
        ] {
            assert!(header(item, full, 0).is_err(), "{item:?} {full}");
        }
        assert!(header(Item::Payload, u64::MAX, 0).is_ok());
        assert!(header(Item::Payload, u64::MAX, 1).is_err());
    }
}

//! What stands before the root directory.

use crate::error::Error;
use crate::item::{Header, Item, Items};
use crate::source::Input;

/// The version, the prelude, and where the root begins.
#[derive(Debug)]
pub struct Preamble {
    pub version: u64,
    /// The item with the prelude.
    pub prelude: Option<Header>,
    /// The first item of the root.
    pub root: Header,
}

impl Preamble {
    /// Reads it; `prelude` is called where the content of that can be read, and has to read it.
    pub fn read<I: Input>(
        items: &mut Items<I>,
        prelude: impl FnOnce(&mut Items<I>, &Header) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut preamble = Self {
            version: 1,
            prelude: None,
            root: items.expect()?,
        };
        if preamble.root.item == Item::FormatVersion {
            preamble.version = items.number(&preamble.root)?;
            if !(1..=2).contains(&preamble.version) {
                let why = format!("version {} is not known", preamble.version);
                return Err(Error::corrupt(preamble.root.at, why));
            }
            preamble.root = items.expect()?;
            if preamble.root.item == Item::Prelude && preamble.version == 2 {
                prelude(items, &preamble.root)?;
                preamble.prelude = Some(preamble.root);
                preamble.root = items.expect()?;
            }
        }
        Ok(preamble)
    }
}

//! A pattern for one name.

use super::Invalid;

/// What one name must be like.
#[derive(Clone, Debug)]
pub struct Glob(Vec<Token>);

#[derive(Clone, Debug)]
enum Token {
    /// This byte.
    Byte(u8),
    /// Any character: `?`.
    One,
    /// Any characters, or none: `*`.
    Many,
    /// One of these characters, or one of all others.
    Class {
        negated: bool,
        ranges: Vec<(u32, u32)>,
    },
}

impl Glob {
    /// Reads it.
    pub fn parse(mut text: &[u8]) -> Result<Self, Invalid> {
        let mut tokens = Vec::new();
        while let [byte, rest @ ..] = text {
            text = rest;
            tokens.push(match byte {
                b'?' => Token::One,
                b'*' => Token::Many,
                b'[' => class(&mut text)?,
                b'\\' => {
                    let (escaped, rest) = text.split_first().ok_or(Invalid::Backslash)?;
                    text = rest;
                    Token::Byte(*escaped)
                }
                byte => Token::Byte(*byte),
            });
        }
        Ok(Self(tokens))
    }

    /// Whether it fits a whole name.
    pub fn fits(&self, mut name: &[u8]) -> bool {
        let mut tokens = self.0.as_slice();
        // Where to go on if what follows the last `*` does not fit.
        let mut retry: Option<(&[Token], &[u8])> = None;
        loop {
            if let [Token::Many, rest @ ..] = tokens {
                tokens = rest;
                retry = Some((tokens, name));
                continue;
            }
            let taken = match tokens {
                [] if name.is_empty() => return true,
                [] => None,
                [token, ..] => token.takes(name),
            };
            match (taken, retry) {
                (Some(taken), _) => {
                    tokens = tokens.get(1..).unwrap_or_default();
                    name = name.get(taken..).unwrap_or_default();
                }
                (None, Some((after, [_, from @ ..]))) => {
                    retry = Some((after, from));
                    tokens = after;
                    name = from;
                }
                _ => return false,
            }
        }
    }
}

impl Token {
    /// How many bytes of `text` it fits.
    fn takes(&self, text: &[u8]) -> Option<usize> {
        let (character, len) = first(text)?;
        match self {
            Self::Byte(byte) => (text.first() == Some(byte)).then_some(1),
            Self::One => Some(len),
            Self::Many => None,
            Self::Class { negated, ranges } => {
                let inside = ranges
                    .iter()
                    .any(|(from, to)| (*from..=*to).contains(&character));
                (inside != *negated).then_some(len)
            }
        }
    }
}

/// The first character and its length. A byte that is no UTF-8 is one too.
fn first(text: &[u8]) -> Option<(u32, usize)> {
    let byte = *text.first()?;
    let character = (1..=4).find_map(|len| {
        let character = std::str::from_utf8(text.get(..len)?).ok()?.chars().next()?;
        Some((u32::from(character), len))
    });
    Some(character.unwrap_or((u32::from(byte), 1)))
}

/// What follows an opening bracket.
fn class(text: &mut &[u8]) -> Result<Token, Invalid> {
    let negated = matches!(text, [b'!' | b'^', ..]);
    if negated {
        *text = text.get(1..).unwrap_or_default();
    }
    let mut ranges = Vec::new();
    loop {
        if let [b']', rest @ ..] = text
            && !ranges.is_empty()
        {
            *text = rest;
            return Ok(Token::Class { negated, ranges });
        }
        let from = member(text)?;
        let to = match text {
            [b'-', next, ..] if *next != b']' => {
                *text = text.get(1..).unwrap_or_default();
                member(text)?
            }
            _ => from,
        };
        ranges.push((from, to));
    }
}

/// One character within brackets.
fn member(text: &mut &[u8]) -> Result<u32, Invalid> {
    if let [b'\\', rest @ ..] = text {
        *text = rest;
    }
    let (character, len) = first(text).ok_or(Invalid::Bracket)?;
    *text = text.get(len..).unwrap_or_default();
    Ok(character)
}

//! An input as a sequence of steps. Whatever the bytes are, they mean something, and an input that
//! is cut short means its beginning.

/// What is done to the world.
pub enum Step {
    /// A request to the session.
    Request(Request),
    /// The connection ends, and another one begins.
    Reconnect {
        /// For a snapshot of the time that the last one had.
        same_time: bool,
    },
}

/// A request, and how it is bent.
pub struct Request {
    pub verb: Verb,
    pub bend: Bend,
}

/// What is asked for; numbers choose among what `request` knows.
pub enum Verb {
    CreateDynamic {
        name: u8,
    },
    CreateFixed {
        name: u8,
        size: u8,
    },
    Reuse {
        name: u8,
        size: u8,
        fault: u8,
    },
    Chunk {
        dynamic: bool,
        wid: u8,
        piece: u8,
        fault: u8,
    },
    Append {
        dynamic: bool,
        wid: u8,
        chunks: Vec<(u8, u8)>,
    },
    Close {
        dynamic: bool,
        wid: u8,
        fault: u8,
    },
    Blob {
        name: u8,
        piece: u8,
        fault: u8,
    },
    Manifest {
        fault: u8,
    },
    Finish,
    Previous {
        name: u8,
    },
    PreviousTime,
    SpeedTest {
        length: u8,
    },
    Directory,
    Raw {
        method: u8,
        path: u8,
        query: Vec<u8>,
    },
}

/// How a request differs from what its parameters ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bend {
    None,
    /// The parameters are in a JSON body.
    Json,
    /// The same, and numbers are texts.
    JsonTexts,
    Unknown,
    Duplicate,
    Missing,
    Method,
    Deeper,
    /// The connection breaks in the middle of the body.
    Broken,
}

impl Bend {
    fn of(byte: u8) -> Self {
        match byte {
            1 | 2 => Self::Json,
            3 => Self::JsonTexts,
            4 => Self::Unknown,
            5 => Self::Duplicate,
            6 => Self::Missing,
            7 => Self::Method,
            8 => Self::Deeper,
            9 => Self::Broken,
            _ => Self::None,
        }
    }
}

/// The steps of an input.
pub struct Program<'a> {
    flags: u8,
    rest: &'a [u8],
}

/// More chunks than this in a list show nothing new.
const MAX_LIST: u8 = 5;

impl<'a> Program<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        let (flags, rest) = data.split_first().unwrap_or((&0, &[]));
        Self {
            flags: *flags,
            rest,
        }
    }

    pub fn is_benchmark(&self) -> bool {
        self.flags == 1
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn bytes(&mut self, count: u8) -> Vec<u8> {
        let (taken, rest) = self.rest.split_at(usize::from(count).min(self.rest.len()));
        self.rest = rest;
        taken.to_vec()
    }

    /// The next step, while there is a whole one.
    pub fn next(&mut self) -> Option<Step> {
        let opcode = self.byte()?;
        let bend = Bend::of(self.byte()?);
        let dynamic = opcode & 0x80 == 0;
        let verb = match opcode & 0x7f {
            1 => Verb::CreateDynamic { name: self.byte()? },
            2 => Verb::CreateFixed {
                name: self.byte()?,
                size: self.byte()?,
            },
            3 => Verb::Reuse {
                name: self.byte()?,
                size: self.byte()?,
                fault: self.byte()?,
            },
            4 => Verb::Chunk {
                dynamic,
                wid: self.byte()?,
                piece: self.byte()?,
                fault: self.byte()?,
            },
            5 => {
                let wid = self.byte()?;
                let count = self.byte()? % MAX_LIST;
                let chunks = (0..count)
                    .map(|_| Some((self.byte()?, self.byte()?)))
                    .collect::<Option<_>>()?;
                Verb::Append {
                    dynamic,
                    wid,
                    chunks,
                }
            }
            6 => Verb::Close {
                dynamic,
                wid: self.byte()?,
                fault: self.byte()?,
            },
            7 => Verb::Blob {
                name: self.byte()?,
                piece: self.byte()?,
                fault: self.byte()?,
            },
            8 => Verb::Manifest {
                fault: self.byte()?,
            },
            9 => Verb::Finish,
            10 => Verb::Previous { name: self.byte()? },
            11 => Verb::PreviousTime,
            12 => Verb::SpeedTest {
                length: self.byte()?,
            },
            13 => Verb::Directory,
            14 => {
                let (method, path, length) = (self.byte()?, self.byte()?, self.byte()?);
                Verb::Raw {
                    method,
                    path,
                    query: self.bytes(length),
                }
            }
            _ => {
                return Some(Step::Reconnect {
                    same_time: opcode & 1 == 1,
                });
            }
        };
        Some(Step::Request(Request { verb, bend }))
    }
}

const FIXED: u8 = 0x80;

/// A stream of two chunks, an image of two, a blob.
#[rustfmt::skip] // a step a line
const FULL_BACKUP: &[u8] = &[
    1, 0, 0, // a.didx
    4, 0, 1, 1, 0,
    4, 1, 1, 2, 1,
    5, 1, 1, 2, 1, 0, 2, 0, // both chunks, one after the other
    6, 0, 1, 0,
    2, 0, 2, 4, // a.fidx of a full chunk and 13 bytes
    4 | FIXED, 0, 2, 4, 1,
    4 | FIXED, 0, 2, 1, 0,
    5 | FIXED, 0, 2, 2, 4, 1, 1, 7,
    6 | FIXED, 1, 2, 0,
    7, 0, 4, 3, 0, // a.blob
    8, 0, 0,
    9, 0,
];

/// The image on top of the last one, with its end the same; the stream from chunks that are there.
#[rustfmt::skip]
const INCREMENT: &[u8] = &[
    11, 0,
    10, 0, 6, // the last manifest
    10, 0, 2, // a.fidx
    3, 0, 2, 4, 0,
    4 | FIXED, 0, 1, 5, 1,
    10, 0, 0, // a.didx
    1, 0, 0,
    5, 1, 2, 2, 2, 0, 1, 0,
    6, 0, 2, 0,
    5 | FIXED, 1, 1, 1, 5, 1,
    6 | FIXED, 0, 1, 0,
    8, 0, 0,
    9, 0,
];

/// A blob.
const SMALL_BACKUP: &[u8] = &[7, 0, 4, 1, 0, 8, 0, 0, 9, 0];

/// An image of unknown size, of a chunk that is encrypted.
#[rustfmt::skip]
const GROWING_IMAGE: &[u8] = &[
    2, 0, 3, 3,
    4 | FIXED, 0, 1, 4, 13,
    5 | FIXED, 1, 1, 1, 0x84, 1,
    6 | FIXED, 0, 1, 0,
    8, 0, 0,
    9, 0,
];

/// Everything before its time.
const TOO_EARLY: &[u8] = &[9, 0, 8, 0, 0, 9, 0, 6, 0, 1, 0, 5, 0, 1, 1, 1, 0];

const RECONNECT: &[u8] = &[16, 0];
const RECONNECT_AT_THE_SAME_TIME: &[u8] = &[17, 0];

/// Sessions that go well, and some that do not at first.
pub fn seeds() -> Vec<Vec<u8>> {
    let ordinary: &[&[&[u8]]] = &[
        &[FULL_BACKUP],
        &[FULL_BACKUP, RECONNECT, INCREMENT],
        &[FULL_BACKUP, RECONNECT_AT_THE_SAME_TIME, SMALL_BACKUP],
        &[SMALL_BACKUP, RECONNECT, SMALL_BACKUP],
        &[GROWING_IMAGE],
        &[TOO_EARLY, SMALL_BACKUP],
    ];
    let ordinary = ordinary
        .iter()
        .map(|parts| [&[0], parts.concat().as_slice()].concat());
    let benchmark = vec![1, 12, 0, 200, 9, 0];
    ordinary.chain([benchmark]).collect()
}

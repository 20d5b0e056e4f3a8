//! A session as the specification describes it (`backup-protocol.md` §3): what is accepted, and what
//! is there afterwards. Sequential, in memory, and as simple as can be.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use api_types::digest::Digest;
use api_types::status::CryptMode;
use bytes::Bytes;
use openssl::sha::Sha256;

use super::pieces::is_sealed;

/// Length of the chunks of an image, but for the last.
pub const FULL: u64 = 4 << 20;
/// Most entries that an index may have.
const MAX_SLOTS: u64 = 1 << 32;
const MAX_WRITERS: usize = 256;
const MAX_PLAIN: u64 = 16 << 20;

/// What a good request does.
pub enum Effect {
    Nothing,
    Create {
        name: String,
        size: Option<Option<u64>>,
    },
    Reuse {
        name: String,
        size: Option<u64>,
        csum: Digest,
    },
    /// `sound`: the body is what it is said to be.
    Chunk {
        dynamic: bool,
        wid: u64,
        digest: Digest,
        size: u64,
        sound: bool,
    },
    Append {
        dynamic: bool,
        wid: u64,
        chunks: Vec<(u64, Digest)>,
    },
    Close {
        dynamic: bool,
        wid: u64,
        count: u64,
        size: u64,
        csum: Digest,
    },
    Blob {
        name: String,
        raw: Bytes,
        sound: bool,
    },
    Manifest(Manifest),
    Previous {
        name: String,
    },
    Finish,
}

/// What a client uploaded as its manifest.
#[derive(Clone, PartialEq, Eq)]
pub enum Manifest {
    Garbage,
    /// The names of the files.
    Of(Vec<String>),
}

/// A file of a snapshot.
#[derive(Clone)]
pub struct File {
    pub size: u64,
    pub csum: Digest,
    pub content: Content,
}

#[derive(Clone)]
pub enum Content {
    /// The ends of the chunks, and their digests.
    Index(Vec<(u64, Digest)>),
    Blob(Bytes),
}

impl File {
    /// How it is encrypted; absent if only some of its chunks are, which no manifest can say.
    pub fn crypt_mode(&self) -> Option<CryptMode> {
        let Content::Index(entries) = &self.content else {
            return Some(CryptMode::None);
        };
        let sealed = entries.iter().filter(|(_, digest)| is_sealed(digest));
        match sealed.count() {
            0 => Some(CryptMode::None),
            count if count == entries.len() => Some(CryptMode::Encrypt),
            _ => None,
        }
    }
}

/// An open index.
pub struct Writer {
    name: String,
    appended: u64,
    /// Length of the archive, so far or announced.
    pub size: u64,
    kind: Kind,
}

enum Kind {
    Dynamic(Vec<(u64, Digest)>),
    Fixed {
        slots: BTreeMap<u64, Digest>,
        growing: bool,
        incremental: bool,
        has_end: bool,
    },
}

/// A session, and the snapshot before it.
#[derive(Default)]
pub struct Model {
    pub previous: Option<BTreeMap<String, File>>,
    pub is_benchmark: bool,
    pub is_finished: bool,
    pub files: BTreeMap<String, File>,
    pub manifest: Option<Manifest>,
    known: HashMap<Digest, u64>,
    writers: BTreeMap<u64, Writer>,
    opened: usize,
    last_wid: u64,
    taken: BTreeSet<String>,
}

impl Writer {
    fn is_dynamic(&self) -> bool {
        matches!(self.kind, Kind::Dynamic(_))
    }

    fn slots(&self) -> u64 {
        match &self.kind {
            Kind::Dynamic(entries) => entries.len() as u64,
            Kind::Fixed { .. } => self.size.div_ceil(FULL),
        }
    }

    /// The entries; absent if there are too many of an image for a fuzzer, or some are not set.
    fn entries(&self) -> Option<Vec<(u64, Digest)>> {
        match &self.kind {
            Kind::Dynamic(entries) => Some(entries.clone()),
            Kind::Fixed { slots, .. } if slots.len() as u64 == self.slots() => Some(
                slots
                    .iter()
                    .map(|(slot, digest)| (((slot + 1) * FULL).min(self.size), *digest))
                    .collect(),
            ),
            Kind::Fixed { .. } => None,
        }
    }

    /// The checksum of the index; some other one if it is not complete.
    pub fn csum(&self) -> Digest {
        let mut hash = Sha256::new();
        for (end, digest) in self.entries().unwrap_or_default() {
            if self.is_dynamic() {
                hash.update(&end.to_le_bytes());
            }
            hash.update(digest.as_bytes());
        }
        Digest::from_bytes(hash.finish())
    }

    /// What its client should say when it closes it: number of chunks, and length.
    pub fn claim(&self) -> (u64, u64) {
        (self.appended, self.size)
    }

    fn append(&mut self, start: u64, length: u64, digest: Digest) -> bool {
        let Some(end) = start.checked_add(length) else {
            return false;
        };
        match &mut self.kind {
            Kind::Dynamic(entries) => {
                if start != self.size {
                    return false;
                }
                entries.push((end, digest));
                self.size = end;
            }
            Kind::Fixed { slots, growing, .. } => {
                let size = self.size.max(end);
                let fits = end <= self.size || *growing && end.div_ceil(FULL) <= MAX_SLOTS;
                let is_end = end == size && length < FULL;
                if !fits || !(length == FULL || is_end) || !start.is_multiple_of(FULL) {
                    return false;
                }
                slots.insert(start / FULL, digest);
                self.size = size;
                *growing &= size % FULL == 0;
            }
        }
        self.appended += 1;
        true
    }
}

/// Whether it may be the name of a file.
pub fn is_name(name: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    name.len() <= 255
        && name.chars().all(is_good)
        && !name.is_empty()
        && !name.starts_with(['.', '-'])
}

impl Model {
    /// The first session of a group.
    pub fn new(is_benchmark: bool) -> Self {
        Self {
            is_benchmark,
            ..Self::default()
        }
    }

    /// The next session, of the same group.
    pub fn after(self) -> Self {
        let previous = if self.is_finished {
            Some(self.files)
        } else {
            self.previous
        };
        Self {
            previous,
            is_benchmark: self.is_benchmark,
            ..Self::default()
        }
    }

    pub fn writer(&self, wid: u64) -> Option<&Writer> {
        self.writers.get(&wid)
    }

    /// Number of the writer opened last.
    pub fn last_wid(&self) -> u64 {
        self.last_wid
    }

    pub fn previous_file(&self, name: &str) -> Option<&File> {
        self.previous.as_ref()?.get(name)
    }

    /// Whether the manifest says what there is, so that the snapshot can be verified.
    pub fn is_honest(&self) -> bool {
        let listed: Vec<String> = self.listed().map(|(name, _)| name.clone()).collect();
        let is_sayable = self.files.values().all(|file| file.crypt_mode().is_some());
        is_sayable && self.manifest == Some(Manifest::Of(listed))
    }

    /// The files that belong into the manifest.
    pub fn listed(&self) -> impl Iterator<Item = (&String, &File)> {
        self.files
            .iter()
            .filter(|(name, _)| *name != "client.log.blob")
    }

    fn open(&mut self, name: &str, size: u64, kind: Kind) -> bool {
        self.last_wid += 1;
        self.opened += 1;
        self.taken.insert(name.to_owned());
        let writer = Writer {
            name: name.to_owned(),
            appended: 0,
            size,
            kind,
        };
        self.writers.insert(self.last_wid, writer);
        true
    }

    fn is_free(&self, name: &str, extension: &str) -> bool {
        is_name(name)
            && name.ends_with(extension)
            && !self.taken.contains(name)
            && self.opened < MAX_WRITERS
    }

    fn know(&mut self, name: &str) -> bool {
        let Some(Content::Index(entries)) = self.previous_file(name).map(|f| f.content.clone())
        else {
            return false;
        };
        let mut begin = 0;
        for (end, digest) in entries {
            self.known.insert(digest, end - begin);
            begin = end;
        }
        true
    }

    fn reuse(&mut self, name: &str, size: Option<u64>, csum: Digest) -> bool {
        let is_fine = is_name(name) && name.ends_with(".fidx") && self.opened < MAX_WRITERS;
        let (true, Some(size @ 1..=0x7fff_ffff_ffff_ffff)) = (is_fine, size) else {
            return false;
        };
        // Its chunks are known from then on, whatever comes of it.
        if !self.know(name) || !self.is_free(name, ".fidx") {
            return false;
        }
        let Some(File {
            csum: old,
            content: Content::Index(entries),
            ..
        }) = self.previous_file(name)
        else {
            return false;
        };
        if *old != csum || entries.len() as u64 != size.div_ceil(FULL) {
            return false;
        }
        let slots = (0..)
            .zip(entries.iter().map(|(_, digest)| *digest))
            .collect();
        let kind = Kind::Fixed {
            slots,
            growing: false,
            incremental: true,
            has_end: false,
        };
        self.open(name, size, kind)
    }

    fn writer_of(&mut self, wid: u64, dynamic: bool) -> Option<&mut Writer> {
        self.writers
            .get_mut(&wid)
            .filter(|writer| writer.is_dynamic() == dynamic)
    }

    fn chunk(&mut self, dynamic: bool, wid: u64, digest: Digest, size: u64) -> bool {
        let Some(writer) = self.writer_of(wid, dynamic) else {
            return false;
        };
        if let Kind::Fixed { has_end, .. } = &mut writer.kind {
            if size > FULL || size < FULL && *has_end {
                return false;
            }
            *has_end |= size < FULL;
        }
        self.known.insert(digest, size);
        true
    }

    fn append(&mut self, dynamic: bool, wid: u64, chunks: &[(u64, Digest)]) -> bool {
        let known: Vec<_> = chunks
            .iter()
            .map(|(start, digest)| Some((*start, *self.known.get(digest)?, *digest)))
            .collect();
        let Some(writer) = self.writer_of(wid, dynamic) else {
            return false;
        };
        // What comes before a failure stays.
        known.into_iter().all(|chunk| {
            chunk.is_some_and(|(start, length, digest)| writer.append(start, length, digest))
        })
    }

    fn close(&mut self, dynamic: bool, wid: u64, count: u64, size: u64, csum: Digest) -> bool {
        let Some(writer) = self.writer_of(wid, dynamic) else {
            return false;
        };
        let is_right = match &writer.kind {
            Kind::Fixed {
                incremental: true, ..
            } => true,
            Kind::Fixed { .. } => count == writer.slots() && size == writer.size,
            Kind::Dynamic(_) => count >= 1 && size == writer.size,
        };
        if count != writer.appended || !is_right {
            return false;
        }
        let Some(writer) = self.writers.remove(&wid) else {
            return false;
        };
        // From here on the writer is gone, and its name may be used again.
        self.taken.remove(&writer.name);
        let ours = writer.csum();
        match writer.entries() {
            Some(entries) if !entries.is_empty() && ours == csum => {
                let content = Content::Index(entries);
                let file = File {
                    size: writer.size,
                    csum,
                    content,
                };
                self.files.insert(writer.name, file);
                true
            }
            _ => false,
        }
    }

    fn finish(&mut self) -> bool {
        if !self.writers.is_empty() {
            return false;
        }
        if self.is_benchmark {
            return true;
        }
        let is_complete = matches!(self.manifest, Some(Manifest::Of(_)));
        self.is_finished = is_complete;
        is_complete
    }

    /// Does it; whether it is accepted.
    pub fn apply(&mut self, effect: Effect) -> bool {
        if matches!(effect, Effect::Nothing) {
            return true;
        }
        if self.is_finished {
            return false;
        }
        match effect {
            Effect::Nothing => true,
            Effect::Create { name, size: None } => {
                self.is_free(&name, ".didx") && self.open(&name, 0, Kind::Dynamic(Vec::new()))
            }
            Effect::Create {
                name,
                size: Some(size),
            } => {
                let is_fine = size.is_none_or(|size| size > 0 && size.div_ceil(FULL) <= MAX_SLOTS);
                let kind = Kind::Fixed {
                    slots: BTreeMap::new(),
                    growing: size.is_none(),
                    incremental: false,
                    has_end: false,
                };
                is_fine && self.is_free(&name, ".fidx") && self.open(&name, size.unwrap_or(0), kind)
            }
            Effect::Reuse { name, size, csum } => self.reuse(&name, size, csum),
            Effect::Chunk {
                dynamic,
                wid,
                digest,
                size,
                sound,
            } => sound && (1..=MAX_PLAIN).contains(&size) && self.chunk(dynamic, wid, digest, size),
            Effect::Append {
                dynamic,
                wid,
                chunks,
            } => self.append(dynamic, wid, &chunks),
            Effect::Close {
                dynamic,
                wid,
                count,
                size,
                csum,
            } => self.close(dynamic, wid, count, size, csum),
            Effect::Blob { name, raw, sound } => {
                let is_free =
                    is_name(&name) && name.ends_with(".blob") && !self.taken.contains(&name);
                if !sound || !is_free {
                    return false;
                }
                let csum = Digest::from_bytes(openssl::sha::sha256(&raw));
                let file = File {
                    size: raw.len() as u64,
                    csum,
                    content: Content::Blob(raw),
                };
                self.files.insert(name, file);
                true
            }
            Effect::Manifest(manifest) => {
                self.manifest = Some(manifest);
                true
            }
            Effect::Previous { name } => {
                let is_there = is_name(&name)
                    && self.previous.is_some()
                    && (name == "index.json.blob" || self.previous_file(&name).is_some());
                if is_there {
                    self.know(&name);
                }
                is_there
            }
            Effect::Finish => self.finish(),
        }
    }
}

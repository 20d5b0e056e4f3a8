//! Unchanged files without reading them: the chunks of the previous payload that hold them
//! (`pxar.md` §10.3).

use std::io::Write;

use super::Previous;
use super::archive::Archiver;
use super::found::Found;
use super::parent::OpenDirectories;
use super::sink::{PayloadSink, PreviousChunk, ReusedChunk};
use crate::tree::Error;

/// Bytes of the header in front of each file's content.
const HEADER: u64 = 16;
/// What is held back at most until it is known whether chunks are reused.
const QUEUE: usize = 16 << 10;
/// Most bytes of names and attributes in it.
const QUEUE_BYTES: usize = 32 << 20;
/// Most directories that stay open of the files in it.
const QUEUE_DIRECTORIES: usize = 64;

/// Holds back what was found while consecutive unchanged files lie in a row in the previous payload
/// too, and then reuses the chunks around them, if not too much else is in those.
pub struct Reuser {
    index: Vec<PreviousChunk>,
    /// Where the last unchanged file ended; archives refer to their payload in ascending order, and
    /// it begins with a header.
    last: u64,
    run: Option<Run>,
    injected: Option<Injected>,
}

/// Unchanged files in a row, and what was found between them.
struct Run {
    /// Where they begin and end in the previous payload.
    start: u64,
    end: u64,
    queue: Vec<Found>,
    /// Bytes of names and attributes in it.
    bytes: usize,
    directories: OpenDirectories,
}

/// The chunk that was injected last.
#[derive(Clone, Copy)]
struct Injected {
    /// Which of the previous index.
    chunk: usize,
    /// Where the payload went on behind it.
    position: u64,
    /// Up to where it was accounted for.
    used: u64,
    /// Whether files refer to a part of it only.
    partial: bool,
}

/// Chunks that hold a run.
struct Cover {
    /// The first and the last one.
    first: usize,
    last: usize,
    /// Whether the first one was just injected.
    shared: Option<Injected>,
    /// Where the first one begins in the previous payload, and the last one ends.
    start: u64,
    end: u64,
}

impl Reuser {
    /// From the previous index; none if its chunks are in no order.
    pub fn new(previous: Previous) -> Option<Self> {
        let index = previous.payload;
        let ends = index.iter().map(|chunk| chunk.end);
        let starts = std::iter::once(0).chain(ends.clone());
        let ordered = starts.zip(ends).all(|(start, end)| start < end);
        ordered.then_some(Self {
            index,
            last: HEADER,
            run: None,
            injected: None,
        })
    }

    /// Stores what was found, sooner or later.
    pub fn take<W: Write, P: PayloadSink, C: Write>(
        &mut self,
        found: Found,
        archiver: &mut Archiver<'_, W, P, C>,
    ) -> Result<(), Error> {
        let mut ends_run = false;
        let mut range = None;
        if let Found::File(file) = &found
            && !archiver.is_further_name(file)
        {
            let start = file.previous.filter(|it| *it >= self.last);
            range = start.and_then(|start| {
                let end = start.checked_add(HEADER)?.checked_add(file.size)?;
                Some((start, end))
            });
            let end = self.run.as_ref().map(|run| run.end);
            ends_run = range.is_none_or(|(start, _)| Some(start) != end);
        }
        let full = |run: &Run| run.queue.len() >= QUEUE || run.bytes >= QUEUE_BYTES;
        let full = self.run.as_ref().is_some_and(full);
        if ends_run || full {
            self.store_run(archiver, !ends_run)?;
        }
        if let Some((start, end)) = range {
            self.last = end;
            let run = self.run.get_or_insert_with(|| Run {
                start,
                end,
                queue: Vec::new(),
                bytes: 0,
                directories: OpenDirectories::new(QUEUE_DIRECTORIES),
            });
            run.end = end;
        }
        match &mut self.run {
            None => archiver.store(found, None),
            Some(run) => {
                run.push(found);
                Ok(())
            }
        }
    }

    /// Stores what was held back.
    pub fn end_run<W: Write, P: PayloadSink, C: Write>(
        &mut self,
        archiver: &mut Archiver<'_, W, P, C>,
    ) -> Result<(), Error> {
        self.store_run(archiver, false)
    }

    /// `goes_on` if the next file follows: the rest of the last chunk will be of use to it.
    fn store_run<W: Write, P: PayloadSink, C: Write>(
        &mut self,
        archiver: &mut Archiver<'_, W, P, C>,
        goes_on: bool,
    ) -> Result<(), Error> {
        let Some(run) = self.run.take() else {
            return Ok(());
        };
        let cover = self.cover(&run, archiver.payload_position());
        let base = match cover.filter(|cover| cover.is_worth_it(&run, goes_on)) {
            Some(cover) => Some(self.inject(&cover, &run, archiver)?),
            None => None,
        };
        for found in run.queue {
            let reused = match (&found, base) {
                (Found::File(file), Some(base)) => file.previous.and_then(|it| {
                    // Further names have no place of their own.
                    let within = (run.start..run.end).contains(&it);
                    within.then(|| base + (it - run.start))
                }),
                _ => None,
            };
            archiver.store(found, reused)?;
        }
        Ok(())
    }

    /// The chunks around a run, when the payload goes on at `position`.
    fn cover(&self, run: &Run, position: u64) -> Option<Cover> {
        let first = self.index.partition_point(|chunk| chunk.end <= run.start);
        let last = self.index.partition_point(|chunk| chunk.end < run.end);
        let shared = self.injected;
        let shared = shared.filter(|it| it.chunk == first && it.position == position);
        Some(Cover {
            first,
            last,
            shared,
            start: self.start(first),
            end: self.index.get(last)?.end,
        })
    }

    fn start(&self, chunk: usize) -> u64 {
        let before = chunk.checked_sub(1).and_then(|it| self.index.get(it));
        before.map_or(0, |chunk| chunk.end)
    }

    /// Appends the chunks to the payload; where the run begins there.
    fn inject<W: Write, P: PayloadSink, C: Write>(
        &mut self,
        cover: &Cover,
        run: &Run,
        archiver: &mut Archiver<'_, W, P, C>,
    ) -> Result<u64, Error> {
        let new = match cover.shared {
            None => cover.first,
            Some(_) => cover.first + 1,
        };
        let mut chunks = Vec::new();
        let mut bytes = 0;
        for place in new..=cover.last {
            if let Some(chunk) = self.index.get(place) {
                let size = chunk.end - self.start(place);
                let digest = chunk.digest;
                chunks.push(ReusedChunk { digest, size });
                bytes += size;
            }
        }
        let position = archiver.payload_position();
        let encoder = archiver.encoder();
        if let Some(payload) = encoder.payload_mut()
            && !chunks.is_empty()
        {
            payload.inject(&chunks).map_err(|source| pxar::Error::Io {
                action: "append known chunks to",
                source,
            })?;
        }
        encoder.skip_payload(bytes);

        let before = run.start > cover.start;
        let after = cover.end > run.end;
        let one = cover.first == cover.last;
        let known = cover.shared.is_some_and(|it| it.partial);
        let reuse = &mut archiver.summary().reuse;
        reuse.chunks += chunks.len() as u64;
        reuse.chunk_bytes += bytes;
        reuse.padding = (reuse.padding + bytes).saturating_sub(run.end - run.start);
        reuse.partial_chunks += match (one, known) {
            (true, known) => u64::from((before || after) && !known),
            (false, known) => u64::from(before && !known) + u64::from(after),
        };
        self.injected = Some(Injected {
            chunk: cover.last,
            position: position + bytes,
            used: run.end,
            partial: after || one && (before || known),
        });
        // A chunk that was just injected ends where the payload goes on.
        let begin = match cover.shared {
            None => position,
            Some(_) => position.saturating_sub(self.start(new) - cover.start),
        };
        Ok(begin + (run.start - cover.start))
    }
}

impl Run {
    /// Holds something back, without its open file: there may be more of them than files that can
    /// be open.
    fn push(&mut self, mut found: Found) {
        if let Found::File(file) = &mut found {
            file.content = None;
            self.directories.limit(&mut file.parent);
        }
        self.bytes += found.weight();
        self.queue.push(found);
    }
}

impl Cover {
    /// Whether at most a tenth of what these chunks add is of no use.
    fn is_worth_it(&self, run: &Run, goes_on: bool) -> bool {
        let from = self.shared.map_or(self.start, |shared| shared.used);
        let behind = if goes_on { 0 } else { self.end - run.end };
        let padding = run.start.saturating_sub(from) + behind;
        let length = run.end - run.start;
        padding.saturating_mul(10) <= length.saturating_add(padding)
    }
}

//! What the tests of trees share.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api_types::digest::Digest;
use client::session::chunked::{self, ChunkedStream};
use client::tree::chunker::{ChunkSize, Chunker, PayloadChunker};
use client::tree::create::{
    CreateOptions, Previous, PreviousChunk, ReusedChunk, Summary, create_split, create_unified,
};
use client::tree::observer::{Observer, Problem};
use datastore::format::catalog::CatalogWriter;
use openssl::sha::sha256;
use proptest::prelude::ProptestConfig;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use pxar::{At, Body, Decoder, Node, Place, Step};

/// Notes all problems.
#[derive(Debug, Default)]
pub struct Notes(pub RefCell<Vec<(PathBuf, String)>>);

impl Observer for Notes {
    fn problem(&self, path: &Path, problem: &Problem) {
        let note = (path.to_path_buf(), problem.to_string());
        self.0.borrow_mut().push(note);
    }
}

impl Notes {
    /// Those of a path.
    pub fn of(&self, path: &str) -> Vec<String> {
        let notes = self.0.borrow();
        let of = notes.iter().filter(|(at, _)| at == Path::new(path));
        of.map(|(_, note)| note.clone()).collect()
    }

    pub fn none(&self) {
        assert_eq!(*self.0.borrow(), []);
    }
}

/// Chunks in order, as an index has them.
#[derive(Clone, Debug, Default)]
pub struct Chunks {
    pub entries: Vec<(Digest, u64)>,
    pub stored: HashMap<Digest, Vec<u8>>,
}

impl Chunks {
    /// Of a stream that is cut by content.
    pub fn of(stream: &[u8], size: ChunkSize) -> Self {
        let mut chunker = Chunker::new(size);
        let mut chunks = Self::default();
        let mut rest = stream;
        while !rest.is_empty() {
            let cut = match chunker.scan(rest) {
                0 => rest.len(),
                cut => cut,
            };
            chunks.push(rest[..cut].to_vec());
            rest = &rest[cut..];
        }
        chunks
    }

    pub fn push(&mut self, chunk: Vec<u8>) {
        let digest = Digest::from_bytes(sha256(&chunk));
        self.entries.push((digest, chunk.len() as u64));
        self.stored.insert(digest, chunk);
    }

    pub fn stream(&self) -> Vec<u8> {
        let chunks = self.entries.iter().map(|it| self.stored[&it.0].as_slice());
        chunks.collect::<Vec<_>>().concat()
    }

    pub fn index(&self) -> Vec<PreviousChunk> {
        let mut end = 0;
        let entries = self.entries.iter().map(|(digest, size)| {
            end += size;
            let digest = *digest;
            PreviousChunk { end, digest }
        });
        entries.collect()
    }
}

impl chunked::Chunks for &mut Chunks {
    fn store(&mut self, data: bytes::Bytes) -> io::Result<()> {
        self.push(data.to_vec());
        Ok(())
    }

    fn append(&mut self, chunk: &ReusedChunk) -> io::Result<()> {
        let known = self.stored.get(&chunk.digest);
        assert_eq!(known.map(|it| it.len() as u64), Some(chunk.size));
        self.entries.push((chunk.digest, chunk.size));
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        Ok(())
    }
}

/// Cuts a payload as a backup does.
pub fn payload(size: ChunkSize, chunks: &mut Chunks) -> ChunkedStream<PayloadChunker, &mut Chunks> {
    ChunkedStream::new(PayloadChunker::new(size), size, chunks)
}

/// An archive in two parts.
#[derive(Clone, Debug, Default)]
pub struct Split {
    pub metadata: Vec<u8>,
    pub payload: Chunks,
}

impl Split {
    pub fn previous(&self) -> Previous {
        Previous {
            metadata: Arc::new(Bytes(self.metadata.clone())),
            payload: self.payload.index(),
        }
    }
}

/// Bytes in memory.
#[derive(Clone, Debug)]
pub struct Bytes(pub Vec<u8>);

impl pxar::ReadAt for Bytes {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.as_slice().read_at(buffer, offset)
    }
}

/// Stores a tree in one part, with its catalog.
pub fn unified(root: &Path, options: &CreateOptions, notes: &Notes) -> (Vec<u8>, Vec<u8>, Summary) {
    let mut catalog = CatalogWriter::new(Vec::new()).unwrap();
    catalog.start_directory(b"root.pxar.didx").unwrap();
    let mut archive = Vec::new();
    let summary = create_unified(root, options, &mut archive, Some(&mut catalog), notes).unwrap();
    catalog.end_directory().unwrap();
    (archive, catalog.finish().unwrap(), summary)
}

/// Stores a tree in two parts.
pub fn split(
    root: &Path,
    options: &CreateOptions,
    size: ChunkSize,
    previous: Option<&Split>,
    notes: &dyn Observer,
) -> (Split, Summary) {
    let mut metadata = Vec::new();
    let stored = previous.map(|it| it.payload.stored.clone());
    let mut payload = Chunks {
        entries: Vec::new(),
        stored: stored.unwrap_or_default(),
    };
    let mut stream = self::payload(size, &mut payload);
    let known = previous.map(Split::previous);
    let summary = create_split(root, options, &mut metadata, &mut stream, known, notes).unwrap();
    stream.finish().unwrap();
    (Split { metadata, payload }, summary)
}

/// Where two streams differ first, since they are long.
pub fn assert_same(ours: &[u8], theirs: &[u8]) {
    if ours == theirs {
        return;
    }
    let differ = ours.iter().zip(theirs).position(|(a, b)| a != b);
    let around = |stream: &[u8]| {
        let at = differ.unwrap_or_default();
        let start = at.saturating_sub(64);
        stream[start..(at + 64).min(stream.len())]
            .escape_ascii()
            .to_string()
    };
    assert_eq!(differ, None, "\n{}\n{}", around(ours), around(theirs));
    assert_eq!(ours.len(), theirs.len());
}

/// Runs a number of generated cases, always the same.
pub fn runner(cases: u32) -> TestRunner {
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, rng)
}

/// A path, what is there unless it is the end of a directory, and what is in it.
pub type Listed = (Vec<u8>, Option<Node>, Option<Vec<u8>>);

/// All of an archive, but where in the payload contents are.
pub fn listed(archive: &Split) -> Vec<Listed> {
    let payload = archive.payload.stream();
    let inputs = (At::new(&archive.metadata[..]), Some(At::new(&payload[..])));
    let mut decoder = Decoder::new(inputs.0, inputs.1).unwrap();
    let mut listed = Vec::new();
    while let Some(step) = decoder.step().unwrap() {
        let content = decoder.contents().unwrap().map(|mut reader| {
            let mut content = Vec::new();
            reader.read_to_end(&mut content).unwrap();
            content
        });
        let node = match step {
            Step::Leave => None,
            Step::Enter(mut node) => {
                if let Node::Inode(inode) = &mut node
                    && let Body::File(payload) = &mut inode.body
                {
                    payload.place = Place::Inline(0);
                }
                Some(node)
            }
        };
        listed.push((decoder.path().to_vec(), node, content));
    }
    listed
}

/// Unmounts in the end.
pub struct Mount(pub PathBuf);

impl Mount {
    /// A tmpfs, if this user may mount one.
    pub fn tmpfs(at: PathBuf) -> Option<Self> {
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "none"])
            .arg(&at)
            .output();
        let mounted = mount.is_ok_and(|it| it.status.success());
        if !mounted {
            eprintln!("not run: nothing can be mounted here");
        }
        mounted.then_some(Self(at))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let umount = std::process::Command::new("umount").arg(&self.0).status();
        assert!(umount.unwrap().success());
    }
}

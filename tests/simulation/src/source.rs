//! What another datastore has of a snapshot, made here: indexes and manifests as files.

use anyhow::Result;
use api_types::names::BackupDir;
use api_types::status::CryptMode;
use bytes::Bytes;
use datastore::format::blob::DataBlob;
use datastore::format::dynamic_index::DynamicIndexWriter;
use datastore::format::index::IndexIdentity;
use datastore::format::manifest::Manifest;
use datastore::session::{SessionFile, WriterSession};

use crate::sim::Sim;
use crate::universe::data;

/// A file of a snapshot elsewhere.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// As its manifest lists it.
    pub file: SessionFile,
    /// Its bytes.
    pub raw: Bytes,
}

/// An index of these chunks.
pub fn index(sim: &Sim, name: &str, chunks: &[u8]) -> Result<SourceFile> {
    let directory = sim.root().join("source");
    std::fs::create_dir_all(&directory)?;
    let identity = IndexIdentity::new(&sim.env);
    let mut writer = DynamicIndexWriter::create(&directory.join(name), identity)?;
    for &chunk in chunks {
        let length = u64::try_from(data(chunk).len())?;
        writer.add_chunk(writer.size(), length, sim.universe.digest(chunk))?;
    }
    let closed = writer.close()?;
    let file = SessionFile {
        name: name.parse()?,
        size: closed.size(),
        csum: closed.csum(),
    };
    Ok(SourceFile {
        file,
        raw: closed.read()?,
    })
}

/// A blob of this text.
pub fn blob(sim: &Sim, name: &str, text: &str) -> Result<SourceFile> {
    let blob = DataBlob::encode(text.as_bytes(), None, false, &sim.env)?;
    let file = SessionFile {
        name: name.parse()?,
        size: blob.raw_size(),
        csum: blob.raw_csum(),
    };
    Ok(SourceFile {
        file,
        raw: blob.into_raw(),
    })
}

/// The manifest of these files.
pub fn manifest(dir: &BackupDir, files: &[SourceFile]) -> Result<Manifest> {
    let mut manifest = Manifest::new(dir);
    for file in files {
        manifest.add_file(WriterSession::file_info(&file.file, CryptMode::None))?;
    }
    Ok(manifest)
}

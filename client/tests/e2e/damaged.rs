//! What is not as it was stored is not restored as if it were.

use std::path::{Path, PathBuf};

use api_types::digest::Digest;
use api_types::names::ArchiveType;
use datastore::format::index::{AnyIndexReader, IndexFile as _};

use crate::client::{Client, restore_line, snapshot};
use crate::daemon::World;
use crate::tree::noise;

fn chunk(store: &Path, digest: &Digest) -> PathBuf {
    store
        .join(".chunks")
        .join(digest.prefix_hex())
        .join(digest.to_hex())
}

/// An encrypted image of three chunks, its store and the arguments that restore it.
struct Image {
    client: Client,
    store: PathBuf,
    line: Vec<String>,
    chunks: Vec<PathBuf>,
    index: PathBuf,
    _dir: tempfile::TempDir,
}

impl Image {
    fn new(world: &World, id: &str) -> Self {
        let client = Client::new(world, "local");
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        // Of the same length each, encrypted and not compressed: nothing but the content differs.
        std::fs::write(path("disk"), noise(77, 12 << 20)).unwrap();
        let (key, to) = (path("key"), path("restored"));
        client.ok(&["key", "create", &key, "--kdf", "none"]);
        let spec = format!("disk.img:{}", path("disk"));
        client.back_up(id, 0, &[&spec, "--keyfile", &key]);
        let store = world.store();
        let index = store.join(snapshot(id, 0)).join("disk.img.fidx");
        let reader = AnyIndexReader::open(&index, ArchiveType::FixedIndex).unwrap();
        let digests = reader.entries().map(|entry| entry.unwrap().digest);
        Self {
            chunks: digests.map(|digest| chunk(&store, &digest)).collect(),
            line: restore_line(id, 0, "disk.img", &to, &["--keyfile", &key]),
            index,
            store,
            client,
            _dir: dir,
        }
    }

    fn fails(&self, parts: &[&str]) {
        self.client.fails(&self.line, parts);
        assert!(!Path::new(&self.line[3]).exists(), "half an image stays");
    }
}

#[test]
fn damaged_chunks_are_noticed() {
    let world = World::shared();
    let image = Image::new(&world, "damaged");
    let second = std::fs::read(&image.chunks[1]).unwrap();
    let digest = image.chunks[1].file_name().unwrap().to_str().unwrap();
    let failed = format!("failed to read chunk {digest}");
    // A bit, the end, all of it; then a whole chunk of the same key in its place.
    let mut flipped = second.clone();
    flipped[100_000] ^= 1;
    for content in [&flipped[..], &second[..50_000], &second[..20], b""] {
        std::fs::write(&image.chunks[1], content).unwrap();
        image.fails(&["disk.img", &failed]);
    }
    std::fs::copy(&image.chunks[2], &image.chunks[1]).unwrap();
    image.fails(&[&failed, "its content is not what its digest says"]);
    std::fs::remove_file(&image.chunks[1]).unwrap();
    image.fails(&[&failed]);
    std::fs::write(&image.chunks[1], &second).unwrap();
    image.client.ok(&image.line);
    assert!(image.store.is_dir());
}

#[test]
fn an_index_that_the_manifest_does_not_list_is_noticed() {
    let world = World::shared();
    let image = Image::new(&world, "swapped");
    let mut index = std::fs::read(&image.index).unwrap();
    // Two chunks change places, and the header says so.
    let (first, second) = (4096..4128, 4128..4160);
    let swapped = [&index[second.clone()], &index[first.clone()]].concat();
    index[first.start..second.end].copy_from_slice(&swapped);
    let csum = openssl::sha::sha256(&index[4096..]);
    index[32..64].copy_from_slice(&csum);
    std::fs::write(&image.index, index).unwrap();
    image.fails(&["disk.img.fidx is not the index that the manifest lists"]);
}

#[test]
fn a_changed_manifest_is_noticed_by_its_signature() {
    let world = World::shared();
    let image = Image::new(&world, "forged");
    let path = image.index.with_file_name("index.json.blob");
    let raw = std::fs::read(&path).unwrap();
    let blob = datastore::format::DataBlob::from_bytes(raw.into()).unwrap();
    let text = String::from_utf8(blob.decode(None, 1 << 20).unwrap()).unwrap();
    let forged = text.replace(r#""size": 12582912"#, r#""size": 12582911"#);
    assert_ne!(forged, text);
    let blob = datastore::format::DataBlob::encode_with_iv(forged.as_bytes(), None, true);
    std::fs::write(&path, blob.unwrap().raw()).unwrap();
    image.fails(&["signature does not match"]);
}

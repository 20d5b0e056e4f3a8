//! All kinds of archives, full and incremental, plain and encrypted, into both datastores, and back
//! again byte by byte.

use api_types::names::BackupDir;
use datastore::format::CryptConfig;
use hyper::Method;
use protocol_client::backup::{dynamic_csum_of, fixed_chunks, fixed_csum};
use protocol_client::rest::Rest;
use protocol_client::{Archive, Backup};
use serde_json::{Value, json};

use crate::backup::{MIB, by_password, call, done, timestamp};
use crate::support::{Daemon, noise, scratch};

pub const START: i64 = 1_790_000_000;
const DISK: &str = "drive-scsi0.img.fidx";
const PIPE: &str = "pipe.img.fidx";
const PAYLOAD: &str = "root.ppxar.didx";
const METADATA: &str = "root.mpxar.didx";
const CONFIG: &str = "qemu-server.conf.blob";

/// What is backed up.
#[derive(Clone)]
pub struct Machine {
    disk: Vec<u8>,
    pipe: Vec<u8>,
    /// The streams of a split archive, in their chunks.
    payload: Vec<Vec<u8>>,
    metadata: Vec<Vec<u8>>,
    config: Vec<u8>,
}

impl Machine {
    pub fn new() -> Self {
        Self {
            disk: [noise(1, 9 * MIB), vec![0; 8 * MIB], noise(2, 512)].concat(),
            // No more than one block, and not a whole one.
            pipe: noise(3, 300_001),
            payload: (10..18).map(|seed| noise(seed, 400_321)).collect(),
            metadata: vec![b"names and times ".repeat(9000), noise(20, 70_000)],
            config: b"cores: 2\nname: tried\n".to_vec(),
        }
    }

    /// Some time later: a block of the disk, a chunk in the middle, and all that is small.
    pub fn changed(&self) -> Self {
        let mut later = self.clone();
        later.disk[5 * MIB..5 * MIB + 100].fill(7);
        later.payload[3] = noise(30, 123_456);
        later.metadata[1] = noise(31, 80_000);
        later.config.extend_from_slice(b"memory: 512\n");
        later
    }
}

fn query(store: &str, time: i64) -> String {
    format!("store={store}&backup-type=vm&backup-id=100&backup-time={time}")
}

fn snapshot(time: i64) -> BackupDir {
    format!("vm/100/{}", timestamp(time)).parse().unwrap()
}

/// Both streams of a split archive at once, as clients write them.
async fn split_archive(session: &Backup, machine: &Machine) -> Vec<Archive> {
    let mut streams = Vec::new();
    for (name, chunks) in [(METADATA, &machine.metadata), (PAYLOAD, &machine.payload)] {
        let wid = session.index("dynamic", name, "").await.unwrap();
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        streams.push((name, wid, chunks));
    }
    for number in 0..machine.payload.len() {
        for (_, wid, chunks) in &streams {
            if let Some(part) = chunks.get(number..=number) {
                let offset = chunks[..number]
                    .iter()
                    .map(|chunk| chunk.len() as u64)
                    .sum();
                session.store("dynamic", *wid, offset, part).await.unwrap();
            }
        }
    }
    let mut archives = Vec::new();
    for (name, wid, chunks) in &streams {
        let digests: Vec<_> = chunks.iter().map(|chunk| session.digest(chunk)).collect();
        let csum = dynamic_csum_of(chunks, &digests);
        let size = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let (wid, count) = (*wid, chunks.len() as u64);
        let closed = session.close("dynamic", wid, count, size, csum).await;
        closed.unwrap().data().unwrap();
        archives.push(session.archive(name, size, csum));
    }
    archives
}

/// The disk once more, of which only the blocks that changed are sent: so does QEMU.
async fn changed_blocks(session: &Backup, before: &Machine, machine: &Machine) -> Archive {
    let digests_of = |disk: &[u8]| -> Vec<_> {
        let blocks = fixed_chunks(disk);
        blocks.iter().map(|block| session.digest(block)).collect()
    };
    let (old, new) = (digests_of(&before.disk), digests_of(&machine.disk));
    let size = machine.disk.len() as u64;
    let reuse = hex::encode(fixed_csum(&old));
    let more = format!("&size={size}&reuse-csum={reuse}");
    let wid = session.index("fixed", DISK, &more).await.unwrap();
    let (mut count, mut sent, mut offset) = (0, 0, 0);
    for (number, block) in fixed_chunks(&machine.disk).into_iter().enumerate() {
        if old[number] != new[number] {
            session.store("fixed", wid, offset, &[block]).await.unwrap();
            count += 1;
            sent += block.len() as u64;
        }
        offset += block.len() as u64;
    }
    assert_eq!(count, 1);
    let csum = fixed_csum(&new);
    let closed = session.close("fixed", wid, count, sent, csum).await;
    closed.unwrap().data().unwrap();
    session.archive(DISK, size, csum)
}

async fn open(rest: &Rest, store: &str, time: i64, key: Option<&CryptConfig>) -> Backup {
    let mut session = rest.backup(&query(store, time)).await.unwrap();
    session.key = key.cloned();
    session
}

async fn finish(session: &Backup, time: i64, archives: &[Archive]) {
    session.manifest(&snapshot(time), archives).await.unwrap();
    session.finish().await.unwrap().data().unwrap();
}

pub async fn full(rest: &Rest, store: &str, key: Option<&CryptConfig>, machine: &Machine) {
    let session = open(rest, store, START, key).await;
    assert_eq!(session.previous_backup_time().await.unwrap(), Value::Null);
    let mut archives = split_archive(&session, machine).await;
    archives.push(session.image(DISK, &machine.disk, true).await.unwrap());
    archives.push(session.image(PIPE, &machine.pipe, false).await.unwrap());
    archives.push(session.blob(CONFIG, &machine.config).await.unwrap());
    finish(&session, START, &archives).await;
}

pub async fn incremental(
    rest: &Rest,
    store: &str,
    key: Option<&CryptConfig>,
    (before, machine): (&Machine, &Machine),
) {
    let time = START + 60;
    let session = open(rest, store, time, key).await;
    assert_eq!(session.previous_backup_time().await.unwrap(), START);
    for name in [DISK, PIPE, PAYLOAD, METADATA] {
        session.learn(name).await.unwrap();
    }
    let mut archives = vec![changed_blocks(&session, before, machine).await];
    archives.extend(split_archive(&session, machine).await);
    archives.push(session.image(PIPE, &machine.pipe, true).await.unwrap());
    archives.push(session.blob(CONFIG, &machine.config).await.unwrap());
    finish(&session, time, &archives).await;
}

pub async fn restore(
    rest: &Rest,
    store: &str,
    time: i64,
    key: Option<&CryptConfig>,
    machine: &Machine,
) {
    let mut reader = rest.reader(&query(store, time)).await.unwrap();
    reader.key = key.cloned();
    let manifest = reader.manifest().await.unwrap();
    assert_eq!(manifest.signature().is_some(), key.is_some());
    let fingerprint = manifest.key_fingerprint().unwrap();
    assert_eq!(fingerprint.as_ref(), key.map(CryptConfig::fingerprint));
    for (name, content) in [
        (DISK, &machine.disk),
        (PIPE, &machine.pipe),
        (PAYLOAD, &machine.payload.concat()),
        (METADATA, &machine.metadata.concat()),
    ] {
        let file = manifest.lookup_file(name).unwrap();
        assert_eq!(file.size, content.len() as u64, "{name}");
        let index = reader.index(name).await.unwrap();
        let csum = datastore::format::IndexFile::compute_csum(&index).unwrap();
        assert_eq!(file.csum.as_bytes(), &csum.0, "{name}");
        let restored = reader.archive(name).await.unwrap();
        assert!(restored == *content, "{store}: {name} of {time} differs");
    }
    assert_eq!(reader.blob(CONFIG).await.unwrap(), machine.config);
    if key.is_some() {
        reader.key = Some(CryptConfig::new([9; 32]).unwrap());
        assert!(reader.manifest().await.is_err());
        assert!(reader.blob(CONFIG).await.is_err());
    }
}

/// What the server says of the snapshots.
async fn listed(rest: &Rest, store: &str, key: Option<&CryptConfig>) {
    let path = format!("admin/datastore/{store}/verify");
    let body = json!({ "ignore-verified": false });
    let upid = call(rest, Method::POST, &path, Some(body)).await;
    done(rest, &upid).await;
    let path = format!("admin/datastore/{store}/snapshots");
    let mut snapshots = call(rest, Method::GET, &path, None).await;
    let snapshots = snapshots.as_array_mut().unwrap();
    assert_eq!(snapshots.len(), 2);
    let (mode, signed) = match key {
        Some(_) => ("encrypt", "sign-only"),
        None => ("none", "none"),
    };
    for snapshot in snapshots {
        assert_eq!(snapshot["verification"]["state"], "ok", "{snapshot}");
        let fingerprint = key.map(|key| key.fingerprint().to_string());
        assert_eq!(snapshot["fingerprint"].as_str(), fingerprint.as_deref());
        let files = snapshot["files"].as_array().unwrap();
        assert_eq!(files.len(), 6);
        for file in files {
            let is_manifest = file["filename"] == "index.json.blob";
            let expected = if is_manifest { signed } else { mode };
            assert_eq!(file["crypt-mode"], expected, "{file}");
        }
    }
}

async fn all_kinds(store: &str, key: Option<CryptConfig>) {
    let dir = scratch().unwrap();
    let daemon = Daemon::start(dir.path());
    let rest = by_password(&daemon).await;
    let key = key.as_ref();
    let (before, machine) = (Machine::new(), Machine::new().changed());
    full(&rest, store, key, &before).await;
    incremental(&rest, store, key, (&before, &machine)).await;
    restore(&rest, store, START, key, &before).await;
    restore(&rest, store, START + 60, key, &machine).await;
    // One block, a chunk of the payload and one of the metadata: the others were known.
    let reader = rest.reader(&query(store, START + 60)).await.unwrap();
    let manifest = reader.manifest().await.unwrap();
    let stats = manifest.chunk_upload_stats().unwrap().unwrap();
    assert_eq!((stats.count, stats.duplicates), (3, 0));
    drop(reader);
    listed(&rest, store, key).await;
}

pub fn key() -> Option<CryptConfig> {
    Some(CryptConfig::new(*b"a key that is used for this only").unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_kinds_come_back_from_a_directory() {
    all_kinds("local", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_kinds_come_back_from_a_bucket() {
    all_kinds("dev", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_ones_come_back_from_a_directory() {
    all_kinds("local", key()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_ones_come_back_from_a_bucket() {
    all_kinds("dev", key()).await;
}

//! Eight sessions at once, each with all that it has under way: the daemon takes no more of it into
//! memory than it may. The full size is the row `memory-8-sessions` of the benchmark.

use api_types::digest::Digest;
use api_types::names::BackupDir;
use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use protocol_client::backup::{digest, encode, fixed_csum};
use protocol_client::{Backup, Rest};

use crate::support::{Daemon, noise, quick_dir};

const SESSIONS: usize = 8;
const CHUNK: usize = 4 << 20;
/// Of each session: all sessions together offer what the daemon may have at most.
const PLAIN: usize = 16;
/// Small on the wire, and 4 MiB each when looked into.
const PACKED: usize = 32;
const ALLOWED: u64 = 512 << 20;

/// Where a chunk begins in the noise that all are cut from.
fn chunk(noise: &[u8], session: usize, number: usize) -> (Digest, Bytes) {
    let data = if number < PLAIN {
        let start = (session * PLAIN + number) * 64;
        noise[start..start + CHUNK].to_vec()
    } else {
        let mut data = vec![7; CHUNK];
        let number = (session * PACKED + number).to_le_bytes();
        data[..number.len()].copy_from_slice(&number);
        data
    };
    (digest(&data), encode(&data).unwrap())
}

async fn back_up(rest: &Rest, noise: &[u8], session: usize) -> (BackupDir, Vec<Digest>) {
    let dir: BackupDir = format!("vm/{session}/2026-01-01T00:00:00Z")
        .parse()
        .unwrap();
    let backup = rest.backup(&query(&dir)).await.unwrap();
    let count = PLAIN + PACKED;
    let size = (count * CHUNK) as u64;
    let wid = backup
        .index("fixed", "disk.img.fidx", &format!("&size={size}"))
        .await
        .unwrap();
    let digests = upload(&backup, wid, noise, session, 0..count).await;
    let placed: Vec<_> = (0_u64..)
        .step_by(CHUNK)
        .zip(digests.iter().copied())
        .collect();
    let answer = backup.append("fixed", wid, &placed).await.unwrap();
    answer.data().unwrap();
    let csum = fixed_csum(&digests);
    let answer = backup.close("fixed", wid, count as u64, size, csum).await;
    answer.unwrap().data().unwrap();
    let archive = backup.archive("disk.img.fidx", size, csum);
    backup.manifest(&dir, &[archive]).await.unwrap();
    backup.finish().await.unwrap().data().unwrap();
    (dir, digests)
}

/// All of them at once.
async fn upload(
    backup: &Backup,
    wid: u64,
    noise: &[u8],
    session: usize,
    numbers: std::ops::Range<usize>,
) -> Vec<Digest> {
    let uploads = numbers.map(async |number| {
        let (digest, encoded) = chunk(noise, session, number);
        let answer = backup.encoded_chunk("fixed", wid, &digest, CHUNK as u64, encoded);
        answer.await?.data()?;
        Ok::<_, anyhow::Error>(digest)
    });
    try_join_all(uploads).await.unwrap()
}

/// All of it asked for at once.
async fn restore(rest: &Rest, dir: &BackupDir, digests: &[Digest]) {
    let reader = rest.reader(&query(dir)).await.unwrap();
    reader.index("disk.img.fidx").await.unwrap();
    let chunks = digests.iter().map(async |digest| {
        let raw = reader.chunk(digest).await?.ok()?;
        let blob = datastore::format::DataBlob::from_bytes(raw)?;
        blob.verify_unencrypted(digest, Some(CHUNK as u64))?;
        Ok::<_, anyhow::Error>(())
    });
    try_join_all(chunks).await.unwrap();
}

fn query(dir: &BackupDir) -> String {
    let (id, time) = (&dir.group.id, dir.time.secs());
    format!("store=local&backup-type=vm&backup-id={id}&backup-time={time}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_sessions_are_within_bounds() {
    let dir = quick_dir();
    // Its directories are made as they are needed.
    std::fs::create_dir_all(dir.path().join("datastores/local/.chunks")).unwrap();
    let daemon = Daemon::start(dir.path());
    let (id, secret) = daemon.token.split_once(':').unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], daemon.port));
    let rest = Rest::new(address).with_token(id, secret);
    let noise = noise(3, CHUNK + SESSIONS * PLAIN * 64);
    let backups = join_all((0..SESSIONS).map(|session| back_up(&rest, &noise, session))).await;
    let peak = daemon.peak_memory();
    assert!(peak < ALLOWED, "8 backups: {} MiB", peak >> 20);
    let restores = backups
        .iter()
        .map(|(dir, digests)| restore(&rest, dir, digests));
    join_all(restores).await;
    let peak = daemon.peak_memory();
    assert!(peak < ALLOWED, "then 8 restores: {} MiB", peak >> 20);
}

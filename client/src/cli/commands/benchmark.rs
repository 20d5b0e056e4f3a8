//! How fast this machine and the server are.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use clap::Args;
use datastore::env::Env;
use datastore::format::{CryptConfig, DataBlob, MAX_CHUNK_PLAIN};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http2::SendRequest;
use serde_json::json;

use crate::cli::options::{KeyArguments, RepositoryOptions};
use crate::cli::output::OutputOptions;
use crate::cli::table::{Align, Table};
use crate::dialogue::tell;
use crate::remote::Remote;

const PROTOCOL: &str = "proxmox-backup-protocol-v1";
/// As long as an upload is measured, and each kind of computing.
const UPLOAD: Duration = Duration::from_secs(5);
const COMPUTE: Duration = Duration::from_secs(1);
const CHUNK: usize = 4 << 20;
/// Uploads at a time.
const PARALLEL: usize = 8;

/// What is measured: its name, its title, what a fast machine of upstream's has in bytes a second.
const ROWS: [(&str, &str, f64); 6] = [
    ("tls", "TLS (maximal backup upload speed)", 1_235e6),
    ("sha256", "SHA256 checksum computation speed", 2_022e6),
    ("compress", "ZStd level 1 compression speed", 752e6),
    ("decompress", "ZStd level 1 decompression speed", 1_198e6),
    ("verify", "Chunk verification speed", 758e6),
    ("aes256_gcm", "AES256 GCM encryption speed", 3_645e6),
];

/// Measure how fast this machine and the server are
#[derive(Clone, Debug, Args)]
pub struct BenchmarkArguments {
    /// Where; without a repository only this machine is measured.
    #[command(flatten)]
    pub repository: RepositoryOptions,
    /// Taken for compatibility: the key that is used makes no difference.
    #[command(flatten)]
    pub key: KeyArguments,
    /// Taken for compatibility: nothing is kept in any case
    #[arg(long, hide = true)]
    pub no_cache: bool,
    /// Taken for compatibility
    #[arg(long, short, hide = true)]
    pub verbose: bool,
    /// In which form.
    #[command(flatten)]
    pub output: OutputOptions,
}

impl BenchmarkArguments {
    pub(crate) async fn run(&self) -> Result<()> {
        let env = Env::system();
        let mut speeds = Vec::new();
        if self.repository.is_given() {
            let remote = self.repository.connect().await?;
            speeds.push(("tls", upload(&remote, &env).await?));
        }
        let clock = env.clone();
        let computed = env.blocking(move || compute(&clock)).await?;
        speeds.extend(computed);
        self.print(&speeds)
    }

    fn print(&self, speeds: &[(&str, f64)]) -> Result<()> {
        let rows = ROWS.map(|(name, title, top)| {
            let speed = speeds.iter().find(|(found, _)| *found == name);
            (name, title, top, speed.map(|(_, speed)| *speed))
        });
        let mut all = json!({});
        let mut table = Table::new(&[("Name", Align::Left), ("Value", Align::Right)]);
        for (name, title, top, speed) in rows {
            all[name] = json!({ "speed": speed, "top": top });
            let value = match speed {
                Some(speed) => format!("{:.2} MB/s ({:.0}%)", speed / 1e6, speed * 100.0 / top),
                None => "not tested".to_owned(),
            };
            table.row([title.to_owned(), value]);
        }
        self.output.print(&all, || Ok(table.render()))
    }
}

/// Bytes a second.
#[allow(clippy::cast_precision_loss)] // of a measurement
fn rate(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / time.as_secs_f64().max(1e-9)
}

/// Sends chunks that the server throws away.
async fn upload(remote: &Remote, env: &Env) -> Result<f64> {
    let time = env.unix_secs().to_string();
    let query = [
        ("backup-id", "benchmark"),
        ("backup-time", &time),
        ("backup-type", "host"),
        ("benchmark", "true"),
        ("debug", "false"),
        ("store", remote.repository().store()),
    ];
    let session = remote.upgrade("/backup", &query, PROTOCOL).await;
    let session = session.context("failed to open a session for measuring")?;
    let chunk = Bytes::from(numbers(CHUNK));
    let start = env.now();
    let mut count: u64 = 0;
    let mut under_way: FuturesUnordered<_> = (0..PARALLEL)
        .map(|_| send(session.clone(), chunk.clone()))
        .collect();
    while let Some(sent) = under_way.next().await {
        sent?;
        count += 1;
        if start.elapsed() < UPLOAD {
            under_way.push(send(session.clone(), chunk.clone()));
        }
    }
    let took = start.elapsed();
    tell(format_args!(
        "Uploaded {count} chunks in {} seconds.",
        took.as_secs()
    ));
    let each = took.as_micros() / u128::from(count.max(1));
    tell(format_args!("Time per request: {each} microseconds."));
    Ok(told("TLS", rate(count * CHUNK as u64, took)))
}

async fn send(mut session: SendRequest<Full<Bytes>>, chunk: Bytes) -> Result<()> {
    session.ready().await?;
    let request = Request::post("https://localhost:8007/speedtest").body(Full::new(chunk))?;
    let response = session.send_request(request).await?;
    let status = response.status();
    response.into_body().collect().await?;
    ensure!(
        status.is_success(),
        "the server refused to be measured: {status}"
    );
    Ok(())
}

/// Measures this machine.
fn compute(env: &Env) -> Result<Vec<(&'static str, f64)>> {
    let mut speeds = Vec::new();
    let mut measure = |name: &'static str, title: &str, work: &dyn Fn() -> Result<u64>| {
        let start = env.now();
        let mut bytes = 0;
        while start.elapsed() < COMPUTE {
            bytes += work()?;
        }
        speeds.push((name, told(title, rate(bytes, start.elapsed()))));
        anyhow::Ok(())
    };
    let plain = numbers(CHUNK);
    let len = plain.len() as u64;
    let crypt = CryptConfig::new([0; 32])?;
    measure("sha256", "SHA256", &|| {
        black_box(openssl::sha::sha256(black_box(&plain)));
        Ok(len)
    })?;
    measure("compress", "Compression", &|| {
        black_box(DataBlob::encode(&plain, None, true, env)?);
        Ok(len)
    })?;
    let compressed = DataBlob::encode(&plain, None, true, env)?;
    measure("decompress", "Decompress", &|| {
        black_box(compressed.plain(None, MAX_CHUNK_PLAIN)?);
        Ok(len)
    })?;
    measure("aes256_gcm", "AES256/GCM", &|| {
        black_box(DataBlob::encode(&plain, Some(&crypt), false, env)?);
        Ok(len)
    })?;
    measure("verify", "Verify", &|| {
        compressed.verify_crc()?;
        let plain = compressed.plain(None, MAX_CHUNK_PLAIN)?;
        black_box(openssl::sha::sha256(&plain));
        Ok(len)
    })?;
    Ok(speeds)
}

fn told(title: &str, speed: f64) -> f64 {
    tell(format_args!("{title} speed: {:.2} MB/s", speed / 1e6));
    speed
}

/// Numbers in a row, which compress neither well nor badly.
fn numbers(len: usize) -> Vec<u8> {
    let numbers = (0..=u32::MAX).take(len / 4);
    numbers.flat_map(u32::to_le_bytes).collect()
}

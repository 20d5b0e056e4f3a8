//! The basic operations against any endpoint.
//!
//! ```text
//! cargo run -p s3-client --example s3_basic -- \
//!     --endpoint 127.0.0.1 --port 9000 --bucket backups --path-style --plain \
//!     --access-key KEY --secret-key SECRET basic
//! ```
//! Every option can come from the environment (`S3_ENDPOINT`, `S3_BUCKET`, …).

use anyhow::{Context, Result, ensure};
use api_types::s3::S3EndpointConfig;
use bytes::Bytes;
use clap::{Parser, Subcommand};
use s3_client::env::Env;
use s3_client::{
    DeleteFilter, DirPrefix, ListOptions, PutMode, S3Client, S3ClientOptions, Scheme, probe,
};

#[derive(Parser)]
struct Arguments {
    /// Host, or a template such as `{{bucket}}.s3.{{region}}.example.com`.
    #[arg(long, env = "S3_ENDPOINT")]
    endpoint: String,
    #[arg(long, env = "S3_PORT")]
    port: Option<u16>,
    #[arg(long, env = "S3_REGION", default_value = "us-east-1")]
    region: String,
    #[arg(long, env = "S3_BUCKET")]
    bucket: String,
    #[arg(long, env = "S3_ACCESS_KEY")]
    access_key: String,
    #[arg(long, env = "S3_SECRET_KEY", hide_env_values = true)]
    secret_key: String,
    /// SHA-256 fingerprint of the certificate to accept.
    #[arg(long, env = "S3_FINGERPRINT")]
    fingerprint: Option<String>,
    #[arg(long, env = "S3_PATH_STYLE")]
    path_style: bool,
    /// Without TLS; only for this machine.
    #[arg(long, env = "S3_PLAIN")]
    plain: bool,
    /// Provider quirks to work around, comma separated.
    #[arg(long, env = "S3_QUIRKS", value_delimiter = ',')]
    quirks: Vec<String>,
    /// HTTP proxy.
    #[arg(long, env = "S3_PROXY")]
    proxy: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write, read, copy, list and delete a few objects below `s3-basic-example/`.
    Basic,
    /// Find out what the provider can do and which quirks to set.
    Check,
    /// List the keys below a prefix.
    List {
        /// The directory.
        prefix: String,
    },
    /// Print an object.
    Get {
        /// Its key.
        key: String,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let client = connect(&arguments)?;
    match &arguments.command {
        Command::Basic => basic(&client).await?,
        Command::Check => check(&client).await?,
        Command::List { prefix } => list(&client, &DirPrefix::new(prefix)?).await?,
        Command::Get { key } => {
            let object = client.get_object(&s3_client::ObjectKey::new(key)?).await?;
            let object = object.with_context(|| format!("there is no object {key:?}"))?;
            std::io::Write::write_all(&mut std::io::stdout(), &object.body)?;
        }
    }
    eprintln!("{}", client.counters());
    Ok(())
}

fn connect(arguments: &Arguments) -> Result<S3Client> {
    let mut endpoint = S3EndpointConfig::new(
        "example".parse()?,
        arguments.endpoint.parse()?,
        arguments.access_key.parse()?,
        arguments.secret_key.parse()?,
    );
    endpoint.port = arguments.port;
    endpoint.region = Some(arguments.region.parse()?);
    endpoint.path_style = Some(arguments.path_style);
    endpoint.fingerprint = arguments
        .fingerprint
        .as_deref()
        .map(str::parse)
        .transpose()?;
    endpoint.provider_quirks = arguments
        .quirks
        .iter()
        .map(|quirk| quirk.parse())
        .collect::<Result<_, _>>()?;
    let mut options = S3ClientOptions::new(endpoint, Some(arguments.bucket.parse()?));
    if arguments.plain {
        options.scheme = Scheme::Http;
    }
    let proxy = arguments.proxy.as_deref().map(str::parse).transpose();
    options.proxy = proxy.map_err(anyhow::Error::msg)?;
    Ok(S3Client::new(options, Env::system())?)
}

async fn basic(client: &S3Client) -> Result<()> {
    let dir = DirPrefix::new("s3-basic-example")?;
    client.head_bucket().await?;
    println!("bucket is there");

    let key = dir.join("2025-07-14T14:20:02Z/hello")?;
    let first = client
        .put_object(&key, Bytes::from_static(b"hello"), PutMode::CreateOnly)
        .await?;
    let second = client
        .put_object(&key, Bytes::from_static(b"hello"), PutMode::CreateOnly)
        .await?;
    println!("put {key}: {first:?}, again: {second:?}");

    let object = client.get_object(&key).await?.context("just written")?;
    ensure!(object.body == "hello", "other content came back");
    let part = client
        .get_object_range(&key, 1..3)
        .await?
        .context("just written")?;
    ensure!(part.body == "el", "another range came back");
    println!(
        "get: {} bytes, etag {:?}",
        object.head.size, object.head.etag
    );

    let copy = dir.join("2025-07-14T14:20:03Z/hello")?;
    println!("copy: {:?}", client.copy_object(&key, &copy).await?);
    println!(
        "head of nothing: {:?}",
        client.head_object(&dir.join("nothing")?).await?
    );
    list(client, &dir).await?;
    println!("delete: {:?}", client.delete_object(&copy).await?);
    let report = client.delete_prefix(&dir, DeleteFilter::Everything).await?;
    println!("delete the rest: {report:?}");
    Ok(())
}

async fn list(client: &S3Client, dir: &DirPrefix) -> Result<()> {
    let mut listing = client.list(dir, ListOptions::default());
    while let Some(page) = listing.next_page().await {
        for object in page?.objects {
            println!("{:>12} {}", object.size, object.key);
        }
    }
    Ok(())
}

async fn check(client: &S3Client) -> Result<()> {
    let report = probe::full(client, None).await?;
    for finding in &report.findings {
        println!(
            "{:<8} {}: {}",
            format!("{:?}", finding.severity),
            finding.check,
            finding.text
        );
    }
    for (operation, latency) in &report.latencies {
        println!("latency  {operation}: {} ms", latency.as_millis());
    }
    let quirks: Vec<_> = report
        .recommended_quirks
        .iter()
        .map(|quirk| quirk.as_str())
        .collect();
    println!(
        "quirks   {}",
        if quirks.is_empty() {
            "none".to_owned()
        } else {
            quirks.join(",")
        }
    );
    Ok(())
}

//! `s3 endpoint create | list | show | update | remove`.

use anyhow::{Context, Result};
use api_types::names::EndpointId;
use api_types::s3::{ChecksumMode, ProviderQuirk, S3EndpointConfig};
use clap::builder::PossibleValuesParser;
use clap::{Subcommand, ValueHint};

use crate::cli::Session;
use crate::cli::named_file::NamedFile;
use crate::cli::table::Column;
use crate::config::Entity;
use crate::config::properties::Given;

/// Longer than any key; keeps a wrong file from being read to its end.
const MAX_SECRET_FILE: u64 = 4096;
/// Likewise of all certificates of a system.
const MAX_CERTIFICATES: u64 = 4 << 20;

/// What `update --delete` takes: everything that is not required.
const DELETABLE: [&str; 20] = [
    "port",
    "region",
    "fingerprint",
    "path-style",
    "put-rate-limit",
    "provider-quirks",
    "rate-in",
    "burst-in",
    "rate-out",
    "burst-out",
    "ca-cert",
    "strict-fingerprint",
    "request-timeout",
    "connect-timeout",
    "max-connections",
    "list-concurrency",
    "delete-concurrency",
    "upload-concurrency",
    "storage-class",
    "checksum-mode",
];

/// Manage S3 endpoints.
#[derive(Debug, Subcommand)]
pub enum EndpointCommand {
    /// Add an endpoint.
    Create {
        /// Name of the endpoint.
        id: EndpointId,
        #[command(flatten)]
        options: Box<EndpointOptions>,
    },
    /// List the endpoints, without their secrets.
    List,
    /// Show an endpoint, without its secret.
    Show {
        /// Name of the endpoint.
        id: EndpointId,
    },
    /// Change an endpoint.
    Update {
        /// Name of the endpoint.
        id: EndpointId,
        #[command(flatten)]
        options: Box<EndpointOptions>,
        /// Property to delete; may be repeated.
        #[arg(long, value_name = "PROPERTY", value_parser = PossibleValuesParser::new(DELETABLE))]
        delete: Vec<String>,
        /// Change only if the configuration file still has this SHA-256 digest.
        #[arg(long)]
        digest: Option<String>,
    },
    /// Remove an endpoint that no datastore uses.
    Remove {
        /// Name of the endpoint.
        id: EndpointId,
        /// Change only if the configuration file still has this SHA-256 digest.
        #[arg(long)]
        digest: Option<String>,
    },
}

/// The properties of an endpoint.
#[derive(Debug, clap::Args)]
pub struct EndpointOptions {
    /// Host name or address; may begin with '{{bucket}}.' and contain '{{region}}'.
    #[arg(long)]
    endpoint: Option<String>,
    /// Port [default: 443].
    #[arg(long)]
    port: Option<String>,
    /// Region [default: us-west-1].
    #[arg(long)]
    region: Option<String>,
    /// Access key.
    #[arg(long)]
    access_key: Option<String>,
    #[command(flatten)]
    secret: SecretOptions,
    /// SHA-256 fingerprint of the server's certificate.
    #[arg(long)]
    fingerprint: Option<String>,
    /// Put the bucket into the path instead of the host name.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    path_style: Option<String>,
    /// PUT requests per second.
    #[arg(long)]
    put_rate_limit: Option<String>,
    /// Deviation of the provider to work around; may be repeated.
    #[arg(long, value_parser = PossibleValuesParser::new(ProviderQuirk::ALL.iter().map(|quirk| quirk.as_str())))]
    provider_quirks: Vec<String>,
    /// Download rate, bytes per second (for example '100 MiB').
    #[arg(long)]
    rate_in: Option<String>,
    /// Download burst.
    #[arg(long)]
    burst_in: Option<String>,
    /// Upload rate, bytes per second (for example '100 MiB').
    #[arg(long)]
    rate_out: Option<String>,
    /// Upload burst.
    #[arg(long)]
    burst_out: Option<String>,
    /// File of certificates (PEM) to trust beside the system's.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    ca_cert: Option<NamedFile>,
    /// The fingerprint must match even if the certificate is trusted anyway.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    strict_fingerprint: Option<String>,
    /// Seconds that a request may take.
    #[arg(long)]
    request_timeout: Option<String>,
    /// Seconds that a connection may take to come up.
    #[arg(long)]
    connect_timeout: Option<String>,
    /// Most connections at once.
    #[arg(long)]
    max_connections: Option<String>,
    /// Most listings at once.
    #[arg(long)]
    list_concurrency: Option<String>,
    /// Most delete requests at once.
    #[arg(long)]
    delete_concurrency: Option<String>,
    /// Most uploads at once.
    #[arg(long)]
    upload_concurrency: Option<String>,
    /// Storage class of uploaded chunks.
    #[arg(long)]
    storage_class: Option<String>,
    /// How uploads are protected beside the signature.
    #[arg(long, value_parser = PossibleValuesParser::new(ChecksumMode::ALL.iter().map(|mode| mode.as_str())))]
    checksum_mode: Option<String>,
}

/// The secret key, by value or from a file.
#[derive(clap::Args)]
#[group(multiple = false)]
pub struct SecretOptions {
    /// Secret key. Other users of this machine see it while the command runs; better is
    /// --secret-key-file.
    #[arg(long, allow_hyphen_values = true)]
    secret_key: Option<String>,
    /// File that holds the secret key; '-' for standard input.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    secret_key_file: Option<NamedFile>,
}

impl std::fmt::Debug for SecretOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretOptions(redacted)")
    }
}

impl SecretOptions {
    fn read(&self) -> Result<Option<String>> {
        let Some(file) = &self.secret_key_file else {
            return Ok(self.secret_key.clone());
        };
        let text = file.read_up_to(MAX_SECRET_FILE).with_context(|| {
            format!(
                "failed to read the secret key from {}",
                file.path().display()
            )
        })?;
        Ok(Some(text.trim().to_owned()))
    }
}

impl EndpointOptions {
    fn given(&self) -> Result<Given> {
        let ca_cert = self
            .ca_cert
            .as_ref()
            .map(|file| {
                file.read_up_to(MAX_CERTIFICATES).with_context(|| {
                    format!(
                        "failed to read the certificates from {}",
                        file.path().display()
                    )
                })
            })
            .transpose()?
            // Sections have one line per value, and PEM does not mind.
            .map(|pem| pem.split_whitespace().collect::<Vec<_>>().join(" "));
        Ok(Given::default()
            .set("endpoint", self.endpoint.as_ref())
            .set("port", self.port.as_ref())
            .set("region", self.region.as_ref())
            .set("access-key", self.access_key.as_ref())
            .set("secret-key", self.secret.read()?.as_ref())
            .set("fingerprint", self.fingerprint.as_ref())
            .set("path-style", self.path_style.as_ref())
            .set("put-rate-limit", self.put_rate_limit.as_ref())
            .set_all("provider-quirks", &self.provider_quirks)
            .set("rate-in", self.rate_in.as_ref())
            .set("burst-in", self.burst_in.as_ref())
            .set("rate-out", self.rate_out.as_ref())
            .set("burst-out", self.burst_out.as_ref())
            .set("ca-cert", ca_cert.as_ref())
            .set("strict-fingerprint", self.strict_fingerprint.as_ref())
            .set("request-timeout", self.request_timeout.as_ref())
            .set("connect-timeout", self.connect_timeout.as_ref())
            .set("max-connections", self.max_connections.as_ref())
            .set("list-concurrency", self.list_concurrency.as_ref())
            .set("delete-concurrency", self.delete_concurrency.as_ref())
            .set("upload-concurrency", self.upload_concurrency.as_ref())
            .set("storage-class", self.storage_class.as_ref())
            .set("checksum-mode", self.checksum_mode.as_ref()))
    }
}

impl EndpointCommand {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<()> {
        let file = session.config.s3_endpoints();
        match self {
            Self::Create { id, options } => {
                let properties = options.given()?.into_properties();
                let endpoint = S3EndpointConfig::from_properties(id.as_str(), &properties)?;
                Ok(file
                    .update(None, |content| content.insert(endpoint))
                    .await?)
            }
            Self::List => list(session, &file.load()?.entries),
            Self::Show { id } => session.format.print_object(file.load()?.get(id.as_str())?),
            Self::Update {
                id,
                options,
                delete,
                digest,
            } => {
                let given = options.given()?;
                file.update(digest.as_deref(), |content| {
                    let endpoint = content.get_mut(id.as_str())?;
                    let properties = given.merge_into(endpoint.to_section(), &delete)?;
                    *endpoint = S3EndpointConfig::from_properties(id.as_str(), &properties)?;
                    Ok(())
                })
                .await
            }
            Self::Remove { id, digest } => Ok(session
                .config
                .remove_s3_endpoint(id.as_str(), digest.as_deref())
                .await?),
        }
    }
}

fn list(session: &Session, endpoints: &[S3EndpointConfig]) -> Result<()> {
    let columns = [
        Column::plain("id"),
        Column::plain("endpoint"),
        Column::plain("port"),
        Column::plain("region"),
        Column::plain("access-key"),
        Column::plain("path-style"),
        Column::plain("provider-quirks"),
    ];
    session.format.print_list(endpoints, &columns)
}

//! A whole backup, in the order in which upstream's client does things.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use api_types::names::{ArchiveName, BackupDir, BackupTime};
use api_types::status::CryptMode;
use datastore::env::Env;
use datastore::format::{MAX_CHUNK_PLAIN, Manifest};

use super::directory::Catalog;
use super::image::Source;
use super::options::{ChangeDetection, Options};
use super::spec::{Kind, Spec, check_all};
use super::text;
use crate::remote::Remote;
use crate::session::upload::both;
use crate::session::workers::Workers;
use crate::session::{
    BackupRequest, BackupSession, IndexKind, Limiter, Progress, Report, Uploaded,
};

/// What came of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The snapshot.
    pub dir: BackupDir,
    /// Files that could not be stored as they are; each was reported.
    pub problems: u64,
    /// How long it took.
    pub duration: Duration,
}

/// A backup under way.
pub(super) struct Backup<'a> {
    pub(super) remote: &'a Remote,
    pub(super) options: &'a Options,
    pub(super) env: Env,
    pub(super) report: Arc<dyn Report>,
    pub(super) session: BackupSession,
    /// Of the last backup, if it can be used.
    pub(super) previous: Option<Manifest>,
    pub(super) catalog: Option<Catalog>,
    pub(super) manifest: Manifest,
    pub(super) problems: u64,
}

/// Makes a backup. If this fails or is dropped, the server removes what was uploaded.
pub async fn run(
    remote: &Remote,
    options: &Options,
    report: Arc<dyn Report>,
    env: &Env,
) -> Result<Outcome> {
    check_all(&options.specs)?;
    let start = env.now();
    let time = match options.time {
        Some(time) => time,
        None => BackupTime::from_secs(env.unix_secs())?,
    };
    let dir = BackupDir::new(options.group.clone(), time);
    report.info(&format!(
        "Starting backup: {}",
        text::snapshot(&options.ns, &dir)
    ));
    report.info(&format!("Client name: {}", client_name()));
    let problems = match options.dry_run {
        true => tell_plan(remote, options, &*report),
        false => back_up(remote, options, &dir, &report, env).await?,
    };
    let duration = env.now() - start;
    report.info(&format!("Duration: {}s", text::seconds(duration)));
    report.info(&format!("End Time: {}", text::local_time(env.unix_secs())));
    Ok(Outcome {
        dir,
        problems,
        duration,
    })
}

fn client_name() -> String {
    let name = nix::unistd::gethostname();
    name.map_or_else(
        |_| "?".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

fn tell_plan(remote: &Remote, options: &Options, report: &dyn Report) -> u64 {
    tell_protection(options, report);
    for spec in &options.specs {
        report.info(&upload_line("Would upload", spec, remote, spec.name()));
    }
    0
}

fn upload_line(verb: &str, spec: &Spec, remote: &Remote, name: &ArchiveName) -> String {
    format!(
        "{verb} {} '{}' to '{}' as {name}",
        spec.kind().as_str(),
        spec.source().display(),
        remote.repository()
    )
}

/// The number of problems with single files.
async fn back_up(
    remote: &Remote,
    options: &Options,
    dir: &BackupDir,
    report: &Arc<dyn Report>,
    env: &Env,
) -> Result<u64> {
    report.info(&format!(
        "Starting backup protocol: {}",
        text::local_time(env.unix_secs())
    ));
    let request = BackupRequest {
        ns: &options.ns,
        dir,
        crypt: options.protection.crypt.clone(),
        no_cache: options.no_cache,
        limiter: options
            .rate
            .map(|rate| Limiter::new(env, rate, options.burst)),
        workers: Workers::new(env),
    };
    let session = BackupSession::open(remote, request, env).await?;
    tell_protection(options, &**report);
    let mut backup = Backup {
        previous: previous_manifest(&session, options, &**report).await?,
        remote,
        options,
        env: env.clone(),
        report: Arc::clone(report),
        session,
        catalog: None,
        manifest: Manifest::new(dir),
        problems: 0,
    };
    for spec in &options.specs {
        backup.archive(spec).await?;
    }
    backup.finish().await
}

fn tell_protection(options: &Options, report: &dyn Report) {
    let protection = &options.protection;
    report.info(match protection.crypt.mode() {
        CryptMode::None => "Encryption mode: none, the backup is not encrypted",
        CryptMode::SignOnly => "Encryption mode: sign-only, the backup is not encrypted",
        CryptMode::Encrypt => "Encryption mode: encrypt",
    });
    if let (Some(key), Some(source)) = (protection.crypt.signer(), &protection.key_source) {
        report.info(&format!("Using encryption key from '{source}'.."));
        let fingerprint = key.fingerprint().short_id();
        report.info(&format!("Encryption key fingerprint: {fingerprint}"));
    }
    if let Some(master) = &protection.master {
        report.info(&format!("Using master key from '{}'..", master.source));
    }
}

/// The manifest of the last backup, if there is one that can be used.
async fn previous_manifest(
    session: &BackupSession,
    options: &Options,
    report: &dyn Report,
) -> Result<Option<Manifest>> {
    let Some(time) = session.previous_backup_time().await? else {
        report.info("No previous manifest available.");
        return Ok(None);
    };
    let time = text::local_time(time);
    report.info(&format!("Downloading previous manifest ({time})"));
    let manifest = session.previous_manifest().await.and_then(|manifest| {
        if loses_encryption(&manifest, options.protection.crypt.mode()) {
            report.warn(
                "the last backup was encrypted and this one is not: if its key should be used, give \
                 it by --keyfile",
            );
        }
        session.trusts(&manifest)?;
        Ok(manifest)
    });
    match manifest {
        Ok(manifest) => Ok(Some(manifest)),
        Err(error) => {
            report.warn(&format!(
                "the last backup is not used, everything is uploaded: {error:#}"
            ));
            Ok(None)
        }
    }
}

/// Whether something is in clear from now on that was encrypted in the last backup.
fn loses_encryption(previous: &Manifest, mode: CryptMode) -> bool {
    let encrypted = CryptMode::Encrypt;
    mode != encrypted && previous.files().iter().any(|it| it.crypt_mode == encrypted)
}

impl Backup<'_> {
    async fn archive(&mut self, spec: &Spec) -> Result<()> {
        let name = match (spec.kind(), self.options.detection) {
            (Kind::Directory, ChangeDetection::Data | ChangeDetection::Metadata) => {
                crate::session::split_names(spec.name())?.0
            }
            _ => spec.name().clone(),
        };
        let line = upload_line("Upload", spec, self.remote, &name);
        self.report.info(&line);
        let done = match (spec.kind(), self.options.detection) {
            (Kind::Directory, ChangeDetection::Legacy) => self.unified(spec).await,
            (Kind::Directory, ChangeDetection::Data) => self.split(spec, false).await,
            (Kind::Directory, ChangeDetection::Metadata) => self.split(spec, true).await,
            (Kind::Image, _) => self.image(spec).await,
            (Kind::Config | Kind::Log, _) => self.blob(spec).await,
        };
        done.with_context(|| format!("failed to back up '{spec}'"))
    }

    async fn image(&mut self, spec: &Spec) -> Result<()> {
        let source = Source::open(spec)?;
        let size = source.size();
        self.learn(spec.name()).await;
        let progress = Progress::new(spec.name().client_name(), size);
        let kind = IndexKind::Fixed { size };
        let upload = self.session.upload(spec.name(), kind, &progress).await?;
        let produced = self.env.blocking(move || source.store(upload.sink));
        let work = both(produced, upload.done);
        let (end, uploaded) = self.during(&progress, work).await?;
        if end.missing > 0 {
            self.problems += 1;
            self.report.warn(&format!(
                "'{}' became shorter while it was read; its last {} bytes are stored as zeros",
                spec.source().display(),
                end.missing
            ));
        }
        self.add(spec.name().client_name(), &uploaded)
    }

    async fn blob(&mut self, spec: &Spec) -> Result<()> {
        let source = spec.clone();
        let content = self.env.blocking(move || read_small(&source)).await?;
        let info = self.session.blob(spec.name(), &content).await?;
        Ok(self.manifest.add_file(info)?)
    }

    async fn finish(mut self) -> Result<u64> {
        self.finish_catalog().await?;
        if let Some(master) = &self.options.protection.master {
            let name = ArchiveName::RSA_KEY.parse()?;
            let repository = self.remote.repository();
            self.report.info(&format!(
                "Upload RSA encoded key to '{repository}' as {name}"
            ));
            let encrypted = master.encrypted.clone();
            let info = self.session.encoded_blob(&name, encrypted).await?;
            self.manifest.add_file(info)?;
        }
        self.session.finish(self.manifest).await?;
        Ok(self.problems)
    }

    /// Learns which chunks of an archive the server has from the last backup.
    pub(super) async fn learn(&self, name: &ArchiveName) {
        let previous = self.previous.as_ref();
        let Some(file) = previous.and_then(|manifest| manifest.lookup_file(name.as_str())) else {
            return;
        };
        if let Err(error) = self.session.previous_index(file).await {
            let why = format!("{name} is uploaded as if there were no last backup: {error:#}");
            self.report.warn(&why);
        }
    }

    /// Counts what is done of an archive, which is taken to be as long as it was.
    pub(super) fn progress(&self, name: &ArchiveName) -> Arc<Progress> {
        let previous = self.previous.as_ref();
        let before = previous.and_then(|manifest| manifest.lookup_file(name.as_str()));
        Progress::new(name.client_name(), before.map(|file| file.size))
    }

    /// Reports progress while an archive is uploaded.
    pub(super) async fn during<T>(
        &self,
        progress: &Progress,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        progress.during(&self.env, &*self.report, work).await
    }

    /// Adds an archive to the manifest, and tells what it took.
    pub(super) fn add(&mut self, name: &str, uploaded: &Uploaded) -> Result<()> {
        for line in text::upload(name, &uploaded.statistics) {
            self.report.info(&line);
        }
        Ok(self.manifest.add_file(uploaded.info.clone())?)
    }
}

/// A file that goes into one blob.
fn read_small(spec: &Spec) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let mut content = Vec::new();
    let limit = MAX_CHUNK_PLAIN + 1;
    if spec.is_stdin() {
        std::io::stdin().take(limit).read_to_end(&mut content)?;
    } else {
        let file = std::fs::File::open(spec.source());
        file.and_then(|file| file.take(limit).read_to_end(&mut content))
            .with_context(|| format!("failed to read '{}'", spec.source().display()))?;
    }
    ensure!(
        content.len() as u64 <= MAX_CHUNK_PLAIN,
        "'{}' has more than 16 MiB; back it up as an image, or as a file of a directory",
        spec.source().display()
    );
    Ok(content)
}

#[cfg(test)]
mod tests {
    use api_types::digest::Digest;
    use datastore::format::FileInfo;

    use super::*;

    #[test]
    fn a_backup_in_clear_after_an_encrypted_one_is_noticed() {
        let dir = "host/a/2026-11-22T08:34:13Z".parse().unwrap();
        let manifest = |mode: CryptMode| {
            let mut manifest = Manifest::new(&dir);
            let info = FileInfo {
                filename: "a.conf.blob".parse().unwrap(),
                crypt_mode: mode,
                size: 1,
                csum: Digest::from_bytes([0; 32]),
            };
            manifest.add_file(info).unwrap();
            manifest
        };
        let (none, sign, encrypt) = (CryptMode::None, CryptMode::SignOnly, CryptMode::Encrypt);
        for (last, now, lost) in [
            (encrypt, none, true),
            (encrypt, sign, true),
            (encrypt, encrypt, false),
            (sign, none, false),
            (none, none, false),
            (none, encrypt, false),
        ] {
            let found = loses_encryption(&manifest(last), now);
            assert_eq!(found, lost, "{last} {now}");
        }
    }
}

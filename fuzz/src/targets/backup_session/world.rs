//! The datastore, the session under way, and what must hold of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use api_types::datastore::{DatastoreTuning, SyncLevel};
use api_types::digest::Digest;
use api_types::names::{ArchiveName, BackupDir, BackupNamespace, SnapshotPath};
use bytes::Bytes;
use datastore::backend::s3::ownership::Instance;
use datastore::chunk_store::PrefixDirs;
use datastore::format::{AnyIndexReader, DataBlob, IndexFile as _};
use datastore::store::create::CreateOptions;
use datastore::store::{BackendOptions, DataStore, StoreOptions};
use datastore::task::{RecordingTask, SilentTask};
use datastore::verify::VerifyOptions;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::Method;
use hyper::body::Frame;
use s3_client::env::Env;
use server::protocol::backup::{Backup, BackupOptions};
use server::protocol::endpoint::{Request, dispatch};
use server::rest::answer::Answer;
use server::rest::call::Body;

use super::model::{Content, File, Model};
use super::pieces::is_known;
use super::program::{self, Bend};
use super::request::{self, Asked};

const START: i64 = 1_767_225_600;

/// A datastore, and a session.
pub struct World {
    store: Arc<DataStore>,
    session: Option<Arc<Backup>>,
    dir: BackupDir,
    model: Model,
    /// Whether the model still knows what there is.
    is_known: bool,
}

fn dir(is_benchmark: bool, time: i64) -> BackupDir {
    let id = if is_benchmark { "benchmark" } else { "a" };
    let time = api_types::names::BackupTime::from_secs(time).expect("a time");
    format!("host/{id}/{time}").parse().expect("a snapshot")
}

impl World {
    /// An empty datastore, and a session.
    pub async fn create(scratch: &Path, is_benchmark: bool) -> Self {
        let options = StoreOptions {
            name: "store1".parse().expect("a name"),
            path: scratch.join("base"),
            lock_dir: scratch.join("locks"),
            tuning: DatastoreTuning {
                sync_level: Some(SyncLevel::None),
                ..DatastoreTuning::default()
            },
            backend: BackendOptions::Filesystem,
            instance: Instance {
                id: "11111111".into(),
                hostname: "fuzz".into(),
            },
            quarantine: None,
            env: Env::seeded(1, START),
        };
        let create = CreateOptions {
            prefix_dirs: PrefixDirs::OnDemand,
            ..CreateOptions::default()
        };
        let store = DataStore::create(options, create, &SilentTask::new()).await;
        let mut world = Self {
            store: store.expect("an empty directory is fine"),
            session: None,
            dir: dir(is_benchmark, START),
            model: Model::new(is_benchmark),
            is_known: true,
        };
        world.open().await.expect("nobody else is there");
        world
    }

    async fn open(&mut self) -> Result<(), String> {
        let options = BackupOptions {
            ns: BackupNamespace::root(),
            dir: self.dir.clone(),
            auth_id: "root@pam".parse().expect("a user"),
            debug: true,
            benchmark: self.model.is_benchmark,
            no_cache: false,
            verify: false,
        };
        let opened = Backup::open(Arc::clone(&self.store), options).await;
        let opened = opened.map_err(|error| error.message)?;
        self.session =
            Some(opened.into_task(Arc::new(SilentTask::new()), &Arc::default(), "nowhere"));
        Ok(())
    }

    /// Another session after the end of one, of the same time only if that one left nothing.
    pub async fn begin(&mut self, same_time: bool) {
        let was_finished = self.model.is_finished;
        self.model = std::mem::take(&mut self.model).after();
        self.is_known = true;
        if same_time {
            let opened = self.open().await;
            assert_eq!(opened.is_err(), was_finished, "{opened:?}");
            if opened.is_ok() {
                return;
            }
        }
        self.dir = dir(self.model.is_benchmark, self.dir.time.secs() + 60);
        self.open().await.expect("it is later than all others");
    }

    /// Makes a request; it is accepted if, and only if, it should be.
    pub async fn request(&mut self, asked: program::Request) {
        let program::Request { verb, mut bend } = asked;
        let asked = request::of(verb, &self.model, &self.dir);
        if asked.is_stream && matches!(bend, Bend::Json | Bend::JsonTexts) {
            bend = Bend::None;
        }
        let is_good = is_harmless(&asked, bend);
        let request = bent(&asked, bend);
        let what = format!("{} {}?{}", request.method, request.path, request.query);
        let session = self.session.as_ref().expect("it is open");
        let previous = previous_file(&self.model, &asked);
        let result = dispatch(session, request).await;
        if let Err(error) = &result {
            let status = error.status.as_u16();
            assert!(
                matches!(status, 400 | 404),
                "{what}: {status} {}",
                error.message
            );
        }
        let Some(effect) = asked.effect else {
            // Whatever it did: the ends are the same.
            self.is_known &= result.is_err();
            return;
        };
        if !self.is_known {
            return;
        }
        let expected = is_good && self.model.apply(effect);
        match &result {
            Ok(_) => assert!(expected, "{what} is accepted"),
            Err(error) => assert!(!expected, "{what} is refused: {}", error.message),
        }
        if let (Some(Content::Blob(expected)), Ok(Answer::Response(response))) = (previous, result)
        {
            let body = response
                .into_body()
                .collect()
                .await
                .expect("it can be read");
            assert!(body.to_bytes() == expected, "{what} gives something else");
        }
    }

    /// The connection is gone: the snapshot is complete, or there is none. Whether it was finished.
    pub async fn end(&mut self) -> bool {
        let session = self.session.take().expect("it is open");
        let ended = session.end(Ok(())).await;
        drop(session);
        let is_benchmark = self.model.is_benchmark;
        if self.is_known {
            let is_fine = self.model.is_finished || is_benchmark;
            assert_eq!(ended.is_ok(), is_fine, "{ended:?}");
        } else {
            self.model.is_finished = ended.is_ok() && !is_benchmark;
        }
        let path = self.store.base().join(self.dir.path());
        if self.model.is_finished {
            self.check_snapshot(&path).await;
        } else {
            assert!(!path.exists(), "{} is left", path.display());
            let group = path.parent().expect("a group");
            let is_first = self.model.previous.is_none();
            assert!(!is_first || !group.exists(), "{} is left", group.display());
        }
        self.check_chunks();
        self.model.is_finished || is_benchmark && ended.is_ok()
    }

    async fn check_snapshot(&mut self, path: &Path) {
        let manifest = path.join(ArchiveName::MANIFEST);
        let manifest = fs::read(manifest).expect("it is finished");
        let blob = DataBlob::from_bytes(manifest.into()).expect("a blob");
        datastore::format::Manifest::from_blob(&blob, None).expect("a manifest");
        if !self.is_known {
            // What there is: it is the base of the next.
            self.model.files.clear();
            return;
        }
        let names = fs::read_dir(path).expect("it is there").map(|entry| {
            let name = entry.expect("it can be listed").file_name();
            name.into_string().expect("a name")
        });
        let mut expected: BTreeSet<String> = self.model.files.keys().cloned().collect();
        expected.insert(ArchiveName::MANIFEST.into());
        assert_eq!(names.collect::<BTreeSet<_>>(), expected);
        for (name, file) in &self.model.files {
            check_file(&path.join(name), name, file);
        }
        if self.model.is_honest() {
            let snapshot = SnapshotPath::new(BackupNamespace::root(), self.dir.clone());
            let task = RecordingTask::new();
            let options = VerifyOptions::default();
            let verified = self.store.verify_snapshot(&task, &snapshot, None, options);
            let report = verified.await.expect("nothing hinders it");
            let found = (report.sound, report.failed.len());
            assert!(found == (1, 0), "{:#?}", task.lines());
        }
    }

    /// A chunk is what its name says; one that is encrypted is at least whole.
    fn check_chunks(&self) {
        let chunks = self.store.base().join(".chunks");
        let prefixes = fs::read_dir(chunks).expect("it is there");
        for prefix in prefixes.map(|entry| entry.expect("it can be listed").path()) {
            if !prefix.is_dir() {
                continue;
            }
            for chunk in fs::read_dir(prefix).expect("it can be listed") {
                let path = chunk.expect("it can be listed").path();
                let name = path.file_name().and_then(|name| name.to_str());
                let digest: Digest = name.expect("a name").parse().expect("no temporary file");
                let raw = fs::read(&path).expect("it can be read");
                if is_known(&digest, &raw) {
                    continue;
                }
                let blob = DataBlob::from_bytes(raw.into()).expect("a blob");
                blob.verify_crc().expect("it is whole");
                blob.verify_digest(&digest, None)
                    .expect("it is what its name says");
            }
        }
    }
}

fn check_file(path: &Path, name: &str, file: &File) {
    match &file.content {
        Content::Blob(raw) => assert!(fs::read(path).expect("it is there") == *raw, "{name}"),
        Content::Index(expected) => {
            let kind = name.parse::<ArchiveName>().expect("a name").archive_type();
            let index = AnyIndexReader::open(path, kind.expect("an index")).expect("it is sound");
            let entries: Vec<_> = index
                .entries()
                .map(|entry| entry.expect("it is sound"))
                .map(|entry| (entry.range.end, entry.digest))
                .collect();
            assert!(entries == *expected, "{name}: {entries:?}");
            assert_eq!(
                index.compute_csum().expect("it is sound").0,
                *file.csum.as_bytes()
            );
        }
    }
}

/// What a good request for a file of the last backup gives.
fn previous_file(model: &Model, asked: &Asked) -> Option<Content> {
    let name = asked
        .params
        .first()
        .filter(|_| asked.path == "previous")?
        .1
        .as_str()?;
    Some(model.previous_file(name)?.content.clone())
}

/// Whether a request is as good as without the bend.
fn is_harmless(asked: &Asked, bend: Bend) -> bool {
    let (has_params, reads_body) = (!asked.params.is_empty(), asked.path != "previous");
    // A list of nothing cannot be said in a query.
    let is_sayable = bend == Bend::Json
        || !asked
            .params
            .iter()
            .any(|(_, value)| *value == serde_json::json!([]));
    is_sayable
        && match bend {
            Bend::None | Bend::Json => true,
            Bend::JsonTexts => !asked.params.iter().any(|(_, value)| value.is_number()),
            Bend::Unknown => asked.path.is_empty(),
            Bend::Duplicate | Bend::Missing => !has_params,
            Bend::Method | Bend::Deeper => false,
            Bend::Broken => asked.path.is_empty() || !reads_body,
        }
}

fn bent(asked: &Asked, bend: Bend) -> Request {
    let mut params = asked.params.clone();
    let (mut method, mut path) = (asked.method.clone(), format!("/{}", asked.path));
    let mut frames = vec![Ok(Frame::data(asked.body.clone()))];
    let mut content_type = "application/x-www-form-urlencoded";
    match bend {
        Bend::None => {}
        Bend::Json | Bend::JsonTexts => {
            content_type = "application/json; charset=UTF-8";
            frames = vec![Ok(Frame::data(request::document(&params, bend)))];
        }
        Bend::Unknown => params.push(("unknown", "1".into())),
        Bend::Duplicate => params.extend(params.first().cloned()),
        Bend::Missing => drop(params.drain(..params.len().min(1))),
        Bend::Method => method = Method::PATCH,
        Bend::Deeper => path += "/x/y",
        Bend::Broken => {
            let half = asked.body.slice(..asked.body.len() / 2);
            frames = vec![
                Ok(Frame::data(half)),
                Err(anyhow::anyhow!("connection reset")),
            ];
        }
    }
    let query = match (&asked.query, bend) {
        (Some(query), _) => query.clone(),
        (None, Bend::Json | Bend::JsonTexts) => "wid=1&nothing=x".to_owned(),
        (None, _) => request::query(&params),
    };
    let body: Body = http_body_util::BodyExt::boxed(StreamBody::new(stream::iter(
        frames
            .into_iter()
            .collect::<Vec<Result<Frame<Bytes>, anyhow::Error>>>(),
    )));
    Request {
        method,
        path,
        query,
        content_type: Some(content_type.into()),
        body,
    }
}

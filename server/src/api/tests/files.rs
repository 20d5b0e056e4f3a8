//! Single files and directories out of archives.

use std::path::Path;
use std::time::Duration;

use api_types::access::Role;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::header::CONTENT_TYPE;
use openssl::base64::{decode_block, encode_block};
use s3_mock::MockS3;
use serde_json::{Value, json};

use super::world::{PLAIN, World};
use crate::rest::answer::Answer;
use crate::testing::{Members, members};

const SPLIT: &str = "backup-type=host&backup-id=split&backup-time=1795336455";
const BUCKET: &str = "pbsbucket";

/// A datastore of the fixtures, by its backend, and the snapshots of `dir` in it: in one part and
/// in two.
struct Store {
    world: World,
    name: &'static str,
    plain: &'static str,
    split: &'static str,
    _bucket: Option<MockS3>,
}

impl Store {
    fn local() -> Option<Self> {
        Some(Self {
            world: World::with_samples()?,
            name: "samples",
            plain: PLAIN,
            split: SPLIT,
            _bucket: None,
        })
    }

    async fn bucket() -> Option<Self> {
        let fixtures = crate::testing::fixtures("")?;
        let bucket = MockS3::builder().bucket(BUCKET).start().await.unwrap();
        let world = World::empty();
        world.endpoint(&bucket).await;
        let form = format!(
            "name=s3store&path={}/s3store&backend=type%3Ds3,client%3Dmock,bucket%3D{BUCKET}",
            world.path().display()
        );
        let upid = world.post("/config/datastore", &form).await;
        world.end(&upid).await;
        // A new datastore gets what is in the other one: taking that over would first wait for late
        // requests of its owner.
        for (key, body) in support::fixtures::bucket_objects(&fixtures).unwrap() {
            if !key.ends_with(".in-use") {
                bucket.put(BUCKET, &key, body);
            }
        }
        let refresh = "/admin/datastore/s3store/s3-refresh";
        let upid = world.put(refresh, "").await;
        assert_eq!(world.end(&upid).await, "OK", "{}", world.log(&upid));
        Some(Self {
            world,
            name: "s3store",
            plain: "backup-type=host&backup-id=plain&backup-time=1795336947",
            split: "backup-type=host&backup-id=split&backup-time=1795336951",
            _bucket: Some(bucket),
        })
    }

    /// Calls with a path, in an archive that is named beside it or in front of it.
    async fn get(
        &self,
        call: &str,
        snapshot: &str,
        at: (&str, Option<&str>),
        more: &str,
    ) -> Answer {
        let (path, archive) = at;
        let archive = archive.map_or(String::new(), |name| format!("&archive-name={name}"));
        let form = format!(
            "{snapshot}&filepath={}{archive}{more}",
            in_form(path.as_bytes())
        );
        let url = format!("/admin/datastore/{}/{call}", self.name);
        let answer = self
            .world
            .answer("root@pam", Method::GET, &url, &form, Bytes::new());
        answer
            .await
            .unwrap_or_else(|error| panic!("{call} {form}: {error}"))
    }

    async fn download(
        &self,
        snapshot: &str,
        at: (&str, Option<&str>),
        more: &str,
    ) -> (String, Bytes) {
        let Answer::Response(response) = self.get("pxar-file-download", snapshot, at, more).await
        else {
            panic!("no body");
        };
        let kind = response.headers()[CONTENT_TYPE]
            .to_str()
            .unwrap()
            .to_owned();
        (
            kind,
            response.into_body().collect().await.unwrap().to_bytes(),
        )
    }

    async fn list(&self, snapshot: &str, at: (&str, Option<&str>)) -> Vec<Value> {
        let Answer::Json { data, .. } = self.get("catalog", snapshot, at, "").await else {
            panic!("no list");
        };
        serde_json::from_slice(&data).unwrap()
    }

    /// All that a catalog or an archive lists, by path, without what only one of them has.
    async fn list_all(&self, snapshot: &str, top: &str, archive: Option<&str>) -> Members {
        let mut all = Members::new();
        let mut open = vec![top.to_owned()];
        while let Some(path) = open.pop() {
            for mut item in self.list(snapshot, (&path, archive)).await {
                let path = item["filepath"].take();
                let path = decode_block(path.as_str().unwrap()).unwrap();
                let path = String::from_utf8(path).unwrap();
                if item["type"] == "d" {
                    open.push(path.clone());
                }
                all.insert(path.strip_prefix(top).unwrap().to_owned(), item);
            }
        }
        all
    }
}

/// A path as a parameter.
fn in_form(path: &[u8]) -> String {
    let text = encode_block(path);
    text.replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D")
}

/// What was archived of the tree `dir`, as python reads it from what `tar` packed.
fn expected(dir: &Path) -> Members {
    let packed = crate::testing::fixtures("").unwrap().join("input.tar.zst");
    let packed = zstd::decode_all(std::fs::File::open(packed).unwrap()).unwrap();
    let mut members = members(dir, "tar", &packed, "input/dir/");
    members.retain(|path, _| {
        !(path == "ignored" || path.starts_with("ignored/") || path.ends_with(".tmp"))
    });
    assert!(members.len() > 220);
    members
}

/// The same in a zip file.
fn in_zip(members: &Members) -> Members {
    let mut zipped = Members::new();
    for (path, member) in members {
        let mut member = member.clone();
        if member["kind"] == "h" {
            let target = hex::decode(member["target"].as_str().unwrap()).unwrap();
            member = members[&String::from_utf8(target).unwrap()].clone();
        }
        if member["kind"] == "l" {
            let target = hex::decode(member["target"].as_str().unwrap()).unwrap();
            member["sha256"] = json!(hex::encode(openssl::sha::sha256(&target)));
        }
        let kind = member["kind"].as_str().unwrap();
        if !"dfl".contains(kind) {
            continue;
        }
        let seconds = member["mtime"].as_str().unwrap().split('.').next().unwrap();
        member["mtime"] = json!(seconds.parse::<u64>().unwrap());
        let wanted = ["kind", "mode", "mtime", "sha256"];
        member
            .as_object_mut()
            .unwrap()
            .retain(|key, _| wanted.contains(&key.as_str()));
        zipped.insert(path.clone(), member);
    }
    zipped
}

fn below(members: &Members, directory: &str) -> Members {
    let inside = members.iter().filter(|(path, _)| {
        path.strip_prefix(directory)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    inside
        .map(|(path, member)| (path.clone(), member.clone()))
        .collect()
}

async fn check(store: &Store) {
    let members_of = |kind: &str, content: &[u8]| members(store.world.path(), kind, content, "");
    let expected = expected(store.world.path());
    for (snapshot, archive) in [
        (store.plain, "root.pxar.didx"),
        (store.split, "root.mpxar.didx"),
    ] {
        // Of two hundred small ones in a directory, some will do.
        let some = |path: &str| !path.starts_with("many/") || path.ends_with("7.txt");
        let files = expected.iter().filter(|it| it.1["kind"] == "f");
        for (path, member) in files.filter(|it| some(it.0)) {
            let (kind, content) = store
                .download(snapshot, (&format!("/{path}"), Some(archive)), "")
                .await;
            assert_eq!(kind, "application/octet-stream");
            let sum = hex::encode(openssl::sha::sha256(&content));
            assert_eq!(sum, member["sha256"], "{archive} {path}");
        }
        let link = store
            .download(snapshot, (&format!("/{archive}/text1m"), None), "")
            .await;
        assert_eq!(link.1.len(), 200_000);

        // The directory `input/dir` itself has no name in the archive.
        let all = store.download(snapshot, ("/", Some(archive)), "").await;
        assert_eq!(all.0, "application/zip");
        let mut without_root = expected.clone();
        without_root.remove("");
        assert_eq!(members_of("zip", &all.1), in_zip(&without_root));
        let all = store
            .download(snapshot, (&format!("/{archive}/"), None), "&tar=1")
            .await;
        assert_eq!(all.0, "application/zstd");
        let all = zstd::decode_all(&all.1[..]).unwrap();
        assert_eq!(members_of("tar", &all), without_root);

        // Below it, names begin with that of the directory.
        let path = format!("/{archive}/sub/deep");
        let mut deep = below(&expected, "sub/deep");
        deep = deep
            .into_iter()
            .map(|(path, it)| (path["sub/".len()..].to_owned(), it))
            .collect();
        assert_eq!(deep.len(), 3);
        let zip = store.download(snapshot, (&path, None), "&tar=0").await.1;
        assert_eq!(members_of("zip", &zip), in_zip(&deep));
        let tar = store.download(snapshot, (&path, None), "&tar=1").await.1;
        assert_eq!(
            members_of("tar", &zstd::decode_all(&tar[..]).unwrap()),
            deep
        );
    }
    let catalog = store.list_all(store.plain, "/root.pxar.didx", None).await;
    assert_eq!(
        store
            .list_all(store.plain, "", Some("root.pxar.didx"))
            .await,
        catalog
    );
    assert_eq!(
        store
            .list_all(store.split, "", Some("root.mpxar.didx"))
            .await,
        catalog
    );
    // Tar has no sockets.
    let sockets = catalog.values().filter(|item| item["type"] == "s");
    assert_eq!(catalog.len() - sockets.count(), expected.len() - 1);
    let root = store
        .list(store.split, ("/", Some("root.mpxar.didx")))
        .await;
    let root: Vec<_> = root.iter().map(|item| &item["filepath"]).collect();
    assert!(
        root.contains(&&json!(encode_block(b"/hello.txt"))),
        "{root:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_local_datastore() {
    if let Some(store) = Store::local() {
        check(&store).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_datastore_in_a_bucket() {
    if let Some(store) = Store::bucket().await {
        check(&store).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_downloaded() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let refusal = async |call: &str, snapshot: &str, path: &str, more: &str| {
        let url = format!("/admin/datastore/samples/{call}");
        let form = format!("{snapshot}&filepath={}{more}", in_form(path.as_bytes()));
        world.refusal("root@pam", Method::GET, &url, &form).await
    };
    let enc = "backup-type=host&backup-id=enc&backup-time=1795336458";
    let enc_split = "backup-type=host&backup-id=enc&backup-time=1795336459";
    for call in ["pxar-file-download", "catalog"] {
        for (snapshot, name) in [(enc, "root.pxar.didx"), (enc_split, "root.mpxar.didx")] {
            let more = format!("&archive-name={name}");
            let refused = refusal(call, snapshot, "/secret.txt", &more).await;
            assert_eq!(
                refused,
                (400, format!("cannot decode '{name}' - is encrypted"))
            );
        }
        let (status, text) = refusal(call, PLAIN, "/a", "&archive-name=other.pxar.didx").await;
        assert_eq!(status, 400);
        assert!(text.starts_with("File open failed: "), "{text}");
        for name in ["catalog.pcat1.didx", "conf.conf.blob"] {
            let (status, text) = refusal(call, PLAIN, "/a", &format!("&archive-name={name}")).await;
            assert!(
                status == 400 && text.contains("no archive of files"),
                "{text}"
            );
        }
        let (_, text) = refusal(call, PLAIN, "/nothing", "&archive-name=root.pxar.didx").await;
        assert_eq!(text, "no file '/nothing' in the archive");
    }
    let of_archive = "&archive-name=root.pxar.didx";
    let (_, text) = refusal("catalog", PLAIN, "/hello.txt", of_archive).await;
    assert_eq!(text, "no directory '/hello.txt' in the archive");
    for name in ["link-ok", "fifo", "chr", "blk"] {
        let (_, text) = refusal("pxar-file-download", PLAIN, name, of_archive).await;
        assert_eq!(text, format!("'/{name}' is neither a file nor a directory"));
    }
    for (path, text) in [
        (
            "/../root.pxar.didx",
            "no file '/../root.pxar.didx' in the archive",
        ),
        ("/hello.txt/x", "no file '/hello.txt/x' in the archive"),
    ] {
        let refused = refusal("pxar-file-download", PLAIN, path, of_archive).await;
        assert_eq!(refused, (400, text.to_owned()));
    }
    for path in ["/", "/..", "/no*archive/a"] {
        let (status, text) = refusal("pxar-file-download", PLAIN, path, "").await;
        assert_eq!(status, 400);
        assert!(
            text.starts_with("parameter verification failed - 'filepath'"),
            "{text}"
        );
    }
    let url = "/admin/datastore/samples/pxar-file-download";
    let form = format!("{PLAIN}&filepath=***");
    assert_eq!(
        world.refusal("root@pam", Method::GET, url, &form).await.0,
        400
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_download_files() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let url = "/admin/datastore/samples/pxar-file-download";
    let path = in_form(b"/root.pxar.didx/hello.txt");
    let form = format!("{PLAIN}&filepath={path}");
    let (status, text) = world.refusal("nothing@pbs", Method::GET, url, &form).await;
    assert_eq!(status, 403, "{text}");
    world
        .grant("nothing@pbs", "/datastore/samples", Role::DatastoreBackup)
        .await;
    let (status, text) = world.refusal("nothing@pbs", Method::GET, url, &form).await;
    assert_eq!(
        (status, text.as_str()),
        (400, "backup owner check failed (nothing@pbs != test@pbs)")
    );
    world
        .grant("nothing@pbs", "/datastore/samples", Role::DatastoreReader)
        .await;
    let answer = world
        .call("nothing@pbs", Method::GET, url, &form)
        .await
        .unwrap();
    assert_eq!(answer["text"], "hello world\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_the_packing() {
    let Some(store) = Store::local() else { return };
    let answer = store
        .get(
            "pxar-file-download",
            PLAIN,
            ("/", Some("root.pxar.didx")),
            "&tar=1",
        )
        .await;
    let server = &store.world.server;
    let free = || {
        let places = std::iter::from_fn(|| server.places.pack().ok());
        places.collect::<Vec<_>>().len()
    };
    assert_eq!(free(), 31);
    drop(answer);
    for _ in 0..600 {
        if free() == 32 {
            return;
        }
        server.env.sleep(Duration::from_millis(50)).await;
    }
    panic!("the packing does not end");
}

/// Each waits for a thread that reads a chunk: if as many waited as there are threads, none would
/// ever be read.
#[test]
fn many_at_once_do_not_wait_for_each_other() {
    const THREADS: usize = 80;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(THREADS)
        .enable_all()
        .build()
        .unwrap();
    let result = runtime.block_on(async {
        let store = Store::local()?;
        let calls = (0..3 * THREADS).map(|n| match n % 3 {
            0 => ("catalog", "/root.pxar.didx", None),
            1 => ("catalog", "", Some("root.pxar.didx")),
            _ => ("pxar-file-download", "/text1m", Some("root.pxar.didx")),
        });
        let all = calls.map(|(call, path, archive)| {
            let form = format!("{}&filepath={}", store.plain, in_form(path.as_bytes()));
            let archive = archive.map_or(String::new(), |name| format!("&archive-name={name}"));
            let (form, url) = (form + &archive, format!("/admin/datastore/samples/{call}"));
            let world = &store.world;
            async move {
                let call = world.answer("root@pam", Method::GET, &url, &form, Bytes::new());
                call.await.map(drop).unwrap();
            }
        });
        let all = futures_util::future::join_all(all);
        Some(tokio::time::timeout(Duration::from_secs(60), all).await)
    });
    runtime.shutdown_background();
    let Some(result) = result else { return };
    assert!(result.is_ok(), "they wait for each other");
}

//! The requests of a backup beside those that the real client made for the same files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde_json::Value;

use crate::client::Client;
use crate::fixtures::Samples;
use crate::recorder::{Exchange, Recorder};

/// What a recording has of requests, in its order.
fn recorded(text: &str) -> Vec<Exchange> {
    let mut exchanges: Vec<Exchange> = Vec::new();
    // Those that have no answer yet, by their streams.
    let mut open: HashMap<String, usize> = HashMap::new();
    let mut last: Option<usize> = None;
    for (event, line) in text.lines().enumerate() {
        if let Some((_, body)) = line.trim_start().split_once("body: ") {
            // Long ones are cut short; those that matter here are not.
            let content = body.split_once(") ").map_or("", |(_, content)| content);
            let content = bytes::Bytes::from(content.to_owned());
            if let Some(at) = last {
                let exchange = &mut exchanges[at];
                match line.contains('<') {
                    true => exchange.answer = content,
                    false => exchange.body = content,
                }
            }
            continue;
        }
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            [protocol @ ("H1" | "H2"), stream, ">", method, url] => {
                let (_, target) = url.split_once("://").unwrap().1.split_once('/').unwrap();
                open.insert(format!("{protocol}{stream}"), exchanges.len());
                last = Some(exchanges.len());
                exchanges.push(Exchange {
                    in_session: protocol == "H2",
                    began: event,
                    ..Exchange::new(method, target)
                });
            }
            [protocol @ ("H1" | "H2"), stream, "<", ..] => {
                // The last request of a session is not answered for the recording's ear.
                last = open.get(&format!("{protocol}{stream}")).copied();
                if let Some(at) = last {
                    exchanges[at].ended = event;
                }
            }
            _ => {}
        }
    }
    exchanges
}

/// Which archive each writer is for, by its number.
fn writers(exchanges: &[Exchange]) -> HashMap<String, (usize, String)> {
    let opened = exchanges
        .iter()
        .enumerate()
        .filter(|(_, it)| it.method == "POST" && it.path.ends_with("_index"));
    opened
        .map(|(at, it)| {
            let answer: Value = serde_json::from_slice(&it.answer).unwrap();
            let archive = it.get("archive-name").unwrap().to_owned();
            (answer["data"].to_string(), (at, archive))
        })
        .collect()
}

fn wid(exchange: &Exchange) -> Option<String> {
    if let Some(wid) = exchange.get("wid") {
        return Some(wid.to_owned());
    }
    let body = String::from_utf8_lossy(&exchange.body);
    let (_, wid) = body.rsplit_once("\"wid\":")?;
    Some(wid.trim_end_matches('}').to_owned())
}

/// The rules of the protocol (`backup-protocol.md` §7.1): what must be over when a request begins.
fn check_order(exchanges: &[Exchange]) {
    let writers = writers(exchanges);
    let session: Vec<_> = exchanges.iter().filter(|it| it.in_session).collect();
    let before = |one: &Exchange, other: &Exchange| {
        assert!(
            one.ended > 0 && one.ended < other.began,
            "{one:?} is not over when {other:?} begins"
        );
    };
    let of_writer = |kind: &str, wid: &str| -> Vec<&Exchange> {
        let of = session
            .iter()
            .filter(|it| it.path.ends_with(kind) && self::wid(it).as_deref() == Some(wid));
        of.copied().collect()
    };
    assert_eq!(session[0].path, "previous_backup_time");
    for (wid, (opened, archive)) in &writers {
        let opened = &exchanges[*opened];
        let previous = session
            .iter()
            .filter(|it| it.path == "previous" && it.get("archive-name") == Some(archive.as_str()));
        previous.for_each(|previous| before(previous, opened));
        let (chunks, closes) = (of_writer("_chunk", wid), of_writer("_close", wid));
        let appends = of_writer("_index", wid);
        assert!(!appends.is_empty(), "{archive}");
        for later in chunks.iter().chain(&appends) {
            before(opened, later);
        }
        for append in &appends {
            let list = String::from_utf8_lossy(&append.body);
            let listed = |it: &&&Exchange| list.contains(it.get("digest").unwrap());
            let sent = session.iter().filter(|it| it.path.ends_with("_chunk"));
            sent.filter(listed).for_each(|chunk| before(chunk, append));
        }
        let [close] = closes[..] else {
            panic!("{archive} is closed {} times", closes.len());
        };
        let all = chunks.iter().chain(&appends);
        all.for_each(|earlier| before(earlier, close));
    }
    let [.., manifest, finish] = &session[..] else {
        panic!("the session is too short");
    };
    assert_eq!(manifest.get("file-name"), Some("index.json.blob"));
    assert_eq!((&*finish.method, &*finish.path), ("POST", "finish"));
    before(manifest, finish);
    // What is read of the last snapshot ahead of need may be given up.
    let is_read = |it: &Exchange| matches!(it.path.as_str(), "download" | "chunk");
    let earlier = session[..session.len() - 2].iter();
    for earlier in earlier.filter(|it| !is_read(it)) {
        before(earlier, manifest);
    }
}

/// Endpoints with the names of their parameters, and with the values that are no accident.
fn shapes(exchanges: &[Exchange]) -> BTreeSet<String> {
    let shape = |it: &Exchange| {
        let parameters = it.query.iter().map(|(name, value)| match name.as_str() {
            "archive-name" | "file-name" | "benchmark" | "backup-type" => format!("{name}={value}"),
            _ => name.clone(),
        });
        let parameters: Vec<_> = parameters.collect();
        let json = match it.path.as_str() {
            "dynamic_index" | "fixed_index" if it.method == "PUT" => {
                let keys = ["digest-list", "offset-list", "wid"];
                let body = String::from_utf8_lossy(&it.body);
                let found = keys
                    .iter()
                    .filter(|key| body.contains(&format!("\"{key}\":")));
                found.copied().collect::<Vec<_>>().join("&")
            }
            _ => String::new(),
        };
        format!("{} {}?{} {json}", it.method, it.path, parameters.join("&"))
    };
    exchanges.iter().map(shape).collect()
}

/// What each archive came to: its parameters at the end, and the chunks that were sent for it.
type Archives = BTreeMap<String, (Vec<(String, String)>, Vec<(String, String)>)>;

fn archives(exchanges: &[Exchange]) -> Archives {
    let writers = writers(exchanges);
    let mut archives = Archives::new();
    for it in exchanges.iter().filter(|it| it.method == "POST") {
        let Some((_, archive)) = it.get("wid").and_then(|wid| writers.get(wid)) else {
            continue;
        };
        let (closed, chunks) = archives.entry(archive.clone()).or_default();
        let text = |name: &str| it.get(name).unwrap().to_owned();
        match it.path.ends_with("_close") {
            true => {
                let kept = it.query.iter().filter(|(name, _)| name != "wid");
                closed.extend(kept.cloned());
            }
            false => chunks.push((text("digest"), text("size"))),
        }
    }
    for (_, chunks) in archives.values_mut() {
        chunks.sort();
    }
    archives
}

/// A backup, and the recording of the same one.
struct Pair<'a> {
    recording: &'a str,
    id: &'a str,
    number: i64,
    line: Vec<String>,
    /// Archives whose chunks are not those of the recording, since they depend on buffers or on how
    /// much of them is worth to be taken over.
    free: &'a [&'a str],
}

#[test]
fn requests_are_those_of_the_real_client() {
    let Some(samples) = Samples::find() else {
        return;
    };
    let recorder = Recorder::new(samples.world.daemon.port);
    let repository = format!("admin@pbs@127.0.0.1:{}:samples", recorder.port);
    let client = samples
        .client()
        .with("PBS_REPOSITORY", &repository)
        .with("PBS_FINGERPRINT", &recorder.fingerprint);
    // Restored: tar did not pack the sockets.
    let [dir, dir_v2] = [0, 1]
        .map(|number| samples.restore(&samples.client(), "host/plain", number, "root.pxar", &[]));
    let small = samples.input("small");
    let spec = |name: &str, path: &Path| format!("{name}:{}", path.display());
    let input = |name: &str, input: &str| spec(name, &samples.input(input));
    let conf = || input("conf.conf", "pct.conf");
    let in_mode = |mode: &str| format!("--change-detection-mode={mode}");
    let vm = |disk: &str| {
        vec![
            input("drive-scsi0.img", disk),
            input("drive-scsi1.img", "odd.img"),
            input("qemu-server.conf", "qemu-server.conf"),
        ]
    };
    let with_key = |mut line: Vec<String>, more: &[&str]| {
        line.push(format!("--keyfile={}", samples.key("plain.key")));
        line.extend(more.iter().map(|&word| word.to_owned()));
        line
    };
    let pair = |recording, id, number, line| Pair {
        recording,
        id,
        number,
        line,
        free: &[],
    };
    let pairs = [
        pair(
            "06-backup-host-legacy-v1",
            "rec-plain",
            0,
            vec![spec("root.pxar", &dir), conf()],
        ),
        pair(
            "07-backup-host-legacy-v2",
            "rec-plain",
            1,
            vec![spec("root.pxar", &dir_v2), conf()],
        ),
        Pair {
            free: &["root.mpxar.didx", "root.ppxar.didx"],
            ..pair(
                "10-backup-host-meta-v2",
                "rec-split",
                2,
                vec![spec("root.pxar", &dir_v2), in_mode("metadata")],
            )
        },
        pair("12-backup-vm-v1", "rec-vm", 0, vm("disk.img")),
        pair("13-backup-vm-v2", "rec-vm", 1, vm("disk-v2.img")),
        pair(
            "18-backup-encrypted",
            "rec-enc",
            0,
            with_key(
                vec![
                    spec("root.pxar", &small),
                    input("d.img", "odd.img"),
                    input("c.conf", "pct.conf"),
                ],
                &[],
            ),
        ),
        pair(
            "20-backup-signonly",
            "rec-signed",
            0,
            with_key(vec![spec("root.pxar", &small)], &["--crypt-mode=sign-only"]),
        ),
    ];
    // The last backup of the one in parts.
    let first = [spec("root.pxar", &dir), in_mode("data")];
    back_up(&client, "rec-split", 1, &first);
    recorder.take();
    for pair in pairs {
        back_up(&client, pair.id, pair.number, &pair.line);
        let ours = recorder.take();
        let path = format!("recordings/client/{}.txt", pair.recording);
        let theirs = std::fs::read_to_string(samples.fixtures.join(path)).unwrap();
        compare(&ours, &recorded(&theirs), &pair);
    }
}

fn back_up(client: &Client, id: &str, number: i64, line: &[String]) {
    let line: Vec<_> = line.iter().map(String::as_str).collect();
    let ty = if id == "rec-vm" { "vm" } else { "host" };
    let mut line = client.backup_line(id, number, &line);
    let at = line.iter().position(|word| word == "host").unwrap();
    line[at] = ty.to_owned();
    client.ok(&line);
}

fn compare(ours: &[Exchange], theirs: &[Exchange], pair: &Pair<'_>) {
    let name = pair.recording;
    eprintln!("{name}: {} requests, theirs {}", ours.len(), theirs.len());
    // Of both: else it would be no rule.
    check_order(theirs);
    check_order(ours);
    let (shape, expected) = (shapes(ours), shapes(theirs));
    // The manifest of the snapshot that is read is checked again.
    let extra = "GET download?file-name=index.json.blob ";
    let more: Vec<_> = shape
        .difference(&expected)
        .filter(|it| *it != extra)
        .collect();
    assert!(more.is_empty(), "{name}: only ours: {more:?}");
    let less: Vec<_> = expected.difference(&shape).collect();
    assert!(less.is_empty(), "{name}: only theirs: {less:?}");
    let (found, expected) = (archives(ours), archives(theirs));
    let names = |archives: &Archives| archives.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected), "{name}");
    for (archive, expected) in expected {
        if !pair.free.contains(&archive.as_str()) {
            assert_eq!(found[&archive], expected, "{name}: {archive}");
        }
    }
}

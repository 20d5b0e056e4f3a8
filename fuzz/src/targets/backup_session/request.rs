//! A step as a request: what its parameters are, and how it is bent.

use api_types::digest::Digest;
use api_types::names::BackupDir;
use api_types::status::CryptMode;
use bytes::Bytes;
use datastore::format::manifest::{FileInfo, Manifest as Document};
use hyper::Method;
use serde_json::{Value, json};

use super::model::{Effect, FULL, Manifest, Model};
use super::pieces::piece;
use super::program::{Bend, Verb};

const NAMES: [&str; 16] = [
    "a.didx",
    "b.pxar.didx",
    "a.fidx",
    "b.img.fidx",
    "a.blob",
    "client.log.blob",
    "index.json.blob",
    "catalog.pcat1.didx",
    "x",
    "../x.blob",
    ".x.didx",
    "",
    "a/b.fidx",
    "a\0.blob",
    "ä.didx",
    "-.fidx",
];

/// A request before it is sent.
pub struct Asked {
    pub method: Method,
    pub path: String,
    pub params: Vec<(&'static str, Value)>,
    /// The raw query, in the place of the parameters.
    pub query: Option<String>,
    /// An upload or a download: the body is not looked at for parameters.
    pub is_stream: bool,
    pub body: Bytes,
    /// What it does, if it is good. Absent where that is anybody's guess.
    pub effect: Option<Effect>,
}

impl Asked {
    fn new(method: Method, path: &str, params: Vec<(&'static str, Value)>, effect: Effect) -> Self {
        Self {
            method,
            path: path.to_owned(),
            params,
            query: None,
            is_stream: false,
            body: Bytes::new(),
            effect: Some(effect),
        }
    }

    fn with_body(self, body: Bytes) -> Self {
        Self {
            is_stream: true,
            body,
            ..self
        }
    }
}

fn name_of(number: u8) -> String {
    NAMES[usize::from(number) % NAMES.len()].to_owned()
}

fn size_of(number: u8) -> Option<u64> {
    match number {
        0 => Some(13),
        1 => Some(1),
        2 => Some(FULL),
        4 => Some(FULL + 13),
        5 => Some(0),
        6 => Some(i64::MAX.cast_unsigned()),
        7 => Some(1 << 54),
        8 => Some((1 << 54) + 1),
        9 => Some(u64::MAX),
        10 => Some(2 * FULL),
        _ => None,
    }
}

/// A number of a writer, in most cases one that there is; from 200 on the last.
fn wid_of(number: u8, model: &Model) -> u64 {
    match number {
        200.. => model.last_wid() + u64::from(number == 255) * 256,
        number => number.into(),
    }
}

/// The request that a step means in this state.
pub fn of(verb: Verb, model: &Model, dir: &BackupDir) -> Asked {
    let (post, get) = (Method::POST, Method::GET);
    match verb {
        Verb::CreateDynamic { name } => {
            let name = name_of(name);
            let params = vec![("archive-name", json!(name))];
            Asked::new(
                post,
                "dynamic_index",
                params,
                Effect::Create { name, size: None },
            )
        }
        Verb::CreateFixed { name, size } => {
            let (name, size) = (name_of(name), size_of(size));
            let mut params = vec![("archive-name", json!(name))];
            params.extend(size.map(|size| ("size", json!(size))));
            let effect = Effect::Create {
                name,
                size: Some(size),
            };
            Asked::new(post, "fixed_index", params, effect)
        }
        Verb::Reuse { name, size, fault } => {
            let (name, size) = (name_of(name), size_of(size));
            let old = model.previous_file(&name).filter(|_| fault == 0);
            let csum = old.map_or(Digest::from_bytes([7; 32]), |file| file.csum);
            let mut params = vec![("archive-name", json!(name)), ("reuse-csum", json!(csum))];
            params.extend(size.map(|size| ("size", json!(size))));
            Asked::new(
                post,
                "fixed_index",
                params,
                Effect::Reuse { name, size, csum },
            )
        }
        Verb::Chunk {
            dynamic,
            wid,
            piece,
            fault,
        } => chunk(dynamic, wid_of(wid, model), piece, fault),
        Verb::Append {
            dynamic,
            wid,
            chunks,
        } => {
            let wid = wid_of(wid, model);
            let mut at = model.writer(wid).map_or(0, |writer| writer.claim().1);
            let chunks: Vec<_> = chunks
                .into_iter()
                .map(|(number, place)| entry(number, place, &mut at, dynamic))
                .collect();
            let (offsets, digests): (Vec<u64>, Vec<Digest>) = chunks.iter().copied().unzip();
            // Not numbers that a parameter may have: nothing of the list is looked at.
            let is_sayable = offsets.iter().all(|offset| i64::try_from(*offset).is_ok());
            let meant = if is_sayable { wid } else { 0 };
            let params = vec![
                ("wid", json!(wid)),
                ("digest-list", json!(digests)),
                ("offset-list", json!(offsets)),
            ];
            let path = if dynamic {
                "dynamic_index"
            } else {
                "fixed_index"
            };
            Asked::new(
                Method::PUT,
                path,
                params,
                Effect::Append {
                    dynamic,
                    wid: meant,
                    chunks,
                },
            )
        }
        Verb::Close {
            dynamic,
            wid,
            fault,
        } => close(dynamic, wid_of(wid, model), fault, model),
        Verb::Blob { name, piece, fault } => blob(name_of(name), piece, fault),
        Verb::Manifest { fault } => manifest(fault, model, dir),
        Verb::Finish => Asked::new(post, "finish", Vec::new(), Effect::Finish),
        Verb::Previous { name } => {
            let name = name_of(name);
            let params = vec![("archive-name", json!(name))];
            let asked = Asked::new(get, "previous", params, Effect::Previous { name });
            Asked {
                is_stream: true,
                ..asked
            }
        }
        Verb::PreviousTime => Asked::new(get, "previous_backup_time", Vec::new(), Effect::Nothing),
        Verb::SpeedTest { length } => {
            let asked = Asked::new(post, "speedtest", Vec::new(), Effect::Nothing);
            asked.with_body(vec![length; usize::from(length)].into())
        }
        Verb::Directory => Asked::new(get, "", Vec::new(), Effect::Nothing),
        Verb::Raw {
            method,
            path,
            query,
        } => raw(method, path, &query),
    }
}

/// The offset and the digest of an item of a list; `at` is where the archive ends by then.
fn entry(number: u8, place: u8, at: &mut u64, dynamic: bool) -> (u64, Digest) {
    let piece = piece(number);
    let digest = match number {
        0..0x40 => piece.digest,
        0x80..0xc0 => piece.sealed_digest,
        _ => Digest::from_bytes([number; 32]),
    };
    let length = piece.data.len() as u64;
    // An image of known size is not longer than that from the beginning.
    let end = if dynamic {
        *at
    } else {
        at.div_ceil(FULL).saturating_mul(FULL)
    };
    let start = match place {
        0 if dynamic => end,
        // The last place of the image.
        0 => at.saturating_sub(1) / FULL * FULL,
        1 => 0,
        2 => at.saturating_add(1),
        3 => i64::MAX.cast_unsigned(),
        4 => u64::MAX,
        5 => end,
        place => u64::from(place - 6) * FULL,
    };
    *at = start.saturating_add(length);
    (start, digest)
}

fn chunk(dynamic: bool, wid: u64, number: u8, fault: u8) -> Asked {
    let piece = piece(number);
    let mut body = piece.encoded(fault % 2 == 1).to_vec();
    let (mut digest, mut size) = (piece.digest, piece.data.len() as u64);
    let (mut length, mut sound) = (body.len(), !(6..=17).contains(&fault));
    match fault {
        6 => digest = Digest::from_bytes([number; 32]),
        7 => size += 1,
        8 => length -= 1,
        9 => length += 1,
        10 => body[0] ^= 1,
        // What the client says of it does not count.
        11 => {
            body[8] ^= 1;
            sound = true;
        }
        12 => {
            body.pop();
            length -= 1;
        }
        13 => {
            (body, digest, sound) = (piece.sealed.to_vec(), piece.sealed_digest, true);
            length = body.len();
        }
        14 => size = 0,
        15 => size = (16 << 20) + 1,
        16 => length = (16 << 20) + 45,
        17 => (body, length) = (Vec::new(), 0),
        _ => {}
    }
    let params = vec![
        ("wid", json!(wid)),
        ("digest", json!(digest)),
        ("size", json!(size)),
        ("encoded-size", json!(length)),
    ];
    let path = if dynamic {
        "dynamic_chunk"
    } else {
        "fixed_chunk"
    };
    let effect = Effect::Chunk {
        dynamic,
        wid,
        digest,
        size,
        sound,
    };
    Asked::new(Method::POST, path, params, effect).with_body(body.into())
}

fn close(dynamic: bool, wid: u64, fault: u8, model: &Model) -> Asked {
    let writer = model.writer(wid);
    let (mut count, mut size) = writer.map_or((1, 1), |writer| writer.claim());
    let mut csum = writer.map_or(Digest::from_bytes([0; 32]), |writer| writer.csum());
    match fault {
        1 => count += 1,
        2 => count = count.saturating_sub(1),
        3 => size += 1,
        4 => size = size.saturating_sub(1),
        5 => csum = Digest::from_bytes([7; 32]),
        6 => count = u64::MAX,
        7 => size = u64::MAX,
        _ => {}
    }
    let params = vec![
        ("wid", json!(wid)),
        ("chunk-count", json!(count)),
        ("size", json!(size)),
        ("csum", json!(csum)),
    ];
    let path = if dynamic {
        "dynamic_close"
    } else {
        "fixed_close"
    };
    let size = if size > i64::MAX.cast_unsigned() {
        None
    } else {
        Some(size)
    };
    let mut asked = Asked::new(Method::POST, path, params, Effect::Nothing);
    asked.effect = Some(match size {
        Some(size) => Effect::Close {
            dynamic,
            wid,
            count,
            size,
            csum,
        },
        // Not a number that a parameter may have.
        None => Effect::Close {
            dynamic,
            wid: 0,
            count,
            size: 0,
            csum,
        },
    });
    asked
}

fn blob(name: String, number: u8, fault: u8) -> Asked {
    let mut raw = piece(number).encoded(number % 2 == 1).to_vec();
    let (mut length, sound) = (raw.len(), !(1..=5).contains(&fault));
    match fault {
        1 => length += 1,
        2 => length -= 1,
        3 => raw[8] ^= 1,
        4 => raw[0] ^= 1,
        5 => {
            raw.truncate(11);
            length = 11;
        }
        _ => {}
    }
    let params = vec![("file-name", json!(name)), ("encoded-size", json!(length))];
    let raw = Bytes::from(raw);
    let effect = if name == "index.json.blob" && sound {
        Effect::Manifest(Manifest::Garbage)
    } else {
        Effect::Blob {
            name,
            raw: raw.clone(),
            sound,
        }
    };
    Asked::new(Method::POST, "blob", params, effect).with_body(raw)
}

/// The manifest of what there is by now; or one with a file that there is not.
fn manifest(fault: u8, model: &Model, dir: &BackupDir) -> Asked {
    let mut document = Document::new(dir);
    let mut names = Vec::new();
    let mut add = |name: &str, crypt_mode, size, csum| {
        names.push(name.to_owned());
        let filename = name.parse().expect("it was accepted");
        let file = FileInfo {
            filename,
            crypt_mode,
            size,
            csum,
        };
        document.add_file(file).expect("its name is fine");
    };
    for (name, file) in model.listed() {
        let mode = file.crypt_mode().unwrap_or(CryptMode::None);
        add(name, mode, file.size, file.csum);
    }
    if fault == 1 {
        add(
            "missing.blob",
            CryptMode::None,
            1,
            Digest::from_bytes([1; 32]),
        );
    }
    let raw = document.to_blob().expect("it is a manifest").into_raw();
    let params = vec![
        ("file-name", json!("index.json.blob")),
        ("encoded-size", json!(raw.len())),
    ];
    let effect = Effect::Manifest(Manifest::Of(names));
    Asked::new(Method::POST, "blob", params, effect).with_body(raw)
}

const METHODS: [Method; 5] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::HEAD,
];
const PATHS: [&str; 12] = [
    "blob",
    "dynamic_chunk",
    "dynamic_close",
    "dynamic_index",
    "fixed_chunk",
    "fixed_close",
    "fixed_index",
    "previous",
    "previous_backup_time",
    "../finish",
    "%2e%2e/%66inish",
    "",
];

/// Something that a client might send whose author was drunk.
fn raw(method: u8, path: u8, query: &[u8]) -> Asked {
    Asked {
        method: METHODS[usize::from(method) % METHODS.len()].clone(),
        path: PATHS[usize::from(path) % PATHS.len()].to_owned(),
        params: Vec::new(),
        query: Some(String::from_utf8_lossy(query).into_owned()),
        is_stream: false,
        body: Bytes::new(),
        effect: None,
    }
}

/// Parameters as they are in a query.
pub fn query(params: &[(&'static str, Value)]) -> String {
    let mut pairs = Vec::new();
    for (name, value) in params {
        let values = match value {
            Value::Array(values) => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        for value in values {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let is_plain = text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
            pairs.push(format!("{name}={}", if is_plain { text } else { encoded }));
        }
    }
    pairs.join("&")
}

/// A JSON body of the parameters; with texts in the place of numbers, if they are to be wrong.
pub fn document(params: &[(&'static str, Value)], bend: Bend) -> Bytes {
    let text = |value: &Value| match value {
        Value::Number(number) if bend == Bend::JsonTexts => json!(number.to_string()),
        value => value.clone(),
    };
    let object = params
        .iter()
        .map(|(name, value)| ((*name).to_owned(), text(value)));
    Value::Object(object.collect()).to_string().into()
}

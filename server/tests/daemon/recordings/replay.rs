//! Recorded requests are made again, one after the other, and the answers compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::HeaderMap;
use protocol_client::connection::{Answer, Connection};
use protocol_client::rest::{Credentials, Rest};
use serde_json::Value;

use super::bodies::{Session, Stored};
use super::compare::differences;
use super::parse::{Body, Channel, Exchange};
use super::tasks;
use super::world::ended;

/// Of requests that are alike, one after the other, no more are made.
const ALIKE: usize = 16;

/// A client that does what the recorded one did.
pub struct Replay {
    rest: Rest,
    stored: Stored,
    /// Where the datastore is: there, and here.
    path: (String, String),
    /// Cookie and token against request forgery.
    login: Option<(String, String)>,
    /// Theirs to ours.
    upids: BTreeMap<String, String>,
    backup: Option<Connection>,
    reader: Option<Connection>,
    session: Session,
    /// The logs that were read in this recording: of their UPID, both.
    logs: BTreeMap<String, (Vec<Value>, Vec<Value>)>,
    made: usize,
    differences: String,
}

impl Replay {
    pub fn new(rest: Rest, stored: Stored, path: (&str, &str)) -> Self {
        Self {
            rest,
            stored,
            path: (path.0.to_owned(), path.1.to_owned()),
            login: None,
            upids: BTreeMap::new(),
            backup: None,
            reader: None,
            session: Session::default(),
            logs: BTreeMap::new(),
            made: 0,
            differences: String::new(),
        }
    }

    /// Makes the requests of a recording, each when the one before it is answered.
    pub async fn recording(&mut self, name: &str, exchanges: &[Exchange]) {
        let mut alike = (String::new(), 0);
        for exchange in exchanges {
            let request = format!("{} {}", exchange.method, exchange.target);
            alike = match alike {
                (last, number) if last == request => (last, number + 1),
                _ => (request.clone(), 1),
            };
            if alike.1 > ALIKE && exchange.path() == "speedtest" {
                continue;
            }
            let difference = self.exchange(exchange).await;
            self.made += 1;
            if !difference.is_empty() {
                let _ = writeln!(self.differences, "{name}: {request}\n{difference}");
            }
        }
        self.backup = None;
        self.reader = None;
        for (upid, (real, ours)) in std::mem::take(&mut self.logs) {
            let (real, ours) = (tasks::lines(&real), tasks::lines(&ours));
            let path = (self.path.0.as_str(), self.path.1.as_str());
            let missing = tasks::missing(&real, &ours, path);
            if !missing.is_empty() {
                let missing = missing.join("\n");
                let _ = writeln!(self.differences, "{name}: log of {upid}\n{missing}");
            }
        }
    }

    /// The end: everything was as recorded, and there was something.
    pub fn assert_same(self, at_least: usize) {
        assert!(self.made >= at_least, "only {} requests", self.made);
        assert!(self.differences.is_empty(), "{}", self.differences);
    }

    async fn exchange(&mut self, exchange: &Exchange) -> String {
        if exchange.channel == Channel::Rest {
            if exchange.path().ends_with("/log") {
                return self.log(exchange).await;
            }
            return self.rest(exchange).await;
        }
        let body = self.stored.body(exchange, &self.session);
        let target = with_size(&exchange.target, body.len());
        let request = self.request(exchange, &format!("https://localhost:8007{target}"), &body);
        let connection = match exchange.channel {
            Channel::Reader => &self.reader,
            _ => &self.backup,
        };
        let answer = connection.as_ref().unwrap().send(request).await.unwrap();
        self.session.see(exchange, &body);
        compare(exchange, &answer)
    }

    async fn rest(&mut self, exchange: &Exchange) -> String {
        let body = self.stored.body(exchange, &self.session);
        let request = self.request(exchange, &exchange.target, &body);
        let (answer, upgraded) = self.rest.send(request).await.unwrap();
        if let Some(upgraded) = upgraded {
            let connection = Some(Connection::over(upgraded).await.unwrap());
            if exchange.path().ends_with("/reader") {
                self.reader = connection;
            } else {
                self.backup = connection;
                self.session = Session::open(exchange);
            }
        }
        if let Ok(ours) = answer.clone().json() {
            let real = match &exchange.answer {
                Body::Text(real) => serde_json::from_str(real).unwrap_or_default(),
                _ => Value::Null,
            };
            self.learn(&real["data"], &ours["data"]);
            self.wait(exchange, &ours["data"]).await;
        }
        if exchange.answer_headers.is_empty() {
            // It is not known what the answer was, but that it was a good one.
            assert!(answer.status.is_success(), "{}", answer.text());
            return String::new();
        }
        compare(exchange, &answer)
    }

    /// Who does not look into the log of a task goes on when it has ended.
    async fn wait(&self, exchange: &Exchange, data: &Value) {
        let follows = exchange.header("user-agent").is_some();
        if let Some(upid) = data
            .as_str()
            .filter(|text| !follows && text.starts_with("UPID:"))
        {
            let (ticket, csrf) = self.login.clone().unwrap();
            let mut rest = self.rest.clone();
            rest.credentials = Credentials::Ticket { ticket, csrf };
            assert_eq!(ended(&rest, upid).await, "OK", "{upid}");
        }
    }

    /// Remembers login and UPID.
    fn learn(&mut self, real: &Value, ours: &Value) {
        let text = |name: &str| ours[name].as_str().map(str::to_owned);
        if let (Some(ticket), Some(csrf)) = (text("ticket"), text("CSRFPreventionToken")) {
            self.login = Some((ticket, csrf));
        }
        if let (Some(real), Some(ours)) = (real.as_str(), ours.as_str())
            && real.starts_with("UPID:")
        {
            self.upids.insert(real.to_owned(), ours.to_owned());
        }
    }

    /// The UPID of theirs that is in this path.
    fn upid_in(&self, target: &str) -> Option<(&str, &str)> {
        let found = self.upids.iter().find(|(real, _)| {
            let real = escape(real);
            target.contains(&real)
        });
        found.map(|(real, ours)| (real.as_str(), ours.as_str()))
    }

    /// The log of a task: read to its end at the first request for it, as the recorded client did.
    async fn log(&mut self, exchange: &Exchange) -> String {
        let Body::Text(text) = &exchange.answer else {
            panic!("{}: no log", exchange.target);
        };
        let piece: Value = serde_json::from_str(text).unwrap();
        let (real, _) = self.upid_in(&exchange.target).unwrap();
        let real = real.to_owned();
        if let Some((pieces, _)) = self.logs.get_mut(&real) {
            pieces.push(piece);
            return String::new();
        }
        let (path, _) = exchange.target.split_once('?').unwrap();
        let (mut start, mut pieces) = (1, Vec::new());
        loop {
            let target = format!("{path}?limit=500&start={start}&test-status=true");
            let request = self.request(exchange, &target, &Bytes::new());
            let (answer, _) = self.rest.send(request).await.unwrap();
            let problem = compare_head(exchange, &answer);
            if !problem.is_empty() {
                return problem;
            }
            let ours = answer.json().unwrap();
            let names = |value: &Value| {
                value
                    .as_object()
                    .unwrap()
                    .keys()
                    .cloned()
                    .collect::<Vec<_>>()
            };
            if names(&ours) != names(&piece) || ours["success"] != piece["success"] {
                return format!("  {ours}");
            }
            start += ours["data"].as_array().unwrap().len();
            let active = ours["active"].as_bool().unwrap();
            pieces.push(ours);
            if !active {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.logs.insert(real, (vec![piece], pieces));
        String::new()
    }

    /// With the recorded headers, but for what is a secret of either server.
    fn request(&self, exchange: &Exchange, target: &str, body: &Bytes) -> Request<Full<Bytes>> {
        let mut target = target.to_owned();
        if let Some((real, ours)) = self.upid_in(&target) {
            target = target.replace(&escape(real), &escape(ours));
        }
        let method = exchange.method.as_str();
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in &exchange.headers {
            let value = match (name.as_str(), &self.login) {
                ("cookie", Some((ticket, _))) => format!("PBSAuthCookie={ticket}"),
                ("csrfpreventiontoken", Some((_, csrf))) => csrf.clone(),
                _ => value.clone(),
            };
            request = request.header(name, value);
        }
        request.body(Full::new(body.clone())).unwrap()
    }
}

/// As the recorded client escapes UPIDs.
fn escape(upid: &str) -> String {
    let mut escaped = String::new();
    for byte in upid.bytes() {
        if byte.is_ascii_alphanumeric() {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// Our manifests have another length than the recorded ones.
fn with_size(target: &str, size: usize) -> String {
    if !target.ends_with("&file-name=index.json.blob") {
        return target.to_owned();
    }
    format!("/blob?encoded-size={size}&file-name=index.json.blob")
}

fn compare(exchange: &Exchange, answer: &Answer) -> String {
    let head = compare_head(exchange, answer);
    if !head.is_empty() {
        return head;
    }
    match &exchange.answer {
        Body::None if answer.body.is_empty() => String::new(),
        Body::None => format!("  a body: {}\n", answer.text()),
        Body::Start(length, start) => compare_file(exchange, *length, start, &answer.body),
        Body::Text(text) => {
            let Some(mut real) = json_of(text) else {
                return match answer.text() {
                    ours if ours == *text => String::new(),
                    ours => format!("  {ours:?}, was {text:?}\n"),
                };
            };
            let mut ours = answer.clone().json().unwrap_or_default();
            if text.ends_with("[cut]") {
                shorten(&mut real, &mut ours);
            }
            differences(&real, &ours)
        }
    }
}

fn compare_head(exchange: &Exchange, answer: &Answer) -> String {
    let mut found = String::new();
    if answer.status != exchange.status {
        let text = answer.text();
        let _ = writeln!(
            found,
            "  {}, was {}: {text}",
            answer.status, exchange.status
        );
    }
    let kind = |headers: &HeaderMap| {
        let value = headers.get("content-type")?;
        Some(value.to_str().unwrap().to_owned())
    };
    let ours = kind(&answer.headers);
    if ours.as_deref() != exchange.answer_header("content-type") {
        let real = exchange.answer_header("content-type");
        let _ = writeln!(found, "  content type {ours:?}, was {real:?}");
    }
    for name in ["upgrade", "connection"] {
        let ours = answer
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok());
        if exchange.status == 101 && ours != exchange.answer_header(name) {
            let _ = writeln!(found, "  {name}: {ours:?}");
        }
    }
    if answer.headers.contains_key("set-cookie") {
        let _ = writeln!(found, "  a cookie that was not set");
    }
    found
}

/// A file or a chunk: its length, and its beginning. An index has a UUID of its own after its
/// magic number; a manifest is as long as it is compressed.
fn compare_file(exchange: &Exchange, length: usize, start: &[u8], ours: &Bytes) -> String {
    let name = ["file-name", "archive-name"]
        .iter()
        .find_map(|parameter| exchange.parameter(parameter))
        .unwrap_or_default();
    let is_manifest = name == "index.json.blob";
    let known = if is_manifest || name.ends_with("idx") {
        8
    } else {
        start.len()
    };
    let (shorter, longer) = (length.min(ours.len()), length.max(ours.len()));
    let fits = if is_manifest {
        longer * 3 <= shorter * 4
    } else {
        shorter == longer
    };
    if fits && ours.starts_with(&start[..known]) {
        return String::new();
    }
    format!(
        "  {} bytes, were {length}, or they begin otherwise\n",
        ours.len()
    )
}

/// A text that is JSON; of one that was cut, the items of its list that are whole.
fn json_of(text: &str) -> Option<Value> {
    if let Some(cut) = text.strip_suffix("[cut]") {
        let end = cut.rfind("},{").unwrap();
        return serde_json::from_str(&format!("{}}}]}}", &cut[..end])).ok();
    }
    serde_json::from_str(text).ok()
}

/// As many items as both have: theirs was cut, and there was something before the recordings.
fn shorten(real: &mut Value, ours: &mut Value) {
    let number = |value: &Value| value["data"].as_array().map_or(0, Vec::len);
    let both = number(real).min(number(ours));
    for value in [real, ours] {
        if let Some(items) = value["data"].as_array_mut() {
            items.truncate(both);
        }
    }
}

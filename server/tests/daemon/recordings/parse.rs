//! The recordings: what a real client asked, and what the real server answered.

use std::collections::BTreeMap;

/// The body of a message.
#[derive(Clone, Debug)]
pub enum Body {
    None,
    Text(String),
    /// Its length and how it begins.
    Start(usize, Vec<u8>),
}

/// Where a request was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Rest,
    Backup,
    Reader,
}

/// A request and its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub channel: Channel,
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Body,
    pub status: u16,
    pub answer_headers: Vec<(String, String)>,
    pub answer: Body,
}

impl Exchange {
    fn new(channel: Channel, method: &str, target: &str) -> Self {
        Self {
            channel,
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Body::None,
            status: 0,
            answer_headers: Vec::new(),
            answer: Body::None,
        }
    }

    /// What a script asked by `# command: …/api.sh METHOD PATH -d FIELD`; the answer is not known.
    pub fn of_command(text: &str) -> Option<Self> {
        let (_, command) = text.lines().next()?.split_once("/api.sh ")?;
        Some(Self::by_form(command))
    }

    /// `METHOD PATH -d FIELD…`, as `curl` sends it, with a login.
    fn by_form(command: &str) -> Self {
        let (method, rest) = command.split_once(' ').unwrap();
        let mut words = rest.split(" -d ").map(str::trim);
        let target = format!("/api2/json{}", words.next().unwrap());
        let mut exchange = Self::new(Channel::Rest, method, &target);
        exchange.status = 200;
        for name in ["cookie", "csrfpreventiontoken"] {
            exchange.headers.push((name.to_owned(), String::new()));
        }
        if method != "GET" {
            let kind = "application/x-www-form-urlencoded".to_owned();
            exchange.headers.push(("content-type".to_owned(), kind));
            exchange.body = Body::Text(words.collect::<Vec<_>>().join("&"));
        }
        exchange
    }

    /// The path, without slashes at its ends.
    pub fn path(&self) -> &str {
        let path = self.target.split('?').next().unwrap_or_default();
        path.trim_matches('/')
    }

    /// A parameter of the query; none of those that matter here is escaped.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let query = self.target.split_once('?')?.1;
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub fn answer_header(&self, name: &str) -> Option<&str> {
        find(&self.answer_headers, name)
    }

    /// The answer's text.
    pub fn text(&self) -> &str {
        match &self.answer {
            Body::Text(text) => text,
            Body::None => "",
            Body::Start(..) => panic!("{} {}: not a text", self.method, self.target),
        }
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}

/// The exchanges of a recording of the client, in the order of the requests.
pub fn exchanges(text: &str) -> Vec<Exchange> {
    let mut all: Vec<Exchange> = Vec::new();
    // By protocol and number of the request or stream; the channels of a recording never wait for
    // two of the same number.
    let mut waiting: BTreeMap<String, usize> = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("    ") {
            let Some((index, of_answer)) = current else {
                panic!("{line}: of nothing");
            };
            part(&mut all[index], of_answer, rest);
        } else if line.starts_with("H1 ") || line.starts_with("H2 ") {
            let pieces: Vec<_> = line.splitn(4, ' ').collect();
            let key = pieces[..2].join(" ");
            if pieces[2] == ">" {
                let (method, url) = pieces[3].split_once(' ').unwrap();
                let (_, after) = url.split_once(":8007").unwrap();
                all.push(Exchange::new(channel(line, method, after), method, after));
                let earlier = waiting.insert(key, all.len() - 1);
                assert!(earlier.is_none(), "{line}: asked twice");
                current = Some((all.len() - 1, false));
            } else if let Some(body) = pieces[3].strip_prefix("  body: ") {
                let (index, _) = current.unwrap();
                all[index].answer = parse_body(body);
            } else {
                let index = waiting.remove(&key).unwrap();
                all[index].status = pieces[3].split(' ').next().unwrap().parse().unwrap();
                current = Some((index, true));
            }
        }
    }
    assert!(waiting.is_empty(), "without an answer: {waiting:?}");
    in_order_of_numbers(&mut all);
    all
}

fn channel(line: &str, method: &str, target: &str) -> Channel {
    let path = target.trim_start_matches('/');
    let word = path.split('?').next().unwrap_or_default();
    match word {
        _ if line.starts_with("H1 ") => Channel::Rest,
        "download" | "chunk" => Channel::Reader,
        "speedtest" if method == "GET" => Channel::Reader,
        _ => Channel::Backup,
    }
}

/// A line below a request or an answer.
fn part(exchange: &mut Exchange, of_answer: bool, line: &str) {
    if let Some(body) = line.strip_prefix("> body: ") {
        exchange.body = parse_body(body);
    } else if let Some(body) = line.strip_prefix("< body: ") {
        exchange.answer = parse_body(body);
    } else {
        let (name, value) = line.split_once(": ").unwrap();
        let headers = if of_answer {
            &mut exchange.answer_headers
        } else {
            &mut exchange.headers
        };
        headers.push((name.to_owned(), value.to_owned()));
    }
}

/// `(N bytes) text`, `(N bytes binary) hex...`, `N bytes, starts (M bytes binary) hex...`
fn parse_body(text: &str) -> Body {
    let number = text.trim_start_matches('(');
    let length = number.split(' ').next().unwrap().parse().unwrap();
    let (kind, content) = text.split_once(") ").unwrap();
    if kind.ends_with("binary") {
        let hex: String = content.split([' ', '.']).collect();
        return Body::Start(length, hex::decode(hex).unwrap());
    }
    Body::Text(content.to_owned())
}

/// Indexes that were created at once got their numbers in whatever order; this client waits for
/// each answer, and creates them in that order.
fn in_order_of_numbers(all: &mut [Exchange]) {
    let creates =
        |exchange: &Exchange| exchange.method == "POST" && exchange.path().ends_with("_index");
    let groups = all.chunk_by_mut(|a, b| creates(a) && creates(b));
    for group in groups.filter(|group| creates(&group[0])) {
        group.sort_by_key(|exchange| exchange.text().to_owned());
    }
}

/// The requests of `rest.txt`, which were made by `curl` with a form: method, path, form, status,
/// answer.
pub fn rest_calls(text: &str) -> Vec<Exchange> {
    let mut all = Vec::new();
    for block in text.split("##### ").skip(1) {
        let (request, answer) = block.split_once('\n').unwrap();
        let mut exchange = Exchange::by_form(request);
        let answer = answer.replace('\r', "");
        let (head, body) = answer.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap();
        exchange.status = status.split(' ').nth(1).unwrap().parse().unwrap();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            let header = (name.to_owned(), value.to_owned());
            exchange.answer_headers.push(header);
        }
        exchange.answer = Body::Text(body.trim_end().to_owned());
        all.push(exchange);
    }
    all
}

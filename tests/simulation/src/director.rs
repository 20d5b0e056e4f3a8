//! How long each request takes and what it meets: a function of the plan and of what the request
//! is, so that leaving an element of the plan out changes as little as possible for the rest.
#![allow(
    clippy::disallowed_methods,
    reason = "the clock of the simulated world itself"
)]

use std::collections::HashMap;
use std::time::Duration;

use s3_client::Operation;
use s3_mock::behaviour::{ListBehaviour, ListField, ListOrder, TokenMode};
use s3_mock::{Action, ClientSees, Reply, Treatment};
use tokio::time::Instant;

use crate::bucket::Subject;
use crate::dice::{Dice, mix, text};
use crate::plan::{Episode, Oddity, Setting, Trouble, Weather};

/// What a request goes through.
#[derive(Clone, Debug)]
pub struct Course {
    /// On the way to the server.
    pub before: Duration,
    /// At the server.
    pub treatment: Treatment,
    /// On the way back.
    pub after: Duration,
    /// It is applied so much later than its sender may expect.
    pub late: Option<Duration>,
}

/// Decides.
#[derive(Debug)]
pub struct Director {
    seed: u64,
    latency: u64,
    delete_latency: u64,
    page_size: usize,
    episode: u64,
    began: Instant,
    weather: Vec<(Weather, u32)>,
    /// How often the same thing was asked.
    asked: HashMap<u64, u64>,
    /// Everything is quick and nothing happens: the world stands still meanwhile.
    pub hurry: bool,
}

impl Director {
    /// The director of a world.
    #[must_use]
    pub fn new(seed: u64, world: u64, setting: &Setting) -> Self {
        Self {
            seed: mix(&[seed, world]),
            latency: setting.latency,
            delete_latency: setting.delete_latency,
            page_size: setting.page_size,
            episode: 0,
            began: Instant::now(),
            weather: Vec::new(),
            asked: HashMap::new(),
            hurry: false,
        }
    }

    /// An episode begins.
    pub fn begin(&mut self, episode: &Episode) {
        self.episode = episode.number + 1;
        self.began = Instant::now();
        self.asked.clear();
        let weather = episode.weather.iter();
        self.weather = weather.map(|weather| (weather.clone(), 0)).collect();
    }

    /// The sky clears.
    pub fn calm(&mut self) {
        self.weather.clear();
    }

    /// The course of a request.
    pub fn course(&mut self, subject: &Subject, now: Instant) -> Course {
        let mut course = Course {
            before: Duration::ZERO,
            treatment: Treatment::default(),
            after: Duration::ZERO,
            late: None,
        };
        if self.hurry {
            return course;
        }
        let first = subject.keys.first().map_or("", String::as_str);
        let what = mix(&[text(subject.operation.name()), text(first)]);
        let times = self.asked.entry(what).or_default();
        *times += 1;
        let id = mix(&[self.seed, self.episode, what, *times]);
        let mut dice = Dice::of(&[id]);
        course.before = self.delay(&mut dice);
        course.after = self.delay(&mut dice);
        // What a condemned chunk waits for, and its delete.
        let is_slow = subject.is_delete() || first.ends_with("/epoch");
        if is_slow && dice.percent(70) {
            let more = Duration::from_millis(dice.below(self.delete_latency + 1));
            match dice.percent(50) {
                true => course.before += more,
                false => course.after += more,
            }
        }
        let since = now.saturating_duration_since(self.began).as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        for (weather, hits) in &mut self.weather {
            let is_on = since >= weather.from && since - weather.from < weather.length;
            let chosen = mix(&[id, weather.id]) % 100 < u64::from(weather.percent);
            if is_on && chosen && *hits < weather.most && concerns(weather.kind, subject) {
                *hits += 1;
                strike(weather.kind, &mut dice, self.page_size, &mut course);
                break;
            }
        }
        course
    }

    fn delay(&self, dice: &mut Dice) -> Duration {
        let millis = match dice.below(100) {
            0..30 => 0,
            30..85 => dice.below(self.latency + 1),
            85..97 => dice.below(self.latency * 10 + 1),
            97..99 => dice.below(self.latency * 40 + 1),
            _ => dice.below(30_000),
        };
        Duration::from_millis(millis)
    }
}

fn concerns(kind: Trouble, subject: &Subject) -> bool {
    let of_chunks = || subject.keys.iter().any(|key| key.contains("/.chunks/"));
    let metadata = || subject.keys.iter().any(|key| key.contains("/.cnt/"));
    let is_put = matches!(
        subject.operation,
        Operation::PutObject | Operation::CopyObject
    );
    match kind {
        Trouble::LateDelete { .. } => subject.is_delete() && of_chunks(),
        Trouble::LatePut { .. } => is_put && of_chunks(),
        Trouble::LateMetadata { .. } => (is_put || subject.is_delete()) && metadata(),
        Trouble::Listing(_) => subject.operation == Operation::ListObjects && of_chunks(),
        Trouble::Truncated => matches!(
            subject.operation,
            Operation::GetObject | Operation::ListObjects
        ),
        _ => true,
    }
}

fn strike(kind: Trouble, dice: &mut Dice, page_size: usize, course: &mut Course) {
    let late = |seconds: u64, dice: &mut Dice| {
        let after = Duration::from_secs(seconds) + Duration::from_millis(dice.below(1000));
        let client = match dice.below(3) {
            0 => ClientSees::Hang,
            1 => ClientSees::Reply(Reply::internal_error()),
            _ => ClientSees::Drop,
        };
        let action = Action::Late {
            after: Some(after),
            client,
        };
        (Some(after), Some(action))
    };
    let treatment = &mut course.treatment;
    match kind {
        Trouble::LostAnswer => treatment.action = Some(Action::ApplyThenDrop),
        Trouble::NoAnswer => treatment.action = Some(Action::ApplyThenHang),
        Trouble::Lost => treatment.action = Some(Action::Drop),
        Trouble::Hang => treatment.action = Some(Action::Hang),
        Trouble::Unavailable => treatment.action = Some(Action::Reply(Reply::slow_down())),
        Trouble::TooMany => treatment.action = Some(Action::Reply(Reply::status(429))),
        Trouble::LyingError => {
            treatment.action = Some(Action::ApplyThenReply(Reply::internal_error()));
        }
        Trouble::Truncated => treatment.action = Some(Action::TruncateBody { keep: 40 }),
        Trouble::LateDelete { after, in_network } => {
            treatment.in_network = in_network;
            (course.late, treatment.action) = late(after, dice);
        }
        Trouble::LatePut { after } | Trouble::LateMetadata { after } => {
            (course.late, treatment.action) = late(after, dice);
        }
        Trouble::Listing(oddity) => treatment.listing = Some(listing(oddity, page_size)),
    }
}

/// How the server lists in this world.
#[must_use]
pub fn plain_listing(page_size: usize) -> ListBehaviour {
    ListBehaviour {
        page_size,
        ..ListBehaviour::default()
    }
}

fn listing(oddity: Oddity, page_size: usize) -> ListBehaviour {
    let mut list = plain_listing(page_size);
    match oddity {
        Oddity::Stale(seconds) => list.stale = Duration::from_secs(seconds),
        Oddity::Disordered => list.order = ListOrder::Hashed,
        Oddity::Backwards => list.order = ListOrder::ReversedPages,
        Oddity::Cut => list.cut_after_pages = Some(1),
        Oddity::RepeatedToken => list.tokens = TokenMode::Repeats { from_page: 0 },
        Oddity::NoToken => list.tokens = TokenMode::Missing { from_page: 0 },
        Oddity::Offsets => list.tokens = TokenMode::Offset,
        Oddity::Overlap => list.tokens = TokenMode::Overlap,
        Oddity::Undated => {
            list.omit.insert(ListField::LastModified);
        }
    }
    list
}

//! The router under generated requests: over the whole table, from parameters that fit to ones that
//! nobody should send, by callers with all rights, with none, and without a name.
//!
//! | module | what |
//! |---|---|
//! | `generate` | requests, and what is known of them beforehand |
//! | `values` | values of their parameters |
//! | `world` | a server with a datastore, and its files |
//!
//! The cases are the same in each run; `ROUTER_SEED` and `ROUTER_CASES` ask for others.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests are not tests to the lint
#![allow(clippy::disallowed_methods)] // a test looks at files as they are

mod generate;
mod values;
mod world;

use std::cell::RefCell;
use std::collections::BTreeSet;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use serde_json::Value;

use generate::{Case, Who};
use world::{Got, World};

/// What all cases together may add to the memory of this process.
const MAX_MEMORY: u64 = 384 << 20;
/// More than any answer to a request without content has.
const MAX_ANSWER: usize = 1 << 20;

/// What the cases were good for: a test that only sees refusals shows nothing.
#[derive(Debug, Default)]
struct Tally {
    /// Endpoints that did what somebody with all rights asked for.
    done: BTreeSet<String>,
    /// Whether the content of the snapshot was read by somebody who may.
    has_read: bool,
    /// Requests refused for want of a name, of rights, of good parameters.
    nameless: usize,
    powerless: usize,
    faulty: usize,
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap(),
        Err(_) => default,
    }
}

#[test]
fn whatever_is_asked_nobody_gets_more_than_is_theirs() {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number("ROUTER_SEED", 1).to_le_bytes());
    let config = Config {
        cases: u32::try_from(number("ROUTER_CASES", 3000)).unwrap(),
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let world = runtime.block_on(World::create());
    let before = world::peak_memory();
    let tally = RefCell::new(Tally::default());
    let result = runner.run(&generate::cases(), |case| {
        runtime
            .block_on(check(&world, &case, &tally))
            .map_err(|why| TestCaseError::fail(format!("{why}\n{}", case.uri())))
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let Tally {
        done,
        has_read,
        nameless,
        powerless,
        faulty,
    } = tally.into_inner();
    assert!(done.len() >= 40, "{}: {done:#?}", done.len());
    assert!(has_read, "no download of the snapshot's content");
    let counts = [nameless, powerless, faulty];
    assert!(counts.iter().all(|count| *count >= 100), "{counts:?}");
    let grown = world::peak_memory() - before;
    assert!(grown < MAX_MEMORY, "{} MiB", grown >> 20);
}

macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}

async fn check(world: &World, case: &Case, tally: &RefCell<Tally>) -> Result<(), String> {
    let Ok(request) = case.request(world) else {
        // Not even the client's library would send it.
        return Ok(());
    };
    let may_change = case.who == Who::Admin;
    let Some(got) = world.ask(request).await else {
        return Err("there is no answer".into());
    };
    let shown = &got.body[..got.body.floor_char_boundary(300)];
    ensure!(
        got.body.len() <= MAX_ANSWER,
        "{} bytes of answer",
        got.body.len()
    );
    let status = got.status;
    ensure!(status < 500 || status == 501, "{status}: {shown}");
    ensure!(
        matches!(status, 200 | 400 | 401 | 403 | 404 | 414 | 501),
        "{status}: {shown}"
    );
    if case.is_head() {
        // No endpoint is asked by it, and no answer to it has a body.
        ensure!(got.body.is_empty(), "{status}: {shown}");
        return unchanged(world, false);
    }
    let answer = outcome(case, &got)?;
    if case.who != Who::Admin && answer.is_ok() {
        let told = world::SECRETS
            .iter()
            .find(|secret| got.body.contains(*secret));
        ensure!(told.is_none(), "told to {:?}: {told:?}", case.who);
    }
    if case.reaches_table() && status != 414 {
        if case.who == Who::Nobody && !case.is_world() {
            ensure!(status == 401, "without credentials: {status} {shown}");
            ensure!(got.body == "authentication failed", "{shown}");
            tally.borrow_mut().nameless += 1;
        }
        if case.who == Who::Weak && case.needs_privileges() {
            ensure!(answer.is_err(), "without rights: {status} {shown}");
            tally.borrow_mut().powerless += 1;
        }
        if let Some(fault) = case.fault() {
            ensure!(answer.is_err(), "{fault}: {status} {shown}");
            if case.who == Who::Admin && !case.is_world() {
                let told = &answer.unwrap_err();
                ensure!(
                    status == 400 || case.is_extjs(),
                    "{fault}: {status} {shown}"
                );
                ensure!(told.contains(&fault.word), "{fault}: {told}");
                tally.borrow_mut().faulty += 1;
            }
        } else if answer.is_ok() && case.who == Who::Admin {
            let mut tally = tally.borrow_mut();
            tally.has_read |= got.body.contains(world::SECRETS[0]);
            tally.done.insert(case.endpoint());
        }
    }
    unchanged(world, may_change)
}

/// Nothing else has changed than may have been asked for; that is put back.
fn unchanged(world: &World, may_change: bool) -> Result<(), String> {
    let changed = world.changes();
    ensure!(
        changed.outside.is_empty(),
        "changed outside: {:?}",
        changed.outside
    );
    ensure!(
        may_change || changed.inside.is_empty(),
        "changed: {:?}",
        changed.inside
    );
    world.restore(&changed);
    Ok(())
}

/// What it says: an error's text, if it says so in one of the two ways.
fn outcome(case: &Case, got: &Got) -> Result<Result<(), String>, String> {
    if got.status == 401 {
        ensure!(
            got.forgets_ticket,
            "401 without the header that forgets the ticket"
        );
    }
    if got.status != 200 || got.is_raw {
        let is_empty = got.body.is_empty() && got.status != 414 && !got.is_raw;
        ensure!(!is_empty, "{} without a word", got.status);
        let is_json_error = serde_json::from_str::<Value>(&got.body).is_ok_and(|v| v.is_object());
        ensure!(
            !is_json_error || got.is_raw,
            "an error in JSON: {}",
            got.body
        );
        return Ok(if got.status == 200 {
            Ok(())
        } else {
            Err(got.body.clone())
        });
    }
    let value: Value = serde_json::from_str(&got.body).map_err(|error| format!("{error}"))?;
    if !case.is_extjs() {
        ensure!(value.get("data").is_some(), "no data: {value}");
        return Ok(Ok(()));
    }
    if value["success"] == true {
        ensure!(
            value["status"] == 200 && value.get("data").is_some(),
            "{value}"
        );
        return Ok(Ok(()));
    }
    ensure!(
        value["success"] == false && value["status"].is_u64(),
        "{value}"
    );
    let Some(message) = value["message"].as_str() else {
        return Err(format!("no message: {value}"));
    };
    ensure!(
        value["status"]
            .as_u64()
            .is_some_and(|s| s < 500 || s == 501),
        "{value}"
    );
    Ok(Err(message.to_owned()))
}

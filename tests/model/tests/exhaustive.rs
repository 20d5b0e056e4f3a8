//! With all rules in force no configuration reaches a violation.
//!
//! `MODEL_DEEP=1` (`make model`) explores the larger bounds as well.

#![allow(clippy::panic, reason = "a helper of the tests")]

use model::explore::{Explored, Protocol, explore};
use model::marking::{self, Marking};
use model::rule::Rules;
use model::servers::Servers;
use model::store::{Store, topics};

const MANY: usize = 200_000_000;

fn holds<P: Protocol>(name: &str, protocol: &P, sum: &mut Explored) {
    let explored = explore(protocol, MANY);
    println!(
        "{name}: {} states, {} transitions",
        explored.states, explored.transitions
    );
    if let Some(found) = explored.counterexample {
        panic!("{name}: {found}");
    }
    assert!(!explored.truncated, "{name} is too large");
    sum.states += explored.states;
    sum.transitions += explored.transitions;
}

#[test]
fn no_configuration_reaches_a_violation() {
    let mut sum = Explored::default();
    let deep = std::env::var_os("MODEL_DEEP").is_some();
    for config in topics::ALL {
        holds(config.name, &Store::new(*config, Rules::ALL), &mut sum);
        if deep {
            let deep = topics::deep(*config);
            holds("… deep", &Store::new(deep, Rules::ALL), &mut sum);
        }
    }
    for config in marking::topics::ALL {
        holds(config.name, &Marking::new(*config, Rules::ALL), &mut sum);
        if deep && config.sessions < 2 {
            let deep = marking::Config {
                sessions: 2,
                ..*config
            };
            holds("… deep", &Marking::new(deep, Rules::ALL), &mut sum);
        }
    }
    let servers = Servers { rules: Rules::ALL };
    holds("two servers", &servers, &mut sum);
    println!(
        "together: {} states, {} transitions",
        sum.states, sum.transitions
    );
    // A model that cannot move shows nothing.
    assert!(sum.states > 1_000_000, "{} states", sum.states);
}

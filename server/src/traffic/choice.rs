//! Which rule counts for a connection.

use std::net::IpAddr;

use api_types::auth::Userid;
use jiff::civil::DateTime;

use crate::config::traffic::TrafficRule;

/// The number of the rule that counts: one for this user before one for everybody, then the one
/// with the narrowest network, then the first.
pub fn choose<'a>(
    rules: impl Iterator<Item = &'a TrafficRule>,
    peer: IpAddr,
    user: Option<&Userid>,
    now: DateTime,
) -> Option<usize> {
    let mut best: Option<(bool, u8, usize)> = None;
    for (number, rule) in rules.enumerate() {
        let is_time =
            rule.timeframe.is_empty() || rule.timeframe.iter().any(|time| time.contains(now));
        let is_user = rule.users.is_empty()
            || user.is_some_and(|user| rule.users.iter().any(|other| other == user));
        let prefix = rule
            .network
            .iter()
            .filter(|network| network.contains(peer))
            .map(crate::network::Network::prefix)
            .max();
        let Some(prefix) = prefix.filter(|_| is_time && is_user) else {
            continue;
        };
        let rank = (!rule.users.is_empty(), prefix);
        if best.is_none_or(|(for_users, length, _)| rank > (for_users, length)) {
            best = Some((rank.0, rank.1, number));
        }
    }
    best.map(|(_, _, number)| number)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::config::Entity as _;

    fn rule(pairs: &[(&str, &str)]) -> TrafficRule {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let properties: Vec<_> = pairs.iter().map(owned).collect();
        TrafficRule::from_section("rule", "name", &properties).unwrap()
    }

    #[test]
    fn users_before_networks_before_order() {
        let rules = [
            rule(&[("network", "0.0.0.0/0"), ("network", "::/0")]),
            rule(&[("network", "10.0.0.0/8")]),
            rule(&[("network", "10.0.0.0/8")]),
            rule(&[("network", "10.0.0.0/16"), ("timeframe", "8-12")]),
            rule(&[("network", "0.0.0.0/0"), ("users", "a@pbs")]),
        ];
        let chosen = |peer: &str, user: Option<&str>, hour: i8| {
            let user: Option<Userid> = user.map(|user| user.parse().unwrap());
            let now = date(2026, 1, 5).at(hour, 0, 0, 0);
            choose(rules.iter(), peer.parse().unwrap(), user.as_ref(), now)
        };
        assert_eq!(chosen("192.0.2.1", None, 9), Some(0));
        assert_eq!(chosen("10.0.0.1", None, 9), Some(3));
        assert_eq!(chosen("::ffff:10.0.0.1", None, 9), Some(3));
        assert_eq!(chosen("10.0.0.1", None, 13), Some(1));
        assert_eq!(chosen("10.0.0.1", Some("b@pbs"), 13), Some(1));
        assert_eq!(chosen("10.0.0.1", Some("a@pbs"), 9), Some(4));
        assert_eq!(chosen("::1", Some("a@pbs"), 9), Some(0));
        let none = choose(
            [].iter(),
            "::1".parse().unwrap(),
            None,
            date(2026, 1, 5).at(0, 0, 0, 0),
        );
        assert_eq!(none, None);
    }
}

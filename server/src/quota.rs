//! Shares of what there is only so much of: in all, and for each address that asks.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bits of an IPv6 address that one customer gets.
const CUSTOMER_BITS: u32 = 64;

/// What counts as one address.
#[must_use]
pub fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mask = u128::MAX << (128 - CUSTOMER_BITS);
            Ipv6Addr::from(u128::from(address) & mask).into()
        }
        address => address,
    }
}

/// How much there is.
#[derive(Debug)]
pub struct Quota {
    total: u64,
    each: u64,
    taken: Mutex<Taken>,
}

/// There are no more addresses than shares.
#[derive(Debug, Default)]
struct Taken {
    total: u64,
    by: HashMap<IpAddr, u64>,
}

/// What somebody has of it; given back when dropped.
#[derive(Debug)]
pub struct Share {
    quota: Arc<Quota>,
    source: Option<IpAddr>,
    amount: u64,
}

impl Quota {
    /// So much in all, and for each address.
    #[must_use]
    pub fn new(total: u64, each: u64) -> Arc<Self> {
        Arc::new(Self {
            total,
            each,
            taken: Mutex::default(),
        })
    }

    /// A share for an address, of nothing yet. Without one only the whole limits it.
    #[must_use]
    pub fn share(self: &Arc<Self>, address: Option<IpAddr>) -> Share {
        Share {
            quota: Arc::clone(self),
            source: address.map(source),
            amount: 0,
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Each change is complete before anything can panic.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Takes so much more; says whether there was so much.
    #[must_use]
    pub fn take(&mut self, amount: u64) -> bool {
        let mut taken = self.quota.taken();
        let own = self
            .source
            .and_then(|source| taken.by.get(&source).copied());
        let own = own.unwrap_or_default().saturating_add(amount);
        let total = taken.total.saturating_add(amount);
        if total > self.quota.total || (self.source.is_some() && own > self.quota.each) {
            return false;
        }
        taken.total = total;
        if let Some(source) = self.source {
            taken.by.insert(source, own);
        }
        self.amount += amount;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.quota.taken();
        taken.total -= self.amount;
        if let Some(source) = self.source
            && let Some(own) = taken.by.get_mut(&source)
        {
            *own -= self.amount;
            if *own == 0 {
                taken.by.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_limit_and_all_have_theirs() {
        let quota = Quota::new(5, 3);
        let share = |address: &str| quota.share(Some(address.parse().unwrap()));
        let mut one = share("2001:db8::1");
        let mut neighbour = share("2001:db8::2");
        assert!(one.take(2) && neighbour.take(1));
        assert!(!neighbour.take(1) && !one.take(u64::MAX));
        let mut other = share("192.0.2.1");
        let mut same = share("::ffff:192.0.2.1");
        assert!(other.take(1) && same.take(1));
        assert!(!same.take(1) && !quota.share(None).take(1));
        drop(one);
        assert!(neighbour.take(2) && !neighbour.take(1));
        drop((neighbour, other, same));
        assert_eq!(quota.taken().total, 0);
        assert!(quota.taken().by.is_empty());
    }
}

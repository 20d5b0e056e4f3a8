//! A value that callers change: what it may be, by what they were told.

/// A value, and the changes of it that are under way.
#[derive(Clone, Debug)]
pub struct Register<T> {
    /// What it may be: one value if the last change was acknowledged.
    settled: Vec<T>,
    /// Changes under way.
    pending: Vec<(u64, T)>,
    /// It may be anything.
    unknown: bool,
    next: u64,
}

impl<T> Default for Register<T> {
    fn default() -> Self {
        Self {
            settled: Vec::new(),
            pending: Vec::new(),
            unknown: true,
            next: 0,
        }
    }
}

impl<T: Clone + PartialEq> Register<T> {
    /// It is this.
    #[must_use]
    pub fn of(value: T) -> Self {
        let mut register = Self::default();
        register.know(value);
        register
    }

    /// It is this from now on, but for changes under way.
    pub fn know(&mut self, value: T) {
        self.settled = vec![value];
        self.unknown = false;
    }

    /// Nothing is known of it any more.
    pub fn forget(&mut self) {
        self.unknown = true;
    }

    /// It may be this as well.
    pub fn may_be(&mut self, value: T) {
        if !self.settled.contains(&value) {
            self.settled.push(value);
        }
    }

    /// Somebody begins to change it.
    pub fn begin(&mut self, value: T) -> u64 {
        self.next += 1;
        self.pending.push((self.next, value));
        self.next
    }

    /// That change was acknowledged.
    pub fn done(&mut self, change: u64) {
        if let Some(value) = self.take(change) {
            self.know(value);
        }
    }

    /// That change ended in another way: it may have taken effect or not.
    pub fn failed(&mut self, change: u64) {
        if let Some(value) = self.take(change) {
            self.may_be(value);
        }
    }

    fn take(&mut self, change: u64) -> Option<T> {
        let place = self.pending.iter().position(|(id, _)| *id == change)?;
        Some(self.pending.swap_remove(place).1)
    }

    /// Whether it may be this.
    #[must_use]
    pub fn allows(&self, value: &T) -> bool {
        self.unknown
            || self.settled.contains(value)
            || self.pending.iter().any(|(_, pending)| pending == value)
    }

    /// What it is for certain.
    #[must_use]
    pub fn certain(&self) -> Option<&T> {
        match self.settled.as_slice() {
            [value] if !self.unknown && self.pending.is_empty() => Some(value),
            _ => None,
        }
    }

    /// What it may be, for a message; nothing if that is anything.
    #[must_use]
    pub fn choices(&self) -> &[T] {
        &self.settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_acknowledged_change_counts_and_failed_ones_may() {
        let mut register = Register::of(1);
        let (first, second) = (register.begin(2), register.begin(3));
        assert!(register.certain().is_none());
        register.done(first);
        assert!(register.allows(&2) && register.allows(&3) && !register.allows(&1));
        register.failed(second);
        assert!(register.certain().is_none() && register.allows(&3));
        let third = register.begin(4);
        register.done(third);
        assert_eq!(register.certain(), Some(&4));
        register.forget();
        assert!(register.certain().is_none() && register.allows(&1));
    }
}

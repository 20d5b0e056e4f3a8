//! What a change came to, and whether that is the last word.

/// The answer to a changing request, with what earlier attempts of the same request left open.
///
/// A retry that succeeds proves what is there now; an attempt before it whose answer was lost may
/// still be applied, after newer changes of the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered<T> {
    /// What the last attempt came to.
    pub outcome: T,
    /// Attempts before it that were sent and got no definite answer.
    pub unresolved: u32,
}

impl<T> Answered<T> {
    /// Whether no earlier attempt can change anything any more.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.unresolved == 0
    }
}

//! G7 no lock across the network: nobody waits for what does not concern him.

use std::time::Duration;

use crate::universe::Universe;

use super::Violation;

/// The longest that an insert may take: all attempts of its own requests with all their pauses and
/// the attempts of a delete that it waits for, several times over.
const LIMIT: Duration = Duration::from_secs(45 * 60);

/// An insert has ended after so long.
pub fn inserted(universe: &Universe, chunk: u8, took: Duration) -> Result<(), Violation> {
    if took <= LIMIT {
        return Ok(());
    }
    let digest = universe.digest(chunk);
    Err(Violation::new(
        "G7",
        format!("an insert of chunk {chunk} {digest} took {took:?}"),
    ))
}

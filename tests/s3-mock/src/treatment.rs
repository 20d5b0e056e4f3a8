//! How one request is treated, for simulations that decide request by request.

use crate::behaviour::ListBehaviour;
use crate::fault::{Action, Chosen};

/// What happens to one request handed over by `MockS3::exchange_treated`.
#[derive(Clone, Debug, Default)]
pub struct Treatment {
    /// Comes back in the journal's lines about the request; 0 = of nobody in particular.
    pub tag: u64,
    /// Its mishap, unless the script has one for it.
    pub action: Option<Action>,
    /// A pause, delay or late delivery happens on the way to the server: signature and date are
    /// checked after it.
    pub in_network: bool,
    /// How it is listed, in place of the server's behaviour.
    pub listing: Option<ListBehaviour>,
}

impl Treatment {
    pub(crate) fn chosen(&self) -> Option<Chosen> {
        let action = self.action.clone()?;
        Some(Chosen {
            action,
            in_network: self.in_network,
        })
    }
}

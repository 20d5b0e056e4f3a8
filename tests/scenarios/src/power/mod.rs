//! The end of a process, and of the power, at any step.
//!
//! A [`Plug`] sees every operation on the disk and every request of the process that it is put
//! before ([`World::plug`](crate::World::plug)), and ends it where it is told to. A [`Disk`] knows what of a
//! directory is on the disk for sure, and makes the real directory what a power failure may leave
//! of it ([`Loss`]).
//!
//! ```ignore
//! let disk = Disk::watch(&world.cache("cache"))?;
//! let plug = Plug::new(disk.clone(), Some(PullAt { step: 17, torn: false }));
//! world.plug = Some(plug.clone());
//! let server = world.open("cache")?;
//! let observation = datastore::disk::observe(plug.clone());
//! tokio::select! {
//!     _ = server.gc() => {}
//!     () = plug.pulled() => {}
//! }
//! drop((server, observation)); // the process is over
//! disk.cut_power(Loss::Any { seed: 1 })?; // only for a power failure
//! ```

mod disk;
mod plug;
mod tree;

pub use disk::{Disk, Loss, Lost};
pub use plug::{Plug, PullAt, Step};

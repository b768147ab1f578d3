//! Who is there, and what they say.
//!
//! Membership by SWIM, node maps (what each node says of itself) and the catalog (what should be), without IO: `handle_*` in, `poll_*` out.
//! A host owns the socket, the clock and the disk: the agent, or a simulation.

mod ids;
pub mod seal;
mod stamp;
mod time;

pub use ids::{Generation, NodeId, NodeIdError};
pub use stamp::{HybridClock, Stamp};
pub use time::{Instant, Now, UnixMicros};

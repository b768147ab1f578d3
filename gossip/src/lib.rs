//! Who is there, and what they say.
//!
//! Membership by SWIM, node maps (what each node says of itself) and the catalog (what should be), without IO: `handle_*` in, `poll_*` out.
//! A host owns the socket, the clock and the disk: the agent, or a simulation.

pub mod canary;
mod catalog;
mod clocks;
mod face;
mod gossip;
mod hash;
mod ids;
pub mod marks;
mod membership;
mod node_map;
mod pack;
mod push_pull;
mod replay;
mod rumour;
pub mod seal;
mod short;
mod stamp;
mod swim;
mod time;
mod traffic;
mod wire;

pub use catalog::{CATALOG_ENTRIES_MAX, Catalog, Entry, KEY_BYTES_MAX, VALUE_BYTES_MAX, check_entry};
pub use clocks::ClockOff;
pub use face::{
    Change, DATAGRAM_BYTES_MAX, DatagramError, DatagramsRefused, Doubt, Durable, FRAME_BYTES_MAX, FrameError, GossipConfig, Me, Member, Met, Output,
    Peer, Restored, StateError, Status,
};
pub use gossip::Gossip;
pub use ids::{Generation, NodeId, NodeIdError};
pub use node_map::{NODE_BYTES_MAX, NODE_KEYS_MAX, NodeMap};
pub use stamp::{HybridClock, Stamp};
pub use time::{Instant, Now, UnixMicros};
pub use traffic::{Sent, Traffic};

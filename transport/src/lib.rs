//! Datagrams and calls between nodes.
//!
//! - [`NodeKey`]: the key pair whose fingerprint is the node's id, in a file of its own.
//! - [`Udp`]: one socket for membership, every datagram sealed with the cluster key.
//! - [`Endpoint`]: typed calls over QUIC with mutual TLS: both ends prove the cluster and their node id.
//!
//! It carries bytes and decides nothing: whom to call, what to say and what a failed call means are the cluster's.

mod key;
mod udp;

pub use key::{NodeKey, NodeKeyError};
pub use udp::{Refused, Udp, UdpCounters, UdpError};

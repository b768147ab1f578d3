//! Datagrams and calls between nodes.
//!
//! - [`NodeKey`]: the key pair whose fingerprint is the node's id, in a file of its own.
//! - [`Udp`]: one socket for membership, every datagram sealed with the cluster key.
//! - [`knock`]: whether the host at an address refuses, which says that no process is there.
//! - [`Endpoint`]: typed calls over QUIC with mutual TLS: both ends prove the cluster and their node id.
//!
//! It carries bytes and decides nothing: whom to call, what to say and what a failed call means are the cluster's.

mod call;
mod certificate;
mod endpoint;
mod frame;
mod gate;
mod key;
mod knock;
mod pool;
mod serve;
mod udp;

pub use call::{CallError, Refusal};
pub use certificate::CertificateError;
pub use endpoint::{DEADLINE_MAX, Endpoint, EndpointConfig, EndpointError};
pub use frame::{FRAME_BYTES_MAX, FRAME_FORMAT, FrameError, decode, encode};
pub use key::{NodeKey, NodeKeyError};
pub use knock::knock;
pub use serve::{Incoming, ReplyError, Responder};
pub use udp::{Refused, Udp, UdpCounters, UdpError};

//! What became of a call that brought no answer.

use std::net::SocketAddr;

use logvine_gossip::NodeId;
use quinn::{ConnectionError, VarInt};

use crate::frame::FrameError;

/// Why a call brought no answer, and whether the peer may have done what was asked: see [`CallError::maybe_delivered`].
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection came about, or it ended before the request was written.
    #[error("cannot reach {address}: {reason}")]
    NotSent { address: SocketAddr, reason: String },
    /// The connection ended after the request was written and before the answer was whole.
    #[error("the connection to {address} ended before the answer came: {reason}")]
    Interrupted { address: SocketAddr, reason: String },
    /// The peer answered that it gives no answer.
    #[error("{address} refused the call: {refusal}")]
    Refused { address: SocketAddr, refusal: Refusal },
    /// The deadline passed. `sent`: the request had been written, at least in part.
    #[error("no answer from {address} within the deadline")]
    Deadline { address: SocketAddr, sent: bool },
    /// The address is a node of our cluster, but not the one that was called: it has moved, or the address was given to another.
    #[error("{address} is node {found}, not {expected}")]
    WrongIdentity { address: SocketAddr, expected: NodeId, found: NodeId },
    /// What answers at the address does not share our cluster key.
    #[error("{address} does not share this node's cluster key ({reason})")]
    NotOurCluster { address: SocketAddr, reason: String },
    /// The caller's own fault: the request makes no frame.
    #[error("the request makes no frame")]
    Request { source: FrameError },
    /// The answer came, and cannot be read: a peer of another version, or a fault.
    #[error("the answer of {address} cannot be read")]
    Answer { address: SocketAddr, source: FrameError },
}

impl CallError {
    /// Whether the peer may have seen, and done, what was asked. If not, asking again (or another) repeats nothing.
    pub const fn maybe_delivered(&self) -> bool {
        match self {
            Self::Interrupted { .. } | Self::Answer { .. } => true,
            Self::Deadline { sent, .. } => *sent,
            Self::Refused { refusal, .. } => matches!(refusal, Refusal::Unanswered | Refusal::Other { .. }),
            Self::NotSent { .. } | Self::WrongIdentity { .. } | Self::NotOurCluster { .. } | Self::Request { .. } => false,
        }
    }

    /// An error of the connection itself.
    pub(crate) fn of_connection(address: SocketAddr, error: &ConnectionError, sent: bool) -> Self {
        let reason = error.to_string();
        match error {
            ConnectionError::TransportError(cause) if is_tls(cause.code.into()) => Self::NotOurCluster { address, reason },
            ConnectionError::ConnectionClosed(cause) if is_tls(cause.error_code.into()) => Self::NotOurCluster { address, reason },
            ConnectionError::ApplicationClosed(cause) if !sent => match Refusal::of(cause.error_code) {
                Refusal::Other { .. } => Self::NotSent { address, reason },
                refusal => Self::Refused { address, refusal },
            },
            _ if sent => Self::Interrupted { address, reason },
            _ => Self::NotSent { address, reason },
        }
    }
}

/// TLS alerts are QUIC's errors 0x100 to 0x1ff (RFC 9001 §4.8). With both certificates by one cluster key there are none.
const fn is_tls(code: u64) -> bool {
    code >> 8 == 1
}

/// Why a peer gives no answer, as a QUIC application error code on the stream (or, for `Closing`, on the connection).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it has as many calls at work as it bears; ask again later")]
    Busy,
    #[error("the frame is over its limit")]
    TooLarge,
    #[error("the frame is none that it can read")]
    Format,
    #[error("it is stopping")]
    Closing,
    #[error("it took the request and gave no answer")]
    Unanswered,
    #[error("error code {code}")]
    Other { code: u64 },
}

impl Refusal {
    pub(crate) fn of(code: VarInt) -> Self {
        match code.into_inner() {
            1 => Self::Busy,
            2 => Self::TooLarge,
            3 => Self::Format,
            4 => Self::Closing,
            5 => Self::Unanswered,
            code => Self::Other { code },
        }
    }

    pub(crate) const fn code(self) -> VarInt {
        VarInt::from_u32(match self {
            Self::Busy => 1,
            Self::TooLarge => 2,
            Self::Format => 3,
            Self::Closing => 4,
            Self::Unanswered => 5,
            // Never sent: it is what a later version may say to us.
            Self::Other { .. } => 0,
        })
    }

    /// What to say to the sender of a frame that was not taken.
    pub(crate) const fn of_frame(error: &FrameError) -> Self {
        match error {
            FrameError::TooLarge { .. } => Self::TooLarge,
            _ => Self::Format,
        }
    }
}

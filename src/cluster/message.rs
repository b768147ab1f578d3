//! What nodes say to each other by calls. Over QUIC, MessagePack with named fields; over nothing at all in a simulation.

use std::net::SocketAddr;

use bytes::Bytes;
use logvine_gossip::{Entry, Generation, NodeId, Stamp};
use serde::{Deserialize, Serialize};

use crate::{
    balance::Kind,
    checkpoint::Checkpoint,
    event::Cause,
    instance::Epoch,
    name::Name,
    operation::Outcome,
    record::{DiskId, Record, SourceKey},
};

/// A peer's call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// Gossip that is too large for a datagram.
    Gossip(Bytes),
    /// Are you up, and with which disk? Asked before a node becomes a witness.
    Up,
    /// Step 2 of taking an epoch: vote for nobody below `ballot`.
    Promise { source: SourceKey, ballot: Epoch, base: Record, checkpoint: Checkpoint },
    /// Step 4: accept `record` as the successor of the record with epoch `base`.
    Accept { source: SourceKey, ballot: Epoch, base: Epoch, record: Record },
    /// Step 5: you are a witness of this decided record.
    Store { source: SourceKey, record: Record, checkpoint: Checkpoint },
    /// The owner's heartbeat to a witness: how far its sources are acknowledged, and which are as before.
    Checkpoints(Vec<CheckpointItem>),
    /// From a witness to who should own these: it does not hear their owners, and nobody claims these records.
    Orphans(Vec<Orphan>),
    /// Do you own it, at which epoch, with a majority?
    Question(SourceKey),
    /// Will you take this source over from me?
    Offer {
        source: SourceKey,
        epoch: Epoch,
        /// What it weighs at its owner: bytes a second, or what is worth as much.
        #[serde(default)]
        weight: u64,
        /// How fast it is: who is offered it reckons what that weighs there. None from a node that tells the weight alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes_per_s: Option<u64>,
        /// How much the receiver lets in. A node that knows nothing of load must be rid of what it offers.
        #[serde(default)]
        kind: Kind,
    },
    /// You own `record` now; go on from `checkpoint`.
    Release {
        source: SourceKey,
        record: Record,
        checkpoint: Checkpoint,
        #[serde(default)]
        cause: Cause,
    },
    /// Keep these entries of an operation's, made at `stamp`, on your disk: the answer says that they are there.
    Hold { stamp: Stamp, entries: Vec<(String, Entry)> },
    /// Ask that of a node that I do not reach.
    HoldFor { node: NodeId, stamp: Stamp, entries: Vec<(String, Entry)> },
    /// What became of your operation here.
    Report { operation: String, outcome: Outcome },
    /// What the host is asked beside the protocols: how an instance does, its live records, a step in changing the cluster's key. The host's shapes, and its to
    /// answer.
    Host(Bytes),
    /// To another process that may be this node itself: I am at this gossip address, and began under this generation.
    Twin { gossip: SocketAddr, first: Generation },
}

impl Request {
    /// Whether the answer rests on what this node's disk holds as a witness.
    pub(crate) fn is_of_witnesses(&self) -> bool {
        matches!(self, Self::Up | Self::Promise { .. } | Self::Accept { .. } | Self::Store { .. } | Self::Checkpoints(_) | Self::Release { .. })
    }
}

/// One source in a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointItem {
    pub source: SourceKey,
    pub epoch: Epoch,
    /// None: as before.
    pub checkpoint: Option<Checkpoint>,
}

/// A decided record that its witness sees nobody claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    pub source: SourceKey,
    pub record: Record,
    pub checkpoint: Checkpoint,
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Reply {
    Gossip(Bytes),
    Up(DiskId),
    Vote(Vote),
    /// By source: whether the witness acknowledges the owner's epoch.
    Checkpoints(Vec<CheckpointReply>),
    Question(Option<Ownership>),
    /// To an offer and a release.
    Offer(OfferReply),
    /// To `Hold` and `HoldFor`: all of it is on disk. To `Report`: noted.
    Held,
    /// To [`Request::Orphans`].
    Noted,
    /// To [`Request::Host`].
    Host(Bytes),
    /// The generation under which this process began.
    Twin {
        first: Generation,
    },
    /// The request makes no sense here (of another version, say).
    Refused(String),
}

/// A witness's word on a step of taking an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Vote {
    /// It is on the witness's disk. For a promise: with what was accepted before, and the checkpoint.
    Yes { accepted: Option<Accepted>, checkpoint: Checkpoint },
    /// It holds a newer record; begin again from that.
    Newer { record: Record, checkpoint: Checkpoint },
    /// It promised more, heard the owner a moment ago, or is (with this disk) no witness of the base.
    No { promised: Epoch },
}

/// A proposal that a witness accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    pub ballot: Epoch,
    pub record: Record,
}

/// What a witness says to one item of a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointReply {
    pub source: SourceKey,
    pub epoch: Epoch,
    /// None: on its disk, and acknowledged. Else the highest epoch that it promised or holds; if that is above the owner's, the owner is fenced.
    pub refused: Option<Epoch>,
}

/// How a node owns a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ownership {
    pub epoch: Epoch,
    /// Whether a majority of its witnesses acknowledged it in the last 10 s.
    pub majority: bool,
}

/// The answer to an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OfferReply {
    /// Yes; an epoch taken for it must be above what it has promised itself as a witness, or it could not store its own record.
    Admitted { promised: Epoch },
    Refused {
        reason: String,
        /// What the receiver has, where it has too much.
        #[serde(default)]
        load: Option<u64>,
    },
}

/// What an owner knows of a source, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspected {
    pub node: NodeId,
    pub runner: Name,
    pub epoch: Epoch,
    /// Acknowledged by the senders.
    pub checkpoint: Checkpoint,
    /// Held by a majority of the witnesses.
    pub held: Checkpoint,
    /// What the reader last complained of.
    pub error: Option<String>,
}

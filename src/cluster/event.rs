//! What a node tells people: for its log, its events and its counters.

use std::net::SocketAddr;

use logvine_gossip::{ClockOff, Generation, NodeId, Stamp, Status};

use crate::{instance::Epoch, name::Name, steadiness::Unsteady};

/// Something happened that people may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// What this node believes of a member changed. `proved`: it is down, and its own host says that no process is there.
    Member { node: NodeId, from: Option<Status>, to: Status, proved: bool },
    /// This node had to renew itself, as others had declared it down.
    Renewed { generation: Generation },
    /// What should be changed: a key of the catalog.
    Catalog { key: String, stamp: Stamp, origin: NodeId },
    /// This node has a view and takes part.
    Active,
    /// This node took a source.
    Taken { runner: Name, source: Name, epoch: Epoch, why: Why },
    /// This node stopped collecting a source.
    Released { runner: Name, source: Name, epoch: Epoch, why: Why },
    /// An owner saw a higher epoch and stopped.
    Fenced { runner: Name, source: Name, epoch: Epoch, by: Epoch },
    /// A source was taken with less than a majority of its witnesses, as they stayed away.
    WithoutMajority { runner: Name, source: Name, epoch: Epoch },
    /// Nobody holds a copy of the checkpoint of a source that was claimed before; it is not read from its start by itself.
    WaitingForCheckpoint { runner: Name, source: Name },
    /// This node set back a source that it has, as an operator had said: `bytes` that its senders had acknowledged are read again.
    Rewound { runner: Name, source: Name, rewind: Stamp, bytes: u64 },
    /// What waited in a runner's disk queue here was thrown away, as an operator had said.
    QueueDropped { runner: Name, operation: Stamp, bytes: u64 },
    /// The disk queue of a deleted runner was removed, with what waited in it.
    QueueRemoved { runner: Name, bytes: u64 },
    /// The disk queue of a deleted runner could not be removed.
    QueueKept { runner: Name, error: String },
    /// A source overloads its owner, and is too large for any other node.
    Unsplittable { runner: Name, source: Name, bytes_per_s: u64 },
    /// Others know a generation of this node that its disk does not: the disk is an old image. It counts as another disk from now on.
    DiskOutdated { known: Generation },
    /// Another process was there first that is this node, by its key: this one ends.
    Superseded { at: SocketAddr },
    /// A node was forgotten, by an operator or for its long absence.
    Forgotten { node: NodeId },
    /// A value in this node's store does not decode; it goes on without.
    Unreadable { place: String, error: String },
    /// A word has no room in this node's map.
    Unsaid { key: String, error: String },
    /// A catalog entry was dropped: it was deleted while this node was away, so long ago that the others have forgotten the deletion.
    Dropped { key: String, origin: NodeId },
    /// This node's clock is off, so that it refuses to write; or right again.
    Clock { off: Option<ClockOff> },
    /// A catalog entry was set aside, as its stamp is more than 24 h ahead of this node's clock.
    StampAhead { key: String, stamp: Stamp, origin: NodeId },
    /// This node crashed so often in a row that it gets no sources before it has run for a while; or it has.
    Steadiness { unsteady: Option<Unsteady> },
    /// Fewer nodes came than an operator expects; this node takes sources all the same, as its patience is over.
    Incomplete { active: u64, expected: u64 },
    /// An operator commanded something, through this node or another.
    Commanded { operation: String },
    /// A target of an operation says that it cannot carry it out.
    Refused { operation: String, target: NodeId, reason: String },
    /// All targets of an operation have said what became of it.
    Concluded { operation: String, applied: usize, failed: usize },
    /// Another node collects sources that it did not before. `source`: which one, if it is one.
    Claimed { owner: NodeId, runner: Name, source: Option<Name>, count: usize, why: Why },
    /// An operator's write through this node is accepted.
    Accepted { operation: String },
    /// An operator's write was withdrawn: in ten minutes no other node took it, and nobody ever will.
    Withdrawn { operation: String },
    /// Two words were said at once on one key: this operation has lost against that one, which did not know it.
    Overruled { operation: String, by: String },
    /// A runner cannot run here.
    Failed { runner: Name, error: String },
}

/// Why a source came or went.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It never had an owner.
    New,
    /// Its owner is gone.
    TookOver { from: NodeId },
    /// Handed over by its owner.
    HandedOver {
        from: NodeId,
        #[serde(default)]
        cause: Cause,
    },
    /// Handed over to another.
    GaveTo {
        to: NodeId,
        #[serde(default)]
        cause: Cause,
    },
    /// This node owned it before it restarted, or before it lost its epoch.
    Resumed,
    /// This node gave it away, and nobody took it.
    Returned,
    /// Its runner was stopped or deleted, or the source removed.
    Stopped,
}

impl Why {
    /// [`Self::word`] of a takeover.
    pub const TOOK_OVER: &str = "took_over";

    /// The word for it, for counters: few, and for ever.
    pub fn word(&self) -> &'static str {
        match self {
            Self::New => "new",
            Self::TookOver { .. } => Self::TOOK_OVER,
            Self::HandedOver { cause, .. } | Self::GaveTo { cause, .. } => cause.word(),
            Self::Resumed => "resumed",
            Self::Returned => "returned",
            Self::Stopped => "stopped",
        }
    }
}

/// Why an owner hands a source over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The owner may not have it any more: the selection or an operator's word on its runner has changed.
    #[default]
    Misplaced,
    /// The owner drains.
    Draining,
    /// The other is its home.
    Home,
    /// The owner has too much.
    Load,
}

impl Cause {
    /// The word for it, for counters.
    pub fn word(self) -> &'static str {
        match self {
            Self::Misplaced => "misplaced",
            Self::Draining => "draining",
            Self::Home => "home",
            Self::Load => "load",
        }
    }
}

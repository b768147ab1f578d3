//! What goes into a node and comes out of it.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use logvine_gossip::{GossipConfig, NodeId, Peer};

use crate::{
    command::Answer,
    event::Event,
    instance::InstanceCommand,
    message::{Reply, Request},
    name::Name,
};

/// What a node is told at its start.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// For people; need not be unique.
    pub name: Name,
    /// From the node's own configuration; the catalog may add and remove.
    pub tags: BTreeSet<Name>,
    /// The program's version.
    pub version: String,
    /// Where its API listens.
    pub http: Option<SocketAddr>,
    pub gossip: GossipConfig,
    /// What the node can bear, in quarter octaves (DESIGN §5.1).
    pub capacity: u8,
    /// For how long peers take nothing over when this node stops (≤ 300 s).
    pub restart_grace: Duration,
    /// How long to wait for a first complete push-pull before instances start with nobody answering; 2 s without seeds.
    pub join_patience: Duration,
}

/// Names a durable transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Names a call of this node's, for its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Names a peer's call, for our reply. Chosen by the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Names an operator's command, for its answer. Chosen by the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// No reply to a call: not reachable, not in time, or not understood. Whether it was carried out is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no reply: {reason}")]
pub struct CallFailed {
    pub reason: String,
}

/// What the host must do. A `Datagram` or `Call` may be lost, repeated or late.
#[derive(Debug, Clone)]
pub enum Output {
    Datagram {
        to: SocketAddr,
        payload: Vec<u8>,
    },
    /// Answer by `handle_knock`: whether the host at `to` refused an empty datagram from a connected socket within `wait`.
    Knock {
        node: NodeId,
        to: SocketAddr,
        wait: Duration,
    },
    /// Answer by `handle_reply`, at the latest after `deadline`.
    Call {
        call: CallId,
        to: Peer,
        request: Request,
        deadline: Duration,
    },
    Reply {
        request: RequestId,
        reply: Reply,
    },
    /// One durable transaction; then `handle_persisted`. Tickets are persisted in order.
    Persist {
        ticket: Ticket,
        writes: Vec<Write>,
    },
    /// To the data plane, in order.
    Instance(InstanceCommand),
    Answer {
        command: CommandId,
        answer: Answer,
    },
    Tell(Event),
    /// After `handle_stop`: nothing more will come.
    Stopped,
    /// Another live process has proved that it is this node, by its key, and was there first: this process must end at once. Nothing more will come.
    Superseded {
        /// The other's gossip address.
        at: SocketAddr,
    },
}

/// One change of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub table: Table,
    pub key: Vec<u8>,
    /// None deletes.
    pub value: Option<Vec<u8>>,
}

/// The tables of the store. Each value is MessagePack with named fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Single values: the disk id, the reserved generation.
    Meta,
    /// Key → catalog entry.
    Catalog,
    /// Node id → addresses.
    Peer,
    /// Source key → what this node witnesses of it.
    Witness,
    /// Source key → the highest counter that this node proposed under.
    Ballot,
    /// Runner uid and source → how far a pinned source is acknowledged.
    Pinned,
    /// Runner uid → what its instance here has counted.
    Counts,
    /// Runner uid → its disk queue here, and what was last said of it.
    Queue,
    /// Runner name → its last good revision here.
    Good,
    /// Runner and stamp → an earlier value of the runner's key.
    Revision,
    /// Key → a catalog entry that was dropped, as it was deleted while this node was away. For people: it is kept beside the store and never read again.
    Dropped,
}

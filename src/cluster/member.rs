//! What a node says of itself in its node map, typed, and what this node makes of it (DESIGN §3.2).

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use bytes::Bytes;
use logvine_gossip::{Gossip, NodeId, NodeMap, Status, UnixMicros};
use serde::{Deserialize, Serialize};

use crate::{
    balance::load::ByteCost,
    catalog::{Catalog, unpack},
    event::Why,
    instance::Epoch,
    name::Name,
    ranking::Capacity,
    record::{DiskId, Record, SourceKey, Witness},
    selection::Selectable,
    steadiness::Unsteady,
};

/// The word of one that was told to stop, and is back with what it had.
pub(crate) const RETURNED: &str = "returned";
/// What a node is taken to bear that has not said so.
const CAPACITY_UNSAID: Capacity = Capacity(16);

/// `meta`: who and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    pub name: Name,
    pub version: String,
    pub gossip: SocketAddr,
    pub quic: SocketAddr,
    pub http: Option<SocketAddr>,
    pub disk: DiskId,
    pub started: UnixMicros,
}

/// `phase`: what a node says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It has no view yet.
    #[default]
    Joining,
    Active,
    /// It hands everything over and takes nothing.
    Draining,
    /// Back within this many seconds.
    Away {
        grace_s: u16,
    },
}

impl Phase {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Away { .. } => "away",
        }
    }

    /// For how long it asked others to wait for it.
    pub fn grace(self) -> Option<Duration> {
        match self {
            Self::Away { grace_s } => Some(Duration::from_secs(u64::from(grace_s.min(300)))),
            _ => None,
        }
    }
}

/// `claim/<runner>/<source>`: what an owner says of a source. A hint for people and for finding records, never the proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub key: SourceKey,
    pub epoch: Epoch,
    pub witnesses: Vec<Witness>,
    pub since: UnixMicros,
    pub why: Why,
    /// Nobody holds a copy of its checkpoint: it is not read until an operator rewinds it.
    #[serde(default)]
    pub is_lost: bool,
    /// It is too large for any node but its owner, which is overloaded by it.
    #[serde(default)]
    pub is_unsplittable: bool,
}

impl Claim {
    /// The activated record that it names.
    pub fn record(&self, owner: NodeId) -> Record {
        Record { epoch: self.epoch, owner: Some(owner), witnesses: self.witnesses.clone() }
    }
}

/// `claim/<runner>/<source>`
pub fn claim_key(runner: &Name, source: &Name) -> String {
    format!("claim/{runner}/{source}")
}

/// A node as this node believes it to be.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    pub id: NodeId,
    pub status: Status,
    pub phase: Phase,
    pub tags: BTreeSet<Name>,
    pub capacity: Capacity,
    /// It crashed again and again, and has not run for long enough since.
    pub unsteady: Option<Unsteady>,
    /// What it has to do, in bytes a second or what is worth as much.
    pub load: u64,
    /// It was told to stop, and is back with what it had.
    pub is_returned: bool,
    /// What a byte costs it: its own rates, and others' that may come, weigh so much there.
    pub cost: ByteCost,
    /// None until its node map has come.
    pub meta: Option<Meta>,
    /// What it calls itself, or called itself when it was last heard.
    pub name: Option<Name>,
    /// The word from which `meta` was read: a node says it once, and is looked at for every change of its phase, its status and the catalog.
    pub(crate) meta_word: Option<Bytes>,
}

impl NodeInfo {
    /// A node of which nothing is known but that it is there.
    pub fn unread(id: NodeId) -> Self {
        Self {
            id,
            status: Status::Alive,
            phase: Phase::default(),
            tags: BTreeSet::new(),
            capacity: CAPACITY_UNSAID,
            unsteady: None,
            load: 0,
            is_returned: false,
            cost: ByteCost::default(),
            meta: None,
            name: None,
            meta_word: None,
        }
    }

    /// Puts together what gossip and the catalog know of it now. `status` is `Alive` for this node itself. Returns the tags that it says of itself.
    pub fn read(&mut self, status: Status, gossip: &Gossip, catalog: &Catalog) -> BTreeSet<Name> {
        let map = gossip.node_map(&self.id);
        let meta_word = map.and_then(|map| map.get("meta"));
        if self.meta_word.as_ref() != meta_word {
            self.meta = value(map, "meta");
            self.meta_word = meta_word.cloned();
        }
        let name = self.meta.as_ref().map(|meta| &meta.name);
        if self.name.as_ref() != name {
            self.name = name.cloned();
        }
        let own: BTreeSet<Name> = value(map, "tags").unwrap_or_default();
        self.status = status;
        self.phase = value(map, "phase").unwrap_or_default();
        self.tags = catalog.tags(&self.id, &own);
        self.capacity = value(map, "capacity").map_or(CAPACITY_UNSAID, Capacity);
        self.unsteady = Unsteady::read(map);
        self.load = value(map, "load").unwrap_or(0);
        self.cost = value(map, "cost").unwrap_or_default();
        self.is_returned = value(map, RETURNED).unwrap_or(false);
        own
    }

    /// Whether it is believed to live: a suspect is, until it is declared down.
    pub fn is_live(&self) -> bool {
        matches!(self.status, Status::Alive | Status::Suspect)
    }

    /// This node with its disk, for a record's witnesses.
    pub fn witness(&self) -> Option<Witness> {
        self.meta.as_ref().map(|meta| Witness { node: self.id, disk: meta.disk })
    }
}

/// A value of a node map; none where it is absent or this version cannot read it.
pub fn value<T: serde::de::DeserializeOwned>(map: Option<&NodeMap>, key: &str) -> Option<T> {
    unpack(map?.get(key)?).ok()
}

impl Selectable for NodeInfo {
    fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own.as_str() == tag)
    }

    fn name(&self) -> &str {
        self.name.as_ref().map_or("", Name::as_str)
    }

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn status(&self) -> &str {
        status_word(self.status)
    }

    fn phase(&self) -> &str {
        self.phase.word()
    }
}

/// The word for a status.
pub fn status_word(status: Status) -> &'static str {
    match status {
        Status::Alive => "alive",
        Status::Suspect => "suspect",
        Status::Down => "down",
        Status::Left => "left",
    }
}

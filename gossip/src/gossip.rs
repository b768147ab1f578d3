//! Membership, node maps and catalog behind one face: `handle_*` in, `poll_*` out.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};

use bytes::Bytes;

use crate::{
    Catalog, Change, DatagramError, Durable, Entry, FrameError, Generation, GossipConfig, HybridClock, Instant, Me, Member, NodeId, NodeMap, Now,
    Output, Restored, Stamp, StateError, node_map::NodeMaps,
};

/// One node's part in the cluster's gossip.
#[derive(Debug)]
pub struct Gossip {
    me: Me,
    members: BTreeMap<NodeId, Member>,
    nodes: NodeMaps,
    catalog: Catalog,
    clock: HybridClock,
    outputs: VecDeque<Output>,
}

impl Gossip {
    /// A node that has just started. Chance comes from `seed` alone.
    pub fn new(_now: Now, _config: GossipConfig, me: Me, restored: Restored, _seed: u64) -> Self {
        let mut clock = HybridClock::default();
        let mut catalog = Catalog::default();
        for (key, entry) in restored.catalog {
            clock.observe(entry.stamp);
            catalog.merge(&key, entry).ok();
        }
        Self { me, members: BTreeMap::new(), nodes: NodeMaps::new(me.id, me.generation, me.quic), catalog, clock, outputs: VecDeque::new() }
    }

    /// A datagram from `from`, unsealed.
    pub fn handle_datagram(&mut self, _now: Now, _from: SocketAddr, _payload: &[u8]) -> Result<(), DatagramError> {
        Ok(())
    }

    /// A peer's call; the answer is its reply's body.
    pub fn handle_call(&mut self, _now: Now, _from: NodeId, _body: &[u8]) -> Result<Vec<u8>, FrameError> {
        Ok(Vec::new())
    }

    /// What came of an [`Output::Call`]; None: it failed.
    pub fn handle_reply(&mut self, _now: Now, _from: NodeId, _reply: Option<&[u8]>) -> Result<(), FrameError> {
        Ok(())
    }

    /// Generations below `up_to` are on disk as used.
    pub fn handle_reserved(&mut self, _now: Now, _up_to: Generation) {}

    /// Fires what is due. Early or repeated calls do no harm.
    pub fn handle_timeout(&mut self, _now: Now) {}

    /// The next thing to do; drain after every `handle_*`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call `handle_timeout`, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        None
    }

    /// Says a word in this node's own map; None deletes it. An equal value: nothing happens.
    pub fn say(&mut self, _now: Now, key: &str, value: Option<Bytes>) -> Result<(), StateError> {
        if let Some(word) = self.nodes.say(key, value)? {
            self.outputs.push_back(Output::Changed(Change::Said { node: self.me.id, key: word.key }));
        }
        Ok(())
    }

    /// Writes to the catalog; None leaves a tombstone. The stamp is above all that this node has seen.
    pub fn write(&mut self, now: Now, key: &str, value: Option<Bytes>) -> Result<Stamp, StateError> {
        let stamp = self.clock.tick(now.wall);
        let entry = Entry { stamp, origin: self.me.id, value };
        self.catalog.merge(key, entry.clone())?;
        self.outputs.push_back(Output::Persist(Durable::Catalog { key: key.to_owned(), entry }));
        self.outputs.push_back(Output::Changed(Change::Catalog { key: key.to_owned() }));
        Ok(stamp)
    }

    /// Says goodbye: others see this node as left at once.
    pub fn leave(&mut self, _now: Now) {}

    /// This node, with its generation as renewed.
    pub fn me(&self) -> Me {
        self.me
    }

    /// All known others, down ones too, by id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// One of them.
    pub fn member(&self, id: &NodeId) -> Option<&Member> {
        self.members.get(id)
    }

    /// What a node says of itself; this node's own map too.
    pub fn node_map(&self, id: &NodeId) -> Option<&NodeMap> {
        self.nodes.get(id)
    }

    /// What should be.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }
}

//! Which of its disks this node has, whether it lives twice, and what is remembered of nodes that were met (DESIGN §3.1 "Identity", §5.3 "Restart").
//!
//! ```text
//! disk ─(reserved, unconfirmed blocks)─> joining: no votes ─> joined: what the disk promised holds
//!                                          └─ others know a generation that it has not reserved: a new disk id, and ballots above all that may have been used
//! ```
//! A row whose record names another disk id is a pointer and a position, never a vote: so an old disk's rows stay, and only their facts count.

use logvine_gossip::{Doubt, Generation, Met, NodeId, Now, Peer};
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, net::SocketAddr};

use super::{
    After, Node, Output, Table,
    calls::{Pending, ReplyTo},
};
use crate::{
    catalog::pack,
    event::Event,
    member::Meta,
    message::{Reply, Request},
    name::Name,
    record::DiskId,
};

pub(super) const META_DISK: &[u8] = b"disk";
pub(super) const META_GENERATION: &[u8] = b"generation";
/// Blocks of generations that were reserved since others last confirmed that this disk is the newest.
pub(super) const META_DOUBT: &[u8] = b"doubt";
/// Ballots are above this.
pub(super) const META_BALLOTS: &[u8] = b"ballots";
/// So many lives in a row that nobody confirmed are told apart; more count as one.
const DOUBTED_LIVES_MAX: usize = 64;
/// A generation may be ahead of the clock by some renewals, of a minute each, and the next one of another disk little above it. So many epochs no source has
/// had since: ballots that began at the one are below those that begin so far above the other.
const BALLOTS_LEAPT: u64 = 1 << 16;

/// A node that was met, as the disk keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MetRow {
    pub(super) id: NodeId,
    gossip: SocketAddr,
    quic: SocketAddr,
    #[serde(default)]
    generation: Generation,
    /// What it last called itself.
    #[serde(default)]
    pub(super) name: Option<Name>,
    /// The tags of its own configuration, as it last said.
    #[serde(default)]
    pub(super) tags: BTreeSet<Name>,
}

impl MetRow {
    fn new(met: Met) -> Self {
        let Met { id, gossip, quic, generation } = met;
        Self { id, gossip, quic, generation, name: None, tags: BTreeSet::new() }
    }

    /// The same with what the node calls itself now, for the time when it is only remembered; none if that is known.
    pub(super) fn renamed(&self, name: &Name, tags: &BTreeSet<Name>) -> Option<Self> {
        let is_known = self.name.as_ref() == Some(name) && self.tags == *tags;
        (!is_known).then(|| Self { name: Some(name.clone()), tags: tags.clone(), ..self.clone() })
    }

    pub(super) fn met(&self) -> Met {
        Met { id: self.id, gossip: self.gossip, quic: self.quic, generation: self.generation }
    }
}

impl Node {
    /// A block of generations is to be on disk before any of it is used; until others have confirmed this disk, with the block itself.
    pub(super) fn reserve(&mut self, up_to: Generation) {
        self.write(Table::Meta, META_GENERATION.to_vec(), Some(pack(&up_to).to_vec()));
        if let Some(doubt) = &mut self.doubt {
            let from = self.gossip.first_generation();
            doubt.since.retain(|(begin, _)| *begin != from);
            doubt.since.push((from, up_to));
            if doubt.since.len() > DOUBTED_LIVES_MAX {
                doubt.since = vec![(doubt.since[0].0, up_to)];
            }
            let doubt = pack(doubt).to_vec();
            self.write(Table::Meta, META_DOUBT.to_vec(), Some(doubt));
        }
        self.after.push(After::Reserved(up_to));
    }

    /// Half of the peers have this node's view, and none knows a generation that its disk does not: what the disk promised holds.
    pub(super) fn trust_disk(&mut self) {
        if self.doubt.take().is_some() {
            self.write(Table::Meta, META_DOUBT.to_vec(), None);
        }
        self.dirty = true;
    }

    /// This disk may have forgotten promises, votes and ballots: from now on it is another disk, and no ballot is used twice.
    ///
    /// Generations grow faster than ballots: so what is well above all generations that this node had (its own, and what others know) is also above all ballots
    /// that were ever its own.
    pub(super) fn take_new_disk(&mut self, now: Now, known: Generation) {
        let disk = DiskId(self.rng.next_u64());
        self.witnesses.take_disk(disk);
        self.cast_vote();
        self.write(Table::Meta, META_DISK.to_vec(), Some(pack(&disk).to_vec()));
        let least = self.gossip.me().generation.max(known).0 + BALLOTS_LEAPT;
        self.sources.give_up(least);
        self.balancing.give_up();
        self.write(Table::Meta, META_BALLOTS.to_vec(), Some(pack(&least).to_vec()));
        self.say_meta(now);
        self.dirty = true;
    }

    pub(super) fn say_meta(&mut self, now: Now) {
        let me = self.gossip.me();
        let meta = Meta {
            name: self.config.name.clone(),
            version: self.config.version.clone(),
            gossip: me.gossip,
            quic: me.quic,
            http: self.config.http,
            disk: self.witnesses.me().disk,
            started: self.started.wall,
        };
        self.say(now, "meta", &meta);
    }

    /// Keeps a node that was met, or its new addresses.
    pub(super) fn keep_met(&mut self, met: Met) {
        let before = self.met.remove(&met.id);
        let (name, tags) = before.map(|row| (row.name, row.tags)).unwrap_or_default();
        self.keep_row(MetRow { name, tags, ..MetRow::new(met) });
    }

    /// Keeps a row as it is now.
    pub(super) fn keep_row(&mut self, row: MetRow) {
        self.write(Table::Peer, row.id.0.to_vec(), Some(pack(&row).to_vec()));
        self.met.insert(row.id, row);
    }

    pub(super) fn forget_met(&mut self, id: NodeId) {
        self.met.remove(&id);
        self.write(Table::Peer, id.0.to_vec(), None);
    }

    /// Asks a process at another address whether it is this node too.
    pub(super) fn ask_twin(&mut self, now: Now, at: Peer) {
        let request = Request::Twin { gossip: self.gossip.me().gossip, first: self.gossip.first_generation() };
        self.call_peer(now, at, request, Pending::Twin(at.gossip));
    }

    /// What a process at another address answered, over a connection that proved this node's key; None: nobody there proved it.
    pub(super) fn note_twin(&mut self, now: Now, at: SocketAddr, first: Option<Generation>) {
        if self.gossip.handle_proof(now, at, first) {
            self.end_for(at);
        }
    }

    /// A process that has proved this node's key asks under which generation this one began.
    pub(super) fn serve_twin(&mut self, from: NodeId, gossip: SocketAddr, first: Generation, to: ReplyTo) {
        if from != self.id() {
            self.after.push(After::Reply(to, Reply::Refused("only a node itself may ask this".to_owned())));
            return;
        }
        self.after.push(After::Reply(to, Reply::Twin { first: self.gossip.first_generation() }));
        if self.gossip.yields_to(gossip, first) {
            self.after.push(After::End(gossip));
        }
    }

    /// Another process is this node: this one ends, without a word.
    pub(super) fn end_for(&mut self, at: SocketAddr) {
        self.gossip.retire();
        self.tell(Event::Superseded { at });
        self.outputs.push_back(Output::Superseded { at });
    }
}

/// What the disk says of the lives before this one; `votes` are on it.
pub(super) fn doubt(kept: Option<Doubt>, reserved: Generation, votes: u64) -> Doubt {
    kept.unwrap_or(Doubt { confirmed: reserved, since: Vec::new(), votes: Some(votes) })
}

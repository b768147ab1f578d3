//! A cluster of real `Gossip`s over a lossy virtual network, in virtual time.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::{
    Status, UnixMicros,
    wire::{FORMAT, Packet},
};

mod clocks;
mod convergence;
mod floors;
mod forged;
mod guards;
mod identity;
mod input;
mod members;
mod once;
mod short;
mod statuses;

/// In seconds.
const DAY: u64 = 24 * 3_600;
const WALL: u64 = 1_800_000_000_000_000;

pub(super) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn id(index: usize) -> NodeId {
    let mut id = NodeId([0; 16]);
    id.0[..2].copy_from_slice(&u16::try_from(index + 1).unwrap().to_be_bytes());
    id
}

pub(super) fn gossip_address(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, u8::try_from(index / 250).unwrap(), u8::try_from(index % 250 + 1).unwrap()], 7946))
}

/// Ports differ from node to node, so that a guess is a wrong guess.
pub(super) fn quic_address(index: usize) -> SocketAddr {
    SocketAddr::new(gossip_address(index).ip(), 9_000 + u16::try_from(index).unwrap())
}

pub(super) fn value(text: &str) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(text.as_bytes()))
}

/// The disk knows all generations below.
pub(super) fn known_up_to(reserved: Generation) -> crate::Doubt {
    crate::Doubt { confirmed: reserved, since: Vec::new(), votes: None }
}

enum Event {
    Datagram { to: SocketAddr, from: SocketAddr, payload: Vec<u8> },
    Call { to: SocketAddr, from: usize, body: Vec<u8> },
    Reply { to: usize, from: usize, body: Option<Vec<u8>> },
    Reserved { to: usize, up_to: Generation },
    Knocked { to: usize, node: NodeId, refused: bool },
}

pub(super) struct Node {
    pub(super) gossip: Gossip,
    pub(super) up: bool,
    pub(super) reserved: Generation,
    catalog: BTreeMap<String, crate::Entry>,
    floor: Stamp,
    dropped: BTreeMap<String, Stamp>,
    /// How far its wall clock is off, in seconds.
    pub(super) off: i64,
    pub(super) peers: BTreeMap<NodeId, crate::Met>,
    pub(super) changes: Vec<(Instant, Change)>,
    starts: u64,
}

/// The virtual world: its clock, its network, and the disks as far as gossip asks for them.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) nodes: Vec<Node>,
    rng: ChaCha8Rng,
    events: BTreeMap<(Instant, u64), Event>,
    numbered: u64,
    /// When each node is to be woken, and which node is where: searched for, a thousand of them would take all the time.
    due: BTreeSet<(Instant, usize)>,
    woken_at: Vec<Option<Instant>>,
    addresses: BTreeMap<SocketAddr, usize>,
    /// Days that have passed in a moment, for everybody.
    pub(super) days: u64,
    pub(super) loss: f64,
    pub(super) latency: Duration,
    /// Pairs of nodes between which nothing passes.
    pub(super) cut: BTreeSet<(usize, usize)>,
    pub(super) config: GossipConfig,
    pub(super) datagrams: usize,
    pub(super) bytes: usize,
    pub(super) calls: usize,
    pub(super) fsync: Duration,
    /// Every datagram that arrived, while somebody listens on the line: where, from where, what.
    pub(super) recorded: Option<Vec<(usize, SocketAddr, Vec<u8>)>>,
    /// A node at which nothing arrives that is in short form, and what was sent to it so: from where, what.
    pub(super) deaf_to_short: Option<usize>,
    pub(super) unheard: Vec<(SocketAddr, Vec<u8>)>,
    /// Whether a host without a process says so; else it is silent, as one without power.
    pub(super) refuses: bool,
}

impl World {
    /// `count` nodes, each with the first three as seeds, all started at once.
    pub(super) fn new(count: usize, seed: u64) -> Self {
        Self::with(count, seed, |_| {})
    }

    /// The same with another configuration.
    pub(super) fn with(count: usize, seed: u64, change: impl FnOnce(&mut GossipConfig)) -> Self {
        let mut world = Self::empty(seed);
        change(&mut world.config);
        for _ in 0..count {
            world.start_new();
        }
        world
    }

    pub(super) fn empty(seed: u64) -> Self {
        Self {
            now: Instant::from_micros(1_000_000),
            nodes: Vec::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            events: BTreeMap::new(),
            numbered: 0,
            due: BTreeSet::new(),
            woken_at: Vec::new(),
            addresses: BTreeMap::new(),
            days: 0,
            loss: 0.0,
            latency: millis(1),
            cut: BTreeSet::new(),
            config: GossipConfig { seeds: (0..3).map(gossip_address).collect(), ..GossipConfig::default() },
            datagrams: 0,
            bytes: 0,
            calls: 0,
            fsync: millis(1),
            recorded: None,
            deaf_to_short: None,
            unheard: Vec::new(),
            refuses: false,
        }
    }

    pub(super) fn now(&self) -> Now {
        Now { at: self.now, wall: UnixMicros(WALL + self.now.as_micros() + self.days * DAY * 1_000_000) }
    }

    /// What a node's clocks show.
    pub(super) fn now_at(&self, index: usize) -> Now {
        let now = self.now();
        Now { wall: UnixMicros(now.wall.0.checked_add_signed(self.nodes[index].off * 1_000_000).unwrap()), ..now }
    }

    fn me(&self, index: usize, reserved: Generation) -> Me {
        let wall = Generation(self.now().wall.as_millis());
        Me { id: id(index), generation: wall.max(reserved), gossip: gossip_address(index), quic: quic_address(index) }
    }

    pub(super) fn start_new(&mut self) -> usize {
        let index = self.nodes.len();
        self.addresses.extend([(gossip_address(index), index), (quic_address(index), index)]);
        let me = self.me(index, Generation(0));
        let gossip = Gossip::new(self.now(), self.config.clone(), me, Restored::default(), self.rng.random());
        self.nodes.push(Node {
            gossip,
            up: true,
            reserved: Generation(0),
            catalog: BTreeMap::new(),
            floor: Stamp::ZERO,
            dropped: BTreeMap::new(),
            off: 0,
            peers: BTreeMap::new(),
            changes: Vec::new(),
            starts: 1,
        });
        self.drain(index);
        index
    }

    /// Starts a node again from what its disk kept.
    pub(super) fn restart(&mut self, index: usize) {
        let node = &self.nodes[index];
        let restored = Restored {
            catalog: node.catalog.clone().into_iter().collect(),
            floor: node.floor,
            dropped: node.dropped.clone().into_iter().collect(),
            peers: node.peers.values().copied().collect(),
            reserved: node.reserved,
            doubt: known_up_to(node.reserved),
            votes: 0,
            stamps: Stamp::ZERO,
        };
        let me = self.me(index, node.reserved);
        let gossip = Gossip::new(self.now_at(index), self.config.clone(), me, restored, self.rng.random());
        let node = &mut self.nodes[index];
        (node.gossip, node.up) = (gossip, true);
        node.starts += 1;
        self.drain(index);
    }

    pub(super) fn kill(&mut self, index: usize) {
        self.nodes[index].up = false;
    }

    pub(super) fn split(&mut self, from: usize) {
        for left in 0..from {
            for right in from..self.nodes.len() {
                self.cut.insert((left, right));
                self.cut.insert((right, left));
            }
        }
    }

    /// A stranger welcomes a node under a higher generation, so that it renews itself above that, which is given back.
    pub(super) fn renew(&mut self, index: usize) -> Generation {
        let known = Generation(self.nodes[index].gossip.me().generation.0 + 5);
        let parts = vec![Parts { welcome: Some(known), ..Parts::default() }];
        let (id, gossip, quic) = (id(5), gossip_address(5), quic_address(5));
        let packet = Packet { format: FORMAT, id, generation: Generation(1), gossip, quic, number: 1, to: None, parts, padding: Bytes::new() };
        let now = self.now();
        self.nodes[index].gossip.handle_datagram(now, gossip, &packet.encode()).unwrap();
        self.drain(index);
        known
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    fn index_of(&self, address: SocketAddr) -> Option<usize> {
        self.addresses.get(&address).copied()
    }

    /// Notes when a node is to be woken next.
    fn note_due(&mut self, index: usize) {
        self.woken_at.resize(self.nodes.len(), None);
        let node = &self.nodes[index];
        let due = node.gossip.poll_timeout().map(|(at, _)| at).filter(|_| node.up);
        let before = std::mem::replace(&mut self.woken_at[index], due);
        if before != due {
            before.map(|at| self.due.remove(&(at, index)));
            due.map(|at| self.due.insert((at, index)));
        }
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.numbered += 1;
        self.events.insert((self.now + after, self.numbered), event);
    }

    fn passes(&mut self, from: usize, to: SocketAddr) -> bool {
        let reachable = self.index_of(to).is_some_and(|to| self.nodes[to].up && !self.cut.contains(&(from, to)));
        reachable && self.rng.random::<f64>() >= self.loss
    }

    /// Does what a node asks for.
    pub(super) fn drain(&mut self, index: usize) {
        while let Some(output) = self.nodes[index].gossip.poll_output() {
            let latency = self.latency + Duration::from_micros(self.rng.random_range(0..1_000));
            match output {
                Output::Datagram { to, payload } => {
                    assert!(payload.len() <= crate::DATAGRAM_BYTES_MAX);
                    self.datagrams += 1;
                    self.bytes += payload.len();
                    if self.passes(index, to) {
                        self.schedule(latency, Event::Datagram { to, from: gossip_address(index), payload });
                    }
                }
                Output::Call { to, body } => {
                    assert!(body.len() <= crate::FRAME_BYTES_MAX);
                    self.calls += 1;
                    let reachable = self.index_of(to.quic).is_some_and(|peer| self.nodes[peer].up && !self.cut.contains(&(index, peer)));
                    let event = match self.index_of(to.gossip) {
                        Some(_) if reachable => Event::Call { to: to.quic, from: index, body },
                        peer => Event::Reply { to: index, from: peer.unwrap_or_default(), body: None },
                    };
                    self.schedule(latency * 3, event);
                }
                Output::Knock { node, to, wait } => {
                    let peer = self.index_of(to).filter(|peer| !self.cut.contains(&(index, *peer)) && !self.cut.contains(&(*peer, index)));
                    let refused = self.refuses && peer.is_some_and(|peer| !self.nodes[peer].up);
                    let after = if refused { latency * 2 } else { wait };
                    self.schedule(after, Event::Knocked { to: index, node, refused });
                }
                Output::Prove { at } => {
                    let (now, me) = (self.now(), self.nodes[index].gossip.me());
                    let first = self.nodes[index].gossip.first_generation();
                    let is_met = |peer: &usize| self.nodes[*peer].up && !self.cut.contains(&(index, *peer)) && !self.cut.contains(&(*peer, index));
                    let there = self.index_of(at.quic).filter(|peer| is_met(peer) && self.nodes[*peer].gossip.me().id == at.id);
                    let theirs = there.map(|peer| self.nodes[peer].gossip.first_generation());
                    let ends = self.nodes[index].gossip.handle_proof(now, at.gossip, theirs).then_some(index);
                    let other = there.filter(|peer| self.nodes[*peer].gossip.yields_to(me.gossip, first));
                    for ending in ends.into_iter().chain(other) {
                        self.nodes[ending].gossip.retire();
                        self.nodes[ending].up = false;
                    }
                }
                Output::Persist(durable) => self.persist(index, durable),
                Output::Changed(change) => self.nodes[index].changes.push((self.now, change)),
            }
        }
        self.note_due(index);
    }

    fn persist(&mut self, index: usize, durable: Durable) {
        let node = &mut self.nodes[index];
        match durable {
            Durable::Catalog { key, entry } => {
                node.catalog.insert(key, entry);
            }
            Durable::Peer(peer) => {
                node.peers.insert(peer.id, peer);
            }
            Durable::ReserveGeneration { up_to } => {
                let fsync = self.fsync;
                self.schedule(fsync, Event::Reserved { to: index, up_to });
            }
            Durable::CatalogForgotten { key } => {
                node.catalog.remove(&key);
            }
            Durable::CatalogFloor(floor) => node.floor = floor,
            Durable::CatalogDropped { key, floor: Some(floor) } => {
                node.dropped.insert(key, floor);
            }
            Durable::CatalogDropped { key, floor: None } => {
                node.dropped.remove(&key);
            }
            Durable::PeerForgotten(id) => {
                node.peers.remove(&id);
            }
        }
    }

    fn deliver(&mut self, event: Event) {
        match event {
            Event::Datagram { to, from, payload } => {
                let Some(index) = self.index_of(to).filter(|index| self.nodes[*index].up) else { return };
                if self.deaf_to_short == Some(index) && payload.first() == Some(&crate::short::MARK) {
                    return self.unheard.push((from, payload));
                }
                let now = self.now_at(index);
                let taken = self.nodes[index].gossip.handle_datagram(now, from, &payload);
                // A new node calls the one that was at its address before it, and hears itself.
                assert!(taken.is_ok() || from == gossip_address(index), "{taken:?}");
                self.recorded.iter_mut().for_each(|recorded| recorded.push((index, from, payload.clone())));
                self.drain(index);
            }
            Event::Call { to, from, body } => {
                let Some(index) = self.index_of(to).filter(|index| self.nodes[*index].up) else { return };
                let now = self.now_at(index);
                let reply = self.nodes[index].gossip.handle_call(now, id(from), &body).unwrap();
                self.drain(index);
                self.schedule(self.latency, Event::Reply { to: from, from: index, body: Some(reply) });
            }
            Event::Reply { to, from, body } if self.nodes[to].up => {
                let now = self.now_at(to);
                self.nodes[to].gossip.handle_reply(now, id(from), body.as_deref()).unwrap();
                self.drain(to);
            }
            Event::Reserved { to, up_to } if self.nodes[to].up => {
                self.nodes[to].reserved = up_to;
                let now = self.now_at(to);
                self.nodes[to].gossip.handle_reserved(now, up_to);
                self.drain(to);
            }
            Event::Knocked { to, node, refused } if self.nodes[to].up => {
                let now = self.now_at(to);
                self.nodes[to].gossip.handle_knock(now, node, refused);
                self.drain(to);
            }
            Event::Reply { .. } | Event::Reserved { .. } | Event::Knocked { .. } => {}
        }
    }

    /// Lets `how_long` pass. Sockets go before timers, as the shell must have it.
    pub(super) fn run(&mut self, how_long: Duration) {
        let end = self.now + how_long;
        // A test may have touched a node since.
        (0..self.nodes.len()).for_each(|index| self.note_due(index));
        loop {
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let timer = self.due.first().copied();
            let next = event.into_iter().chain(timer.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if event == Some(next) {
                let (_, event) = self.events.pop_first().unwrap();
                self.deliver(event);
            } else if let Some((_, index)) = timer {
                let now = self.now_at(index);
                self.nodes[index].gossip.handle_timeout(now);
                self.drain(index);
            }
        }
        self.now = end;
    }

    /// Runs until `done`, at most `limit`; how long it took, or None.
    pub(super) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Option<Duration> {
        let start = self.now;
        while self.now.since(start) < limit {
            if done(self) {
                return Some(self.now.since(start));
            }
            self.run(millis(50));
        }
        done(self).then_some(limit)
    }

    pub(super) fn up(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.up)
    }

    pub(super) fn status(&self, of: usize, at: usize) -> Option<Status> {
        self.nodes[at].gossip.member(&id(of)).map(|member| member.status)
    }

    /// Every node that is up sees every other one alive, in its present generation and at its address for calls.
    pub(super) fn all_see_all(&self) -> bool {
        let sees = |node: &Node, other: usize| {
            node.gossip.member(&id(other)).is_some_and(|member| {
                let me = self.nodes[other].gossip.me();
                member.status == Status::Alive && member.generation == me.generation
            })
        };
        self.up().all(|(index, node)| self.up().all(|(other, _)| other == index || sees(node, other)))
    }

    pub(super) fn all_agree(&self) -> bool {
        let digests: BTreeSet<(u64, u64)> = self.up().map(|(_, node)| (node.gossip.catalog().digest(), node.gossip.node_maps_digest())).collect();
        digests.len() == 1
    }

    /// How often a node that was up came to be believed down, or had to renew, since the last call.
    pub(super) fn wrongs(&mut self) -> (usize, usize) {
        let (mut downs, mut renewals) = (0, 0);
        for node in &mut self.nodes {
            for (_, change) in node.changes.drain(..) {
                match change {
                    Change::Member { to: Status::Down, .. } => downs += 1,
                    Change::Renewed { .. } => renewals += 1,
                    _ => {}
                }
            }
        }
        (downs, renewals)
    }

    pub(super) fn write(&mut self, index: usize, key: &str, text: &str) -> Stamp {
        let now = self.now_at(index);
        let stamp = self.nodes[index].gossip.write(now, key, value(text)).unwrap();
        self.drain(index);
        stamp
    }

    pub(super) fn delete(&mut self, index: usize, key: &str) -> Stamp {
        let now = self.now_at(index);
        let stamp = self.nodes[index].gossip.write(now, key, None).unwrap();
        self.drain(index);
        stamp
    }

    pub(super) fn say(&mut self, index: usize, key: &str, text: &str) {
        let now = self.now_at(index);
        self.nodes[index].gossip.say(now, key, value(text)).unwrap();
        self.drain(index);
    }
}

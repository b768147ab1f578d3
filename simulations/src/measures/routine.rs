//! What many small numbers that change all the time cost, and how soon all know them.
//!
//! The one measure that plays gossip alone, without the rest of a node: nothing in a node changes a word every five seconds by itself, as
//! it tells numbers by steps, and what is asked here is what gossip bears.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use logvine_gossip::{Change, Generation, Gossip, GossipConfig, Instant, Me, Now, Output, Peer, Restored, UnixMicros};

use super::{
    Effort, Row,
    field::{LAN, quantile, seconds},
};
use crate::{
    chance::{Concern, stream},
    host::{gossip_address, node_id, place},
    network::Network,
    queue::Queue,
    report::Violation,
};

const EVERY: Duration = Duration::from_secs(5);
const GOAL: Duration = Duration::from_secs(5);
const GOAL_BYTES: f64 = 15.0 * 1024.0;
/// Views are complete and compared before the numbers begin to move.
const SETTLES: Duration = Duration::from_secs(40);
/// After the last change: what is missing then is lost.
const ARRIVES: Duration = Duration::from_secs(20);
const WALL: u64 = 1_767_225_600_000_000;

enum Event {
    Wake(usize),
    Say(usize),
    Datagram { to: usize, from: SocketAddr, payload: Vec<u8> },
    Call { to: usize, from: usize, body: Vec<u8> },
    Reply { to: usize, from: usize, body: Option<Vec<u8>> },
}

/// Gossips on one network.
struct Mesh {
    now: Instant,
    queue: Queue<Event>,
    network: Network,
    nodes: Vec<Gossip>,
    wakes: Vec<Option<Instant>>,
    says: bool,
    /// By writer: when it said its n-th number, and how many others have not got that or a later one.
    said: Vec<Vec<(Instant, usize)>>,
    /// By reader and writer: how many of the numbers are known.
    known: Vec<Vec<usize>>,
    took: Vec<Duration>,
}

/// Every node says another number every five seconds.
pub(super) fn load(effort: Effort) -> Result<Vec<Row>, Box<Violation>> {
    let nodes = effort.of(128, 1_024, 1_024);
    let time = Duration::from_secs(effort.of(20, 40, 120));
    let mut mesh = Mesh::new(nodes);
    mesh.run(SETTLES);
    let before = mesh.bytes();
    for node in 0..nodes {
        let at = mesh.now + EVERY * u32::try_from(node).expect("a thousand") / u32::try_from(nodes).expect("a thousand");
        mesh.queue.put(at, Event::Say(node));
    }
    mesh.says = true;
    mesh.run(time);
    let rate = (mesh.bytes() - before) as f64 / nodes as f64 / time.as_secs_f64();
    mesh.says = false;
    mesh.run(ARRIVES);
    let lost: usize = mesh.said.iter().flat_map(|said| said.last()).map(|(_, missing)| missing).sum();
    let (median, late) = (quantile(&mesh.took, 500), quantile(&mesh.took, 990));
    Ok(vec![Row {
        measure: format!("a routine entry (load) known to all, {nodes} nodes, each changing every 5 s"),
        measured: format!("p50 {}, p99 {}, {lost} lost, {:.1} KB/s per node", seconds(median), seconds(late), rate / 1024.0),
        goal: format!("p50 ≤ {}, 0 lost, ≤ {:.0} KB/s per node", seconds(GOAL), GOAL_BYTES / 1024.0),
        met: median <= GOAL && lost == 0 && rate <= GOAL_BYTES,
        stands_on: format!("{} changes in {} s", mesh.took.len(), time.as_secs()),
    }])
}

impl Mesh {
    fn new(count: usize) -> Self {
        let mut mesh = Self {
            now: Instant::ZERO,
            queue: Queue::default(),
            network: Network::new(LAN, stream(1, Concern::Network)),
            nodes: Vec::new(),
            wakes: vec![None; count],
            says: false,
            said: vec![Vec::new(); count],
            known: vec![vec![0; count]; count],
            took: Vec::new(),
        };
        let seeds: Vec<_> = (0..3).map(gossip_address).collect();
        for at in 0..count {
            let gossip = gossip_address(at);
            let me = Me { id: node_id(&format!("routine {at}")), generation: Generation(WALL / 1_000), gossip, quic: gossip };
            let restored = Restored { reserved: Generation(u64::from(u32::MAX) << 16), ..Restored::default() };
            let config = GossipConfig { seeds: seeds.clone(), ..GossipConfig::default() };
            mesh.nodes.push(Gossip::new(mesh.clock(), config, me, restored, at as u64));
        }
        for at in 0..count {
            mesh.carry_out(at);
        }
        mesh
    }

    fn clock(&self) -> Now {
        Now { at: self.now, wall: UnixMicros(WALL + self.now.as_micros()) }
    }

    /// All that was sent for the state's sake.
    fn bytes(&self) -> u64 {
        self.nodes.iter().map(|node| node.traffic().state.bytes + node.traffic().rumours.bytes).sum()
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, event)) = self.queue.pop(end) {
            self.now = at;
            self.handle(event);
        }
        self.now = end;
    }

    fn handle(&mut self, event: Event) {
        let now = self.clock();
        match event {
            Event::Wake(at) => {
                if self.wakes[at] == Some(self.now) {
                    self.wakes[at] = None;
                    self.nodes[at].handle_timeout(now);
                    self.carry_out(at);
                }
            }
            Event::Say(at) => self.say(at),
            Event::Datagram { to, from, payload } => {
                // A datagram for a generation before is refused, and that is no matter here.
                let _ = self.nodes[to].handle_datagram(now, from, &payload);
                self.carry_out(to);
            }
            Event::Call { to, from, body } => {
                let caller = self.nodes[from].me().id;
                let body = self.nodes[to].handle_call(now, caller, &body).ok();
                let leg = self.network.leg(self.now, to, 0);
                self.queue.put(self.now + leg, Event::Reply { to: from, from: to, body });
                self.carry_out(to);
            }
            Event::Reply { to, from, body } => {
                let called = self.nodes[from].me().id;
                let _ = self.nodes[to].handle_reply(now, called, body.as_deref());
                self.carry_out(to);
            }
        }
    }

    /// A node's number changes: it is the count of its changes.
    fn say(&mut self, at: usize) {
        if !self.says {
            return;
        }
        let number = self.said[at].len() + 1;
        let value = Bytes::copy_from_slice(&u32::try_from(number).expect("minutes of changes").to_be_bytes());
        let now = self.clock();
        self.nodes[at].say(now, "load", Some(value)).expect("four bytes are within the limits");
        self.said[at].push((self.now, self.nodes.len() - 1));
        self.queue.put(self.now + EVERY, Event::Say(at));
        self.carry_out(at);
    }

    fn carry_out(&mut self, at: usize) {
        while let Some(output) = self.nodes[at].poll_output() {
            match output {
                Output::Datagram { to, payload } => {
                    let (from, Some(to)) = (gossip_address(at), place(to)) else { continue };
                    for delay in self.network.datagram(self.now, at, to, payload.len()) {
                        self.queue.put(self.now + delay, Event::Datagram { to, from, payload: payload.clone() });
                    }
                }
                Output::Call { to: Peer { gossip, .. }, body } => {
                    let Some(to) = place(gossip) else { continue };
                    let leg = self.network.leg(self.now, at, 0);
                    self.queue.put(self.now + leg, Event::Call { to, from: at, body });
                }
                Output::Changed(Change::Said { node, key }) if key == "load" => {
                    let writer = self.nodes[at].member(&node).and_then(|member| place(member.gossip));
                    let number = self.nodes[at].node_map(&node).and_then(|map| Some(u32::from_be_bytes(map.get("load")?[..].try_into().ok()?)));
                    if let (Some(writer), Some(number)) = (writer, number) {
                        self.note(at, writer, number as usize);
                    }
                }
                _ => {}
            }
        }
        let due = self.nodes[at].poll_timeout().map(|(due, _)| due.max(self.now));
        if let Some(due) = due.filter(|due| self.wakes[at].is_none_or(|wake| *due < wake)) {
            self.wakes[at] = Some(due);
            self.queue.put(due, Event::Wake(at));
        }
    }

    /// A reader knows a writer's numbers up to this one.
    fn note(&mut self, reader: usize, writer: usize, number: usize) {
        for before in self.known[reader][writer]..number {
            let (said, missing) = &mut self.said[writer][before];
            *missing -= 1;
            if *missing == 0 {
                self.took.push(self.now.since(*said));
            }
        }
        self.known[reader][writer] = self.known[reader][writer].max(number);
    }
}

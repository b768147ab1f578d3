//! One node's decisions as a whole: membership and state (gossip), what should run here, which sources it owns and witnesses.
//!
//! ```text
//! datagram, request, reply, persisted, instance, command, timeout ─> Node ─> datagram, call, reply, persist, instance command, answer, event
//! ```
//! The host (the agent, a simulation) owns sockets, clock and disk. What depends on a `Persist` is emitted after `handle_persisted`.
//!
//! `face` has the types that go in and out, `calls` what peers ask and answer, `sources` the movable sources, `instances` what runs here, `operator` commands,
//! `phases` what it says of itself and how it stops, `news` what it makes of what gossip has learned.

mod balancing;
mod calls;
mod conditions;
mod counters;
mod counts;
mod disk;
mod expecting;
mod face;
mod foresight;
mod forgetting;
mod identity;
mod instances;
mod news;
mod operator;
mod outcomes;
mod phases;
mod queues;
mod relay;
mod renaming;
mod returning;
mod revisions;
mod rewinds;
mod rollouts;
mod sources;
mod stamps;
mod votes;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    net::SocketAddr,
    time::Duration,
};

use logvine_gossip::{DatagramError, Doubt, Durable, Generation, Gossip, Instant, Me, NodeId, Now, Output as GossipOutput, Stamp, canary};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

pub use self::counters::{Counters, Pauses};
pub use self::expecting::Expecting;
pub use self::face::{CallFailed, CallId, CommandId, NodeConfig, Output, RequestId, Table, Ticket, Write};
pub use self::foresight::Foresight;
pub use self::revisions::Revision;
pub use self::sources::Owned;
pub(crate) use self::words::HOST;
use self::{
    balancing::Balancing,
    calls::{Call, Pending, ReplyTo},
    disk::{Disk, META_DROPPED, META_FLOOR, META_LOAD},
    identity::{META_DISK, MetRow},
    instances::Instances,
    news::{FULL_LOOK, Look},
    outcomes::Outcomes,
    phases::Stopping,
    relay::Relay,
    revisions::Revisions,
    rollouts::Rollouts,
    sources::Sources,
    stamps::Stamps,
    votes::Votes,
    words::Words,
};
use crate::{
    canary::planted,
    catalog::{Catalog, pack},
    event::Event,
    instance::InstanceCommand,
    member::{NodeInfo, Phase},
    message::{Reply, Request},
    operation::Outcome,
    ranking::Capacity,
    record::{DiskId, SourceKey, Witness},
    steadiness::{Lives, UNSTEADY},
    witness::Witnesses,
};

/// How often a node looks at everything again, hints or not: heartbeats go out, sources are decided on.
const TICK: Duration = Duration::from_secs(1);
/// The node. See the module's text.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    gossip: Gossip,
    catalog: Catalog,
    phase: Phase,
    words: Words,
    started: Now,
    /// How its lives ended, as the disk keeps it.
    lives: Lives,
    /// It has not run for long enough after its last crashes.
    is_unsteady: bool,
    /// Since when it takes sources: once as many nodes are active as are expected.
    assigning_since: Option<Instant>,
    /// When this node stops waiting for others to agree with it.
    patience_until: Instant,
    /// It has been part of the cluster since its start: until then it votes on nothing.
    joined: bool,
    /// The live member that was last found not to have introduced itself: while it has not, nobody else is looked for.
    stranger: Option<NodeId>,
    /// What the disk knows of earlier lives, until others have confirmed it.
    doubt: Option<Doubt>,
    /// How many votes its disk counts.
    votes: Votes,
    /// Nodes that were met, as the disk keeps them.
    met: BTreeMap<NodeId, MetRow>,
    /// Others as gossip and the catalog have them, this node too. Made anew when something changed.
    view: BTreeMap<NodeId, NodeInfo>,
    /// When this node learnt that a member is down or has left.
    gone: BTreeMap<NodeId, Instant>,
    /// When this node first heard, in a generation, that a member is away.
    away: BTreeMap<NodeId, (Generation, Instant)>,
    /// When this node first saw a member active, in one stretch.
    active: BTreeMap<NodeId, Instant>,
    witnesses: Witnesses,
    sources: Sources,
    instances: Instances,
    balancing: Balancing,
    rollouts: Rollouts,
    revisions: Revisions,
    counters: Counters,
    relay: Relay,
    stamps: Stamps,
    outcomes: Outcomes,
    stopping: Option<Stopping>,
    next_tick: Instant,
    /// When everything is read anew.
    full_look_at: Instant,
    /// Whether it was told that this node's clock is off.
    clock_off: bool,
    /// The digests of members, node maps and catalog when everything was read last.
    looked_at: Option<(u64, u64, u64)>,
    /// What each member looked like then.
    looked: BTreeMap<NodeId, Look>,
    /// What this node looked like when it was read last.
    looked_at_self: Option<Look>,
    /// Members whose entry in `view` may be out of date.
    stale: BTreeSet<NodeId>,
    /// Something changed that a decision may depend on.
    dirty: bool,
    rng: ChaCha8Rng,
    calls: BTreeMap<CallId, Call>,
    call_next: u64,
    ticket_next: u64,
    tickets: BTreeMap<Ticket, Vec<After>>,
    /// Of the input at hand: they become one transaction at its end.
    writes: Vec<Write>,
    after: Vec<After>,
    outputs: VecDeque<Output>,
}

/// What waits for a transaction to be on disk.
#[derive(Debug)]
enum After {
    Reply(ReplyTo, Reply),
    /// A call to somebody who is no member: what was asked gets no answer.
    Unreachable(NodeId, Pending),
    Attempt(SourceKey),
    /// A source that was not open needs no closing.
    Closed(SourceKey),
    /// An operation is in this node's catalog and on its disk.
    Published(String),
    /// This node has carried out an operation, or cannot.
    Outcome(String, Outcome),
    Instance(InstanceCommand),
    /// Another process is this node.
    End(SocketAddr),
    Reserved(Generation),
    /// So many votes are on the disk.
    Counted(u64),
    /// Stamps up to this may be given.
    Stamps(Stamp),
}

impl Node {
    /// A node that starts, with what its disk still knows. `me.generation` is chosen here: above all that were reserved, and at least the wall's milliseconds.
    ///
    /// A restored value that does not decode is told and left out; peers have the catalog, witnesses the checkpoints.
    pub fn new(now: Now, config: NodeConfig, mut me: Me, restored: Vec<Write>, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut disk = Disk::read(restored);
        me.generation = disk.gossip.reserved.max(Generation(now.wall.as_millis()));
        if planted("generation-reused") && disk.gossip.reserved > Generation::default() {
            me.generation = Generation(disk.gossip.reserved.0 - 1);
        }
        let doubt = identity::doubt(disk.doubt.take(), disk.gossip.reserved, disk.gossip.votes);
        disk.gossip.doubt = doubt.clone();
        disk.gossip.peers = disk.met.values().map(MetRow::met).collect();
        let votes = disk.gossip.votes;
        let disk_id = disk.id.unwrap_or_else(|| DiskId(rng.next_u64()));
        let alone = config.gossip.seeds.iter().all(|seed| *seed == me.gossip);
        let patience = if alone { config.join_patience.min(Duration::from_secs(2)) } else { config.join_patience };
        let lives = Lives::begin(disk.lives, now.wall);
        let keeps_load = disk.load.is_some();
        let kept = disk.load.take().filter(|kept| kept.is_of_use(now, config.restart_grace));
        let keys: Vec<String> = disk.gossip.catalog.iter().map(|(key, _)| key.clone()).collect();
        let mut node = Self {
            gossip: Gossip::new(now, config.gossip.clone(), me, disk.gossip, rng.next_u64()),
            catalog: Catalog::default(),
            phase: Phase::Joining,
            words: Words::default(),
            started: now,
            is_unsteady: lives.unsteady().is_some(),
            lives,
            assigning_since: None,
            patience_until: now.at + patience,
            joined: false,
            stranger: None,
            doubt: Some(doubt),
            votes: Votes::new(votes),
            met: disk.met,
            view: BTreeMap::new(),
            gone: BTreeMap::new(),
            away: BTreeMap::new(),
            active: BTreeMap::new(),
            witnesses: Witnesses::new(Witness { node: me.id, disk: disk_id }, disk.witnessed),
            sources: Sources::new(disk.ballots, disk.ballot_least),
            instances: Instances::new(disk.pinned, disk.counts, disk.queues),
            balancing: Balancing::new(now, me.id, Capacity(config.capacity), kept),
            rollouts: Rollouts::new(disk.good),
            revisions: Revisions::new(disk.revisions),
            counters: Counters::default(),
            relay: Relay::default(),
            stamps: Stamps::default(),
            outcomes: Outcomes::default(),
            stopping: None,
            next_tick: now.at + TICK.mul_f64(rng.random()),
            full_look_at: now.at + FULL_LOOK,
            clock_off: false,
            looked_at: None,
            looked: BTreeMap::new(),
            looked_at_self: None,
            stale: BTreeSet::new(),
            dirty: true,
            rng,
            calls: BTreeMap::new(),
            call_next: 0,
            ticket_next: 0,
            tickets: BTreeMap::new(),
            writes: Vec::new(),
            after: Vec::new(),
            outputs: VecDeque::new(),
            config,
        };
        if disk.id.is_none() {
            node.cast_vote();
            node.write(Table::Meta, META_DISK.to_vec(), Some(pack(&disk_id).to_vec()));
        }
        node.keep_lives();
        if keeps_load {
            node.write(Table::Meta, META_LOAD.to_vec(), None); // of this return alone
        }
        if let Some(unsteady) = lives.unsteady() {
            node.tell(Event::Steadiness { unsteady: Some(unsteady) });
        }
        for key in keys {
            node.catalog.refresh(&key, node.gossip.catalog().get(&key));
            node.note_forgotten(now, &key);
            node.note_operation(&key);
            node.note_contest(&key, false);
        }
        for (place, error) in disk.unreadable {
            node.tell(Event::Unreadable { place, error });
        }
        if !disk.lost.is_empty() {
            for (table, key) in disk.lost {
                node.write(table, key, None);
            }
            node.take_new_disk(now, Generation::default());
        }
        node.stale.extend(node.met.keys());
        node.introduce(now);
        node.settle(now);
        node
    }

    /// A datagram, unsealed. Errors: it was not understood, or is not from whom it says; the view is as before.
    pub fn handle_datagram(&mut self, now: Now, from: SocketAddr, payload: &[u8]) -> Result<(), DatagramError> {
        let result = self.gossip.handle_datagram(now, from, payload);
        self.settle(now);
        result
    }

    /// What came of an `Output::Knock`.
    pub fn handle_knock(&mut self, now: Now, node: NodeId, refused: bool) {
        self.gossip.handle_knock(now, node, refused);
        self.settle(now);
    }

    /// A transaction is on disk.
    pub fn handle_persisted(&mut self, now: Now, ticket: Ticket) {
        for after in self.tickets.remove(&ticket).into_iter().flatten() {
            self.carry_out(now, after);
        }
        self.settle(now);
    }

    /// Time has passed. Early or repeated calls do no harm.
    pub fn handle_timeout(&mut self, now: Now) {
        self.gossip.handle_timeout(now);
        if now.at >= self.next_tick {
            self.next_tick = now.at + TICK;
            self.fail_calls(now);
            self.catch_up(now);
            self.heartbeat(now, true);
            self.tell_orphans(now);
            self.tell_claimed();
            self.bring_copies(now);
            self.say_statuses(now);
            self.say_votes(now);
            self.balance(now);
            self.grow_steady(now);
            self.forget_the_absent(now);
            self.ask_holders_again(now);
            self.dirty = true;
        }
        self.sources_timeout(now);
        self.answer_waiting(now);
        self.settle(now);
    }

    /// Other seeds from now on: a name leads elsewhere than it did.
    pub fn set_seeds(&mut self, seeds: Vec<SocketAddr>) {
        self.gossip.set_seeds(seeds);
    }

    /// What to do next; drain after every `handle_*`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call `handle_timeout`, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let stop = self.stopping.as_ref().filter(|stopping| !stopping.told).and_then(|stopping| stopping.until).map(|at| (at, "stop"));
        let mine = [Some((self.next_tick, "tick")), self.sources.poll_timeout(), self.relay.poll_timeout(), stop];
        mine.into_iter().flatten().chain(self.gossip.poll_timeout()).min()
    }

    /// Members, node maps and the raw catalog.
    pub fn gossip(&self) -> &Gossip {
        &self.gossip
    }

    /// What should be, typed.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// All known nodes, this one too, as this node believes them to be, by id.
    pub fn view(&self) -> &BTreeMap<NodeId, NodeInfo> {
        &self.view
    }

    /// This node's id.
    pub fn id(&self) -> NodeId {
        self.gossip.me().id
    }

    /// This node's own phase.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What this node witnesses, for people and for checks.
    pub fn witnesses(&self) -> &Witnesses {
        &self.witnesses
    }

    /// What it counts of its sources' moves.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Says in the node map what does not change while the node runs, and what it is about to do.
    fn introduce(&mut self, now: Now) {
        self.say_meta(now);
        let tags: BTreeSet<_> = self.config.tags.clone();
        self.say(now, "tags", &tags);
        self.say(now, "phase", &self.phase.clone());
        self.say(now, "capacity", &self.balancing.capacity());
        self.introduce_load(now);
        if let Some(unsteady) = self.lives.unsteady().filter(|_| self.is_unsteady) {
            self.say(now, UNSTEADY, &unsteady);
        }
    }

    /// The end of every input: what gossip wants, what follows from it, and one transaction for all of it.
    fn settle(&mut self, now: Now) {
        loop {
            self.drain_gossip(now);
            if mem::take(&mut self.dirty) {
                self.look_around(now);
                self.decide_phase(now);
                self.decide_sources(now);
                self.decide_instances(now);
                self.decide_outcomes();
                self.step_renames(now);
                self.step_proposals(now);
            } else if !self.flush(now) {
                break;
            }
        }
        self.decide_stopped(now);
    }

    fn drain_gossip(&mut self, now: Now) {
        while let Some(output) = self.gossip.poll_output() {
            match output {
                GossipOutput::Datagram { to, payload } => self.outputs.push_back(Output::Datagram { to, payload }),
                GossipOutput::Knock { node, to, wait } => self.knock(now, node, to, wait),
                GossipOutput::Call { to, body } => self.call_peer(now, to, Request::Gossip(body.into()), Pending::Gossip),
                GossipOutput::Prove { at } => self.ask_twin(now, at),
                GossipOutput::Persist(durable) => self.persist_gossip(durable),
                GossipOutput::Changed(change) => self.note_change(now, change),
            }
        }
    }

    /// Who said that it would be back is not asked whether it is gone: its host refuses while it restarts.
    fn knock(&mut self, now: Now, node: NodeId, to: SocketAddr, wait: Duration) {
        if self.view.get(&node).is_some_and(|info| self.is_away(now, info)) && !canary::planted("knock-away") {
            self.gossip.handle_knock(now, node, false);
        } else {
            self.outputs.push_back(Output::Knock { node, to, wait });
        }
    }

    fn persist_gossip(&mut self, durable: Durable) {
        match durable {
            Durable::Catalog { key, entry } => {
                self.keep_revision(&key, &entry);
                self.write(Table::Catalog, key.into_bytes(), Some(pack(&entry).to_vec()));
            }
            Durable::CatalogForgotten { key } => {
                self.forget_revisions(&key);
                self.write(Table::Catalog, key.into_bytes(), None);
            }
            Durable::CatalogFloor(floor) => self.write(Table::Meta, META_FLOOR.to_vec(), Some(pack(&floor).to_vec())),
            Durable::CatalogDropped { key, floor } => {
                self.write(Table::Meta, [META_DROPPED, key.as_bytes()].concat(), floor.map(|floor| pack(&floor).to_vec()));
            }
            Durable::Peer(met) => self.keep_met(met),
            Durable::PeerForgotten(id) => self.forget_met(id),
            Durable::ReserveGeneration { up_to } => self.reserve(up_to),
        }
    }

    /// Makes one transaction of the input's writes. Returns whether something that waited for none was carried out instead.
    fn flush(&mut self, now: Now) -> bool {
        let mut after = mem::take(&mut self.after);
        if self.writes.is_empty() {
            let any = !after.is_empty();
            for after in after {
                self.carry_out(now, after);
            }
            return any;
        }
        after.extend(self.count_votes());
        let ticket = Ticket(self.ticket_next);
        self.ticket_next += 1;
        self.tickets.insert(ticket, after);
        self.outputs.push_back(Output::Persist { ticket, writes: mem::take(&mut self.writes) });
        false
    }

    /// Has this wait for all that was written so far, also by earlier inputs: what it says may rest on a row that is not on disk yet.
    fn once_durable(&mut self, after: After) {
        match self.tickets.last_entry() {
            Some(in_flight) if self.writes.is_empty() => in_flight.into_mut().push(after),
            _ => self.after.push(after),
        }
    }

    fn carry_out(&mut self, now: Now, after: After) {
        match after {
            After::Reply(to, reply) => self.reply(now, to, reply),
            After::Unreachable(from, pending) => self.take_reply(now, from, pending, None),
            After::Attempt(source) => self.start_attempt(now, &source),
            After::Closed(source) => self.after_close(now, &source),
            After::Published(operation) => self.note_published(now, &operation),
            After::Outcome(operation, outcome) => self.say_outcome(now, operation, outcome),
            After::Instance(command) => self.outputs.push_back(Output::Instance(command)),
            After::End(at) => self.end_for(at),
            After::Counted(votes) => self.note_counted(votes),
            After::Reserved(up_to) => self.gossip.handle_reserved(now, up_to),
            After::Stamps(up_to) => self.note_stamps(now, up_to),
        }
    }

    fn write(&mut self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.writes.push(Write { table, key, value });
    }

    fn tell(&mut self, event: Event) {
        self.counters.note(&event);
        self.outputs.push_back(Output::Tell(event));
    }

    /// Says a word in the node map. One that gossip has no room for is told: the rest of the node goes on.
    fn say<T: Serialize>(&mut self, now: Now, key: &str, value: &T) {
        if let Err(error) = self.gossip.say(now, key, Some(pack(value))) {
            self.tell(Event::Unsaid { key: key.to_owned(), error: error.to_string() });
        }
    }

    fn unsay(&mut self, now: Now, key: &str) {
        self.gossip.say(now, key, None).ok();
    }
}

#[cfg(test)]
mod tests;

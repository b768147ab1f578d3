//! Membership, node maps and catalog behind one face: `handle_*` in, `poll_*` out.
//!
//! ```text
//! new ─Persist─> handle_reserved ─> seeking (hello, announce) ─> active ─> compare and pass on, until leave
//!                                      ▲                            │
//!                                      └── renewed ◄── defunct ◄────┘  (believed down: a higher generation, from disk)
//! ```
//! Invariants: no packet before its generation is on disk; no generation used twice; only this node writes its own map.
//! Not here: sockets, sealing, the disk; what the catalog's entries mean.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use bytes::Bytes;

use crate::{
    Catalog, Change, ClockOff, DatagramError, DatagramsRefused, Durable, Entry, FrameError, Generation, GossipConfig, Instant, Me, Member, Met,
    NodeId, NodeMap, Now, Output, Restored, Stamp, StateError, Status, Traffic,
    canary::planted,
    clocks::Clocks,
    ids::Share,
    marks,
    membership::{Effect, Membership},
    push_pull::Replica,
    replay::Replays,
    rumour::{Rumours, Topic, sendings},
    swim::Identity,
    wire::{Knocked, Parts, Suspicion},
};

mod identity;
mod packets;
mod rounds;
mod short;
mod tables;

use identity::Oneself;

/// Foca's word of a death rides on its datagrams; for so long after a goodbye they say too that it was one.
const GOODBYE_TIME: Duration = Duration::from_secs(10);
/// Most goodbyes in one datagram.
const GOODBYES_MAX: usize = 8;
/// From one renewal to the next at least. Two live copies of a node that cannot reach each other each go above the other, as often as others tell them.
const RENEW_INTERVAL: Duration = Duration::from_secs(1);
/// A call without an answer for this long is given up.
const CALL_PATIENCE: Duration = Duration::from_secs(30);

/// When the next rounds are due.
#[derive(Debug)]
struct Due {
    seek: Instant,
    push_pull: Instant,
    members: Instant,
    rumours: Option<Instant>,
    /// A renewal that follows too soon on another.
    renew: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The generation is not on disk yet: not a word.
    Waiting,
    /// Nobody has confirmed this generation.
    Seeking,
    Active,
    Left,
}

#[derive(Debug)]
struct Calling {
    since: Instant,
    bytes: usize,
}

/// One node's part in the cluster's gossip.
#[derive(Debug)]
pub struct Gossip {
    config: GossipConfig,
    me: Me,
    stage: Stage,
    share: Share,
    reserved: Generation,
    reserving: Option<Generation>,
    renew_to: Option<Generation>,
    renewed: Option<Instant>,
    membership: Membership,
    replica: Replica,
    clocks: Clocks,
    rumours: Rumours,
    /// Who said goodbye lately, and when that was heard.
    goodbyes: BTreeMap<NodeId, (Generation, Instant)>,
    /// Keys that were rumoured as too large and are being pulled; news to be passed on when they come.
    awaited: BTreeSet<String>,
    /// Nodes of which there was a map and nothing else when that was last looked at.
    strangers: BTreeSet<NodeId>,
    /// All nodes ever met, as the disk has them.
    met: BTreeMap<NodeId, Met>,
    oneself: Oneself,
    calling: BTreeMap<NodeId, Calling>,
    replays: Replays,
    /// Datagrams sent.
    sent: u64,
    /// The last ping that was sent in short, and to whom, until it is answered.
    short_ping: Option<(Identity, Vec<u8>)>,
    /// Who sent the short ping that is being taken: it is answered in kind.
    asked_in_short: Option<Identity>,
    refused: DatagramsRefused,
    due: Due,
    /// How much this node had said at its last rounds of push-pull, in this generation.
    said: VecDeque<(Instant, u64)>,
    traffic: Traffic,
    outputs: VecDeque<Output>,
}

impl Gossip {
    /// A node that has just started. Chance comes from `seed` alone; the same inputs give the same outputs.
    ///
    /// If `me.generation` is not below `restored.reserved`, a block of generations is asked to be persisted first, and nothing is sent
    /// before `handle_reserved`.
    pub fn new(now: Now, config: GossipConfig, mut me: Me, restored: Restored, seed: u64) -> Self {
        let share = Share::draw(seed);
        // Where the clock is behind what the disk has reserved, two copies of that disk would begin alike. Of one that begins by its clock, no other has the time.
        if me.generation >= restored.reserved && me.generation.0 > now.wall.as_millis() {
            me.generation = share.at_least(me.generation);
        }
        let due = Due { seek: now.at, push_pull: now.at, members: now.at, rumours: None, renew: None };
        let met: BTreeMap<_, _> = restored.peers.into_iter().filter(|met| met.id != me.id).map(|met| (met.id, met)).collect();
        let mut gossip = Self {
            membership: Membership::new(&config, &me, seed),
            replica: Replica::new(now.wall, me.id, me.generation, me.quic, restored.catalog, restored.floor, restored.dropped),
            clocks: Clocks::default(),
            rumours: Rumours::new(now.at, config.rumour_bytes_per_second),
            config,
            me,
            stage: Stage::Waiting,
            share,
            reserved: restored.reserved,
            reserving: None,
            renew_to: None,
            renewed: None,
            goodbyes: BTreeMap::new(),
            awaited: BTreeSet::new(),
            strangers: BTreeSet::new(),
            met,
            oneself: Oneself::new(now.at, restored.doubt, restored.votes, me.generation),
            calling: BTreeMap::new(),
            replays: Replays::default(),
            sent: 0,
            short_ping: None,
            asked_in_short: None,
            refused: DatagramsRefused::default(),
            due,
            said: VecDeque::new(),
            traffic: Traffic::default(),
            outputs: VecDeque::new(),
        };
        gossip.replica.begin_stamps(now.wall, restored.stamps, seed);
        gossip.say_what_is_read();
        for met in gossip.met.values() {
            gossip.membership.restore(now, met);
        }
        gossip.membership.begin_at(now, gossip.config.incarnation);
        gossip.start_if_reserved(now);
        gossip
    }

    /// A datagram from `from`, unsealed.
    ///
    /// Errors: what is malformed, claims another sender or is over a limit; see [`DatagramError`].
    pub fn handle_datagram(&mut self, now: Now, from: SocketAddr, payload: &[u8]) -> Result<(), DatagramError> {
        if !matches!(self.stage, Stage::Seeking | Stage::Active) {
            return Ok(());
        }
        let result = self.take_datagram(now, from, payload);
        if let Err(error) = &result {
            self.refused.count(error);
        }
        self.settle(now);
        self.asked_in_short = None;
        result
    }

    /// A peer's call over a connection that has proved `from`. The answer is its reply's body.
    pub fn handle_call(&mut self, now: Now, from: NodeId, body: &[u8]) -> Result<Vec<u8>, FrameError> {
        if !matches!(self.stage, Stage::Seeking | Stage::Active) {
            return Err(FrameError::Absent);
        }
        let result = self.take_call(now, from, body);
        self.settle(now);
        result
    }

    /// What came of an [`Output::Call`] to `from`; None: it failed.
    pub fn handle_reply(&mut self, now: Now, from: NodeId, reply: Option<&[u8]>) -> Result<(), FrameError> {
        let result = self.take_reply(now, from, reply);
        self.settle(now);
        result
    }

    /// What came of an [`Output::Knock`] at `node`: whether its host refused.
    pub fn handle_knock(&mut self, now: Now, node: NodeId, refused: bool) {
        if matches!(self.stage, Stage::Seeking | Stage::Active) {
            self.membership.handle_knock(now, &node, refused);
            self.settle(now);
        }
    }

    /// Generations below `up_to` are on disk as used.
    pub fn handle_reserved(&mut self, now: Now, up_to: Generation) {
        self.reserved = self.reserved.max(up_to);
        self.reserving = self.reserving.filter(|asked| *asked > up_to);
        self.start_if_reserved(now);
        if let Some(generation) = self.renew_to {
            self.renew(now, generation);
        }
        self.settle(now);
    }

    /// Fires what is due. Early or repeated calls do no harm. After a standstill read the sockets first: the answers in them clear others.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.stage == Stage::Waiting {
            return;
        }
        self.membership.fire(now);
        self.settle(now);
        if self.stage != Stage::Left {
            self.rounds(now);
        }
        if self.due.rumours.is_some_and(|due| due <= now.at) {
            self.due.rumours = None;
            self.tell_rumours(now, false);
        }
        self.settle(now);
    }

    /// The next thing to do; drain after every `handle_*`, `say`, `write` and `leave`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call `handle_timeout`, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let swim = self.membership.next_due().map(|due| (due, "swim"));
        let rumours = self.due.rumours.map(|due| (due, "rumours"));
        let rounds = [(self.due.seek, "seek"), (self.due.push_pull, "push-pull"), (self.due.members, "members")].into_iter();
        let rounds = rounds
            .chain(self.due.renew.map(|due| (due, "renewal")))
            .chain(self.oneself.next_due().filter(|_| self.stage == Stage::Active).map(|due| (due, "agreement")))
            .min();
        match self.stage {
            Stage::Waiting => None,
            Stage::Left => rumours,
            Stage::Seeking | Stage::Active => [swim, rumours, rounds].into_iter().flatten().min(),
        }
    }

    /// Says a word in this node's own map; None deletes it. An equal value: nothing happens. `phase` and `tags` travel at once.
    ///
    /// Errors: key or value over its limit, or no room; nothing has changed.
    pub fn say(&mut self, now: Now, key: &str, value: Option<Bytes>) -> Result<(), StateError> {
        if self.replica.say(key, value)? {
            self.learn_word(now, self.me.id, key);
            self.settle(now);
        }
        Ok(())
    }

    /// Writes to the catalog; None leaves a tombstone. The stamp is above all that this node has seen, so that it can be overruled.
    ///
    /// Errors: key or value over its limit, no room, or a clock that is off ([`Gossip::clock_off`]); nothing has changed.
    pub fn write(&mut self, now: Now, key: &str, value: Option<Bytes>) -> Result<Stamp, StateError> {
        if let Some(off) = self.clock_off(now).filter(|_| !planted("clock-off-writes")) {
            return Err(StateError::ClockOff(off));
        }
        let stamp = self.replica.write(now.wall, key, value)?;
        self.learn(now, Topic::Catalog(key.to_owned()));
        self.settle(now);
        Ok(stamp)
    }

    /// A stamp for entries of this node's that are told to others before they are written here: above all that it has seen.
    ///
    /// Errors: its clock is off ([`Gossip::clock_off`]).
    pub fn stamp(&mut self, now: Now) -> Result<Stamp, StateError> {
        match self.clock_off(now).filter(|_| !planted("clock-off-writes")) {
            Some(off) => Err(StateError::ClockOff(off)),
            None => Ok(self.replica.stamp(now.wall)),
        }
    }

    /// Takes a stamped entry that came otherwise than by gossip. True if it is news: not where a later one is held, or its stamp is too far ahead.
    ///
    /// Errors: key or value over its limit, or no room; nothing has changed.
    pub fn take(&mut self, now: Now, key: &str, entry: Entry) -> Result<bool, StateError> {
        let news = self.replica.merge(now.wall, key, entry, Stamp::ZERO)?;
        if news {
            self.learn(now, Topic::Catalog(key.to_owned()));
            self.settle(now);
        }
        Ok(news)
    }

    /// Says goodbye: others see this node as left at once. It takes and sends nothing more, save that goodbye.
    pub fn leave(&mut self, now: Now) {
        if self.stage == Stage::Left {
            return;
        }
        let silent = self.stage == Stage::Waiting;
        self.stage = Stage::Left;
        if !silent {
            self.learn_left(now, self.me.id, self.me.generation);
            self.tell_rumours(now, true);
            self.membership.leave(now);
            self.settle(now);
        }
    }

    /// Whether this node must think that it is cut off itself: it knows two live others at least, and for three probe periods heard neither a packet nor a
    /// refusal of any, or none of its probes was answered. It accuses nobody then. After [`Self::silence`] of ten minutes it goes on (DESIGN §3.1, "A lonely node is careful").
    pub fn is_lonely(&self, now: Instant) -> bool {
        self.membership.is_lonely(now)
    }

    /// For how long neither a packet nor a refusal of any other came; zero before the first.
    pub fn silence(&self, now: Instant) -> Duration {
        self.membership.silence(now)
    }

    /// This node, with its generation as renewed.
    pub fn me(&self) -> Me {
        self.me
    }

    /// All known others, down ones too, by id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.membership.view().values()
    }

    /// One of them.
    pub fn member(&self, id: &NodeId) -> Option<&Member> {
        self.membership.view().get(id)
    }

    /// What a node says of itself; this node's own map too. None until it was heard whole once.
    pub fn node_map(&self, id: &NodeId) -> Option<&NodeMap> {
        self.replica.node_map(id)
    }

    /// What should be.
    pub fn catalog(&self) -> &Catalog {
        &self.replica.catalog
    }

    /// One number for what is believed of all members; a suspicion that may yet be refuted does not count.
    pub fn members_digest(&self) -> u64 {
        self.membership.root()
    }

    /// One number for all node maps that are held: equal on nodes that have heard the same.
    pub fn node_maps_digest(&self) -> u64 {
        self.replica.nodes.root()
    }

    /// Datagrams that opened and were refused all the same, since the start.
    pub fn datagrams_refused(&self) -> DatagramsRefused {
        self.refused
    }

    /// What this node has sent since it was started.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// By how much this node's clock is off, if it is more than 30 s off the median of its peers (of at least two heard in the last minutes). It cannot
    /// write then: its stamps would win over later words, or lose against earlier ones.
    pub fn clock_off(&self, now: Now) -> Option<ClockOff> {
        self.clocks.off(now)
    }

    /// True once the catalog has agreed with another node's since the start.
    pub fn is_synced(&self) -> bool {
        self.replica.synced
    }

    fn start_if_reserved(&mut self, now: Now) {
        if self.stage != Stage::Waiting {
            return;
        }
        if self.me.generation >= self.reserved {
            self.reserve(self.me.generation);
            return;
        }
        self.stage = Stage::Seeking;
        // Nodes that are started together must not do everything in lock-step.
        self.due.seek = now.at + self.membership.draw_between(Duration::ZERO, rounds::START_SPREAD);
        self.due.push_pull = now.at + self.membership.draw_between(Duration::ZERO, self.config.push_pull_interval);
        self.due.members = now.at + self.membership.draw_between(Duration::ZERO, self.config.members_interval);
    }

    /// Asks for all generations up to the one after `generation`: a renewal does not wait for the disk.
    fn reserve(&mut self, generation: Generation) {
        let up_to = self.share.above(generation).next();
        if self.reserving.is_none_or(|asked| asked < up_to) {
            self.reserving = Some(up_to);
            self.outputs.push_back(Output::Persist(Durable::ReserveGeneration { up_to }));
        }
    }

    /// Others believe this node down under `known`, or know it under that: goes on above it as soon as the disk allows.
    fn renew_above(&mut self, now: Now, known: Generation) {
        if !known.can_follow(self.me.generation) || known < self.me.generation || self.stage == Stage::Left {
            return;
        }
        let generation = self.share.above(known).max(self.renew_to.unwrap_or_default());
        self.renew_to = Some(generation);
        self.renew(now, generation);
    }

    fn renew(&mut self, now: Now, generation: Generation) {
        if let Some(rested) = self.renewed.map(|at| at + RENEW_INTERVAL).filter(|rested| now.at < *rested) {
            self.due.renew = Some(rested);
            return;
        }
        if generation >= self.reserved {
            self.reserve(generation);
            return;
        }
        self.renew_to = None;
        self.renewed = Some(now.at);
        // It speaks for the generation that ends.
        self.short_ping = None;
        self.me.generation = generation;
        self.stage = Stage::Seeking;
        self.due.seek = now.at;
        self.membership.renew(now, generation);
        self.replica.nodes.renew(generation);
        self.said.clear();
        self.outputs.push_back(Output::Changed(Change::Renewed { generation }));
        if self.share.above(generation) >= self.reserved {
            self.reserve(generation);
        }
    }

    /// Takes up a rumour.
    fn learn(&mut self, now: Now, topic: Topic) {
        let nodes = self.membership.live_count() + 1;
        if nodes > 1 {
            self.rumours.learn(now.at, topic, sendings(self.config.rumour_factor, nodes));
        }
    }

    fn learn_word(&mut self, now: Now, node: NodeId, key: &str) {
        if let Some(topic) = Topic::of_word(node, key) {
            self.learn(now, topic);
        }
    }

    fn learn_left(&mut self, now: Now, id: NodeId, generation: Generation) {
        self.goodbyes.insert(id, (generation, now.at));
        self.learn(now, Topic::Left(id));
    }

    /// Carries out what the inner machines ask for, until they ask for nothing.
    fn settle(&mut self, now: Now) {
        while let Some(effect) = self.membership.poll_effect() {
            self.carry_out(now, effect);
        }
        self.outputs.extend(self.replica.outputs.drain(..));
        for key in std::mem::take(&mut self.replica.pulled) {
            if self.awaited.remove(&key) {
                self.learn(now, Topic::Catalog(key));
            } else if self.replica.synced {
                marks::reached("a push-pull repaired what rumours lost");
            }
        }
        if self.rumours.has_fresh() {
            self.tell_rumours(now, true);
        }
    }

    fn carry_out(&mut self, now: Now, effect: Effect) {
        match effect {
            Effect::Swim { to, bytes } => self.send_swim(now, to, bytes),
            Effect::AnswerDue { from } => self.repeat_in_long(now, &from),
            Effect::SpeakUp { to, incarnation } => {
                let suspicion = Some(Suspicion { generation: to.generation, incarnation });
                self.send(now, to.gossip, None, vec![Parts { suspicion, ..Parts::default() }]);
            }
            Effect::Knock { to } => {
                self.outputs.push_back(Output::Knock { node: to.id, to: to.gossip, wait: self.config.probe_rtt });
                self.send(now, to.gossip, None, vec![Parts { there: true, ..Parts::default() }]);
            }
            Effect::AskToKnock { helper, member } => {
                self.send(now, helper.gossip, None, vec![Parts { knock: vec![(member.id, member.generation)], ..Parts::default() }]);
            }
            Effect::Report { to, member, found } => {
                let knocked = vec![Knocked { node: member.id, generation: member.generation, found }];
                self.send(now, to.gossip, None, vec![Parts { knocked, ..Parts::default() }]);
            }
            Effect::Newer { member } => self.tell_former(now, member),
            Effect::Active if self.stage == Stage::Seeking => {
                self.stage = Stage::Active;
                // At join the first comparison does not wait for its turn.
                self.due.push_pull = now.at;
                self.due.members = now.at;
                self.oneself.agree_due = now.at;
            }
            Effect::Active => {}
            Effect::Defunct if planted("stays-undead") => {}
            Effect::Defunct => self.renew_above(now, self.me.generation),
            Effect::Changed { id, from, to } => {
                self.replica.nodes.admit(&id);
                if to == Status::Down && from.is_some_and(|from| from.is_live() || from == Status::Down) {
                    self.learn(now, Topic::Gone(id));
                }
                self.outputs.push_back(Output::Changed(Change::Member { id, from, to }));
                self.recall_quic(id);
                self.note_peer(id);
            }
        }
    }

    /// Has a member's addresses and generation persisted once both addresses are known, and again when one of them changes.
    fn note_peer(&mut self, id: NodeId) {
        let Some((member, quic)) = self.membership.view().get(&id).zip(self.membership.quic(&id)) else { return };
        let met = Met { id, gossip: member.gossip, quic, generation: member.generation };
        if self.met.insert(id, met) != Some(met) {
            self.outputs.push_back(Output::Persist(Durable::Peer(met)));
        }
    }

    /// Fills in where a member takes calls, from what is known of it besides membership.
    fn recall_quic(&mut self, id: NodeId) {
        if let Some((generation, quic)) = self.replica.nodes.quic(&id) {
            self.membership.set_quic(id, generation, quic);
        } else if let Some((known, member)) = self.met.get(&id).zip(self.membership.view().get(&id)) {
            let (quic, generation) = (known.quic, member.generation);
            if known.gossip == member.gossip {
                self.membership.set_quic(id, generation, quic);
            }
        }
    }
}

#[cfg(test)]
mod tests;

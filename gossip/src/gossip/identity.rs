//! Who this node is to others: what they knew of it before, whether its disk is the newest of its disks, whether it lives twice, and when it has joined
//! (DESIGN §3.1 "Identity", §5.3 "Restart", §5.5).
//!
//! ```text
//! hello ──► welcome (known, former, elsewhere, forgotten) ──► announce ──► active ──► view agrees with half of the peers: joined
//!              │            │        └─ alive at another address: prove ──► it lives: the higher generation exits
//!              │            └─ at or above what the disk has reserved, and not of this life: an old disk image
//!              └─ above ours: renew
//! ```
//! Invariants: nothing is concluded from another address before a process there has proved this node's key, or was not there; a node announces itself to
//! nobody meanwhile.
//! Not here: what an old disk means for witnesses and epochs (`logvine_cluster`), how a key is proved (`logvine_transport`).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use super::{Gossip, Stage};
use crate::{
    Change, Doubt, Durable, Generation, Instant, NodeId, Now, Output, Peer, StateError, canary,
    ids::GENERATION_MAX,
    marks,
    node_map::{VOTES, VOTES_MAX, encode_votes},
    swim::Identity,
    wire::{Elsewhere, Parts, Record},
};

/// How often a node that joins asks a few peers whether their views are its own: soon at first, and ever more seldom while they are not.
const AGREE_INTERVAL: Duration = Duration::from_millis(200);
const AGREE_INTERVAL_MAX: Duration = Duration::from_secs(5);
/// How many it asks at a time.
const AGREE_ASKED: usize = 3;
/// Half of the peers must agree, but no more than so many: if this many drawn at random agree, the rest is no surprise.
const AGREE_MOST: usize = 5;
/// For so long nobody is thought to be at an address where nobody proved this node's key: enough for all to learn where this node is now. Two copies that
/// could not reach each other ask again after it.
const ABSENT_FOR: Duration = Duration::from_secs(5);
/// How many such addresses are remembered.
const ABSENT_MAX: usize = 16;
/// So many nodes, about, tell a member under which generation they knew it before: one that knows is enough, and few are cheap in a large cluster.
const FORMER_TOLD: usize = 8;
/// A host that lost the question is asked again after so long.
const PROOF_PATIENCE: Duration = Duration::from_secs(10);

/// What this node knows of itself that is not said to others.
#[derive(Debug)]
pub(super) struct Oneself {
    /// The generations before this life that the disk knows of: all that was used, if the disk is the newest.
    disk: Doubt,
    /// The first generation of this life. Of two live copies of a node, the one with the lower stays.
    first: Generation,
    /// How many votes the disk counted when this life began.
    votes: u64,
    /// The most that others heard this node say in a life before this one.
    votes_told: u64,
    /// The disk was found to be old.
    outdated: bool,
    /// A process that is being asked for its proof.
    asking: Option<Asking>,
    /// Where nobody proved it, and when.
    absent: BTreeMap<SocketAddr, Instant>,
    /// Who has the same view of the members.
    agreed: BTreeSet<NodeId>,
    joined: bool,
    agree_interval: Duration,
    pub(super) agree_due: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Asking {
    at: SocketAddr,
    since: Instant,
    /// Who said that it is there; greeted again when nobody is.
    told_by: SocketAddr,
}

impl Oneself {
    pub(super) fn new(now: Instant, disk: Doubt, votes: u64, first: Generation) -> Self {
        Self {
            disk,
            first,
            votes,
            votes_told: 0,
            outdated: false,
            asking: None,
            absent: BTreeMap::new(),
            agreed: BTreeSet::new(),
            joined: false,
            agree_interval: AGREE_INTERVAL,
            agree_due: now,
        }
    }

    /// When the next peers are asked whether they agree.
    pub(super) fn next_due(&self) -> Option<Instant> {
        (!self.joined).then_some(self.agree_due)
    }
}

impl Gossip {
    /// Whether this node's view of the members has agreed with that of half of its peers, once since its start (DESIGN §5.5).
    pub fn is_joined(&self) -> bool {
        self.oneself.joined
    }

    /// The generation under which this process began. Of two live copies of one data directory the one with the higher exits.
    pub fn first_generation(&self) -> Generation {
        self.oneself.first
    }

    /// Forgets a node up to a generation: its member entry, its node map, its addresses on disk. If it lives it comes back above that.
    ///
    /// If it is this node itself, it goes on above that generation.
    pub fn forget(&mut self, now: Now, id: NodeId, generation: Generation) {
        if generation >= GENERATION_MAX {
            return;
        }
        if id == self.me.id {
            self.renew_above(now, generation);
        } else {
            let was_there = self.membership.forget(&id, generation);
            self.replica.nodes.forget(id, generation);
            if self.met.get(&id).is_some_and(|met| met.generation <= generation) {
                self.met.remove(&id);
                self.outputs.push_back(Output::Persist(Durable::PeerForgotten(id)));
            }
            if was_there {
                self.goodbyes.remove(&id);
                self.outputs.push_back(Output::Changed(Change::Forgotten { id }));
            }
        }
        self.settle(now);
    }

    /// What came of an [`Output::Prove`]: the first generation of the process there that proved this node's key; None: nobody did.
    ///
    /// True: that process stays, and this one must end (without a goodbye, which would be believed of both).
    pub fn handle_proof(&mut self, now: Now, at: SocketAddr, first: Option<Generation>) -> bool {
        let asked = self.oneself.asking.take_if(|asking| asking.at == at);
        if let Some(first) = first {
            return self.yields_to(at, first);
        }
        let absent = &mut self.oneself.absent;
        if absent.len() >= ABSENT_MAX {
            absent.retain(|_, since| now.at.since(*since) < ABSENT_FOR);
        }
        if absent.len() < ABSENT_MAX {
            absent.insert(at, now.at);
        }
        if let Some(asked) = asked {
            self.hello(now, [asked.told_by]);
            self.settle(now);
        }
        false
    }

    /// Whether this process must end, as another one lives with the same key, at that address and with that first generation.
    ///
    /// Both sides find the same, whoever asks.
    pub fn yields_to(&self, at: SocketAddr, first: Generation) -> bool {
        at != self.me.gossip && (self.oneself.first, self.me.gossip) > (first, at)
    }

    /// Ends without a word: another process is this node.
    pub fn retire(&mut self) {
        self.stage = Stage::Left;
        self.due.rumours = None;
        self.outputs.clear();
    }

    /// What to say to a node that asks who it is, or that speaks under an older generation than is known.
    pub(super) fn welcome(&self, to: &Identity) -> Parts {
        let known = self.membership.view().get(&to.id);
        let elsewhere = known.filter(|member| member.status.is_live() && member.gossip != to.gossip);
        Parts {
            welcome: Some(self.highest_known(&to.id)),
            elsewhere: elsewhere.map(|member| Elsewhere { gossip: member.gossip, quic: member.quic }),
            forgotten: self.membership.forgotten(&to.id).filter(|generation| to.generation <= *generation),
            ..self.formerly(to.id, self.known_before(to), to.generation)
        }
    }

    /// What is told a node of its earlier lives: under which generation it was known here, and how many votes it said were on its disk.
    pub(super) fn formerly(&self, id: NodeId, former: Option<Generation>, present: Generation) -> Parts {
        let former_votes = self.replica.nodes.votes_before(&id, present);
        let former_of = (former.is_some() || former_votes.is_some()).then_some(id);
        Parts { former, former_of, former_votes, ..Parts::default() }
    }

    /// The highest generation below its present one under which a node was known here.
    fn known_before(&self, to: &Identity) -> Option<Generation> {
        let member = self.membership.view().get(&to.id).map(|member| member.generation);
        let known = [self.membership.former(&to.id), member, self.replica.nodes.generation(&to.id)];
        known.into_iter().flatten().filter(|known| *known < to.generation && *known > Generation::default()).max()
    }

    pub(super) fn take_welcome(&mut self, now: Now, sender: Identity, known: Generation, parts: &Parts) {
        if let Some(forgotten) = parts.forgotten.filter(|generation| *generation >= self.me.generation) {
            return self.renew_above(now, forgotten);
        }
        if let Some(elsewhere) = parts.elsewhere.filter(|there| self.may_be_alive_at(now, there.gossip)) {
            return self.ask_for_proof(now, &elsewhere, sender.gossip);
        }
        self.judge_disk(known);
        if known > self.me.generation {
            marks::reached("a welcome told of a higher generation of this node's own");
            self.renew_above(now, known);
        } else {
            self.membership.announce(now, sender);
        }
    }

    /// A member that this node knew under a lower generation is told so: it may have learnt its way in from others, who knew nothing of it.
    pub(super) fn tell_former(&mut self, now: Now, member: Identity) {
        let former = self.membership.former(&member.id);
        let nodes = self.membership.live_count();
        if former.is_some_and(|former| former > Generation::default()) && self.membership.draw_one_of(FORMER_TOLD, nodes) {
            self.send(now, member.gossip, None, vec![self.formerly(member.id, former, member.generation)]);
        }
    }

    /// A process at another address says that it is this node.
    pub(super) fn hear_namesake(&mut self, now: Now, there: &Elsewhere) {
        if self.may_be_alive_at(now, there.gossip) {
            self.ask_for_proof(now, there, there.gossip);
        }
    }

    /// A peer's record of this node itself has a higher generation.
    pub(super) fn hear_of_oneself(&mut self, now: Now, record: &Record, told_by: SocketAddr) {
        if record.status.is_live() && self.may_be_alive_at(now, record.gossip) {
            let quic = record.quic.unwrap_or_else(|| SocketAddr::new(record.gossip.ip(), self.me.quic.port()));
            return self.ask_for_proof(now, &Elsewhere { gossip: record.gossip, quic }, told_by);
        }
        self.judge_disk(record.generation);
        self.renew_above(now, record.generation);
    }

    /// Whether another process of this node's may be at that address.
    fn may_be_alive_at(&self, now: Now, gossip: SocketAddr) -> bool {
        gossip != self.me.gossip && self.oneself.absent.get(&gossip).is_none_or(|since| now.at.since(*since) >= ABSENT_FOR)
    }

    fn ask_for_proof(&mut self, now: Now, there: &Elsewhere, told_by: SocketAddr) {
        if self.oneself.asking.is_none_or(|asking| now.at.since(asking.since) >= PROOF_PATIENCE) {
            self.oneself.asking = Some(Asking { at: there.gossip, since: now.at, told_by });
            let at = Peer { id: self.me.id, gossip: there.gossip, quic: there.quic };
            self.outputs.push_back(Output::Prove { at });
        }
    }

    /// A peer says under which generation it knew a node before. Those that do not say which node speak to whom they mean.
    pub(super) fn take_former_generation(&mut self, parts: &Parts) {
        let is_meant = parts.former_of.is_none_or(|id| id == self.me.id);
        if let Some(former) = parts.former.filter(|_| is_meant) {
            self.judge_disk(former);
        }
        if let Some((generation, votes)) = parts.former_votes.filter(|_| is_meant) {
            self.judge_votes(generation, votes);
        }
    }

    /// The disk is old, too, if fewer votes are on it than its node said were when it last lived: an image that was taken while it ran.
    fn judge_votes(&mut self, generation: Generation, votes: u64) {
        let has_them = self.oneself.disk.has_votes(generation, votes, self.oneself.votes);
        if votes > VOTES_MAX || has_them || self.is_of_this_life(generation) || canary::planted("running-image-votes") {
            return;
        }
        self.oneself.votes_told = self.oneself.votes_told.max(votes);
        if !self.oneself.outdated {
            self.oneself.outdated = true;
            self.outputs.push_back(Output::Changed(Change::DiskOutdated { known: generation }));
        }
    }

    /// Says how many votes are on this node's disk, in all its lives. Whoever hears it tells a later life of the node, which finds out by it that its disk is an
    /// old image (DESIGN §5.3, "Restart"). Only what is durable may be said: a crash must not take it back.
    ///
    /// Errors: no room for the word.
    pub fn say_votes(&mut self, now: Now, votes: u64) -> Result<(), StateError> {
        self.say(now, VOTES, Some(encode_votes(votes)))
    }

    /// More votes than the disk counts, if others have heard this node speak of them in an earlier life; else zero. A disk that goes on as another counts on
    /// above that.
    pub fn votes_told(&self) -> u64 {
        self.oneself.votes_told
    }

    /// The disk is old if a generation was used that it knows nothing of, and that is not of this life.
    pub(super) fn judge_disk(&mut self, known: Generation) {
        let is_found = self.oneself.outdated && known <= self.me.generation;
        if known == Generation::default() || is_found || self.oneself.disk.knows(known) || canary::planted("old-image-votes") {
            return;
        }
        if !self.is_of_this_life(known) {
            self.oneself.outdated = true;
            self.outputs.push_back(Output::Changed(Change::DiskOutdated { known }));
        }
    }

    /// Generations may run ahead of the clock: that of a life before this one may lie among this one's own.
    fn is_of_this_life(&self, generation: Generation) -> bool {
        let first = self.oneself.first;
        generation == first || ((first..=self.me.generation).contains(&generation) && self.share.has(generation))
    }

    /// Asks a few peers whether their views are this node's, until half of all are.
    pub(super) fn seek_agreement(&mut self, now: Now) {
        if self.oneself.joined || self.stage != Stage::Active || self.oneself.agree_due > now.at {
            return;
        }
        // Peers who died meanwhile are half of nothing.
        if self.join_if_agreed() {
            return;
        }
        let interval = self.oneself.agree_interval;
        self.oneself.agree_interval = (interval * 5 / 4).min(AGREE_INTERVAL_MAX);
        self.oneself.agree_due = now.at + self.membership.draw_between(interval * 4 / 5, interval * 6 / 5);
        let open: Vec<SocketAddr> =
            self.membership.live().filter(|member| !self.oneself.agreed.contains(&member.id)).map(|member| member.gossip).collect();
        let view = Some(self.membership.root());
        for to in self.membership.draw(open, AGREE_ASKED) {
            self.send(now, to, None, vec![Parts { hello: true, view, ..Parts::default() }]);
        }
    }

    /// A peer has said whether its view is this node's.
    pub(super) fn take_agreement(&mut self, now: Now, sender: &Identity, agrees: bool) {
        if self.oneself.joined || self.oneself.asking.is_some() {
            return;
        }
        if !agrees {
            self.oneself.agreed.remove(&sender.id);
            let roots = Some(self.replica.roots(now.wall, Some(self.membership.root())));
            return self.send(now, sender.gossip, None, vec![Parts { roots, ..Parts::default() }]);
        }
        self.oneself.agreed.insert(sender.id);
        self.join_if_agreed();
    }

    /// True if half of the peers have agreed; where there are none, nobody has.
    fn join_if_agreed(&mut self) -> bool {
        let live = self.membership.live_count();
        let is_live = |id: &&NodeId| self.membership.view().get(id).is_some_and(|member| member.status.is_live());
        let agreed = self.oneself.agreed.iter().filter(is_live).count();
        if agreed == 0 || agreed < live.div_ceil(2).min(AGREE_MOST) {
            return false;
        }
        self.oneself.joined = true;
        self.oneself.agreed.clear();
        self.outputs.push_back(Output::Changed(Change::Joined));
        true
    }

    /// Whether what this member says under this generation is of the past: it was forgotten.
    pub(super) fn is_forgotten(&self, id: &NodeId, generation: Generation) -> bool {
        self.membership.forgotten(id).is_some_and(|forgotten| generation <= forgotten)
    }
}

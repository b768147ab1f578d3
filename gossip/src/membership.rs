//! Who is there: foca (SWIM) behind a face without callbacks, with the guards that experiments asked for (`guards`) and with proofs (`refusal`).
//!
//! ```text
//! handle_swim, apply, announce, fire, leave, renew ──► foca ──► effects: send, speak-up, active, defunct, changed
//! ```
//! Invariants: a member that is down stays in the view; a view never goes back to an older generation.
//! Not here: sockets, which generations are free (`Gossip`), what is told beside membership.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    net::SocketAddr,
    time::Duration,
};

use foca::{Foca, Message, NoCustomBroadcast, State, Timer};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{
    Generation, GossipConfig, Instant, Me, Member, Met, NodeId, Now, Status, marks,
    swim::{CodecError, Identity, SwimCodec, peek},
};

mod accusations;
mod asked;
mod census;
mod draws;
pub(crate) mod guards;
mod health;
mod knocks;
pub(crate) mod refusal;
mod settings;
mod timers;

use accusations::Prolonged;
use asked::Asked;
use census::Census;
use guards::{Buddies, StallGuard};
use health::{Health, Sign};
use refusal::{Found, Refusals};
use settings::{foca_config, suspicion, transmissions};
use timers::Timers;

/// Foca's bytes in one datagram; with our own header and the seal it stays below 1,400. Foca goes through all that it has to tell for each packet that it
/// fills, unless nothing is left free in it: so much are its header and 33 members, of 34 bytes each where addresses are IPv4.
const SWIM_BYTES_MAX: usize = 67 + 33 * 34;
/// Most members, down ones too: twice the 10,000 of the largest simulation.
pub(crate) const MEMBERS_MAX: usize = 20_000;

/// What is to be done after an input.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    Swim {
        to: Identity,
        bytes: Vec<u8>,
    },
    /// This member's answer to a ping is due.
    AnswerDue {
        from: Identity,
    },
    /// Buddy: tell a suspect that it is suspected.
    SpeakUp {
        to: Identity,
        incarnation: u16,
    },
    /// Knock at this member's address, and ask it whether it is there.
    Knock {
        to: Identity,
    },
    /// Ask a helper to knock at `member` too.
    AskToKnock {
        helper: Identity,
        member: Identity,
    },
    /// Tell who asked what a knock has found.
    Report {
        to: Identity,
        member: Identity,
        found: Found,
    },
    /// A member has a higher generation than before.
    Newer {
        member: Identity,
    },
    /// Others know this generation.
    Active,
    /// Others believe this generation down: a new one is needed.
    Defunct,
    Changed {
        id: NodeId,
        from: Option<Status>,
        to: Status,
    },
}

/// Why a membership message was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SwimError {
    #[error("it claims another sender")]
    Sender,
    #[error("the member table is full")]
    Full,
    #[error("{0}")]
    Refused(String),
}

pub(crate) struct Membership {
    foca: Foca<Identity, SwimCodec, ChaCha8Rng, NoCustomBroadcast>,
    foca_config: foca::Config,
    quic_port: u16,
    probe_period: Duration,
    /// As configured; foca has it for the cluster's size.
    suspicion: Duration,
    rng: ChaCha8Rng,
    timers: Timers,
    buddies: Buddies,
    stall: StallGuard,
    health: Health,
    /// When the probe under way began.
    probed_at: Instant,
    /// The last suspicion of this node that it was told of.
    suspected: Option<(Generation, u16)>,
    prolonged: Prolonged,
    refusals: Refusals,
    /// Who is being entered as proved gone.
    proving: Option<Identity>,
    view: BTreeMap<NodeId, Member>,
    census: Census,
    /// Members whose address for calls is a guess.
    guessed: BTreeSet<NodeId>,
    /// Members that were read from the disk and not heard of since: down, as far as people are told, and not spoken of to other nodes.
    from_disk: BTreeSet<NodeId>,
    /// The generation of each member before its present one.
    former: BTreeMap<NodeId, Generation>,
    /// Up to which generation nodes are forgotten: what is said of them under it is of the past.
    forgotten: BTreeMap<NodeId, Generation>,
    effects: VecDeque<Effect>,
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("me", self.foca.identity()).field("view", &self.view).finish_non_exhaustive()
    }
}

impl Membership {
    pub(crate) fn new(config: &GossipConfig, me: &Me, seed: u64) -> Self {
        let identity = Identity { id: me.id, gossip: me.gossip, generation: me.generation };
        let foca_config = foca_config(config);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let foca_rng = ChaCha8Rng::from_rng(&mut rng);
        Self {
            foca: Foca::new(identity, foca_config.clone(), foca_rng, SwimCodec),
            foca_config,
            quic_port: me.quic.port(),
            probe_period: config.probe_period,
            suspicion: config.suspicion,
            rng,
            timers: Timers::default(),
            buddies: Buddies::new(config.suspicion),
            stall: StallGuard::new(config.probe_rtt, config.probe_period),
            health: Health::new(config.probe_period),
            probed_at: Instant::ZERO,
            suspected: None,
            prolonged: Prolonged::default(),
            refusals: Refusals::new(config.probe_rtt),
            proving: None,
            view: BTreeMap::new(),
            census: Census::default(),
            guessed: BTreeSet::new(),
            from_disk: BTreeSet::new(),
            former: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            effects: VecDeque::new(),
        }
    }

    pub(crate) fn view(&self) -> &BTreeMap<NodeId, Member> {
        &self.view
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = &Member> {
        self.view.values().filter(|member| member.status.is_live())
    }

    pub(crate) fn live_count(&self) -> usize {
        self.census.live().len()
    }

    /// Members that are neither live nor said goodbye.
    pub(crate) fn down(&self) -> impl Iterator<Item = &Member> {
        self.census.down().iter().filter_map(|id| self.view.get(id))
    }

    /// Whether a live member is at an address.
    pub(crate) fn is_live_at(&self, address: &SocketAddr) -> bool {
        self.census.is_live_at(address)
    }

    /// The live members at an address.
    pub(crate) fn live_at(&self, address: &SocketAddr) -> impl Iterator<Item = Identity> {
        self.census.live_at(address).filter_map(|id| self.view.get(id)).map(identity)
    }

    pub(crate) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        [self.timers.next_due(), self.buddies.next_due(), self.refusals.next_due()].into_iter().flatten().min()
    }

    /// How many members, timers and suspects are held.
    pub(crate) fn sizes(&self) -> [usize; 3] {
        [self.view.len(), self.timers.len(), self.buddies.len()]
    }

    /// A datagram came from this member.
    pub(crate) fn heard(&mut self, now: Now, id: NodeId) {
        if let Some(member) = self.view.get_mut(&id) {
            member.heard = Some(now.at);
        }
        self.word_came(now);
        self.refusals.heard(&id);
        self.take_steps(now);
    }

    /// A member was asked something that it answers at once, if it lives.
    pub(crate) fn question(&mut self, now: Now, id: &NodeId) {
        if let Some(Member { id, gossip, generation, .. }) = self.view.get(id).filter(|member| member.status.is_live()) {
            self.refusals.question(now.at, Identity { id: *id, gossip: *gossip, generation: *generation });
        }
    }

    /// Where a member takes calls; None if that is only a guess.
    pub(crate) fn quic(&self, id: &NodeId) -> Option<SocketAddr> {
        self.view.get(id).filter(|_| !self.guessed.contains(id)).map(|member| member.quic)
    }

    /// Notes where a member takes calls. True if that is new.
    pub(crate) fn set_quic(&mut self, id: NodeId, generation: Generation, quic: SocketAddr) -> bool {
        let Some(member) = self.view.get_mut(&id).filter(|member| generation >= member.generation) else { return false };
        let was_guess = self.guessed.remove(&id);
        std::mem::replace(&mut member.quic, quic) != quic || was_guess
    }

    /// A node that was met in an earlier life: down until it is heard of.
    pub(crate) fn restore(&mut self, now: Now, met: &Met) {
        if self.view.len() < MEMBERS_MAX {
            let identity = Identity { id: met.id, gossip: met.gossip, generation: met.generation };
            self.enter(now, &identity, Status::Down);
            self.set_quic(met.id, met.generation, met.quic);
            self.from_disk.insert(met.id);
        }
    }

    /// A member that was read from the disk is heard of, or goes.
    fn hear_of(&mut self, id: &NodeId) {
        self.from_disk.remove(id);
    }

    /// Whether a member was read from the disk, and not heard of since.
    pub(crate) fn is_from_disk(&self, id: &NodeId) -> bool {
        self.from_disk.contains(id)
    }

    /// The generation that a member had before its present one.
    pub(crate) fn former(&self, id: &NodeId) -> Option<Generation> {
        self.former.get(id).copied()
    }

    /// The same of a member at an address, and which that is: a node that lost its data directory is another one at the address of the one that it was.
    pub(crate) fn former_at(&self, address: &SocketAddr) -> Option<(Identity, Generation)> {
        let there = self.former.iter().filter_map(|(id, former)| self.view.get(id).filter(|member| member.gossip == *address).zip(Some(*former)));
        there.max_by_key(|(member, _)| member.status.is_live()).map(|(member, former)| (identity(member), former))
    }

    /// Up to which generation a node is forgotten.
    pub(crate) fn forgotten(&self, id: &NodeId) -> Option<Generation> {
        self.forgotten.get(id).copied()
    }

    /// Forgets a node up to a generation. True if it was in the view.
    pub(crate) fn forget(&mut self, id: &NodeId, generation: Generation) -> bool {
        let forgotten = self.forgotten.entry(*id).or_default();
        *forgotten = generation.max(*forgotten);
        let Some(member) = self.view.get(id).filter(|member| member.generation <= generation) else { return false };
        let down = Identity { id: *id, gossip: member.gossip, generation: member.generation };
        let result = self.foca.handle_timer(Timer::RemoveDown(down), Asked::default());
        debug_assert!(result.is_ok(), "foca could not forget a member: {result:?}");
        self.buddies.forget(&down);
        self.timers.forget(id);
        self.prolonged.forget(id);
        self.hear_of(id);
        let gone = self.view.remove(id);
        self.census.change(gone.as_ref(), None);
        self.guessed.remove(id);
        self.former.remove(id);
        true
    }

    /// A membership message from `from`.
    pub(crate) fn handle_swim(&mut self, now: Now, from: &Identity, bytes: &[u8]) -> Result<(), SwimError> {
        let refused = |error: CodecError| SwimError::Refused(error.to_string());
        let mut peeked = peek(bytes).map_err(refused)?;
        if peeked.header.src != *from {
            return Err(SwimError::Sender);
        }
        // What is longer is foca's to refuse.
        if bytes.len() <= SWIM_BYTES_MAX {
            peeked.keep_news(|member| !self.is_idle_talk(member));
        }
        if self.view.len() + peeked.named.len() > MEMBERS_MAX {
            let unknown = peeked.named.iter().map(|member| member.id().id).filter(|id| !self.view.contains_key(id));
            if self.view.len() + unknown.collect::<BTreeSet<_>>().len() > MEMBERS_MAX {
                return Err(SwimError::Full);
            }
        }
        if matches!(peeked.header.message, Message::Ack(_) | Message::ForwardedAck { .. }) {
            self.health.note(Sign::Answer);
            self.answer_came(now);
        }
        let mut asked = Asked::default();
        let result = self.foca.handle_data(&peeked.told(bytes).map_err(refused)?, &mut asked);
        asked.touched.extend(peeked.named.iter().filter(|member| !self.believes(member.id(), member.state())).map(|member| member.id().id));
        self.carry_out(now, asked, false);
        result.map_err(|error| SwimError::Refused(error.to_string()))
    }

    /// Whether this is no news of a member: whatever foca makes of it, nothing changes for the view. A death is final within a generation; what was only read
    /// from the disk is no belief.
    fn believes(&self, identity: &Identity, state: State) -> bool {
        self.view.get(&identity.id).filter(|known| !self.is_from_disk(&known.id)).is_some_and(|known| {
            let same = matches!((known.status, state), (Status::Alive, State::Alive) | (Status::Suspect, State::Suspect)) || !known.status.is_live();
            known.generation > identity.generation || (known.generation == identity.generation && known.gossip == identity.gossip && same)
        })
    }

    /// Whether foca would do nothing at all about this, and look for the member in vain through all of them: most of what a thousand nodes tell each other
    /// while they join.
    ///
    /// Who lives in the view does so in foca, at least as far on: an incarnation of zero exceeds none, and an older generation loses.
    fn is_idle_talk(&self, member: &foca::Member<Identity>) -> bool {
        let identity = member.id();
        self.view.get(&identity.id).filter(|known| known.status.is_live()).is_some_and(|known| {
            let same = known.generation == identity.generation && known.gossip == identity.gossip;
            let weaker = member.incarnation() == 0 && matches!((known.status, member.state()), (_, State::Alive) | (Status::Suspect, State::Suspect));
            known.generation > identity.generation || (same && weaker)
        })
    }

    /// What others believe, taken as foca takes gossip; to be passed on where it is news.
    pub(crate) fn apply(&mut self, now: Now, updates: Vec<foca::Member<Identity>>) {
        let me = *self.foca.identity();
        // A record of an older self would make foca hold this node itself as a down member, and call it.
        let is_of_use = |update: &foca::Member<Identity>| (update.id().id != me.id || *update.id() == me) && !self.is_idle_talk(update);
        let updates: Vec<_> = updates.into_iter().filter(is_of_use).collect();
        let mut asked = Asked::default();
        asked.touched.extend(updates.iter().filter(|update| !self.believes(update.id(), update.state())).map(|update| update.id().id));
        let result = self.foca.apply_many(updates.into_iter(), true, &mut asked);
        debug_assert!(result.is_ok(), "foca refused a record: {result:?}");
        self.carry_out(now, asked, false);
    }

    /// Somebody suspects this node: refutes, and brings the accuser the news (Lifeguard's buddy system, Dadgar et al. 2018).
    pub(crate) fn handle_suspicion(&mut self, now: Now, accuser: Identity, generation: Generation, incarnation: u16) {
        let me = *self.foca.identity();
        if generation == me.generation {
            marks::reached("a suspect was told of its suspicion and spoke");
            if self.suspected.replace((generation, incarnation)) != Some((generation, incarnation)) {
                self.health.note(Sign::Suspected);
            }
            self.apply(now, vec![foca::Member::new(me, incarnation, State::Suspect)]);
            self.announce(now, accuser);
        }
    }

    /// Asks `to` to take this node in; it answers with members.
    pub(crate) fn announce(&mut self, now: Now, to: Identity) {
        let mut asked = Asked::default();
        let result = self.foca.announce(to, &mut asked);
        debug_assert!(result.is_ok(), "foca could not announce: {result:?}");
        self.carry_out(now, asked, false);
    }

    /// Goes on under a higher generation, which is on disk as used.
    pub(crate) fn renew(&mut self, now: Now, generation: Generation) {
        let mut asked = Asked::default();
        let identity = Identity { generation, ..*self.foca.identity() };
        let result = self.foca.change_identity(identity, &mut asked);
        debug_assert!(result.is_ok(), "foca refused a higher generation: {result:?}");
        self.carry_out(now, asked, false);
    }

    /// Nobody answered since this node renewed itself: whom it believes live may have died meanwhile, and foca probes nobody until somebody writes to it.
    pub(crate) fn resume(&mut self, now: Now) {
        self.apply(now, Vec::new());
    }

    /// Tells some members that this node goes. It is out of the cluster then.
    pub(crate) fn leave(&mut self, now: Now) {
        let mut asked = Asked::default();
        let result = self.foca.leave_cluster(&mut asked);
        debug_assert!(result.is_ok(), "foca could not leave: {result:?}");
        asked.defunct = false;
        self.carry_out(now, asked, false);
    }

    /// A member said goodbye under this identity. True if that is news.
    pub(crate) fn handle_left(&mut self, now: Now, identity: Identity) -> bool {
        let known = self.view.get(&identity.id).map(|known| (known.generation, known.status));
        let is_old = known.is_some_and(|known| known.0 > identity.generation || known == (identity.generation, Status::Left));
        let is_forgotten = self.forgotten(&identity.id).is_some_and(|forgotten| identity.generation <= forgotten);
        if is_forgotten || self.view.len() >= MEMBERS_MAX {
            return false;
        }
        self.hear_of(&identity.id);
        if is_old {
            return false;
        }
        self.enter(now, &identity, Status::Left);
        self.effects.push_back(Effect::Changed { id: identity.id, from: known.map(|(_, status)| status), to: Status::Left });
        self.apply(now, vec![foca::Member::new(identity, 0, State::Down)]);
        true
    }

    /// The highest incarnation that foca knows of each member's present generation.
    pub(crate) fn incarnations(&self) -> BTreeMap<NodeId, u16> {
        self.foca.iter_membership_state().map(|member| (member.id().id, member.incarnation())).collect()
    }

    /// Fires what is due, in foca's own order.
    pub(crate) fn fire(&mut self, now: Now) {
        if self.timers.next_due().is_some_and(|due| self.stall.stalled(due, now.at)) {
            marks::reached("timers that were late were put off, as this node had stood still");
            self.stall.postpone(&mut self.timers, now.at);
            self.health.note(Sign::Late);
        }
        while let Some(timer) = self.timers.pop_due(now.at) {
            self.fire_one(now, timer);
        }
        while let Some((to, incarnation)) = self.buddies.pop_due(now.at) {
            if guards::still_suspect(&self.foca, &to, incarnation) {
                self.effects.push_back(Effect::SpeakUp { to, incarnation });
            } else {
                self.buddies.forget(&to);
            }
        }
        self.refusals.fire(now.at);
        self.take_steps(now);
    }

    fn fire_one(&mut self, now: Now, timer: Timer<Identity>) {
        let mut asked = Asked::default();
        if let Timer::ChangeSuspectToDown { member_id, incarnation, .. } = &timer {
            if !guards::still_suspect(&self.foca, member_id, *incarnation) {
                if self.view.get(&member_id.id).is_some_and(|known| known.generation == member_id.generation && known.status == Status::Alive) {
                    marks::reached("a suspicion was refuted while its timer ran");
                }
                return;
            }
            if self.keeps_back(now.at, &timer, member_id, *incarnation) {
                return;
            }
            asked.touched.insert(member_id.id);
        }
        if let Timer::SendIndirectProbe { probed_id, .. } = &timer {
            self.effects.push_back(Effect::AnswerDue { from: *probed_id });
        }
        let probing = matches!(timer, Timer::ProbeRandomMember(_));
        let result = self.foca.handle_timer(timer, &mut asked);
        debug_assert!(result.is_ok(), "a timer came out of its order: {result:?}");
        self.carry_out(now, asked, probing);
    }

    /// Does what foca asked for. `probing`: its probe timer was just fired, so that a probe timer in `asked` is not the first.
    fn carry_out(&mut self, now: Now, asked: Asked, probing: bool) {
        let me = self.foca.identity().id;
        for (to, bytes) in asked.sends {
            if to.id != me {
                self.effects.push_back(Effect::Swim { to, bytes });
            }
        }
        if asked.probe_failed {
            self.note_failed_probe(now);
        }
        let revived = asked.timers.iter().find_map(|(timer, _)| if let Timer::ProbeRandomMember(token) = timer { Some(*token) } else { None });
        for (timer, after) in asked.timers {
            if let Timer::ChangeSuspectToDown { member_id, incarnation, .. } = &timer {
                self.buddies.suspect(now.at, *member_id, *incarnation);
            }
            if let Timer::SendIndirectProbe { probed_id, .. } = &timer {
                self.refusals.question(now.at, *probed_id);
                self.probed_at = now.at;
            }
            let after = match &timer {
                // A probe's two timers are stretched alike, or foca would take the probe for broken.
                Timer::SendIndirectProbe { .. } | Timer::ProbeRandomMember(_) => self.health.stretched(after),
                _ => after,
            };
            let after = guards::jittered(&mut self.rng, &timer, after, !probing);
            self.timers.set(now.at + after, timer);
        }
        self.refresh(now, &asked.touched);
        if asked.active {
            self.accuse_anew(now, revived);
            self.effects.push_back(Effect::Active);
        }
        if asked.defunct {
            self.effects.push_back(Effect::Defunct);
        }
    }

    /// Brings the view in line with foca for the members that an input touched.
    fn refresh(&mut self, now: Now, touched: &BTreeSet<NodeId>) {
        if touched.is_empty() {
            return;
        }
        let me = self.foca.identity().id;
        let states: Vec<(Identity, State)> = self
            .foca
            .iter_membership_state()
            .filter(|member| member.id().id != me && touched.contains(&member.id().id))
            .take(touched.len())
            .map(|member| (*member.id(), member.state()))
            .collect();
        for (identity, state) in states {
            let known = self.view.get(&identity.id).map(|known| (known.generation, known.status));
            let to = match state {
                State::Alive => Status::Alive,
                State::Suspect => Status::Suspect,
                State::Down if known == Some((identity.generation, Status::Left)) => Status::Left,
                State::Down => Status::Down,
            };
            if self.forgotten(&identity.id).is_some_and(|forgotten| identity.generation <= forgotten) {
                continue;
            }
            // A word on an older generation than the disk's is a word too: who says it has yet to learn of the newer one, and does so from here.
            self.hear_of(&identity.id);
            let older = known.is_some_and(|(generation, _)| generation > identity.generation);
            if older || known == Some((identity.generation, to)) {
                continue;
            }
            self.enter(now, &identity, to);
            self.effects.push_back(Effect::Changed { id: identity.id, from: known.map(|(_, status)| status), to });
        }
        let wanted = transmissions(self.foca.num_members() + 1);
        let suspicion = suspicion(self.suspicion, self.foca.num_members() + 1);
        if (wanted, suspicion) != (self.foca_config.max_transmissions, self.foca_config.suspect_to_down_after) {
            self.foca_config.max_transmissions = wanted;
            self.foca_config.suspect_to_down_after = suspicion;
            self.buddies.set_suspicion(suspicion);
            let result = self.foca.set_config(self.foca_config.clone());
            debug_assert!(result.is_ok(), "foca lets these two change: {result:?}");
        }
    }

    fn enter(&mut self, now: Now, identity: &Identity, status: Status) {
        let guess = SocketAddr::new(identity.gossip.ip(), self.quic_port);
        if self.view.get(&identity.id).is_none_or(|known| known.gossip != identity.gossip) {
            self.guessed.insert(identity.id);
        }
        self.hear_of(&identity.id);
        if let Some(known) = self.view.get(&identity.id).filter(|known| known.generation < identity.generation) {
            self.former.insert(identity.id, known.generation);
            self.effects.push_back(Effect::Newer { member: *identity });
        }
        let before = self.view.get(&identity.id).cloned();
        let member = self.view.entry(identity.id).or_insert(Member {
            id: identity.id,
            generation: identity.generation,
            gossip: identity.gossip,
            quic: guess,
            status,
            proved: false,
            since: now.wall,
            heard: None,
        });
        if member.status != status {
            member.since = now.wall;
        }
        if member.gossip != identity.gossip {
            member.quic = guess;
        }
        (member.generation, member.gossip, member.status) = (identity.generation, identity.gossip, status);
        member.proved = status == Status::Down && self.proving.as_ref() == Some(identity);
        self.census.change(before.as_ref(), Some(member));
    }

    /// A number for what is believed of the members; a suspicion that may yet be refuted does not count.
    pub(crate) fn root(&self) -> u64 {
        let me = self.foca.identity();
        let unspoken = self.from_disk.iter().filter_map(|id| self.view.get(id)).map(census::belief).fold(0, u64::wrapping_add);
        census::alive(&me.id, me.generation).wrapping_add(self.census.root()).wrapping_sub(unspoken)
    }
}

fn identity(member: &Member) -> Identity {
    Identity { id: member.id, gossip: member.gossip, generation: member.generation }
}

#[cfg(test)]
mod tests;

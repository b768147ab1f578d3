//! What a node does by itself, time and again: seek others, compare, pass rumours on.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use super::{Gossip, Stage};
use crate::{
    Member, NodeId, Now, Status,
    canary::planted,
    membership::Membership,
    push_pull::{DATAGRAM_STATE_BYTES, Replica, entry_size},
    rumour::{AGE_MAX, PHASE, TAGS, Topic, fan_out},
    wire::{Gone, Parts},
};

/// Nodes started together begin within this time of each other.
pub(super) const START_SPREAD: Duration = Duration::from_millis(100);
/// Foca never repeats an announce, and is silent after a renewal: until somebody confirms this generation, it is repeated about so often.
const SEEK_INTERVAL: Duration = Duration::from_secs(1);
/// While fewer are live than known, or a seed is silent: without this 37 of 1,000 clusters of four never healed from a split, and clusters
/// that began around different seeds stayed islands.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);
/// While node maps differ they are compared more often. Measured, 1,024 nodes that each change a word every 5 s: at one comparison a second a change is
/// known to all in 5.6 s (p50) for 7.8 KB/s a node.
const PUSH_PULL_HASTE: f64 = 0.6;
/// How many known nodes are called at a time, besides the seeds.
const SEEK_MEMBERS: usize = 3;
/// An entry up to this size is rumoured whole, so that a rumour fits one packet of any link; a larger one by its key, and pulled.
const RUMOUR_INLINE_BYTES: usize = 1_024;

impl Gossip {
    /// Runs the rounds that are due.
    pub(super) fn rounds(&mut self, now: Now) {
        if self.due.seek <= now.at {
            self.seek(now);
        }
        if self.due.renew.take_if(|due| *due <= now.at).is_some()
            && let Some(generation) = self.renew_to
        {
            self.renew(now, generation);
        }
        self.seek_agreement(now);
        if self.due.push_pull <= now.at {
            let differed = std::mem::take(&mut self.replica.differed);
            let interval = self.config.push_pull_interval.mul_f64(if differed { PUSH_PULL_HASTE } else { 1.0 });
            self.due.push_pull = now.at + self.membership.draw_between(interval * 9 / 10, interval * 11 / 10);
            self.note_said(now);
            let roots = Some(self.replica.roots(now.wall, None));
            let drawn = if planted("no-push-pull") { 0 } else { 1 };
            for peer in self.membership.draw_live(drawn) {
                self.send(now, peer.gossip, Some(&peer), vec![Parts { roots, ..Parts::default() }]);
                self.expect_an_answer(now, &peer.id);
            }
        }
        if self.due.members <= now.at {
            let interval = self.config.members_interval;
            self.due.members = now.at + self.membership.draw_between(interval * 9 / 10, interval * 11 / 10);
            self.forget_tombstones(now);
            self.drop_strangers();
            let roots = Some(self.replica.roots(now.wall, Some(self.membership.root())));
            let drawn = if planted("no-push-pull") || planted("no-members-push-pull") { 0 } else { 1 };
            let to = if planted("no-watchdog") {
                self.membership.draw_live(drawn).iter().map(|peer| peer.gossip).collect()
            } else {
                self.draw_known(drawn)
            };
            for to in to {
                let former = self.membership.former_at(&to);
                let formerly = former.map(|(member, former)| self.formerly(member.id, Some(former), member.generation)).unwrap_or_default();
                self.send(now, to, None, vec![Parts { roots, ..formerly }]);
            }
        }
    }

    fn note_said(&mut self, now: Now) {
        self.said.push_back((now.at, self.replica.nodes.mark_of(self.me.id).whole_to));
        while self.said.get(1).is_some_and(|(at, _)| now.at.since(*at) >= AGE_MAX) {
            self.said.pop_front();
        }
    }

    /// Tells as many members as pass news on to all what this node said lately: nobody can ask a node that is off. Its last words, before it goes for a while.
    pub fn tell_last_words(&mut self, now: Now) {
        if !matches!(self.stage, Stage::Seeking | Stage::Active) {
            return;
        }
        let known_everywhere = self.said.front().map_or(0, |(_, said)| *said);
        let news = self.replica.own_news(known_everywhere);
        let count = fan_out(self.config.gossip_members, self.membership.live_count() + 1);
        for peer in self.membership.draw_live(count) {
            self.send(now, peer.gossip, Some(&peer), news.clone());
        }
    }

    /// Lets go of old deletions, while this node is in a position to say that they are old.
    fn forget_tombstones(&mut self, now: Now) {
        let others = self.membership.view().len();
        let by_most = 2 * (self.membership.live_count() + 1) > others + 1 || planted("tombstone-by-minority");
        let by_time = (self.replica.synced && self.clocks.agree(now)) || planted("floor-by-own-clock");
        self.replica.forget_tombstones(now, others == 0 || (by_most && by_time));
    }

    /// A map whose node is still unknown a round later is nobody's: there are no more maps than members.
    fn drop_strangers(&mut self) {
        let nodes = &self.replica.nodes;
        let mut strangers = BTreeSet::new();
        if nodes.len() > self.membership.view().len() + 1 {
            let known = |node: &NodeId| *node == self.me.id || self.membership.view().contains_key(node) || self.met.contains_key(node);
            strangers = nodes.nodes().filter(|node| !known(node)).copied().collect();
        }
        let before = std::mem::replace(&mut self.strangers, strangers);
        for node in self.strangers.intersection(&before) {
            self.replica.nodes.refuse(*node);
        }
    }

    fn seek(&mut self, now: Now) {
        if self.stage == Stage::Seeking {
            self.due.seek = now.at + self.membership.draw_between(SEEK_INTERVAL * 4 / 5, SEEK_INTERVAL * 6 / 5);
            let mut to: BTreeSet<SocketAddr> = self.seeds().collect();
            to.extend(self.draw_known(SEEK_MEMBERS));
            if self.renewed.is_none() || !planted("no-reannounce") {
                self.hello(now, to);
            }
            if self.renewed.is_some_and(|renewed| now.at.since(renewed) >= self.config.suspicion) {
                self.membership.resume(now);
            }
        } else {
            self.due.seek = now.at + self.membership.draw_between(WATCH_INTERVAL * 4 / 5, WATCH_INTERVAL * 6 / 5);
            let drawn = if planted("no-watchdog") { 0 } else { SEEK_MEMBERS };
            let silent = self.silent().into_iter().collect();
            let to = self.membership.draw(silent, drawn);
            self.hello(now, to);
        }
    }

    pub(super) fn hello(&mut self, now: Now, to: impl IntoIterator<Item = SocketAddr>) {
        for to in to {
            self.send(now, to, None, vec![Parts { hello: true, ..Parts::default() }]);
        }
    }

    /// Other seeds from now on: a name leads elsewhere than it did. They are greeted in the next round.
    pub fn set_seeds(&mut self, seeds: Vec<SocketAddr>) {
        self.config.seeds = seeds;
    }

    fn seeds(&self) -> impl Iterator<Item = SocketAddr> {
        let greets = self.stage != Stage::Active || !planted("seed-islands");
        self.config.seeds.iter().copied().filter(move |seed| greets && *seed != self.me.gossip)
    }

    /// Up to `count` addresses at which a node was known, live or not; not those of nodes that said goodbye.
    fn draw_known(&mut self, count: usize) -> Vec<SocketAddr> {
        let strange: Vec<SocketAddr> = self.seeds().filter(|seed| !self.membership.is_live_at(seed)).collect();
        let mut drawn = self.membership.draw_known(&strange, count);
        drawn.retain(|address| *address != self.me.gossip);
        drawn
    }

    /// The known addresses at which no live member is.
    fn silent(&self) -> BTreeSet<SocketAddr> {
        let down = self.membership.down().map(|member| member.gossip);
        let known = down.chain(self.seeds());
        known.filter(|address| *address != self.me.gossip && !self.membership.is_live_at(address)).collect()
    }

    /// Passes rumours on to some random members: the fresh ones to as many as it takes, or all to three.
    pub(super) fn tell_rumours(&mut self, now: Now, only_fresh: bool) {
        let least = self.config.gossip_members;
        let count = if only_fresh { fan_out(least, self.membership.live_count() + 1) } else { least };
        let to = self.membership.draw_live(count);
        let (replica, membership) = (&self.replica, &self.membership);
        let size = |topic: &Topic| rumour_size(replica, membership, self.me.id, topic);
        let topics = self.rumours.take(now.at, to.len(), only_fresh, DATAGRAM_STATE_BYTES, size);
        if !topics.is_empty() {
            let parts = self.rumour_parts(&topics);
            for peer in to {
                self.send(now, peer.gossip, Some(&peer), vec![parts.clone()]);
            }
        }
        if !self.rumours.is_empty() && self.due.rumours.is_none() {
            self.due.rumours = Some(now.at + self.config.gossip_interval);
        }
    }

    fn rumour_parts(&self, topics: &[Topic]) -> Parts {
        let mut parts = Parts::default();
        for topic in topics {
            match topic {
                Topic::Left(id) if *id == self.me.id => parts.left.push((*id, self.me.generation)),
                Topic::Left(id) => parts.left.extend(left_member(&self.membership, id).map(|member| (*id, member.generation))),
                Topic::Gone(id) => parts.gone.extend(down_member(&self.membership, id).map(gone)),
                Topic::Catalog(key) => match self.replica.catalog.held(key) {
                    Some(entry) if entry_size(key, entry) <= RUMOUR_INLINE_BYTES => parts.rumour_entries.push((key.clone(), entry.clone())),
                    Some(entry) => parts.rumour_marks.push((key.clone(), entry.stamp)),
                    None => {}
                },
                Topic::Phase(node) => parts.rumour_words.extend(self.replica.nodes.word(*node, PHASE)),
                Topic::Tags(node) => parts.rumour_words.extend(self.replica.nodes.word(*node, TAGS)),
            }
        }
        parts
    }
}

/// The member, if it is still the one that said goodbye.
fn left_member<'a>(membership: &'a Membership, id: &NodeId) -> Option<&'a Member> {
    membership.view().get(id).filter(|member| member.status == Status::Left)
}

/// The member, if it is still down.
fn down_member<'a>(membership: &'a Membership, id: &NodeId) -> Option<&'a Member> {
    membership.view().get(id).filter(|member| member.status == Status::Down)
}

fn gone(member: &Member) -> Gone {
    Gone { node: member.id, generation: member.generation, proved: member.proved }
}

/// What a topic takes in a datagram, in bytes; None if there is nothing to say of it any more.
fn rumour_size(replica: &Replica, membership: &Membership, me: NodeId, topic: &Topic) -> Option<usize> {
    let word = |node: &NodeId, key: &str| replica.nodes.word_size(*node, key).map(|size| size + 32);
    match topic {
        Topic::Left(id) => (*id == me || left_member(membership, id).is_some()).then_some(32),
        Topic::Gone(id) => down_member(membership, id).map(|_| 40),
        Topic::Catalog(key) => replica.catalog.held(key).map(|entry| match entry_size(key, entry) {
            size if size <= RUMOUR_INLINE_BYTES => size,
            _ => key.len() + 24,
        }),
        Topic::Phase(node) => word(node, PHASE),
        Topic::Tags(node) => word(node, TAGS),
    }
}

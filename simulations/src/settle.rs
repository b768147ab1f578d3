//! After the faults: what must come true again, and by when (DESIGN §9, liveness), and that in the end nothing is missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use logvine_cluster::{message::Accepted, name::Name, node::Node, record::Record};
use logvine_gossip::{Generation, Instant, NodeId, Stamp, Status};

use crate::{
    host::{JOIN_PATIENCE, RESTART_GRACE},
    ledger::{Ledger, Succession, Witnessed},
    operator::{RUNNER, runner_name},
    report::Violation,
    scenario::Deed,
    world::{Event, World},
};

/// L1 and L2, as long as a source's witnesses are there.
const SETTLES: Duration = Duration::from_secs(15);
/// DESIGN §5.3: how long a source waits for the majority of its witnesses, and that no node proceeds in the first 60 s of its life.
const PATIENCE: Duration = Duration::from_secs(600 + 60);
/// Once nothing more is written, the rest is delivered: some of it in each such span, longer than a sender's longest back-off.
const CATCHES_UP: Duration = Duration::from_secs(60);
/// A3, counted from when views are equal and witnesses are complete again (a dead one is replaced after 30 s): from then on nothing moves any more, for
/// [`QUIET`] at least; and node maps have settled.
const STILL_AFTER: Duration = Duration::from_secs(30 + 60);
const QUIET: Duration = Duration::from_secs(60);
/// What a node has said is known to all after so long: push-pull brings any change to 1,024 nodes within 7 s (DESIGN §3.2).
const KNOWN: Duration = Duration::from_secs(10);
/// Most that a node at rest sends in datagrams a second, of its payloads, on average.
const BYTES_MAX: u64 = 2_000;
/// Most one-way legs of calls a second, on average.
const LEGS_MAX: u64 = 12;

/// How often a source is looked at while it settles.
const GLANCE: Duration = Duration::from_millis(250);

/// Which invariant is broken, and how.
type Broken = Result<(), (&'static str, String)>;

/// What a source's place in L2 is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hope {
    /// A majority of its witnesses lives.
    Soon,
    /// One of its witnesses, or of those that decided on these, lives and has a copy; or it never had an owner, or its record is lost: it goes on without a majority
    /// after patience. Or its owner said that it would be back.
    Later,
    /// No witness with a copy lives, so that it may wait for an operator, as it must never begin anew by itself; or nobody who lives was ever told of it.
    Never,
}

/// What a cluster at rest must not do, counted since some time.
#[derive(Debug, Clone, Copy)]
struct Stir {
    moves: u64,
    news: u64,
    bytes: u64,
    calls: u64,
}

impl World {
    pub(crate) fn run_until_settled(&mut self) -> Result<(), Box<Violation>> {
        let heals = self.scenario.deeds.iter().find(|(_, deed)| matches!(deed, Deed::Heal { .. })).map(|(at, _)| *at);
        let heals = Instant::ZERO + heals.expect("a scenario that settles says when its faults end");
        self.run_until(heals)?;
        let then = std::mem::take(&mut self.scenario.then);
        let patient = then.first().is_none_or(|(after, _)| *after > PATIENCE);
        let mut begins = self.converge(heals, patient)?;
        if let Some((last, _)) = then.last() {
            let returned = begins.max(self.time()) + *last;
            let settled = self.time();
            for (after, deed) in then {
                self.queue.put(settled + after, Event::Then(deed));
            }
            self.run_until(returned.max(self.time()))?;
            self.tell(None, format_args!("the rest is back"));
            begins = self.converge(self.time(), true)?;
        }
        self.growing = false;
        self.deliver_everything()?;
        self.run_until(self.time().max(begins + STILL_AFTER))?;
        self.stay_quiet()
    }

    /// L1 and L2, from a time on. Gives when they began to be due. `patient`: waits too for sources whose witnesses have no majority.
    fn converge(&mut self, from: Instant, patient: bool) -> Result<Instant, Box<Violation>> {
        // A write that hung when the faults ended still hangs.
        let busy = self.hosts.iter().map(|host| host.disk.busy_until()).max().unwrap_or(from);
        // Who is left alone may just have begun to wait for others.
        let alone = self.hosts.len() > 1 && self.running().count() == 1;
        let begins = from.max(busy) + if alone { JOIN_PATIENCE } else { Duration::ZERO };
        let before = self.delivered();
        let hopes: Vec<_> = (0..self.sources.len()).map(|source| self.hope(source)).collect();
        self.run_until(begins + (SETTLES - KNOWN))?;
        let said = self.own_maps();
        // One that has its majority only now, as it was taken without one, has had less time.
        self.settle_sources(|world, source| world.hope(source).max(hopes[source]) == Hope::Soon, &before, begins + SETTLES)?;
        self.check(|world| world.all_see_the_same_members())?;
        self.check(|world| world.all_hold_the_same_catalog())?;
        self.check(|world| world.all_have_heard(&said))?;
        if patient && (0..self.sources.len()).any(|source| self.hope(source).max(hopes[source]) > Hope::Soon) {
            self.settle_sources(|world, source| world.hope(source) <= Hope::Later, &before, begins + PATIENCE + SETTLES)?;
        }
        Ok(begins)
    }

    /// S2, in the end: what sources hold comes to the sinks, some of it in each span.
    fn deliver_everything(&mut self) -> Result<(), Box<Violation>> {
        let (mut had, mut since) = (self.delivered(), self.time());
        while let Some(missing) = self.missing() {
            self.run_until(self.time() + Duration::from_secs(1))?;
            let has = self.delivered();
            if has != had {
                (had, since) = (has, self.time());
            } else if self.time().since(since) > CATCHES_UP {
                self.check(|_| Err(missing.clone()))?;
            }
        }
        Ok(())
    }

    /// L3: for [`QUIET`] nothing happens, and everybody has the same picture of it.
    fn stay_quiet(&mut self) -> Result<(), Box<Violation>> {
        let before = self.stir();
        self.run_until(self.time() + QUIET)?;
        let after = self.stir();
        self.check(|_| a_quiet_cluster_moves_nothing(before, after))?;
        self.check(|_| a_quiet_cluster_has_no_news(before, after))?;
        self.check(|world| world.a_quiet_cluster_says_little(before, after))?;
        self.check(|world| world.accepted_writes_survive())?;
        self.check(|world| world.rows_are_true())?;
        self.check(|world| world.losers_are_told())?;
        self.check(|world| world.last_writers_hold())?;
        // A word that is said just now, as a spell ends that a node was to be unsteady for, is on its way.
        let known = self.time() + KNOWN;
        while self.time() < known && self.all_hold_the_same_node_maps().is_err() {
            self.run_until(self.time() + GLANCE)?;
        }
        self.check(|world| world.all_hold_the_same_node_maps())?;
        self.check(|world| world.all_know_the_same_owners())
    }

    fn stir(&self) -> Stir {
        let sent = self.network.sent();
        Stir { moves: self.moves(), news: self.news, bytes: sent.bytes, calls: sent.calls }
    }

    fn check(&mut self, invariant: impl Fn(&Self) -> Broken) -> Result<(), Box<Violation>> {
        if let Err((name, detail)) = invariant(self) {
            self.violate(name, detail);
        }
        self.violation.take().map_or(Ok(()), |violation| Err(Box::new(violation)))
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.hosts.iter().enumerate().filter_map(|(at, host)| host.process.as_ref().map(|process| (at, &process.node)))
    }

    /// L1: who runs is alive to everybody who runs, and nobody else is.
    pub(crate) fn all_see_the_same_members(&self) -> Broken {
        for (at, node) in self.running() {
            for (other, host) in self.hosts.iter().enumerate().filter(|(other, _)| *other != at) {
                let status = node.gossip().member(&host.id).map(|member| member.status);
                let right = match &host.process {
                    Some(_) => status.is_some_and(Status::is_live), // a late answer makes a suspect for a moment
                    // Who hears nobody cannot know who is dead, and says so.
                    None => !status.is_some_and(Status::is_live) || self.is_lonely(at),
                };
                if !right {
                    let runs = if self.hosts[other].process.is_some() { "runs" } else { "is dead" };
                    return Err(("L1 all see the same members", format!("{} {runs}; to {} it is {status:?}", host.name, self.hosts[at].name)));
                }
            }
        }
        Ok(())
    }

    /// L1: catalogs are equal.
    pub(crate) fn all_hold_the_same_catalog(&self) -> Broken {
        let digests: Vec<_> = self.running().map(|(at, node)| (self.hosts[at].name.clone(), node.gossip().catalog().digest())).collect();
        let equal = digests.windows(2).all(|pair| pair[0].1 == pair[1].1);
        if equal { Ok(()) } else { Err(("L1 all hold the same catalog", format!("digests are {digests:?}"))) }
    }

    /// L1: what a running node says of itself is what everybody has.
    pub(crate) fn all_hold_the_same_node_maps(&self) -> Broken {
        for (at, node) in self.running() {
            let id = self.hosts[at].id;
            let own: Vec<_> = node.gossip().node_map(&id).into_iter().flat_map(|map| map.iter("")).collect();
            for (other, reader) in self.running() {
                let copy: Vec<_> = reader.gossip().node_map(&id).into_iter().flat_map(|map| map.iter("")).collect();
                if own != copy {
                    let differs = own.iter().find(|word| !copy.contains(word)).or_else(|| copy.iter().find(|word| !own.contains(word)));
                    let detail = format!("{}'s map at {} differs in {differs:?}", self.hosts[at].name, self.hosts[other].name);
                    return Err(("L1 all hold the same node maps", detail));
                }
            }
        }
        Ok(())
    }

    /// L3: membership, comparing and heartbeats are all that goes on.
    fn a_quiet_cluster_says_little(&self, before: Stir, after: Stir) -> Broken {
        let node_seconds = self.running().count() as u64 * QUIET.as_secs();
        let bytes = (after.bytes - before.bytes) / node_seconds.max(1);
        // An owner's heartbeat goes to two others each second, and is answered; a node that comes to the end of a source says so at most once a second.
        let legs = (after.calls - before.calls) * 10 / node_seconds.max(1);
        if bytes <= BYTES_MAX && legs <= LEGS_MAX * 10 {
            return Ok(());
        }
        let detail = format!("each node sent {bytes} B/s in datagrams, and {}.{} legs of calls a second", legs / 10, legs % 10);
        Err(("L3 a quiet cluster says little", detail))
    }

    /// How far each node that runs has said what it says of itself.
    fn own_maps(&self) -> BTreeMap<NodeId, (Generation, u64)> {
        let said = |(_, node): (usize, &Node)| node.gossip().node_map(&node.id()).map(|map| (node.id(), (map.generation(), map.whole_to())));
        self.running().filter_map(said).collect()
    }

    /// L1: what was said by then has come to everybody.
    fn all_have_heard(&self, said: &BTreeMap<NodeId, (Generation, u64)>) -> Broken {
        for (at, node) in self.running() {
            for (id, said) in said.iter().filter(|(id, _)| self.running().any(|(_, node)| node.id() == **id)) {
                let heard = node.gossip().node_map(id).map(|map| (map.generation(), map.whole_to()));
                if heard.is_none_or(|heard| heard < *said) {
                    let detail =
                        format!("{} said {}.{}, {KNOWN:?} ago; {} has heard {heard:?}", self.names[id], said.0.0, said.1, self.hosts[at].name);
                    return Err(("L1 all hold the same node maps", detail));
                }
            }
        }
        Ok(())
    }

    /// L1: for everybody a source's highest claim is that of the node that owns it.
    fn all_know_the_same_owners(&self) -> Broken {
        let owned = self.running().flat_map(|(_, node)| node.owned_sources().map(|(key, owned)| (key, (owned.record().epoch, node.id()))));
        let mut owners = BTreeMap::new();
        for (key, owner) in owned {
            let highest = owners.entry(key).or_insert(owner);
            *highest = owner.max(*highest);
        }
        for (at, node) in self.running() {
            for (runner, source) in node.catalog().runners().flat_map(|(name, _)| node.catalog().sources(name).map(move |source| (name, source))) {
                let Some((epoch, owner)) = owners.get(&source.key) else { continue };
                let claimed = node.claims_of(runner, source).first().map(|(claimant, claim)| (claim.epoch, *claimant));
                if claimed != Some((*epoch, *owner)) {
                    let (id, reader) = (&source.key.source, &self.hosts[at].name);
                    let detail = format!("{} has {id} under {epoch}; to {reader} it is claimed under {claimed:?}", self.names[owner]);
                    return Err(("L1 all know the same owners", detail));
                }
            }
        }
        Ok(())
    }

    fn senders(&self) -> impl Iterator<Item = Name> {
        self.scenario.senders.iter().map(|name| name.parse().expect("scenarios give senders proper names"))
    }

    /// By source, the last rewind that anybody who runs has heard of, and how far its slowest sink has got everything since.
    fn delivered(&self) -> Vec<(Stamp, u64)> {
        let of = |(at, ledger): (usize, &Ledger)| {
            let rewind = self.generation(&self.sources[at].plan.id);
            (rewind, self.senders().map(|sender| ledger.delivered_prefix(rewind, &sender)).min().unwrap_or(0))
        };
        self.ledgers.iter().enumerate().map(of).collect()
    }

    /// The last rewind of a source that anybody who runs has heard of.
    pub(crate) fn generation(&self, source: &Name) -> Stamp {
        let runner = runner_name();
        let known = |(_, node): (usize, &Node)| {
            let catalog = node.catalog();
            catalog.source(&runner, source).map(|source| catalog.rewind_of(&runner, &source.key))
        };
        self.running().filter_map(known).max().unwrap_or(Stamp::ZERO)
    }

    fn moves(&self) -> u64 {
        self.ledgers.iter().map(|ledger| ledger.moves).sum()
    }

    pub(crate) fn is_lonely(&self, at: usize) -> bool {
        let host = &self.hosts[at];
        host.process.as_ref().is_some_and(|process| process.node.gossip().is_lonely(host.now(self.now).at))
    }

    fn hope(&self, source: usize) -> Hope {
        if self.operator.has_removed(source) {
            return Hope::Never;
        }
        let id = &self.sources[source].plan.id;
        let keys = [format!("runner/{RUNNER}"), format!("source/{RUNNER}/{id}")];
        if !self.running().any(|(at, _)| keys.iter().all(|key| self.hosts[at].knew.contains(key.as_bytes()))) {
            return Hope::Never;
        }
        let Some(lasting) = self.lasting(source) else { return Hope::Soon };
        let succession = self.present(source);
        // Nobody has been asked for it yet: its entry names the first witnesses.
        let first = Record::first(lasting.witnesses.clone());
        let held = succession.and_then(Succession::newest_witnessed).unwrap_or(&first);
        let newest = succession.and_then(|succession| self.decided_after(succession, held)).unwrap_or(held);
        // With another disk it is no witness any more.
        let live = |record: &Record| -> Vec<NodeId> {
            let witnesses = self.running().map(|(_, node)| node.witnesses().me()).filter(|witness| record.witnesses.contains(witness));
            witnesses.map(|witness| witness.node).collect()
        };
        // Who does not reach a majority of those that decided cannot know what they did (seed 845); and what only disks know that are off, a majority of those
        // decided that held the record before it (seed 62).
        let known = if self.is_claimed(source, held) { held } else { succession.and_then(|known| self.newest_on_running(known)).unwrap_or(&first) };
        let has_majority = [known, held, newest].iter().all(|record| record.is_majority(&live(record)));
        // Only on disks that are gone was the record under which somebody collected last.
        let record_is_lost = succession.and_then(|succession| succession.opened.last_key_value()).is_some_and(|(opened, _)| *opened > newest.epoch);
        let away = newest.owner.is_some_and(|owner| self.is_awaited(&owner));
        let is_witness = |id: &NodeId| newest.is_witness(id) || held.is_witness(id);
        let holds_copy =
            |(at, witnessed): (&usize, &Witnessed)| self.hosts[*at].process.is_some() && witnessed.has_copy && is_witness(&self.hosts[*at].id);
        let has_copy = succession.is_some_and(|succession| succession.witnessed.iter().any(holds_copy));
        if self.waiting.get(&lasting.key).is_some_and(|rewind| self.generation(id) <= *rewind) {
            Hope::Never
        } else if has_majority && !away && !record_is_lost && !self.running().any(|(at, _)| self.is_lonely(at)) {
            Hope::Soon
        } else if newest.owner.is_none() && !live(newest).is_empty() || has_copy {
            Hope::Later
        } else {
            Hope::Never
        }
    }

    /// Whether somebody who runs waits for a node that said that it would be back. It may have come back with another disk, as another node, or for so short a
    /// time that nobody heard of it (seeds 279, 845).
    fn is_awaited(&self, owner: &NodeId) -> bool {
        let heard = |(at, node): (usize, &Node)| Some(self.hosts[at].now(self.now).at.since(node.heard_away(owner)?));
        self.running().filter_map(heard).any(|known| known < RESTART_GRACE + SETTLES)
    }

    /// The newest record on the disk of a witness that runs.
    fn newest_on_running<'a>(&self, succession: &'a Succession) -> Option<&'a Record> {
        let running = succession.witnessed.iter().filter(|(at, _)| self.hosts[**at].process.is_some());
        running.map(|(_, witnessed)| &witnessed.record).max_by_key(|record| record.epoch)
    }

    /// Whether somebody who runs has heard the claim of a record's owner.
    fn is_claimed(&self, source: usize, record: &Record) -> bool {
        let (runner, id) = (runner_name(), &self.sources[source].plan.id);
        let has_heard = |node: &Node| {
            let entry = node.catalog().source(&runner, id)?;
            Some(node.claims_of(&runner, entry).iter().any(|(_, claim)| claim.epoch == record.epoch))
        };
        self.running().any(|(_, node)| has_heard(node) == Some(true))
    }

    /// What a majority of a record's witnesses accepted as its successor: it is decided, although nobody may have been told, and those that it names may have lost
    /// their disks since (seed 350).
    fn decided_after<'a>(&self, succession: &'a Succession, base: &Record) -> Option<&'a Record> {
        let holders = succession.witnessed.iter().filter(|(_, witnessed)| witnessed.record == *base);
        let accepted: Vec<_> = holders.filter_map(|(at, witnessed)| Some((self.hosts[*at].id, witnessed.accepted.as_ref()?))).collect();
        let is_decided = |proposal: &Accepted| {
            let by: Vec<_> = accepted.iter().filter(|(_, other)| *other == proposal).map(|(id, _)| *id).collect();
            base.is_majority(&by)
        };
        accepted.iter().find(|(_, proposal)| is_decided(proposal)).map(|(_, proposal)| &proposal.record)
    }

    /// L2: by then, every source of which that may be hoped has had exactly one owner and progressed. It may be on its way to the next one when time is up.
    fn settle_sources(&mut self, is_hoped: impl Fn(&Self, usize) -> bool, before: &[(Stamp, u64)], until: Instant) -> Result<(), Box<Violation>> {
        let mut waiting: BTreeSet<usize> = (0..self.sources.len()).collect();
        loop {
            waiting.retain(|at| self.unsettled(*at, before).is_some());
            if self.time() >= until {
                break;
            }
            self.run_until(until.min(self.time() + GLANCE))?;
        }
        let unsettled = waiting.into_iter().filter(|at| is_hoped(self, *at)).find_map(|at| self.unsettled(at, before));
        self.check(|_| unsettled.clone().map_or(Ok(()), Err))
    }

    /// Why a source is not settled yet.
    fn unsettled(&self, at: usize, before: &[(Stamp, u64)]) -> Option<(&'static str, String)> {
        if self.operator.has_removed(at) {
            return None;
        }
        let (id, written, delivered) = (&self.sources[at].plan.id, self.sources[at].len(), self.delivered()[at]);
        let owners: Vec<_> = self.ledgers[at].owners.iter().map(|(node, (_, epoch))| format!("{} ({epoch})", self.hosts[*node].name)).collect();
        if owners.len() != 1 {
            Some(("L2 every source gets exactly one owner", format!("{id} has {owners:?}")))
        } else if delivered <= before[at] && delivered.1 < written && !self.waits_to_retry(at) {
            let delivered = delivered.1;
            Some(("L2 every source progresses", format!("{id} is {owners:?}'s and still at byte {delivered} of {written}")))
        } else {
            None
        }
    }

    /// A sink that refused before the faults ended is asked again only when its sender has waited; that it then gets everything is for S2.
    fn waits_to_retry(&self, source: usize) -> bool {
        let id = &self.sources[source].plan.id;
        self.hosts.iter().filter_map(|host| host.process.as_ref()).any(|process| process.plane.waits_to_retry(id))
    }

    /// S2, in the end: what was written and is not delivered, of a source that somebody can read.
    fn missing(&self) -> Option<(&'static str, String)> {
        let behind =
            self.delivered().into_iter().enumerate().find(|(at, (_, prefix))| *prefix < self.sources[*at].len() && self.hope(*at) != Hope::Never);
        behind.map(|(at, (_, prefix))| {
            let source = &self.sources[at];
            ("S2 everything written is delivered", format!("{} is delivered up to byte {prefix} of {}", source.plan.id, source.len()))
        })
    }
}

/// L3: owners stay.
fn a_quiet_cluster_moves_nothing(before: Stir, after: Stir) -> Broken {
    let more = after.moves - before.moves;
    if more == 0 { Ok(()) } else { Err(("L3 a quiet cluster moves nothing", format!("{more} sources moved in the last {QUIET:?}"))) }
}

/// L3: nobody is suspected, and nobody renews itself.
fn a_quiet_cluster_has_no_news(before: Stir, after: Stir) -> Broken {
    let more = after.news - before.news;
    if more == 0 { Ok(()) } else { Err(("L3 a quiet cluster has no news", format!("{more} of members in the last {QUIET:?}"))) }
}

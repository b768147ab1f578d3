//! After the faults: what must come true again, and by when (DESIGN §9, liveness), and that in the end nothing is missing.

use std::{collections::BTreeSet, time::Duration};

use logvine_cluster::{name::Name, node::Node};
use logvine_gossip::{Instant, Stamp, Status};

use crate::{
    host::{JOIN_PATIENCE, RESTART_GRACE},
    ledger::Ledger,
    operator::runner_name,
    report::Violation,
    scenario::Deed,
    world::World,
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
const QUIET: Duration = Duration::from_secs(15);

/// How often a source is looked at while it settles.
const GLANCE: Duration = Duration::from_millis(250);

/// What a source's place in L2 is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hope {
    /// A majority of its witnesses lives.
    Soon,
    /// One of its witnesses lives and has a copy: it goes on without a majority after patience. Or its owner said that it would be back.
    Later,
    /// No witness with a copy lives. It may wait for an operator, as it must never begin anew by itself.
    Never,
}

impl World {
    pub(crate) fn run_until_settled(&mut self) -> Result<(), Box<Violation>> {
        let heals = self.scenario.deeds.iter().find(|(_, deed)| matches!(deed, Deed::Heal { .. })).map(|(at, _)| *at);
        let heals = Instant::ZERO + heals.expect("a scenario that settles says when its faults end");
        self.run_until(heals)?;
        // A write that hung when the faults ended still hangs.
        let busy = self.hosts.iter().map(|host| host.disk.busy_until()).max().unwrap_or(heals);
        // Who is left alone may just have begun to wait for others.
        let alone = self.hosts.len() > 1 && self.running().count() == 1;
        let begins = heals.max(busy) + if alone { JOIN_PATIENCE } else { Duration::ZERO };
        let before = self.delivered();
        let hopes: Vec<_> = (0..self.sources.len()).map(|source| self.hope(source)).collect();
        // One that has its majority only now, as it was taken without one, has had less time.
        self.settle_sources(|world, source| world.hope(source).max(hopes[source]) == Hope::Soon, &before, begins + SETTLES)?;
        self.check(|world| world.all_see_the_same_members())?;
        self.check(|world| world.all_hold_the_same_catalog())?;
        if (0..self.sources.len()).any(|source| self.hope(source).max(hopes[source]) > Hope::Soon) {
            self.settle_sources(|world, source| world.hope(source) <= Hope::Later, &before, begins + PATIENCE + SETTLES)?;
        }
        self.growing = false;
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
        self.run_until(self.time().max(begins + STILL_AFTER))?;
        let moves = self.moves();
        self.run_until(self.time() + QUIET)?;
        self.check(|world| world.no_source_moved_since(moves))?;
        self.check(|world| world.accepted_writes_survive())?;
        self.check(|world| world.rows_are_true())?;
        self.check(|world| world.losers_are_told())?;
        self.check(|world| world.last_writers_hold())?;
        self.check(|world| world.all_hold_the_same_node_maps())
    }

    fn check(&mut self, invariant: impl Fn(&Self) -> Result<(), (&'static str, String)>) -> Result<(), Box<Violation>> {
        if let Err((name, detail)) = invariant(self) {
            self.violate(name, detail);
        }
        self.violation.take().map_or(Ok(()), |violation| Err(Box::new(violation)))
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = (usize, &logvine_cluster::node::Node)> {
        self.hosts.iter().enumerate().filter_map(|(at, host)| host.process.as_ref().map(|process| (at, &process.node)))
    }

    /// L1: who runs is alive to everybody who runs, and nobody else is.
    pub(crate) fn all_see_the_same_members(&self) -> Result<(), (&'static str, String)> {
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
    pub(crate) fn all_hold_the_same_catalog(&self) -> Result<(), (&'static str, String)> {
        let digests: Vec<_> = self.running().map(|(at, node)| (self.hosts[at].name.clone(), node.gossip().catalog().digest())).collect();
        let equal = digests.windows(2).all(|pair| pair[0].1 == pair[1].1);
        if equal { Ok(()) } else { Err(("L1 all hold the same catalog", format!("digests are {digests:?}"))) }
    }

    /// L1: what a running node says of itself is what everybody has.
    pub(crate) fn all_hold_the_same_node_maps(&self) -> Result<(), (&'static str, String)> {
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

    /// L3: owners stay.
    fn no_source_moved_since(&self, moves: u64) -> Result<(), (&'static str, String)> {
        let more = self.moves() - moves;
        if more == 0 { Ok(()) } else { Err(("L3 a quiet cluster moves nothing", format!("{more} sources moved in the last {QUIET:?}"))) }
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
        let ledger = &self.ledgers[source];
        let lives = |at: &usize| self.hosts[*at].process.is_some();
        let Some(newest) = ledger.witnessed.values().max_by_key(|witnessed| witnessed.record.epoch) else { return Hope::Soon };
        let ids: Vec<_> = self.running().map(|(at, _)| self.hosts[at].id).collect();
        let owner = self.hosts.iter().find(|host| newest.record.owner == Some(host.id));
        let away = owner.and_then(|owner| owner.away_since).is_some_and(|since| self.now.since(since) < RESTART_GRACE + SETTLES);
        let id = &self.sources[source].plan.id;
        if self.waiting.get(id).is_some_and(|rewind| self.generation(id) <= *rewind) || self.operator.has_removed(source) {
            Hope::Never
        } else if newest.record.is_majority(&ids) && !away && !self.running().any(|(at, _)| self.is_lonely(at)) {
            Hope::Soon
        } else if ledger.witnessed.iter().any(|(at, witnessed)| lives(at) && witnessed.has_copy && newest.record.is_witness(&self.hosts[*at].id)) {
            Hope::Later
        } else {
            Hope::Never
        }
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
        } else if delivered <= before[at] && delivered.1 < written {
            let delivered = delivered.1;
            Some(("L2 every source progresses", format!("{id} is {owners:?}'s and still at byte {delivered} of {written}")))
        } else {
            None
        }
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

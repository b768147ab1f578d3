//! What a scenario expects of its sources: who has them in hand, and what that costs.

use std::time::Duration;

use logvine_gossip::Instant;

use super::{Expectation, Found, Look};
use crate::{custody::Cause, ledger::Fact, scenario::Deed, world::World};

/// Everybody who can be reached knows of a deletion by then.
const DELETED: Duration = Duration::from_secs(15);

impl World {
    /// Takes note of whom a deed concerns: what an operator says to a node does not change that node.
    pub(crate) fn touch(&mut self, deed: &Deed) {
        if !matches!(deed, Deed::Apply { .. } | Deed::Edit { .. } | Deed::Tag { .. } | Deed::ChangeKey { .. } | Deed::Image { .. }) {
            for node in deed.places() {
                self.watch.touched.insert(node, self.now);
            }
        }
    }

    /// A process was killed, or stands still: what it collected must be collected by others.
    pub(crate) fn expect_collected_again(&mut self, at: usize) {
        for expectation in &self.scenario.expects {
            if let Expectation::CollectedAgain { within } = expectation {
                let owned = self.ledgers.iter().enumerate().filter(|(source, ledger)| {
                    ledger.owners.contains_key(&at) && !self.operator.has_removed(*source) && !self.operator.has_stopped()
                });
                let looks = owned.map(|(source, _)| (self.now + *within, Look::Orphan { source, since: self.now }));
                self.watch.due.extend(looks);
            }
        }
    }

    /// An owner was parted from most of its source's witnesses: others must collect it.
    pub(crate) fn expect_source_collected_again(&mut self, source: usize) {
        for expectation in &self.scenario.expects {
            if let Expectation::CollectedAgain { within } = expectation {
                self.watch.due.insert((self.now + *within, Look::Orphan { source, since: self.now }));
            }
        }
    }

    /// A source was removed by an operator, who was answered.
    pub(crate) fn removed(&mut self, source: usize) {
        self.watch.due.insert((self.now + DELETED, Look::Removed { source }));
    }

    pub(super) fn is_collected_again(&self, source: usize, since: Instant) -> Found {
        let tenures = &self.ledgers[source].custody.tenures;
        // Another's hand, whose owner may have been the next to be struck; or nobody is to collect it any more.
        let again = tenures.iter().any(|tenure| tenure.began >= since && tenure.brought.is_some());
        if again || self.operator.has_removed(source) || self.operator.has_stopped() {
            return Ok(());
        }
        let hands: Vec<_> = self.ledgers[source].owners.keys().map(|node| self.hosts[*node].name.as_str()).collect();
        Err(("", format!("{} lost its owner at {since:?}, and is in the hands {hands:?} without a line of it", self.sources[source].plan.id)))
    }

    /// S6: nobody who can have heard of it reads it any more.
    pub(super) fn what_was_deleted_does_not_run(&self, source: usize) -> Found {
        let reads = self.ledgers[source].owners.keys().find(|node| {
            let hears = self.hosts[**node].standstill.runs() && !self.watch.is_excused(**node, self.now);
            hears && !self.is_lonely(**node)
        });
        let id = &self.sources[source].plan.id;
        reads.map_or(Ok(()), |node| Err(("", format!("{} reads {id}, which was removed {DELETED:?} ago or more", self.hosts[*node].name))))
    }

    pub(super) fn every_source_is_in_one_hand(&self) -> Found {
        let wanted = self.ledgers.iter().enumerate().filter(|(source, _)| !self.operator.has_removed(*source));
        let wrong = wanted.filter(|(_, ledger)| ledger.owners.len() != 1).map(|(source, ledger)| {
            let hands: Vec<_> = ledger.owners.keys().map(|node| self.hosts[*node].name.as_str()).collect();
            format!("{} is in the hands {hands:?}", self.sources[source].plan.id)
        });
        let wrong: Vec<_> = wrong.collect();
        if wrong.is_empty() { Ok(()) } else { Err(("", wrong.join("; "))) }
    }

    pub(super) fn owns_nothing(&self, node: usize) -> Found {
        let owned = self.ledgers.iter().zip(&self.sources).filter(|(ledger, _)| ledger.owners.contains_key(&node));
        let owned: Vec<_> = owned.map(|(_, source)| source.plan.id.to_string()).collect();
        if owned.is_empty() { Ok(()) } else { Err(("", format!("{} still has {owned:?}", self.hosts[node].name))) }
    }

    /// Holds a fact against what the scenario expects, before it joins the others.
    pub(crate) fn hear_fact(&mut self, source: usize, fact: &Fact) {
        if let Fact::Began { hand, .. } = fact
            && self.ledgers[source].custody.tenures.last().is_some_and(|last| last.hand.node != hand.node)
        {
            self.hear_move(source, hand.node);
        }
        for expectation in self.scenario.expects.clone() {
            let custody = &self.ledgers[source].custody;
            let id = &self.sources[source].plan.id;
            match (expectation, fact) {
                (Expectation::NoDuplicates, Fact::Brought { hand, sender, lines, .. }) => {
                    if let Some(of) = custody.repeats(hand, sender, lines).of {
                        let (now, first) = (&self.hosts[hand.node].name, &self.hosts[custody.tenures[of].hand.node].name);
                        let detail = format!("{now} sends lines of {id} that {first} had sent, from byte {}", lines[0].start);
                        self.violate("no line comes twice", detail);
                    }
                }
                (Expectation::PauseAtMost { within }, Fact::Began { hand, cause: Cause::HandedOver { from }, at, .. }) => {
                    let closing = custody.last_of(*from).and_then(|tenure| tenure.closing);
                    if let Some(pause) = closing.map(|closing| at.since(closing)).filter(|pause| *pause > within) {
                        let (from, to) = (&self.hosts[*from].name, &self.hosts[hand.node].name);
                        let detail = format!("nobody read {id} for {pause:?} when {from} gave it to {to}");
                        self.violate("handovers pause a source for a moment only", detail);
                    }
                }
                _ => {}
            }
        }
    }

    fn hear_move(&mut self, source: usize, to: usize) {
        let Some(from) = self.ledgers[source].custody.tenures.last().map(|last| last.hand.node) else { return };
        for expectation in self.scenario.expects.clone() {
            match expectation {
                Expectation::MovesAtMost { from: begin, count } if self.now >= Instant::ZERO + begin => {
                    self.watch.moves += 1;
                    if self.watch.moves > count {
                        self.violate("few sources move", format!("{} have moved by now", self.watch.moves));
                    }
                }
                Expectation::MovesWithCause { from: begin } if self.now >= Instant::ZERO + begin => {
                    let touched = |node: &usize| self.watch.touched.get(node).is_some_and(|at| *at >= Instant::ZERO + begin);
                    let hands = self.ledgers[source].custody.tenures.iter().map(|tenure| &tenure.hand.node);
                    if !hands.chain([&to]).any(touched) {
                        let (id, from, to) = (&self.sources[source].plan.id, &self.hosts[from].name, &self.hosts[to].name);
                        let detail = format!("{id} moves from {from} to {to}, and nothing was done to either");
                        self.violate("a source moves for a cause", detail);
                    }
                }
                _ => {}
            }
        }
    }
}

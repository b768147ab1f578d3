//! Giving a source away, stopping it, and letting it go.

use std::time::Duration;

use logvine_gossip::{NodeId, Now};

use super::{
    super::{After, Node, Output, calls::Pending},
    Activity, Owned, Purpose, Then, Try,
    taking::ATTEMPT_DEADLINE,
};
use crate::{
    attempt::Attempt,
    balance::Kind,
    canary::planted,
    checkpoint::Checkpoint,
    event::{Cause, Event, Why},
    instance::{Epoch, InstanceCommand},
    member::claim_key,
    message::{CheckpointItem, Request},
    name::Name,
    record::SourceKey,
};

/// A planned handover flushes for at most this long; the rest is read again by the new owner.
const HANDOVER_FLUSH: Duration = Duration::from_secs(10);
/// A data plane that does not say in time that it has closed a source is not waited for: it has hung.
const CLOSE_GRACE: Duration = Duration::from_secs(10);
/// A refused offer is repeated after this long.
const OFFER_AGAIN: Duration = Duration::from_secs(10);

/// Whom to offer a source, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::node) struct Offer {
    targets: Vec<NodeId>,
    /// Which of them is asked now.
    at: usize,
    cause: Cause,
    kind: Kind,
    /// Bytes a second.
    rate: u64,
}

impl Offer {
    pub(in crate::node) fn new(targets: Vec<NodeId>, cause: Cause, kind: Kind, rate: u64) -> Self {
        Self { targets, at: 0, cause, kind, rate }
    }

    fn to(&self) -> Option<NodeId> {
        self.targets.get(self.at).copied()
    }

    /// After a refusal. Who may not keep a source asks all again, and then it must be taken.
    fn next(self) -> Option<Self> {
        match self.kind {
            _ if self.at + 1 < self.targets.len() => Some(Self { at: self.at + 1, ..self }),
            Kind::Drained => Some(Self { at: 0, kind: Kind::Must, ..self }),
            _ => None,
        }
    }
}

impl Node {
    pub(in crate::node) fn offer(&mut self, now: Now, key: &SourceKey, offer: Offer) {
        let Some(owned) = self.sources.owned.get_mut(key).filter(|owned| owned.activity == Activity::Reading) else { return };
        let Some(to) = offer.to() else { return };
        let (epoch, weight) = (owned.record.epoch, self.balancing.cost().of(offer.rate));
        let request = Request::Offer { source: key.clone(), epoch, weight, bytes_per_s: Some(offer.rate), kind: offer.kind };
        owned.activity = Activity::Offering(offer);
        self.ask(now, to, request, Pending::Offer(key.clone()));
    }

    pub(in crate::node) fn note_admitted(&mut self, now: Now, key: &SourceKey, promised: Epoch) {
        let Some(offer) = self.sources.owned.get_mut(key).and_then(Owned::end_offer) else { return };
        let Some(to) = offer.to() else { return };
        let memory = self.sources.memory.entry(key.clone()).or_default();
        memory.seen = memory.seen.max(promised);
        self.dirty = true;
        let Some(owned) = self.sources.owned.get_mut(key).filter(|_| !self.sources.attempts.contains_key(key) && !planted("promise-after-close"))
        else {
            return self.close_to_give(now, key, to, offer.cause); // its record is being renewed: first that, then a further one
        };
        owned.activity = Activity::Promising { to, cause: offer.cause };
        self.attempt_to_give(now, key, to, offer.cause);
    }

    /// Once a majority has promised, the source is closed. Until then it is read as ever: a pause has only the trips that need its last position.
    ///
    /// The promises fence its checkpoints, but no flush waits for its window: what was not emitted when a source is closed is never emitted.
    pub(super) fn close_when_promised(&mut self, now: Now, key: &SourceKey) {
        let is_promised = |found: &Try| found.attempt.as_ref().is_some_and(Attempt::is_promised);
        let Some(Activity::Promising { to, cause }) = self.sources.owned.get(key).map(|owned| owned.activity.clone()) else { return };
        if self.sources.attempts.get(key).is_some_and(is_promised) {
            self.close_to_give(now, key, to, cause);
        }
    }

    fn close_to_give(&mut self, now: Now, key: &SourceKey, to: NodeId, cause: Cause) {
        let flush = match () {
            () if planted("flush-skipped") => Duration::ZERO,
            () if planted("flush-unbounded") => HANDOVER_FLUSH * 60,
            () => HANDOVER_FLUSH,
        };
        self.close(now, key, Then::Give { to, cause }, flush);
    }

    /// Takes an epoch for another, from what this node has of the source now.
    fn attempt_to_give(&mut self, now: Now, key: &SourceKey, to: NodeId, cause: Cause) {
        let Some(owned) = self.sources.owned.get(key) else { return };
        let (runner, record, checkpoint) = (owned.runner.clone(), owned.record.clone(), owned.progress.last().1.clone());
        self.attempt(now, key, Purpose::Give, &runner, to, record, checkpoint, Why::GaveTo { to, cause });
    }

    /// No epoch was taken for another. Who still reads the source goes on; who has closed it takes a further epoch for itself, or for another.
    pub(super) fn note_not_given(&mut self, now: Now, key: &SourceKey) {
        let memory = self.sources.memory.entry(key.clone()).or_default();
        let Some(owned) = self.sources.owned.get_mut(key) else { return };
        match owned.activity {
            Activity::Promising { .. } => {
                owned.activity = Activity::Reading;
                if memory.base.as_ref().is_none_or(|base| base.epoch <= owned.record.epoch) {
                    // Those that have promised acknowledge nothing under its present epoch any more.
                    let (runner, record, why) = (owned.runner.clone(), owned.record.clone(), owned.claim.why.clone());
                    let checkpoint = owned.progress.last().1.clone();
                    self.attempt(now, key, Purpose::Renew, &runner, self.id(), record, checkpoint, why);
                }
            }
            Activity::Closing(Then::Give { .. }) => {} // tried anew when it is closed
            _ => {
                memory.returned = true;
                self.let_go(now, key);
            }
        }
    }

    /// An offer was refused, or not answered: the next in turn is asked. `load`: what the receiver has.
    pub(in crate::node) fn note_refused(&mut self, now: Now, key: &SourceKey, load: Option<u64>) {
        let Some(offer) = self.sources.owned.get_mut(key).and_then(Owned::end_offer) else { return };
        if let (Some(load), Some(info)) = (load, offer.to().and_then(|to| self.view.get_mut(&to))) {
            // Until it says so itself.
            info.load = load;
        }
        match offer.next() {
            Some(next) => self.offer(now, key, next),
            None => {
                self.sources.retry_at.insert(key.clone(), now.at + OFFER_AGAIN);
            }
        }
        self.dirty = true;
    }

    /// Stops reading; `then` follows once the data plane has closed the source.
    pub(super) fn close(&mut self, now: Now, key: &SourceKey, then: Then, flush: Duration) {
        let Some(owned) = self.sources.owned.get_mut(key) else { return };
        match owned.activity {
            Activity::Closing(_) | Activity::Giving { .. } | Activity::Resting => return,
            // A stop waits for what is on its way; whatever else closes it ends that.
            Activity::Promising { .. } if then == Then::Rest => return,
            Activity::Promising { .. } if !matches!(then, Then::Give { .. }) => drop(self.sources.attempts.remove(key)),
            _ => {}
        }
        owned.activity = Activity::Closing(then);
        owned.paused_at = now.at;
        owned.close_due = now.at + flush + CLOSE_GRACE;
        match owned.open {
            Some(epoch) => {
                let (runner, source) = (owned.runner.clone(), key.source.clone());
                self.outputs.push_back(Output::Instance(InstanceCommand::Close { runner, source, epoch, flush }));
            }
            None => self.after.push(After::Closed(key.clone())),
        }
    }

    pub(in crate::node) fn note_closed(&mut self, now: Now, runner: &Name, source: &Name, epoch: Epoch, checkpoint: &Checkpoint, flushed: bool) {
        let found = self.sources.owned.iter_mut().find(|(key, owned)| key.source == *source && owned.runner == *runner && owned.open == Some(epoch));
        if let Some((key, owned)) = found {
            owned.progress.advance(checkpoint);
            self.counters.unflushed += u64::from(!flushed && matches!(owned.activity, Activity::Closing(Then::Give { .. })));
            let key = key.clone();
            self.after_close(now, &key);
        }
    }

    /// Sources that the data plane should have closed by now count as closed, where they were last known to be acknowledged.
    pub(super) fn close_late(&mut self, now: Now) {
        let is_late = |owned: &Owned| matches!(owned.activity, Activity::Closing(_)) && owned.open.is_some() && now.at >= owned.close_due;
        let late: Vec<_> =
            self.sources.owned.iter().filter(|(_, owned)| is_late(owned)).map(|(key, owned)| (key.clone(), owned.runner.clone())).collect();
        for (key, runner) in late {
            self.tell(Event::Failed { runner, error: format!("its data plane did not close `{key}` in time") });
            self.after_close(now, &key);
        }
    }

    /// A source is closed: goes on with what its closing was for.
    pub(in crate::node) fn after_close(&mut self, now: Now, key: &SourceKey) {
        let Some(owned) = self.sources.owned.get_mut(key) else { return };
        owned.open = None;
        let Activity::Closing(then) = owned.activity.clone() else { return };
        let (runner, record, checkpoint) = (owned.runner.clone(), owned.record.clone(), owned.progress.last().1.clone());
        match then {
            Then::Give { to, cause } => {
                owned.activity = Activity::Giving { to, cause };
                match self.sources.attempts.get_mut(key).filter(|found| found.purpose == Purpose::Give) {
                    Some(Try { attempt: Some(attempt), deadline, .. }) => {
                        attempt.go_on(&checkpoint);
                        *deadline = now.at + ATTEMPT_DEADLINE;
                        self.pump(now, key);
                    }
                    _ => self.attempt_to_give(now, key, to, cause),
                }
            }
            Then::Rest => {
                owned.activity = Activity::Resting;
                self.heartbeat(now, false);
            }
            Then::Reopen => owned.activity = Activity::Reading,
            Then::Drop => {
                // Its last position, for the witnesses and for this node's own next start; unless it is deleted.
                if self.catalog.source(&runner, &key.source).is_some_and(|source| source.key == *key) {
                    self.heartbeat(now, false);
                    self.witnesses.keep(key, &record, &checkpoint);
                    self.write_position(key);
                }
                self.tell(Event::Released { runner, source: key.source.clone(), epoch: record.epoch, why: Why::Stopped });
                self.let_go(now, key);
            }
            Then::Yield { by } => {
                // What was acknowledged is a fact, whoever owns it now.
                let facts = vec![CheckpointItem { source: key.clone(), epoch: record.epoch, checkpoint: Some(checkpoint) }];
                for witness in self.claimed_witnesses(&runner, key) {
                    self.ask(now, witness, Request::Checkpoints(facts.clone()), Pending::Heartbeat(Vec::new()));
                }
                self.tell(Event::Fenced { runner, source: key.source.clone(), epoch: record.epoch, by });
                self.let_go(now, key);
            }
        }
        self.dirty = true;
    }

    /// Owns it no longer.
    pub(super) fn let_go(&mut self, now: Now, key: &SourceKey) {
        let me = self.id();
        if let Some(owned) = self.sources.owned.remove(key) {
            if self.catalog.has(key) {
                let memory = self.sources.memory.entry(key.clone()).or_default();
                memory.checkpoint.merge(owned.progress.last().1);
                memory.seen = memory.seen.max(owned.record.epoch);
                // What others claimed before is no claim any more: a node may be long gone, and its word still stand.
                if memory.former.as_ref().is_none_or(|(_, record, _)| record.epoch < owned.record.epoch) {
                    memory.former = Some((me, owned.record.clone(), Some(now.at)));
                }
            }
            // A source made again under its name may have been claimed here meanwhile; the two share a word.
            let namesake = self.catalog.source(&owned.runner, &key.source).and_then(|source| self.sources.owned.get(&source.key));
            match namesake.map(|namesake| namesake.claim.clone()) {
                Some(claim) => self.say(now, &claim_key(&owned.runner, &key.source), &claim),
                None => self.unsay(now, &claim_key(&owned.runner, &key.source)),
            }
            self.dirty = true;
        }
    }

    pub(in crate::node) fn note_release(&mut self, now: Now, key: &SourceKey, admitted: bool) {
        let Some(owned) = self.sources.owned.get(key) else { return };
        let Activity::Giving { to, cause } = owned.activity.clone() else { return };
        let (runner, epoch) = (owned.runner.clone(), owned.record.epoch);
        if admitted {
            self.counters.handover_pauses.add(now.at.since(owned.paused_at));
            self.tell(Event::Released { runner, source: key.source.clone(), epoch, why: Why::GaveTo { to, cause } });
            // The new owner's claim is on its way: until it is seen, this node must not think that nobody owns it.
            let memory = self.sources.memory.entry(key.clone()).or_default();
            if let Some(record) = memory.base.clone().filter(|_| !planted("gift-forgotten")) {
                memory.former = Some((to, record.clone(), Some(now.at)));
                // Nor that its own row, as it is no witness of the new record, still makes it the owner.
                if self.witnesses.note(key, &record) {
                    self.write_position(key);
                }
            }
        } else {
            self.sources.memory.entry(key.clone()).or_default().returned = true;
        }
        self.let_go(now, key);
    }
}

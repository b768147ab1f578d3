//! Taking a source: attempts at epochs, their calls and outcomes, and what a new owner does first.

use std::time::Duration;

use logvine_gossip::{Member, NodeId, Now, Stamp};
use rand::RngExt;

use super::{
    super::{
        After, Node, Table,
        calls::{Pending, ReplyTo},
    },
    Activity, Owned, Purpose, Sources, Then, Try,
};
use crate::{
    attempt::{Attempt, Outcome, Proposal, Without},
    canary::planted,
    catalog::{Source, pack},
    checkpoint::Checkpoint,
    event::{Cause, Event, Why},
    instance::Epoch,
    member::{Claim, NodeInfo, claim_key},
    message::{OfferReply, Ownership, Reply, Request},
    name::Name,
    progress::Progress,
    record::{Record, SourceKey, Witness},
    setting::STRICT,
};

/// A step of an attempt that takes longer is given up: another may be luckier.
pub(super) const ATTEMPT_DEADLINE: Duration = Duration::from_secs(5);
/// Between two attempts.
const PAUSE_LEAST: Duration = Duration::from_millis(200);
const PAUSE_MOST: Duration = Duration::from_millis(1_500);
/// Without a majority of a source's witnesses: how long to wait for them (DESIGN §5.3).
const PATIENCE: Duration = Duration::from_secs(600);
/// The same in a cluster of two, where one death always takes the majority.
const PATIENCE_OF_TWO: Duration = Duration::from_secs(60);
/// The same where all of the missing are proved gone: they said goodbye, or their hosts refuse in their name.
const PATIENCE_WHEN_PROVED: Duration = Duration::from_secs(10);

/// A node so young proceeds without a majority for nobody: it may not have heard of those that live.
const MINORITY_AGE: Duration = Duration::from_secs(60);

impl Node {
    /// Asks the owner that is believed gone before taking its source, then takes it.
    pub(super) fn consider_taking(&mut self, now: Now, name: &Name, source: &Source, why: Why, ask: Option<NodeId>) {
        let key = &source.key;
        // DESIGN §3.1: a lonely node takes nothing over. It looks again at its next tick.
        let cut_off = self.gossip.is_lonely(now.at) && matches!(why, Why::TookOver { .. }) && !planted("lonely-takes-over");
        if cut_off || !self.may_retry(now, key) {
            return;
        }
        let memory = self.sources.memory.entry(key.clone()).or_default();
        let asked = memory.denied.is_some_and(|at| now.at.since(at) < ATTEMPT_DEADLINE);
        if let Some(owner) = ask.filter(|_| !asked && !planted("takeover-without-asking")) {
            if !memory.asking {
                memory.asking = true;
                self.ask(now, owner, Request::Question(key.clone()), Pending::Question(key.clone()));
            }
            return;
        }
        let mut checkpoint = memory.checkpoint.clone();
        if let Some(row) = self.witnesses.row(key) {
            // A former witness's copy is old, but a fact.
            checkpoint.merge(&row.checkpoint);
        }
        let base = self.newest_base(name, source);
        self.attempt(now, key, Purpose::Take, name, self.id(), base, checkpoint, why);
    }

    pub(in crate::node) fn note_question(&mut self, now: Now, source: &SourceKey, ownership: Option<Ownership>) {
        let memory = self.sources.memory.entry(source.clone()).or_default();
        memory.asking = false;
        if ownership.is_some_and(|ownership| ownership.majority) {
            // It lives and has its majority: whoever believes it gone is wrong, or will see its claim soon.
            self.sources.retry_at.insert(source.clone(), now.at + Duration::from_secs(2));
        } else {
            memory.denied = Some(now.at);
        }
        self.dirty = true;
    }

    /// Makes an attempt, once its ballot is on disk.
    #[allow(clippy::too_many_arguments)] // the parts of one proposal, each from elsewhere
    pub(super) fn attempt(
        &mut self,
        now: Now,
        key: &SourceKey,
        purpose: Purpose,
        runner: &Name,
        owner: NodeId,
        base: Record,
        checkpoint: Checkpoint,
        why: Why,
    ) {
        let seen = self.sources.memory.get(key).map_or(Epoch::default(), |memory| memory.seen).max(base.epoch);
        let proposed = self.sources.ballots.get(key).copied().filter(|_| !planted("reuse-counter"));
        let counter = proposed.unwrap_or(0).max(seen.counter).max(self.sources.ballot_least).saturating_add(1);
        self.sources.ballots.insert(key.clone(), counter);
        self.cast_vote();
        self.write(Table::Ballot, pack(key).to_vec(), Some(pack(&counter).to_vec()));
        self.after.push(After::Attempt(key.clone()));
        let mut base = base;
        if planted("witnesses-from-view") {
            base.witnesses = self.witnesses_for(key);
        }
        let was_owned = base.owner.is_some();
        let proposal = Proposal {
            source: key.clone(),
            ballot: Epoch { counter, taker: self.id() },
            owner,
            without: self.is_out_of_patience(now, key, &base).then(|| Without {
                gone: self.gone.keys().copied().collect(),
                others: self.view.values().filter(|info| info.is_live()).map(|info| info.id).collect(),
                read_before: was_owned && !self.sources.owned.contains_key(key),
            }),
            base,
            checkpoint,
            witnesses: self.witnesses_for(key),
            gone: self.gone.keys().copied().collect(),
        };
        let deadline = now.at + ATTEMPT_DEADLINE;
        let runner = runner.clone();
        let attempt = Try { runner, why, purpose, was_owned, proposal: Some(proposal), attempt: None, deadline, answer: None };
        self.sources.attempts.insert(key.clone(), attempt);
    }

    /// Whether the witnesses of `base` have been waited for long enough (DESIGN §5.3, "Without a majority").
    pub(super) fn is_out_of_patience(&self, now: Now, key: &SourceKey, base: &Record) -> bool {
        if self.catalog.setting(&STRICT).is_some_and(|(_, value)| value == 1) {
            return false;
        }
        let Some(stuck) = self.sources.memory.get(key).and_then(|memory| memory.stuck_since) else { return false };
        if now.at.since(self.started.at) < MINORITY_AGE || self.gossip.is_lonely(now.at) {
            return false;
        }
        let missing =
            || base.witnesses.iter().filter(|witness| self.gone.contains_key(&witness.node)).filter_map(|witness| self.view.get(&witness.node));
        if missing().any(|info| self.is_away(now, info)) {
            return false;
        }
        let is_gone = |info: &NodeInfo| self.gossip.member(&info.id).is_some_and(Member::is_gone);
        let is_forgotten = |witness: &&Witness| !self.view.contains_key(&witness.node) && self.catalog.is_forgotten(&witness.node);
        let forgotten = base.witnesses.iter().any(|witness| is_forgotten(&witness));
        let proved = (forgotten || missing().next().is_some()) && missing().all(is_gone);
        // A node that restarted may not have met a dead third one again; the record knows that there was one.
        let patience = match (proved, self.view.len().max(base.witnesses.len())) {
            (true, _) => PATIENCE_WHEN_PROVED,
            (false, ..=2) => PATIENCE_OF_TWO,
            _ if planted("patience-zero") => Duration::ZERO,
            _ => PATIENCE,
        };
        // Who heard nobody at all, as long as that, has waited: it could not even accuse the missing.
        now.at.since(stuck).max(self.gossip.silence(now.at)) >= patience
    }

    /// A node is back: what failed for want of its vote may succeed now, however long it was to be left alone (seed 563).
    pub(in crate::node) fn try_again_with(&mut self, now: Now, witness: NodeId) {
        let Sources { retry_at, memory, .. } = &mut self.sources;
        let has_its_vote = |key: &SourceKey| {
            let base = memory.get(key).and_then(|memory| memory.base.as_ref());
            base.is_some_and(|base| base.witnesses.iter().any(|voter| voter.node == witness))
        };
        for (_, at) in retry_at.iter_mut().filter(|(key, _)| has_its_vote(key)) {
            *at = (*at).min(now.at + self.rng.random_range(PAUSE_LEAST..PAUSE_MOST));
        }
    }

    /// The ballot is on disk: the attempt may begin.
    pub(in crate::node) fn start_attempt(&mut self, now: Now, key: &SourceKey) {
        if let Some(attempt) = self.sources.attempts.get_mut(key)
            && let Some(proposal) = attempt.proposal.take()
        {
            attempt.deadline = now.at + ATTEMPT_DEADLINE;
            let mut proposed = Attempt::new(proposal);
            if self.sources.owned.get(key).is_some_and(|owned| matches!(owned.activity, Activity::Promising { .. })) {
                proposed.hold();
            }
            attempt.attempt = Some(proposed);
            self.pump(now, key);
        }
    }

    pub(in crate::node) fn note_vote(&mut self, now: Now, key: &SourceKey, ballot: Epoch, from: NodeId, request: &Request, reply: Option<Reply>) {
        let Some(attempt) = self.sources.attempts.get_mut(key).and_then(|attempt| attempt.attempt.as_mut()) else { return };
        if attempt.ballot() != ballot {
            return;
        }
        match reply {
            Some(Reply::Vote(vote)) => attempt.handle_vote(from, request, vote),
            Some(Reply::Up(disk)) => attempt.handle_up(Witness { node: from, disk }),
            _ => attempt.handle_failed(from, request),
        }
        self.leave_to_its_owner(now, key);
        self.pump(now, key);
        self.close_when_promised(now, key);
    }

    /// A candidate that has just heard from the witnesses whose the source is leaves it to that node, if that is away and will be back (DESIGN §5.5).
    fn leave_to_its_owner(&mut self, now: Now, key: &SourceKey) {
        let Some(found) = self.sources.attempts.get(key).filter(|found| found.purpose == Purpose::Take) else { return };
        let owner = found.attempt.as_ref().and_then(Attempt::predecessor).filter(|owner| *owner != self.id());
        let is_awaited =
            |owner: &NodeId| self.eligible_for(now, &found.runner, key).is_some_and(|nodes| nodes.get(owner).is_some_and(|node| !node.present));
        if owner.is_none_or(|owner| !is_awaited(&owner)) {
            return;
        }
        if let Some(attempt) = self.sources.attempts.get_mut(key).and_then(|found| found.attempt.as_mut()) {
            attempt.withdraw("its owner will be back");
        }
    }

    /// Makes the calls that an attempt wants, and takes its outcome.
    pub(super) fn pump(&mut self, now: Now, key: &SourceKey) {
        while let Some(attempt) = self.sources.attempts.get_mut(key).and_then(|attempt| attempt.attempt.as_mut()) {
            let ballot = attempt.ballot();
            if let Some((to, request)) = attempt.poll_request() {
                let pending = Pending::Vote { source: key.clone(), ballot, request: Box::new(request.clone()) };
                self.ask(now, to, request, pending);
            } else if let Some(outcome) = attempt.poll_outcome() {
                let attempt = self.sources.attempts.remove(key).expect("just seen");
                self.conclude(now, key, attempt, outcome);
            } else {
                break;
            }
        }
    }

    pub(super) fn conclude(&mut self, now: Now, key: &SourceKey, mut attempt: Try, outcome: Outcome) {
        self.dirty = true;
        if let (Why::New, Some(from)) = (&attempt.why, attempt.attempt.as_ref().and_then(Attempt::predecessor)) {
            // This node had not heard of it before.
            attempt.why = if from == self.id() { Why::Resumed } else { Why::TookOver { from } };
        }
        let memory = self.sources.memory.entry(key.clone()).or_default();
        match outcome {
            Outcome::Activated { record, checkpoint, without_majority } => {
                memory.stuck_since = None;
                memory.returned = false;
                memory.seen = memory.seen.max(record.epoch);
                let promised = record.epoch;
                let checkpoint = if planted("resume-at-own-copy") { memory.checkpoint.clone() } else { checkpoint };
                self.own(now, key, &attempt, record, checkpoint, without_majority);
                if let Some(to) = attempt.answer {
                    self.after.push(After::Reply(to, Reply::Offer(OfferReply::Admitted { promised })));
                }
            }
            Outcome::Decided { record, checkpoint, without_majority } => {
                // Whoever begins there must begin with these positions: its witnesses have none of them before a STORE (the model's `handover`).
                memory.base = Some(record.clone());
                memory.checkpoint.merge(&checkpoint);
                let to = record.owner.expect("decided for an owner");
                if without_majority {
                    // Its new owner has a majority of its own witnesses, and cannot know.
                    let (runner, source, epoch) = (attempt.runner.clone(), key.source.clone(), record.epoch);
                    self.tell(Event::WithoutMajority { runner, source, epoch });
                }
                let cause = if let Why::GaveTo { cause, .. } = attempt.why { cause } else { Cause::default() };
                self.ask(now, to, Request::Release { source: key.clone(), record, checkpoint, cause }, Pending::Release(key.clone()));
            }
            Outcome::GivenUp { seen, base, checkpoint, stuck, without_majority, why } => {
                memory.seen = memory.seen.max(seen);
                memory.checkpoint.merge(&checkpoint);
                // Patience is with witnesses that are silent; a refusal, or a duel that was lost, is none of it.
                memory.stuck_since = if stuck { memory.stuck_since.or(Some(now.at)) } else { None };
                memory.denied = None;
                if memory.base.as_ref().is_none_or(|known| known.epoch < base.epoch) {
                    memory.base = Some(base);
                }
                // Duellers back off at random, and leave each other the time for an attempt: one that waits for a witness that is gone takes seconds (seed 1519).
                let is_duel = attempt.attempt.as_ref().is_some_and(|lost| seen > lost.ballot());
                let took = if is_duel { ATTEMPT_DEADLINE.saturating_sub(attempt.deadline.since(now.at)) } else { Duration::ZERO };
                let pause = self.rng.random_range(PAUSE_LEAST..PAUSE_MOST + took * 2);
                self.sources.retry_at.insert(key.clone(), now.at + pause);
                self.look_at(Some(now.at + pause));
                if let Some(to) = attempt.answer {
                    self.after.push(After::Reply(to, Reply::Offer(OfferReply::Refused { reason: why.to_owned(), load: None })));
                }
                if let Some(lost) = attempt.attempt.as_ref().filter(|_| without_majority) {
                    // Whoever builds on its record has a majority of that one's witnesses, and cannot know.
                    let (runner, source, epoch) = (attempt.runner.clone(), key.source.clone(), lost.ballot());
                    self.tell(Event::WithoutMajority { runner, source, epoch });
                }
                if attempt.purpose == Purpose::Give {
                    self.note_not_given(now, key);
                }
            }
        }
    }

    /// This node owns a source under an activated record: keeps the record, claims it, and reads. Only now.
    pub(super) fn own(&mut self, now: Now, key: &SourceKey, attempt: &Try, record: Record, checkpoint: Checkpoint, without_majority: bool) {
        let (runner, why, epoch) = (attempt.runner.clone(), attempt.why.clone(), record.epoch);
        let mut stored = checkpoint;
        stored.lost &= without_majority || !planted("lost-forgotten");
        let checkpoint = self.marked_if_lost(key, attempt, &stored, without_majority);
        let is_lost = checkpoint.is_lost();
        self.witnesses.keep(key, &record, &checkpoint);
        self.write_row(key);
        let claim = Claim {
            key: key.clone(),
            epoch,
            witnesses: record.witnesses.clone(),
            since: now.wall,
            why: why.clone(),
            is_lost,
            is_unsplittable: false,
        };
        let source = key.source.clone();
        if without_majority {
            self.tell(Event::WithoutMajority { runner: runner.clone(), source: source.clone(), epoch });
        }
        if let Some(owned) = self.sources.owned.get_mut(key) {
            owned.record = record;
            owned.progress.renew(now.at);
            // Another owned it meanwhile, and went further, or a copy was found: go on from there.
            let is_further = !owned.progress.last().1.covers(&checkpoint) && !planted("renewed-reads-on");
            if is_further {
                owned.progress.advance(&checkpoint);
            }
            let Claim { since, is_unsplittable, .. } = owned.claim;
            owned.claim = Claim { since, is_unsplittable, is_lost: owned.is_waiting(), ..claim };
            let claim = owned.claim.clone();
            if is_further {
                self.close(now, key, Then::Reopen, Duration::ZERO);
            }
            self.say(now, &claim_key(&runner, &key.source), &claim);
            self.heartbeat(now, false);
            return;
        }
        self.say(now, &claim_key(&runner, &key.source), &claim);
        if let Why::TookOver { from } = &why
            && let Some(gone) = self.gone.get(from)
        {
            self.counters.takeover_pauses.add(now.at.since(*gone));
        }
        if is_lost {
            self.tell(Event::WaitingForCheckpoint { runner: runner.clone(), source: source.clone() });
        }
        self.tell(Event::Taken { runner: runner.clone(), source, epoch, why: why.clone() });
        let given = if let Why::HandedOver { from, cause } = why { Some((from, cause)) } else { None };
        let moved = self.balancing.note_owned(now, key, checkpoint.bytes(), given);
        let mut progress = Progress::new(now.at, stored);
        progress.advance(&checkpoint);
        let owned = Owned {
            runner,
            record,
            progress,
            since: now.at,
            moved,
            claim,
            open: None,
            revision: Stamp::ZERO,
            activity: Activity::Reading,
            paused_at: now.at,
            close_due: now.at,
        };
        self.sources.owned.insert(key.clone(), owned);
        if matches!(why, Why::New | Why::TookOver { .. })
            && !without_majority
            && let Some(offer) = self.better_place(now, &attempt.runner, key)
        {
            self.offer(now, key, offer);
        }
    }

    /// A RELEASE: this node owns the record now; its witnesses must store it first.
    #[allow(clippy::too_many_arguments)] // the parts of one call
    pub(in crate::node) fn serve_release(
        &mut self,
        now: Now,
        from: NodeId,
        key: &SourceKey,
        record: Record,
        checkpoint: Checkpoint,
        cause: Cause,
        to: ReplyTo,
    ) {
        let refused = |reason: &str| Reply::Offer(OfferReply::Refused { reason: reason.to_owned(), load: None });
        let known = self.sources.owned.get(key).map(|owned| owned.record.epoch);
        let runner = self.catalog.runner_of(key.uid).map(|(name, _)| name.clone());
        let reply = match (known, runner) {
            (Some(epoch), _) if epoch == record.epoch => Reply::Offer(OfferReply::Admitted { promised: epoch }),
            (None, Some(runner)) if record.owner == Some(self.id()) && self.stopping.is_none() && !self.sources.attempts.contains_key(key) => {
                let attempt = Attempt::released(key.clone(), record, checkpoint);
                let (why, deadline) = (Why::HandedOver { from, cause }, now.at + ATTEMPT_DEADLINE);
                let attempt = Try {
                    runner,
                    why,
                    purpose: Purpose::Receive,
                    was_owned: true,
                    proposal: None,
                    attempt: Some(attempt),
                    deadline,
                    answer: Some(to),
                };
                self.sources.attempts.insert(key.clone(), attempt);
                return self.pump(now, key);
            }
            (None, None) => refused("no such runner here yet"),
            _ => refused("not now"),
        };
        self.after.push(After::Reply(to, reply));
    }
}

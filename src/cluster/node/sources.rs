//! The movable sources: who claims them, which this node owns, takes and gives (DESIGN §5.3).
//!
//! ```text
//!            ┌── decided, promised, accepted, stored ──┐
//! unowned ───┤ (an attempt)                            ├──> owned: open ──> closing ──> given, dropped or at rest
//!            └── given up: again after a random pause ─┘          └─ renewed (another attempt) while it reads on
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use logvine_gossip::{Instant, NodeId, Now};
use rand::RngExt;

use super::{
    After, Node, Output, Table,
    calls::{Pending, ReplyTo},
    instances::{FLUSH, is_placed},
};
use crate::{
    assignment::{Claimed, Decision, Eligible, Situation, decide},
    attempt::{Attempt, Outcome, Proposal},
    catalog::{Runner, Source, pack},
    checkpoint::Checkpoint,
    event::{Event, Why},
    instance::{Epoch, InstanceCommand},
    member::{Claim, Phase, claim_key, value},
    message::{CheckpointItem, CheckpointReply, OfferReply, Ownership, Reply, Request},
    name::Name,
    progress::Progress,
    ranking::RankingKey,
    record::{Record, SourceKey, Witness},
    selection::Selection,
};

/// A step of an attempt that takes longer is given up: another may be luckier.
const ATTEMPT_DEADLINE: Duration = Duration::from_secs(5);
/// A planned handover flushes for at most this long; the rest is read again by the new owner.
const HANDOVER_FLUSH: Duration = Duration::from_secs(10);
/// A refused offer is repeated after this long.
const OFFER_AGAIN: Duration = Duration::from_secs(10);
/// A witness that is gone for this long is replaced.
const REPAIR_AFTER: Duration = Duration::from_secs(30);
/// Handovers begun per look: a drain of thousands must not flood the witnesses (DESIGN: ≤ 64/s an owner, a look is about a second).
const HANDOVERS_MAX: usize = 64;
/// Without a majority of a source's witnesses: how long to wait for them (DESIGN §5.3).
const PATIENCE: Duration = Duration::from_secs(600);
/// The same in a cluster of two, where one death always takes the majority.
const PATIENCE_OF_TWO: Duration = Duration::from_secs(60);
/// The same where all of the missing said goodbye.
const PATIENCE_WHEN_PROVED: Duration = Duration::from_secs(10);
/// Sources per heartbeat call: about 100 bytes each, and a frame has 1 MiB.
const HEARTBEAT_SOURCES_MAX: usize = 2_000;

/// This node's part in the movable sources.
#[derive(Debug)]
pub(super) struct Sources {
    owned: BTreeMap<SourceKey, Owned>,
    attempts: BTreeMap<SourceKey, Try>,
    /// Others' claims: hints.
    claims: BTreeMap<(Name, Name), BTreeMap<NodeId, Claim>>,
    memory: BTreeMap<SourceKey, Memory>,
    /// Highest counter proposed under, on disk before the first PROMISE.
    ballots: BTreeMap<SourceKey, u64>,
    /// Peers with a heartbeat under way, and whether a full one is due.
    beating: BTreeMap<NodeId, usize>,
    retry_at: BTreeMap<SourceKey, Instant>,
    /// When the next decision may be due without any input.
    next_look: Option<Instant>,
}

/// A source that this node owns.
#[derive(Debug)]
pub struct Owned {
    pub(super) runner: Name,
    pub(super) record: Record,
    pub(super) progress: Progress,
    since: Instant,
    claim: Claim,
    /// The epoch under which the data plane reads it; none while it does not.
    open: Option<Epoch>,
    activity: Activity,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Activity {
    /// Reading, or about to.
    Reading,
    /// Asked another whether it will take it.
    Offering { to: NodeId, why: Why },
    /// The data plane stops reading and flushes.
    Closing(Then),
    /// Another's record is being decided, or has been: `Release` under way.
    Giving { to: NodeId, why: Why },
    /// Closed for this node's own stop: the claim stays, for it will be back.
    Resting,
    /// Nobody holds a copy of its checkpoint; an operator must rewind it.
    Waiting,
}

/// What follows a close.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Then {
    Give { to: NodeId, why: Why },
    Drop,
    Yield { by: Epoch },
    Rest,
}

/// An attempt at an epoch, with what it is for.
#[derive(Debug)]
struct Try {
    runner: Name,
    why: Why,
    purpose: Purpose,
    /// Until the ballot is on disk.
    proposal: Option<Proposal>,
    attempt: Option<Attempt>,
    deadline: Instant,
    /// A RELEASE that is answered when the attempt ends.
    answer: Option<ReplyTo>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Take,
    /// The same owner under a new record, while it reads on.
    Renew,
    Give,
    /// STORE of a record that the former owner decided for this node.
    Receive,
}

/// What is remembered of a source that this node does not own.
#[derive(Debug, Default)]
struct Memory {
    /// The last claim seen, whose it was, and when it was gone.
    former: Option<(NodeId, Record, Option<Instant>)>,
    /// A decided record newer than any claim, met on the way.
    base: Option<Record>,
    /// The highest epoch heard of.
    seen: Epoch,
    /// The join of all positions heard.
    checkpoint: Checkpoint,
    unowned_since: Option<Instant>,
    /// Since when its witnesses' majority could not be reached.
    stuck_since: Option<Instant>,
    /// The owner was asked, and said no or nothing: at this instant.
    denied: Option<Instant>,
    asking: bool,
}

impl Sources {
    pub(super) fn new(ballots: BTreeMap<SourceKey, u64>) -> Self {
        Self {
            owned: BTreeMap::new(),
            attempts: BTreeMap::new(),
            claims: BTreeMap::new(),
            memory: BTreeMap::new(),
            ballots,
            beating: BTreeMap::new(),
            retry_at: BTreeMap::new(),
            next_look: None,
        }
    }

    pub(super) fn owned(&self, source: &SourceKey) -> Option<&Owned> {
        self.owned.get(source)
    }

    /// Whether a source of this runner is still being read or closed here.
    pub(super) fn has_open(&self, runner: &Name) -> bool {
        self.owned.values().any(|owned| owned.runner == *runner && owned.open.is_some())
    }

    /// Whether all that is owned is at rest, with its last checkpoint held.
    pub(super) fn is_settled(&self) -> bool {
        self.attempts.is_empty() && self.owned.values().all(|owned| owned.open.is_none() && owned.progress.is_settled())
    }

    pub(super) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let attempt = self.attempts.values().map(|attempt| attempt.deadline).min().map(|at| (at, "attempt"));
        attempt.into_iter().chain(self.next_look.map(|at| (at, "sources"))).min()
    }
}

impl Node {
    /// The sources that this node owns: key, runner, epoch, since when, and what its senders have acknowledged.
    pub fn owned_sources(&self) -> impl Iterator<Item = (&SourceKey, &Owned)> {
        self.sources.owned.iter()
    }

    /// Every claim of a source that is known now, this node's own included, the highest epoch first.
    pub fn claims_of(&self, runner: &Name, source: &Source) -> Vec<(NodeId, &Claim)> {
        let own = self.sources.owned.get(&source.key).map(|owned| (self.id(), &owned.claim));
        let others = self.sources.claims.get(&(runner.clone(), source.key.source.clone())).into_iter().flatten();
        let others = others.filter(|(_, claim)| claim.key == source.key).map(|(id, claim)| (*id, claim));
        let mut claims: Vec<_> = others.chain(own).collect();
        claims.sort_by_key(|(_, claim)| std::cmp::Reverse(claim.epoch));
        claims
    }

    /// A word `claim/<rest>` of a node's map has changed.
    pub(super) fn note_claim(&mut self, now: Now, node: NodeId, rest: &str) {
        if node == self.id() {
            return;
        }
        let Some((runner, source)) = rest.split_once('/') else { return };
        let (Ok(runner), Ok(source)) = (runner.parse::<Name>(), source.parse::<Name>()) else { return };
        let said: Option<Claim> = value(self.gossip.node_map(&node), &claim_key(&runner, &source));
        let claims = self.sources.claims.entry((runner, source)).or_default();
        let before = match &said {
            Some(claim) => claims.insert(node, claim.clone()),
            None => claims.remove(&node),
        };
        if let Some(claim) = said {
            let row_changed = self.witnesses.note(&claim.key, &claim.record(node));
            if row_changed {
                self.write_row(&claim.key);
            }
            let memory = self.sources.memory.entry(claim.key.clone()).or_default();
            memory.seen = memory.seen.max(claim.epoch);
            if memory.former.as_ref().is_none_or(|(_, record, _)| record.epoch <= claim.epoch) {
                memory.former = Some((node, claim.record(node), None));
            }
        } else if let Some(claim) = before
            && let Some((owner, _, gone)) = &mut self.sources.memory.entry(claim.key).or_default().former
            && *owner == node
        {
            *gone = Some(now.at);
        }
    }

    /// Reads all claims anew.
    pub(super) fn read_claims(&mut self, now: Now) {
        let said = |id: &NodeId| -> BTreeSet<String> {
            let words = self.gossip.node_map(id).into_iter().flat_map(|map| map.iter("claim/"));
            words.map(|(key, _)| key["claim/".len()..].to_owned()).collect()
        };
        let ids: Vec<_> = self.gossip.members().map(|member| member.id).collect();
        let mut words: Vec<(NodeId, String)> = ids.iter().flat_map(|id| said(id).into_iter().map(|word| (*id, word))).collect();
        for ((runner, source), claims) in &self.sources.claims {
            words.extend(claims.keys().map(|id| (*id, format!("{runner}/{source}"))));
        }
        for (id, word) in words {
            self.note_claim(now, id, &word);
        }
    }

    /// The node map begins anew: what is owned is claimed again.
    pub(super) fn claim_again(&mut self, now: Now) {
        let claims: Vec<_> = self.sources.owned.values().map(|owned| (owned.runner.clone(), owned.claim.clone())).collect();
        for (runner, claim) in claims {
            self.say(now, &claim_key(&runner, &claim.key.source), &claim);
        }
    }

    /// A source was deleted: nothing of it need be kept here.
    pub(super) fn forget_source(&mut self, source: &SourceKey) {
        self.sources.memory.remove(source);
        self.sources.retry_at.remove(source);
        self.witnesses.forget(source);
        self.write(Table::Witness, pack(source).to_vec(), None);
        if self.sources.ballots.remove(source).is_some() {
            self.write(Table::Ballot, pack(source).to_vec(), None);
        }
    }

    /// Whether this node may own a source now.
    pub(super) fn may_own(&self, now: Now, runner: &Name, source: &SourceKey) -> bool {
        let Some(entry) = self.catalog.source(runner, &source.source).filter(|entry| entry.key == *source) else { return false };
        let Some(runner) = self.catalog.runner(runner).map(|found| (runner, found)) else { return false };
        self.eligible(now, runner.0, runner.1, entry).contains_key(&self.id())
    }

    /// The nodes that may own a source, as this node sees them.
    fn eligible(&self, now: Now, name: &Name, runner: &Runner, source: &Source) -> BTreeMap<NodeId, Eligible> {
        let narrower = source.spec.selection.as_deref().and_then(|text| text.parse::<Selection>().ok());
        let able = self.view.values().filter(|info| {
            let present = info.is_live() && info.phase == Phase::Active;
            (present || self.is_away(now, info))
                && is_placed(self, name, runner, info)
                && narrower.as_ref().is_none_or(|selection| selection.matches(*info))
        });
        able.map(|info| {
            let since = self.active.get(&info.id).copied().unwrap_or(now.at);
            (info.id, Eligible { capacity: info.capacity, since, present: info.is_live() && info.phase == Phase::Active })
        })
        .collect()
    }

    /// Looks at every movable source and does what is to be done about it.
    pub(super) fn decide_sources(&mut self, now: Now) {
        self.sources.next_look = None;
        if self.phase == Phase::Joining {
            return;
        }
        self.stop_what_is_gone(now);
        let mut handovers = 0;
        let runners: Vec<_> = self.catalog.runners().map(|(name, runner)| (name.clone(), runner.clone())).collect();
        for (name, runner) in runners {
            let sources: Vec<_> = self.catalog.sources(&name).cloned().collect();
            for source in sources {
                if self.stopping.is_some() {
                    self.close(&source.key, Then::Rest, FLUSH);
                } else {
                    self.decide_source(now, &name, &runner, &source, &mut handovers);
                }
            }
        }
    }

    /// Closes what this node owns of runners and sources that are deleted.
    fn stop_what_is_gone(&mut self, _now: Now) {
        let is_there = |key: &SourceKey, runner: &Name| self.catalog.source(runner, &key.source).is_some_and(|source| source.key == *key);
        let gone: Vec<_> = self.sources.owned.iter().filter(|(key, owned)| !is_there(key, &owned.runner)).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.close(&key, Then::Drop, Duration::ZERO);
        }
    }

    fn decide_source(&mut self, now: Now, name: &Name, runner: &Runner, source: &Source, handovers: &mut usize) {
        let key = &source.key;
        let eligible = self.eligible(now, name, runner, source);
        if self.sources.attempts.contains_key(key) {
            return;
        }
        if let Some(owned) = self.sources.owned.get(key)
            && owned.activity != Activity::Reading
        {
            return;
        }
        let decision = decide(&self.situation(now, name, source, &eligible));
        match decision {
            Decision::Wait(until) => {
                self.look_at(until);
                self.tend(now, name, source);
            }
            Decision::Take { why, ask } => self.consider_taking(now, name, source, why, ask),
            Decision::Give { to, why } => {
                if *handovers < HANDOVERS_MAX && self.may_retry(now, key) {
                    *handovers += 1;
                    self.offer(now, key, to, why);
                }
            }
            Decision::Yield { by } => self.close(key, Then::Yield { by }, Duration::ZERO),
            Decision::Stop => self.close(key, Then::Drop, FLUSH),
        }
    }

    fn situation<'a>(&self, now: Now, name: &Name, source: &Source, eligible: &'a BTreeMap<NodeId, Eligible>) -> Situation<'a> {
        let key = &source.key;
        let me = self.id();
        let claim = self.claims_of(name, source).into_iter().find(|(id, _)| *id != me).map(|(owner, claim)| {
            let away = self.view.get(&owner).is_some_and(|info| self.is_away(now, info));
            Claimed { owner, epoch: claim.epoch, gone: self.gone.get(&owner).copied().filter(|_| !away) }
        });
        let memory = self.sources.memory.get(key);
        let former = memory.and_then(|memory| memory.former.as_ref()).and_then(|(owner, _, gone)| Some((*owner, (*gone)?)));
        Situation {
            now: now.at,
            me,
            key: RankingKey::of(key),
            eligible,
            owned: self.sources.owned.get(key).map(|owned| (owned.record.epoch, owned.since)),
            claim,
            former: former.filter(|(owner, _)| *owner != me),
            mine_on_disk: self.witnesses.row(key).is_some_and(|row| row.record.owner == Some(me)),
            unowned_since: memory.and_then(|memory| memory.unowned_since).unwrap_or(now.at),
        }
    }

    /// Looks after a source that stays where it is: opens it if need be, and renews its record when that lost a witness or its majority.
    fn tend(&mut self, now: Now, name: &Name, source: &Source) {
        let key = &source.key;
        let Some(owned) = self.sources.owned.get_mut(key) else {
            let memory = self.sources.memory.entry(key.clone()).or_default();
            memory.unowned_since.get_or_insert(now.at);
            return;
        };
        if owned.open.is_none() && self.instances.is_ready(name, key.uid) {
            owned.open = Some(owned.record.epoch);
            let resume = owned.progress.last().1.clone();
            let command = InstanceCommand::Open { runner: name.clone(), source: source.spec.clone(), epoch: owned.record.epoch, resume };
            self.outputs.push_back(Output::Instance(command));
        }
        let wanted = self.witnesses_for(key);
        let owned = &self.sources.owned[key];
        let lost = |witness: &Witness| {
            let info = self.view.get(&witness.node);
            let gone = self.gone.get(&witness.node).is_some_and(|gone| now.at.since(*gone) >= REPAIR_AFTER);
            let other_disk = info.and_then(|info| info.witness()).is_some_and(|now| now.disk != witness.disk);
            gone || other_disk || info.is_none_or(|info| info.phase == Phase::Draining)
        };
        let incomplete = owned.record.witnesses.iter().any(lost) || owned.record.witnesses.len() < wanted.len();
        let needs_renewal = incomplete || !owned.progress.has_majority(now.at);
        let (base, checkpoint, why) = (owned.record.clone(), owned.progress.last().1.clone(), owned.claim.why.clone());
        if needs_renewal && self.may_retry(now, key) {
            self.attempt(now, key, Purpose::Renew, name, self.id(), base, checkpoint, why);
        }
    }

    /// Asks the owner that is believed gone before taking its source, then takes it.
    fn consider_taking(&mut self, now: Now, name: &Name, source: &Source, why: Why, ask: Option<NodeId>) {
        let key = &source.key;
        if !self.may_retry(now, key) {
            return;
        }
        let memory = self.sources.memory.entry(key.clone()).or_default();
        let asked = memory.denied.is_some_and(|at| now.at.since(at) < ATTEMPT_DEADLINE);
        if let Some(owner) = ask.filter(|_| !asked) {
            if !memory.asking {
                memory.asking = true;
                self.ask(now, owner, Request::Question(key.clone()), Pending::Question(key.clone()));
            }
            return;
        }
        let checkpoint = memory.checkpoint.clone();
        let base = self.newest_base(name, source);
        self.attempt(now, key, Purpose::Take, name, self.id(), base, checkpoint, why);
    }

    /// The newest decided record that this node knows of: on its disk, claimed (by the dead, too), met on the way, or the source's first.
    fn newest_base(&self, name: &Name, source: &Source) -> Record {
        let memory = self.sources.memory.get(&source.key);
        let known = [
            self.witnesses.row(&source.key).map(|row| row.record.clone()),
            self.claims_of(name, source).first().map(|(id, claim)| claim.record(*id)),
            memory.and_then(|memory| memory.base.clone()),
            memory.and_then(|memory| memory.former.as_ref()).map(|(_, record, _)| record.clone()),
        ];
        let first = Record::first(source.witnesses.clone());
        known.into_iter().flatten().max_by_key(|record| record.epoch).unwrap_or(first)
    }

    pub(super) fn note_question(&mut self, now: Now, source: &SourceKey, ownership: Option<Ownership>) {
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
    fn attempt(&mut self, now: Now, key: &SourceKey, purpose: Purpose, runner: &Name, owner: NodeId, base: Record, checkpoint: Checkpoint, why: Why) {
        let seen = self.sources.memory.get(key).map_or(Epoch::default(), |memory| memory.seen).max(base.epoch);
        let counter = self.sources.ballots.get(key).copied().unwrap_or(0).max(seen.counter) + 1;
        self.sources.ballots.insert(key.clone(), counter);
        self.write(Table::Ballot, pack(key).to_vec(), Some(pack(&counter).to_vec()));
        self.after.push(After::Attempt(key.clone()));
        let proposal = Proposal {
            source: key.clone(),
            ballot: Epoch { counter, taker: self.id() },
            owner,
            minority: self.is_out_of_patience(now, key, &base),
            base,
            checkpoint,
            witnesses: self.witnesses_for(key),
        };
        let deadline = now.at + ATTEMPT_DEADLINE;
        let runner = runner.clone();
        let attempt = Try { runner, why, purpose, proposal: Some(proposal), attempt: None, deadline, answer: None };
        self.sources.attempts.insert(key.clone(), attempt);
    }

    /// Whether the witnesses of `base` have been waited for long enough (DESIGN §5.3, "Without a majority").
    fn is_out_of_patience(&self, now: Now, key: &SourceKey, base: &Record) -> bool {
        let Some(stuck) = self.sources.memory.get(key).and_then(|memory| memory.stuck_since) else { return false };
        let missing =
            || base.witnesses.iter().filter(|witness| self.gone.contains_key(&witness.node)).filter_map(|witness| self.view.get(&witness.node));
        if missing().any(|info| self.is_away(now, info)) {
            return false;
        }
        let proved = missing().next().is_some() && missing().all(|info| info.status == logvine_gossip::Status::Left);
        let patience = match (proved, self.view.len()) {
            (true, _) => PATIENCE_WHEN_PROVED,
            (false, ..=2) => PATIENCE_OF_TWO,
            _ => PATIENCE,
        };
        now.at.since(stuck) >= patience
    }

    /// The ballot is on disk: the attempt may begin.
    pub(super) fn start_attempt(&mut self, now: Now, key: &SourceKey) {
        if let Some(attempt) = self.sources.attempts.get_mut(key)
            && let Some(proposal) = attempt.proposal.take()
        {
            attempt.deadline = now.at + ATTEMPT_DEADLINE;
            attempt.attempt = Some(Attempt::new(proposal));
            self.pump(now, key);
        }
    }

    pub(super) fn note_vote(&mut self, now: Now, key: &SourceKey, ballot: Epoch, from: NodeId, request: &Request, reply: Option<Reply>) {
        let Some(attempt) = self.sources.attempts.get_mut(key).and_then(|attempt| attempt.attempt.as_mut()) else { return };
        if attempt.ballot() != ballot {
            return;
        }
        match reply {
            Some(Reply::Vote(vote)) => attempt.handle_vote(from, request, vote),
            Some(Reply::Up(disk)) => attempt.handle_up(Witness { node: from, disk }),
            _ => attempt.handle_failed(from, request),
        }
        self.pump(now, key);
    }

    /// Makes the calls that an attempt wants, and takes its outcome.
    fn pump(&mut self, now: Now, key: &SourceKey) {
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

    fn conclude(&mut self, now: Now, key: &SourceKey, attempt: Try, outcome: Outcome) {
        self.dirty = true;
        let memory = self.sources.memory.entry(key.clone()).or_default();
        match outcome {
            Outcome::Activated { record, checkpoint, without_majority } => {
                memory.stuck_since = None;
                memory.unowned_since = None;
                memory.seen = memory.seen.max(record.epoch);
                self.own(now, key, &attempt, record, checkpoint, without_majority);
                if let Some(to) = attempt.answer {
                    self.after.push(After::Reply(to, Reply::Offer(OfferReply::Admitted)));
                }
            }
            Outcome::Decided { record, checkpoint } => {
                memory.base = Some(record.clone());
                let to = record.owner.expect("decided for an owner");
                self.ask(now, to, Request::Release { source: key.clone(), record, checkpoint }, Pending::Release(key.clone()));
            }
            Outcome::GivenUp { seen, base, checkpoint, why } => {
                memory.seen = memory.seen.max(seen);
                memory.checkpoint.merge(&checkpoint);
                memory.stuck_since.get_or_insert(now.at);
                memory.denied = None;
                if memory.base.as_ref().is_none_or(|known| known.epoch < base.epoch) {
                    memory.base = Some(base);
                }
                // Duellers back off at random.
                let pause = Duration::from_millis(self.rng.random_range(200..1_500));
                self.sources.retry_at.insert(key.clone(), now.at + pause);
                self.look_at(Some(now.at + pause));
                if let Some(to) = attempt.answer {
                    self.after.push(After::Reply(to, Reply::Offer(OfferReply::Refused { reason: why.to_owned() })));
                }
                if attempt.purpose == Purpose::Give {
                    // It is closed already: this node takes a further epoch for itself, or for another.
                    self.let_go(now, key);
                }
            }
        }
    }

    /// This node owns a source under an activated record: keeps the record, claims it, and reads. Only now.
    fn own(&mut self, now: Now, key: &SourceKey, attempt: &Try, record: Record, checkpoint: Checkpoint, without_majority: bool) {
        self.witnesses.keep(key, &record, &checkpoint);
        self.write_row(key);
        let (runner, why, epoch) = (attempt.runner.clone(), attempt.why.clone(), record.epoch);
        let claim = Claim { key: key.clone(), epoch, witnesses: record.witnesses.clone(), since: now.wall, why: why.clone() };
        self.say(now, &claim_key(&runner, &key.source), &claim);
        if let Some(owned) = self.sources.owned.get_mut(key) {
            owned.record = record;
            owned.claim = Claim { since: owned.claim.since, ..claim };
            owned.progress.renew(now.at);
            self.heartbeat(now, false);
            return;
        }
        let source = key.source.clone();
        if without_majority {
            self.tell(Event::WithoutMajority { runner: runner.clone(), source: source.clone(), epoch });
        }
        let was_read = attempt.why != Why::New;
        let activity = if without_majority && was_read && checkpoint.files.is_empty() {
            self.tell(Event::WaitingForCheckpoint { runner: runner.clone(), source: source.clone() });
            Activity::Waiting
        } else {
            Activity::Reading
        };
        self.tell(Event::Taken { runner: runner.clone(), source, epoch, why });
        let progress = Progress::new(now.at, checkpoint);
        self.sources.owned.insert(key.clone(), Owned { runner, record, progress, since: now.at, claim, open: None, activity });
    }

    fn offer(&mut self, now: Now, key: &SourceKey, to: NodeId, why: Why) {
        let Some(owned) = self.sources.owned.get_mut(key) else { return };
        owned.activity = Activity::Offering { to, why };
        let request = Request::Offer { source: key.clone(), epoch: owned.record.epoch };
        self.ask(now, to, request, Pending::Offer(key.clone()));
    }

    pub(super) fn note_offer(&mut self, now: Now, key: &SourceKey, admitted: bool) {
        let Some(owned) = self.sources.owned.get_mut(key) else { return };
        let Activity::Offering { to, why } = owned.activity.clone() else { return };
        owned.activity = Activity::Reading;
        if admitted {
            self.close(key, Then::Give { to, why }, HANDOVER_FLUSH);
        } else {
            self.sources.retry_at.insert(key.clone(), now.at + OFFER_AGAIN);
        }
        self.dirty = true;
    }

    /// Stops reading; `then` follows once the data plane has closed the source.
    fn close(&mut self, key: &SourceKey, then: Then, flush: Duration) {
        let Some(owned) = self.sources.owned.get_mut(key) else { return };
        if matches!(owned.activity, Activity::Closing(_) | Activity::Giving { .. } | Activity::Resting) {
            return;
        }
        owned.activity = Activity::Closing(then);
        match owned.open {
            Some(epoch) => {
                let (runner, source) = (owned.runner.clone(), key.source.clone());
                self.outputs.push_back(Output::Instance(InstanceCommand::Close { runner, source, epoch, flush }));
            }
            None => self.after.push(After::Closed(key.clone())),
        }
    }

    pub(super) fn note_closed(&mut self, now: Now, runner: &Name, source: &Name, epoch: Epoch, checkpoint: &Checkpoint) {
        let found = self.sources.owned.iter_mut().find(|(key, owned)| key.source == *source && owned.runner == *runner && owned.open == Some(epoch));
        if let Some((key, owned)) = found {
            owned.progress.advance(checkpoint);
            let key = key.clone();
            self.after_close(now, &key);
        }
    }

    /// A source is closed: goes on with what its closing was for.
    pub(super) fn after_close(&mut self, now: Now, key: &SourceKey) {
        let Some(owned) = self.sources.owned.get_mut(key) else { return };
        owned.open = None;
        let Activity::Closing(then) = owned.activity.clone() else { return };
        let (runner, record, checkpoint) = (owned.runner.clone(), owned.record.clone(), owned.progress.last().1.clone());
        match then {
            Then::Give { to, why } => {
                owned.activity = Activity::Giving { to, why: why.clone() };
                self.attempt(now, key, Purpose::Give, &runner, to, record, checkpoint, why);
            }
            Then::Rest => {
                owned.activity = Activity::Resting;
                self.heartbeat(now, false);
            }
            Then::Drop => {
                self.heartbeat(now, false);
                self.witnesses.keep(key, &record, &checkpoint);
                self.write_row(key);
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

    fn claimed_witnesses(&self, runner: &Name, key: &SourceKey) -> Vec<NodeId> {
        let claims = self.sources.claims.get(&(runner.clone(), key.source.clone()));
        let highest = claims.into_iter().flat_map(BTreeMap::values).filter(|claim| claim.key == *key).max_by_key(|claim| claim.epoch);
        highest.into_iter().flat_map(|claim| &claim.witnesses).map(|witness| witness.node).collect()
    }

    /// Owns it no longer.
    fn let_go(&mut self, now: Now, key: &SourceKey) {
        if let Some(owned) = self.sources.owned.remove(key) {
            let memory = self.sources.memory.entry(key.clone()).or_default();
            memory.checkpoint.merge(owned.progress.last().1);
            memory.seen = memory.seen.max(owned.record.epoch);
            memory.unowned_since = Some(now.at);
            self.unsay(now, &claim_key(&owned.runner, &key.source));
            self.dirty = true;
        }
    }

    /// A RELEASE: this node owns the record now; its witnesses must store it first.
    pub(super) fn serve_release(&mut self, now: Now, from: NodeId, key: SourceKey, record: Record, checkpoint: Checkpoint, to: ReplyTo) {
        let refused = |reason: &str| Reply::Offer(OfferReply::Refused { reason: reason.to_owned() });
        let known = self.sources.owned.get(&key).map(|owned| owned.record.epoch);
        let runner = self.catalog.runner_of(key.uid).map(|(name, _)| name.clone());
        let reply = match (known, runner) {
            (Some(epoch), _) if epoch == record.epoch => Reply::Offer(OfferReply::Admitted),
            (None, Some(runner)) if record.owner == Some(self.id()) && self.stopping.is_none() && !self.sources.attempts.contains_key(&key) => {
                let attempt = Attempt::released(key.clone(), record, checkpoint);
                let (why, deadline) = (Why::HandedOver { from }, now.at + ATTEMPT_DEADLINE);
                let attempt = Try { runner, why, purpose: Purpose::Receive, proposal: None, attempt: Some(attempt), deadline, answer: Some(to) };
                self.sources.attempts.insert(key.clone(), attempt);
                return self.pump(now, &key);
            }
            (None, None) => refused("no such runner here yet"),
            _ => refused("not now"),
        };
        self.after.push(After::Reply(to, reply));
    }

    pub(super) fn note_release(&mut self, now: Now, key: &SourceKey, admitted: bool) {
        let Some(owned) = self.sources.owned.get(key) else { return };
        let Activity::Giving { to, why } = owned.activity.clone() else { return };
        let (runner, epoch) = (owned.runner.clone(), owned.record.epoch);
        if admitted {
            let why = if why == Why::Home { Why::GaveTo { to } } else { why };
            self.tell(Event::Released { runner, source: key.source.clone(), epoch, why });
            // The new owner's claim is on its way: until it is seen, this node must not think that nobody owns it.
            let memory = self.sources.memory.entry(key.clone()).or_default();
            if let Some(record) = memory.base.clone() {
                memory.former = Some((to, record, Some(now.at)));
            }
        }
        self.let_go(now, key);
    }

    /// The data plane has a new checkpoint.
    pub(super) fn note_checkpoint(&mut self, now: Now, runner: &Name, source: &Name, epoch: Epoch, checkpoint: &Checkpoint) {
        let found = self.sources.owned.iter_mut().find(|(key, owned)| key.source == *source && owned.runner == *runner && owned.open == Some(epoch));
        if let Some((_, owned)) = found {
            owned.progress.advance(checkpoint);
            self.heartbeat(now, false);
        }
    }

    /// Sends checkpoints to the witnesses: those that are new to each, and in a full heartbeat all sources that are as before.
    ///
    /// A source that had no majority for 10 s is left out, so that its witnesses lose faith in this owner.
    pub(super) fn heartbeat(&mut self, now: Now, full: bool) {
        let mut by_peer: BTreeMap<NodeId, Vec<(CheckpointItem, u64)>> = BTreeMap::new();
        for (key, owned) in &self.sources.owned {
            let silent = !owned.progress.has_majority(now.at) || matches!(owned.activity, Activity::Closing(Then::Yield { .. }));
            for witness in owned.record.witnesses.iter().filter(|_| !silent) {
                let has = owned.progress.has(&witness.node);
                if full || !has {
                    let (number, checkpoint) = owned.progress.last();
                    let item = CheckpointItem { source: key.clone(), epoch: owned.record.epoch, checkpoint: (!has).then(|| checkpoint.clone()) };
                    by_peer.entry(witness.node).or_default().push((item, number));
                }
            }
        }
        for (peer, items) in by_peer {
            if self.sources.beating.get(&peer).is_some_and(|calls| *calls > 0) {
                continue; // its reply brings the next one
            }
            for chunk in items.chunks(HEARTBEAT_SOURCES_MAX) {
                let sent = chunk.iter().map(|(item, number)| (item.source.clone(), item.epoch, *number)).collect();
                *self.sources.beating.entry(peer).or_default() += 1;
                let request = Request::Checkpoints(chunk.iter().map(|(item, _)| item.clone()).collect());
                self.ask(now, peer, request, Pending::Heartbeat(sent));
            }
        }
    }

    pub(super) fn heartbeat_failed(&mut self, from: NodeId) {
        if let Some(calls) = self.sources.beating.get_mut(&from) {
            *calls = calls.saturating_sub(1);
        }
    }

    pub(super) fn note_heartbeat(&mut self, now: Now, from: NodeId, sent: &[(SourceKey, Epoch, u64)], replies: &[CheckpointReply]) {
        if sent.is_empty() {
            return; // facts for another's source
        }
        self.heartbeat_failed(from);
        for (reply, (key, epoch, number)) in replies.iter().zip(sent) {
            let Some(owned) = self.sources.owned.get_mut(key).filter(|owned| owned.record.epoch == *epoch && reply.source == *key) else { continue };
            match reply.refused {
                None => {
                    let held = owned.progress.acknowledge(now.at, &owned.record, from, *number).cloned();
                    if let (Some(checkpoint), Some(open)) = (held, owned.open) {
                        let (runner, source) = (owned.runner.clone(), key.source.clone());
                        let command = InstanceCommand::Held { runner, source, epoch: Some(open), checkpoint };
                        self.outputs.push_back(Output::Instance(command));
                    }
                }
                // A promise to this node's own attempt does not fence it, and a witness that lost its disk knows nothing.
                Some(by) if by > *epoch && by.taker != self.gossip.me().id => {
                    let memory = self.sources.memory.entry(key.clone()).or_default();
                    memory.seen = memory.seen.max(by);
                    self.close(&key.clone(), Then::Yield { by }, Duration::ZERO);
                }
                Some(_) => {}
            }
        }
        self.heartbeat(now, false);
        if self.stopping.is_some() {
            self.dirty = true;
        }
    }

    /// Attempts that take too long end.
    pub(super) fn sources_timeout(&mut self, now: Now) {
        if self.sources.next_look.is_some_and(|at| now.at >= at) {
            self.dirty = true;
        }
        let late: Vec<_> = self.sources.attempts.iter().filter(|(_, attempt)| now.at >= attempt.deadline).map(|(key, _)| key.clone()).collect();
        for key in late {
            if let Some(attempt) = self.sources.attempts.get_mut(&key) {
                attempt.deadline = now.at + ATTEMPT_DEADLINE;
                if let Some(attempt) = &mut attempt.attempt {
                    attempt.handle_deadline();
                }
            }
            self.pump(now, &key);
        }
    }

    fn may_retry(&mut self, now: Now, key: &SourceKey) -> bool {
        match self.sources.retry_at.get(key).copied() {
            Some(at) if now.at < at => {
                self.look_at(Some(at));
                false
            }
            _ => true,
        }
    }

    fn look_at(&mut self, at: Option<Instant>) {
        self.sources.next_look = [self.sources.next_look, at].into_iter().flatten().min();
    }
}

impl Owned {
    /// The runner that it belongs to.
    pub fn runner(&self) -> &Name {
        &self.runner
    }

    /// Its activated record.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What the senders have acknowledged.
    pub fn checkpoint(&self) -> &Checkpoint {
        self.progress.last().1
    }

    /// What a majority of the witnesses holds.
    pub fn held(&self) -> &Checkpoint {
        self.progress.held()
    }

    /// Whether the data plane reads it.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether it waits for an operator, as nobody holds a copy of its checkpoint.
    pub fn is_waiting(&self) -> bool {
        self.activity == Activity::Waiting
    }
}

//! The movable sources: who claims them, which this node owns, takes and gives (DESIGN §5.3).
//!
//! ```text
//!            ┌── decided, promised, accepted, stored ──┐
//! unowned ───┤ (an attempt)                            ├──> owned: open ──> closing ──> given, dropped or at rest
//!            └── given up: again after a random pause ─┘          └─ renewed (another attempt) while it reads on
//! ```

mod claims;
mod giving;
mod heartbeat;
mod orphans;
mod pace;
mod rankings;
mod rewinding;
mod taking;

use std::{collections::BTreeMap, time::Duration};

use logvine_gossip::{Instant, Member, NodeId, Now, Stamp};

pub(super) use self::giving::Offer;
use self::{
    orphans::{Silent, Waifs, Wanted},
    pace::Pace,
    rankings::{Caches, Group},
    taking::ATTEMPT_DEADLINE,
};
use super::{Node, Output, calls::ReplyTo, instances::FLUSH};
use crate::{
    assignment::{Claimed, Decision, Eligible, Situation, decide, owner_while_away},
    attempt::{Attempt, Proposal},
    balance::Arrival,
    canary::planted,
    catalog::{Catalog, Source},
    checkpoint::Checkpoint,
    event::{Cause, Why},
    instance::{Epoch, InstanceCommand},
    member::{Claim, Phase},
    name::Name,
    progress::Progress,
    ranking::RankingKey,
    record::{Record, SourceKey, Witness},
};

/// A witness that is gone for this long is replaced.
const REPAIR_AFTER: Duration = Duration::from_secs(30);
/// Handovers under way at once: a drain of thousands must not flood the witnesses.
const HANDOVERS_MAX: usize = 64;

/// This node's part in the movable sources.
#[derive(Debug)]
pub(super) struct Sources {
    owned: BTreeMap<SourceKey, Owned>,
    attempts: BTreeMap<SourceKey, Try>,
    /// Others' claims: hints.
    claims: BTreeMap<(Name, Name), BTreeMap<NodeId, Claim>>,
    memory: BTreeMap<SourceKey, Memory>,
    waifs: Waifs,
    wanted: Wanted,
    /// Highest counter proposed under, on disk before the first PROMISE.
    ballots: BTreeMap<SourceKey, u64>,
    /// All are above this: what this node proposed under before its disk was lost is below it. Zero as long as it never was.
    ballot_least: u64,
    /// The disk is an old one: what it says that this node owns it does not own any more.
    given_up: bool,
    /// Peers with a heartbeat under way, and whether a full one is due.
    beating: BTreeMap<NodeId, usize>,
    retry_at: BTreeMap<SourceKey, Instant>,
    /// Handovers of what may not stay here, and renewals of what stays.
    handing: Pace,
    renewing: Pace,
    pub(super) caches: Caches,
    /// When the next decision may be due without any input.
    next_look: Option<Instant>,
    /// What others have claimed since it was told last: how many sources, and one of them.
    claimed: BTreeMap<(NodeId, Name, Why), (usize, Name)>,
}

/// A source that this node owns.
#[derive(Debug)]
pub struct Owned {
    pub(super) runner: Name,
    pub(super) record: Record,
    pub(super) progress: Progress,
    since: Instant,
    moved: Option<Arrival>,
    claim: Claim,
    /// The epoch under which the data plane reads it; none while it does not.
    open: Option<Epoch>,
    /// Of the entry by which it was opened last.
    revision: Stamp,
    activity: Activity,
    /// When its close began.
    paused_at: Instant,
    /// When a close that was begun has ended, whatever the data plane says.
    close_due: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Activity {
    /// Reading, or about to.
    Reading,
    /// Asked another whether it will take it.
    Offering(Offer),
    /// It will: the witnesses are asked for their promises, while the source is still read.
    Promising { to: NodeId, cause: Cause },
    /// The data plane stops reading and flushes.
    Closing(Then),
    /// Another's record is being decided, or has been: `Release` under way.
    Giving { to: NodeId, cause: Cause },
    /// Closed for this node's own stop: the claim stays, for it will be back.
    Resting,
}

/// What follows a close.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Then {
    Give { to: NodeId, cause: Cause },
    Drop,
    Reopen,
    Yield { by: Epoch },
    Rest,
}

/// An attempt at an epoch, with what it is for.
#[derive(Debug)]
struct Try {
    runner: Name,
    why: Why,
    purpose: Purpose,
    /// Whether the record that it begins at had an owner, who may have read.
    was_owned: bool,
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
    /// Which of its witnesses do not hear its owner.
    silent: Silent,
    /// This node gave it away, but nobody took it: it is this node's to take again.
    returned: bool,
}

/// Who may own a source.
#[derive(Debug)]
struct Place<'a> {
    eligible: &'a BTreeMap<NodeId, Eligible>,
    /// The best of these.
    ranked: Vec<NodeId>,
    /// Its runner is to run on this node.
    placed_here: bool,
    /// This node takes sources, and not only its own of before.
    assigns: bool,
}

impl Sources {
    pub(super) fn new(ballots: BTreeMap<SourceKey, u64>, ballot_least: u64) -> Self {
        Self {
            owned: BTreeMap::new(),
            attempts: BTreeMap::new(),
            claims: BTreeMap::new(),
            memory: BTreeMap::new(),
            waifs: Waifs::new(),
            wanted: Wanted::new(),
            ballots,
            ballot_least,
            given_up: false,
            beating: BTreeMap::new(),
            retry_at: BTreeMap::new(),
            handing: Pace::default(),
            renewing: Pace::default(),
            caches: Caches::default(),
            next_look: None,
            claimed: BTreeMap::new(),
        }
    }

    /// The disk is an old one: gives up what it says of this node's epochs, and proposes above `least` only.
    pub(super) fn give_up(&mut self, least: u64) {
        self.given_up = true;
        self.ballot_least = self.ballot_least.max(least);
    }

    pub(super) fn owned(&self, source: &SourceKey) -> Option<&Owned> {
        self.owned.get(source)
    }

    /// What this node owns, by key.
    pub(super) fn owned_keys(&self) -> impl Iterator<Item = (&SourceKey, &Owned)> {
        self.owned.iter()
    }

    fn handovers(&self) -> usize {
        self.owned.values().filter(|owned| owned.is_on_its_way()).count()
    }

    /// Whether one more may be handed over.
    pub(super) fn has_handover_free(&self) -> bool {
        self.handovers() < HANDOVERS_MAX
    }

    /// Marks a source in its claim, if it is owned: too large to be balanced, or no longer. Returns its runner, and the claim to be said.
    pub(super) fn mark_unsplittable(&mut self, source: &SourceKey, is_unsplittable: bool) -> Option<(Name, Claim)> {
        let owned = self.owned.get_mut(source)?;
        owned.claim.is_unsplittable = is_unsplittable;
        Some((owned.runner.clone(), owned.claim.clone()))
    }

    /// The sources of which something is remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> impl Iterator<Item = &SourceKey> {
        self.memory.keys()
    }

    /// Hints of sources that are deleted still arrive for a while; they are not kept.
    pub(super) fn forget_unknown(&mut self, catalog: &Catalog) {
        let (owned, attempts) = (&self.owned, &self.attempts);
        let is_of_use = |key: &SourceKey| owned.contains_key(key) || attempts.contains_key(key) || catalog.has(key);
        self.memory.retain(|key, _| is_of_use(key));
        self.retry_at.retain(|key, _| is_of_use(key));
        self.claims.retain(|_, claims| !claims.is_empty());
        self.caches.forget(catalog, |key| owned.contains_key(key) || attempts.contains_key(key));
    }

    /// Whether another source of the same runner and id is still open: one that was deleted, and made again before the data plane had closed it.
    fn has_namesake_open(&self, key: &SourceKey) -> bool {
        let namesakes = self.owned.range(SourceKey { created: Stamp::ZERO, ..key.clone() }..);
        let mut namesakes = namesakes.take_while(|(other, _)| other.uid == key.uid && other.source == key.source);
        namesakes.any(|(other, owned)| other != key && owned.open.is_some())
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

    /// Looks at every movable source and does what is to be done about it.
    pub(super) fn decide_sources(&mut self, now: Now) {
        self.sources.next_look = None;
        if self.phase == Phase::Joining {
            return;
        }
        self.stop_what_is_gone(now);
        let assigns = self.begin_to_assign(now);
        let mut handovers = self.sources.handovers();
        let runners: Vec<_> = self.catalog.runners().map(|(name, runner)| (name.clone(), runner.clone())).collect();
        for (name, runner) in runners {
            let placed_here = self.is_placed_here(&name, &runner) && !self.is_held_back(&name);
            let sources: Vec<_> = self.catalog.sources(&name).cloned().collect();
            let mut groups: BTreeMap<Group, BTreeMap<NodeId, Eligible>> = BTreeMap::new();
            for source in sources {
                if self.stopping.is_some() {
                    self.close(now, &source.key, Then::Rest, FLUSH);
                } else {
                    let group = (name.clone(), source.spec.selection.clone());
                    let eligible = groups.entry(group.clone()).or_insert_with(|| {
                        let eligible = self.eligible(now, &name, &runner, source.spec.selection.as_deref());
                        self.sources.caches.set_nodes(&group, &eligible);
                        eligible
                    });
                    let ranked = self.sources.caches.best(&group, &source.key);
                    let place = Place { eligible, ranked, placed_here, assigns };
                    self.decide_source(now, &name, &source, place, &mut handovers);
                }
            }
        }
    }

    /// Closes what this node owns of runners and sources that are deleted.
    fn stop_what_is_gone(&mut self, now: Now) {
        if planted("deleted-source-runs") {
            return;
        }
        let is_there = |key: &SourceKey, runner: &Name| self.catalog.source(runner, &key.source).is_some_and(|source| source.key == *key);
        let gone: Vec<_> = self.sources.owned.iter().filter(|(key, owned)| !is_there(key, &owned.runner)).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.close(now, &key, Then::Drop, Duration::ZERO);
        }
    }

    fn decide_source(&mut self, now: Now, name: &Name, source: &Source, place: Place, handovers: &mut usize) {
        let key = &source.key;
        if self.sources.attempts.contains_key(key) {
            return;
        }
        if let Some(owned) = self.sources.owned.get(key)
            && owned.activity != Activity::Reading
        {
            return;
        }
        self.rewind_if_due(now, name, source);
        let assigns = place.assigns;
        self.note_unowned(now, name, source, !place.eligible.is_empty() && assigns);
        let (eligible, ranked) = (place.eligible, place.ranked.clone());
        let decision = decide(&self.situation(now, name, source, place));
        match decision {
            Decision::Wait(until) => {
                self.look_at(until);
                self.tend(now, name, source);
            }
            Decision::Take { why, .. } if !assigns && !matches!(why, Why::Resumed | Why::Returned) => {}
            Decision::Take { why, ask } => self.consider_taking(now, name, source, why, ask),
            Decision::Give { to, cause } => {
                if *handovers < HANDOVERS_MAX && self.may_retry(now, key) && self.is_in_pace(now, |sources| &mut sources.handing) {
                    *handovers += 1;
                    let offer = self.relief(now, key, eligible, ranked, to, cause);
                    self.offer(now, key, offer);
                }
            }
            Decision::Yield { by } => self.close(now, key, Then::Yield { by }, Duration::ZERO),
            Decision::Stop => self.close(now, key, Then::Drop, FLUSH),
        }
    }

    fn situation<'a>(&self, now: Now, name: &Name, source: &Source, place: Place<'a>) -> Situation<'a> {
        let key = &source.key;
        let me = self.id();
        let memory = self.sources.memory.get(key);
        // A dead node's old claim says nothing once a newer one was seen, or this node gave the source away under a newer epoch.
        let newest = memory.and_then(|memory| memory.former.as_ref()).map_or(Epoch::default(), |(_, record, _)| record.epoch);
        let other = self.claims_of(name, source).into_iter().find(|(id, claim)| *id != me && claim.epoch >= newest);
        let is_away = |id: &NodeId| self.view.get(id).is_some_and(|info| self.is_away(now, info));
        let claim = other.map(|(owner, claim)| {
            let claimed = (owner, claim.epoch);
            let (owner, epoch) = if is_away(&owner) { owner_while_away(claimed, &self.newest_base(name, source), me) } else { claimed };
            let gone = self.gone.get(&owner).copied().or_else(|| self.silent_since(now, key, &claim.record(owner))).filter(|_| !is_away(&owner));
            Claimed { owner, epoch, gone: gone.map(|gone| self.succeeded_since(gone)) }
        });
        let former = memory.and_then(|memory| memory.former.as_ref()).and_then(|(owner, _, gone)| Some((*owner, (*gone)?)));
        let own_row = self.witnesses.row(key).filter(|row| row.record.owner == Some(me));
        Situation {
            now: now.at,
            me,
            key: RankingKey::of(key),
            eligible: place.eligible,
            ranked: place.ranked,
            owned: self.sources.owned.get(key).map(|owned| owned.record.epoch),
            claim,
            former: former.filter(|(owner, _)| *owner != me),
            placed_here: place.placed_here,
            draining: self.phase == Phase::Draining,
            mine: if memory.is_some_and(|memory| memory.returned) {
                Some(Why::Returned)
            } else {
                own_row.filter(|_| !self.sources.given_up).map(|_| Why::Resumed)
            },
            last: self.witnesses.row(key).and_then(|row| row.record.owner).or_else(|| memory?.base.as_ref()?.owner),
            unowned_since: memory.and_then(|memory| memory.unowned_since).unwrap_or(now.at),
        }
    }

    /// Takes note of since when a source should have an owner and none is seen.
    fn note_unowned(&mut self, now: Now, name: &Name, source: &Source, wanted: bool) {
        let present = self.present_claim(name, source).map(|(owner, _)| owner);
        let unowned = wanted && present.is_none();
        let own = self.sources.owned.get(&source.key);
        let is_owned = match own {
            Some(owned) => self.has_majority(now, owned),
            None => present.is_some_and(|owner| !self.gone.contains_key(&owner)),
        };
        let memory = self.sources.memory.entry(source.key.clone()).or_default();
        if is_owned {
            memory.stuck_since = None; // the next time that it is missed, patience begins anew
        }
        memory.unowned_since = if unowned { memory.unowned_since.or(Some(now.at)) } else { None };
    }

    /// Whether a majority of its witnesses holds what it sends. Where those that are missing for that are proved gone, nobody need wait to see it.
    fn has_majority(&self, now: Now, owned: &Owned) -> bool {
        let is_proved = |witness: &Witness| {
            let away = self.view.get(&witness.node).is_some_and(|info| self.is_away(now, info));
            self.gone.contains_key(&witness.node) && !away && self.gossip.member(&witness.node).is_some_and(Member::is_gone)
        };
        let left = owned.record.witnesses.iter().filter(|witness| !is_proved(witness)).map(|witness| &witness.node);
        owned.progress.has_majority(now.at) && owned.record.is_majority(left)
    }

    /// Looks after a source that stays where it is: opens it if need be, and renews its record when that lost a witness or its majority.
    fn tend(&mut self, now: Now, name: &Name, source: &Source) {
        let key = &source.key;
        // To the data plane the two are one, and their epochs may be equal.
        let is_free = !self.sources.has_namesake_open(key);
        let Some(owned) = self.sources.owned.get_mut(key) else { return };
        if owned.open.is_some() && owned.revision != source.revision {
            // Its entry has changed: read on from where it is, as the entry says now.
            return self.close(now, key, Then::Reopen, FLUSH);
        }
        if owned.open.is_none() && is_free && owned.may_be_read() && self.instances.is_ready(name, key.uid) {
            owned.open = Some(owned.record.epoch);
            owned.revision = source.revision;
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
        // One that no better is to be had for stays: a further epoch with the same witnesses would be the next to be renewed.
        let replaceable = |witness: &Witness| lost(witness) && !wanted.contains(witness);
        let incomplete = owned.record.witnesses.iter().any(replaceable) || owned.record.witnesses.len() < wanted.len();
        let needs_renewal = incomplete || !self.has_majority(now, owned);
        let (base, checkpoint, why) = (owned.record.clone(), owned.progress.last().1.clone(), owned.claim.why.clone());
        if needs_renewal
            && !planted("repair-never")
            && self.may_retry(now, key)
            && (self.is_in_pace(now, |sources| &mut sources.renewing) || planted("repairs-at-once"))
        {
            self.attempt(now, key, Purpose::Renew, name, self.id(), base, checkpoint, why);
        }
    }

    /// Attempts and closes that take too long end.
    pub(super) fn sources_timeout(&mut self, now: Now) {
        if self.sources.next_look.is_some_and(|at| now.at >= at) {
            self.dirty = true;
        }
        self.close_late(now);
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

    /// Whether one more may be begun now, which then counts; else this is looked at again when it may.
    fn is_in_pace(&mut self, now: Now, of: impl Fn(&mut Sources) -> &mut Pace) -> bool {
        let pace = of(&mut self.sources);
        match pace.may_begin(now.at) {
            Ok(()) => {
                pace.note(now.at);
                true
            }
            Err(at) => {
                self.look_at(Some(at));
                false
            }
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

    /// Since when this node has it.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// How it came, if for its load.
    pub(super) fn moved(&self) -> Option<Arrival> {
        self.moved
    }

    /// Whether nothing is done with it but reading.
    pub(super) fn is_reading(&self) -> bool {
        self.activity == Activity::Reading
    }

    /// Not while nobody knows how far it was read; nor where its rewind is on too few disks: whoever owned it next would not know of what was sent since.
    fn may_be_read(&self) -> bool {
        let (_, present) = self.progress.last();
        !present.is_lost() && (self.progress.held().rewind == present.rewind || planted("rewound-before-held"))
    }

    fn end_offer(&mut self) -> Option<Offer> {
        let Activity::Offering(offer) = self.activity.clone() else { return None };
        self.activity = Activity::Reading;
        Some(offer)
    }

    fn is_on_its_way(&self) -> bool {
        use Activity::{Closing, Giving, Offering, Promising};
        matches!(self.activity, Offering(_) | Promising { .. } | Closing(Then::Give { .. }) | Giving { .. })
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

    /// The epoch under which the data plane reads it.
    pub(super) fn open_epoch(&self) -> Option<Epoch> {
        self.open
    }

    /// Whether the data plane reads it.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether it waits for an operator, as nobody holds a copy of its checkpoint.
    pub fn is_waiting(&self) -> bool {
        self.progress.last().1.is_lost()
    }
}

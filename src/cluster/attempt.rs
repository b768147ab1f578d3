//! The candidate's side of DESIGN §5.3: one attempt at taking a source's next epoch, for itself or for another.
//!
//! ```text
//! promise ──majority──> accept ──majority──> decided ──(owner is me)──> store ──majority──> activated
//!    ├─ a newer record ──> begin again from it (positions returned are kept)
//!    ├─ one was accepted ──> finish it unchanged, then begin again from it
//!    └─ refused, or too few ──> given up; the node waits a random while and tries anew under a higher ballot
//! ```
//! One attempt has one ballot, which was on disk before the attempt was made. Single-decree Paxos by record: the witnesses of each record decide its
//! successor (Lamport 2001; the chain of configurations as in Vertical Paxos, 2009).
//! Not here: who should take it and when (`assignment`), the witness's side (`witness`), timers (the node gives up an attempt that takes too long).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use logvine_gossip::NodeId;

use crate::{
    canary::planted,
    checkpoint::Checkpoint,
    instance::Epoch,
    message::{Accepted, Request, Vote},
    record::{Record, SourceKey, Witness},
};

/// An attempt under way.
#[derive(Debug, Clone)]
pub struct Attempt {
    source: SourceKey,
    ballot: Epoch,
    /// Who shall own it.
    owner: NodeId,
    base: Record,
    /// The join of all positions heard.
    checkpoint: Checkpoint,
    /// The witnesses that the new record shall name.
    witnesses: Vec<Witness>,
    /// Of those, who said that it is up, with this disk.
    up: BTreeSet<NodeId>,
    gone: BTreeSet<NodeId>,
    /// Where fewer than a majority will do (DESIGN §5.3, "Without a majority"): who was waited for long enough, and is not any more.
    without: Option<Without>,
    /// Of `Without::others`, who has not answered the PROMISE at hand.
    unheard: BTreeSet<NodeId>,
    /// Whether a majority of the base's witnesses decided, however few would have done.
    by_majority: bool,
    /// Which of the base's witnesses have said a word as such.
    answered: BTreeSet<NodeId>,
    /// It asks nobody to accept yet: the owner still has the source, and its last position is to come.
    held: bool,
    stage: Stage,
    requests: VecDeque<(NodeId, Request)>,
    outcome: Option<Outcome>,
}

#[derive(Debug, Clone)]
enum Stage {
    Promise {
        votes: BTreeMap<NodeId, Option<Accepted>>,
        refused: BTreeSet<NodeId>,
    },
    Accept {
        record: Record,
        votes: BTreeSet<NodeId>,
        refused: BTreeSet<NodeId>,
    },
    /// `stored`: the positions that go with it.
    Store {
        record: Record,
        stored: Checkpoint,
        votes: BTreeSet<NodeId>,
        refused: BTreeSet<NodeId>,
    },
    Done,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// This node owns it now: claim it and read on from the checkpoint.
    Activated { record: Record, checkpoint: Checkpoint, without_majority: bool },
    /// Decided for another owner: tell it by RELEASE.
    Decided { record: Record, checkpoint: Checkpoint, without_majority: bool },
    /// Not now. `seen` is the highest epoch heard of: the next ballot must be above it. `base` is the newest decided record heard of.
    /// `stuck`: too few of its witnesses said anything at all, so that only patience helps. `without_majority`: its own record was decided so, and somebody may
    /// have it, so that the next attempt builds on it.
    GivenUp { seen: Epoch, base: Record, checkpoint: Checkpoint, stuck: bool, without_majority: bool, why: &'static str },
}

/// What an attempt is made from.
#[derive(Debug)]
pub struct Proposal {
    pub source: SourceKey,
    /// On this node's disk already.
    pub ballot: Epoch,
    pub owner: NodeId,
    /// A decided record.
    pub base: Record,
    pub checkpoint: Checkpoint,
    /// The witnesses that the new record shall name: one to three, the owner-to-be's view.
    pub witnesses: Vec<Witness>,
    /// Who is believed gone.
    pub gone: BTreeSet<NodeId>,
    pub without: Option<Without>,
}

/// An attempt for which fewer than a majority will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Without {
    /// Waited for long enough: not asked.
    pub gone: BTreeSet<NodeId>,
    /// Everybody else. They have no vote, but one of them may hold a newer record, or the best copy.
    pub others: BTreeSet<NodeId>,
    /// Somebody else had the source: unless a copy is found of how far it was read, whoever has it next must not read it from its start.
    pub read_before: bool,
}

impl Attempt {
    /// Begins with PROMISE at the base's witnesses, and asks the new ones whether they are up.
    pub fn new(proposal: Proposal) -> Self {
        let Proposal { source, ballot, owner, base, checkpoint, witnesses, gone, without } = proposal;
        let mut attempt = Self {
            source,
            ballot,
            owner,
            base,
            checkpoint,
            witnesses,
            up: BTreeSet::new(),
            gone,
            without,
            unheard: BTreeSet::new(),
            by_majority: false,
            answered: BTreeSet::new(),
            held: false,
            stage: Stage::Done,
            requests: VecDeque::new(),
            outcome: None,
        };
        if planted("asks-own-view") {
            attempt.base.witnesses.clone_from(&attempt.witnesses);
        }
        for witness in &attempt.witnesses {
            attempt.requests.push_back((witness.node, Request::Up));
        }
        attempt.promise();
        attempt.step();
        attempt
    }

    /// Begins at the STORE of a record that another decided for this node (RELEASE).
    pub fn released(source: SourceKey, record: Record, checkpoint: Checkpoint) -> Self {
        let mut attempt = Self {
            source,
            ballot: record.epoch,
            owner: record.owner.unwrap_or_default(),
            base: record.clone(),
            checkpoint,
            witnesses: record.witnesses.clone(),
            up: BTreeSet::new(),
            gone: BTreeSet::new(),
            without: None,
            unheard: BTreeSet::new(),
            by_majority: true,
            answered: BTreeSet::new(),
            held: false,
            stage: Stage::Done,
            requests: VecDeque::new(),
            outcome: None,
        };
        attempt.store(record, BTreeSet::new());
        attempt
    }

    /// Asks for promises alone, until [`Self::go_on`]: who hands a source over may ask for them while it still has it.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// Asks to accept what was held back, with the last position.
    pub fn go_on(&mut self, checkpoint: &Checkpoint) {
        self.held = false;
        self.checkpoint.merge(checkpoint);
        self.step();
    }

    /// Whether a majority has promised, so that nothing but [`Self::go_on`] is waited for.
    pub fn is_promised(&self) -> bool {
        matches!(&self.stage, Stage::Promise { votes, .. } if self.base.is_majority(votes.keys()))
    }

    /// The next call to make. Each is answered by one of the `handle_*`.
    pub fn poll_request(&mut self) -> Option<(NodeId, Request)> {
        self.requests.pop_front()
    }

    /// How it ended, once it has.
    pub fn poll_outcome(&mut self) -> Option<Outcome> {
        self.outcome.take()
    }

    /// Who owned the record that it goes on from, as far as it knows by now.
    pub(crate) fn predecessor(&self) -> Option<NodeId> {
        self.base.owner
    }

    /// Whether it has ended.
    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Its ballot.
    pub fn ballot(&self) -> Epoch {
        self.ballot
    }

    /// A new witness said that it is up, with this disk.
    pub fn handle_up(&mut self, witness: Witness) {
        if self.witnesses.contains(&witness) {
            self.up.insert(witness.node);
            self.step();
        }
    }

    /// A witness's vote on the step at hand; a late one on an earlier step does no harm, as its epoch tells.
    pub fn handle_vote(&mut self, from: NodeId, request: &Request, vote: Vote) {
        if !self.awaits(request) {
            return;
        }
        match vote {
            Vote::Yes { accepted, checkpoint } => {
                self.answered.insert(from);
                self.checkpoint.merge(&checkpoint);
                match &mut self.stage {
                    Stage::Promise { votes, .. } => {
                        votes.insert(from, accepted);
                    }
                    Stage::Accept { votes, .. } | Stage::Store { votes, .. } => {
                        votes.insert(from);
                    }
                    Stage::Done => {}
                }
            }
            Vote::Newer { record, checkpoint } => {
                self.checkpoint.merge(&checkpoint);
                self.begin_again(record);
                return;
            }
            Vote::No { promised } => {
                if promised > self.ballot {
                    if self.base.is_witness(&from) {
                        self.answered.insert(from);
                    }
                    return self.give_up(promised, "a witness promised more");
                }
                if !self.unheard.remove(&from) {
                    // With another disk it is no witness of the base, and holds nothing of it.
                    if promised > Epoch::default() && promised >= self.base.epoch {
                        self.answered.insert(from);
                        if self.without.is_some() {
                            return self.give_up(promised, "a witness still hears the owner");
                        }
                    }
                    self.refuse(from);
                }
            }
        }
        self.step();
    }

    /// No answer from a witness.
    pub fn handle_failed(&mut self, from: NodeId, request: &Request) {
        if self.awaits(request) {
            if !self.unheard.remove(&from) {
                self.refuse(from);
            }
            self.step();
        }
    }

    /// It took too long.
    pub fn handle_deadline(&mut self) {
        if self.held && self.is_promised() {
            return; // a flush takes its time
        }
        let asked = matches!(self.stage, Stage::Promise { .. });
        if asked && !self.held && (self.without.is_some() || self.is_promised()) {
            // Those that could answer have: go on with what they gave, if the new witnesses are up.
            self.choose(true);
            if matches!(self.stage, Stage::Accept { .. }) {
                return;
            }
        }
        if !matches!(self.stage, Stage::Done) {
            self.give_up(self.ballot, "too few witnesses answered in time");
        }
    }

    /// The candidate thinks better of it. Nothing happens once anybody was asked to accept: what may have been decided is seen through.
    pub fn withdraw(&mut self, why: &'static str) {
        if matches!(self.stage, Stage::Promise { .. }) {
            let (seen, base, checkpoint) = (self.ballot, self.base.clone(), self.checkpoint.clone());
            self.finish(Outcome::GivenUp { seen, base, checkpoint, stuck: false, without_majority: false, why });
        }
    }

    /// Step 1 and 2 once more, from a newer decided record. Positions are kept.
    fn begin_again(&mut self, record: Record) {
        if record.epoch >= self.ballot {
            return self.give_up(record.epoch, "a newer record was decided");
        }
        self.base = record;
        if planted("positions-dropped") {
            self.checkpoint = Checkpoint::default();
        }
        self.answered.clear();
        self.promise();
    }

    fn promise(&mut self) {
        let request =
            Request::Promise { source: self.source.clone(), ballot: self.ballot, base: self.base.clone(), checkpoint: self.checkpoint.clone() };
        let refused = self.ask_base(&request);
        let others = self.without.iter().flat_map(|without| &without.others).filter(|node| !self.base.is_witness(node));
        self.unheard = others.copied().collect();
        self.requests.extend(self.unheard.iter().map(|node| (*node, request.clone())));
        self.stage = Stage::Promise { votes: BTreeMap::new(), refused };
    }

    /// Asks the base's witnesses, but for those that are waited for no longer. Gives back these.
    fn ask_base(&mut self, request: &Request) -> BTreeSet<NodeId> {
        let gone = |witness: &Witness| self.without.as_ref().is_some_and(|without| without.gone.contains(&witness.node));
        let (absent, present): (Vec<_>, Vec<_>) = self.base.witnesses.iter().copied().partition(gone);
        self.ask(&present, request);
        absent.iter().map(|witness| witness.node).collect()
    }

    /// Asks the new witnesses, but for those that refused already.
    fn store(&mut self, record: Record, refused: BTreeSet<NodeId>) {
        let stored = self.checkpoint.clone();
        let request = Request::Store { source: self.source.clone(), record: record.clone(), checkpoint: stored.clone() };
        let asked: Vec<_> = record.witnesses.iter().filter(|witness| !refused.contains(&witness.node)).copied().collect();
        self.ask(&asked, &request);
        self.stage = Stage::Store { record, stored, votes: BTreeSet::new(), refused };
    }

    fn ask(&mut self, witnesses: &[Witness], request: &Request) {
        for witness in witnesses {
            self.requests.push_back((witness.node, request.clone()));
        }
    }

    /// Goes on when the step at hand has its majority, or can have none any more.
    fn step(&mut self) {
        match &self.stage {
            Stage::Promise { votes, refused } => {
                if self.base.is_majority(votes.keys()) {
                    self.choose(false);
                } else if self.without.is_some() {
                    if votes.len() + refused.len() >= self.base.witnesses.len() && self.unheard.is_empty() {
                        self.choose(true);
                    }
                } else if !possible(&self.base, refused) {
                    self.give_up(self.ballot, "too few of the base's witnesses promised");
                }
            }
            Stage::Accept { record, votes, refused } => {
                let by_majority = self.base.is_majority(votes);
                if by_majority || (self.without.is_some() && votes.len() + refused.len() >= self.base.witnesses.len()) {
                    let record = record.clone();
                    self.by_majority = by_majority;
                    self.decided(record);
                } else if !possible(&self.base, refused) && self.without.is_none() {
                    self.give_up(self.ballot, "too few of the base's witnesses accepted");
                }
            }
            Stage::Store { record, stored, votes, refused } => {
                // Without a majority the best copy may be with any of the new witnesses: hear them all.
                let heard = self.by_majority || votes.len() + refused.len() >= record.witnesses.len();
                if record.is_majority(votes) && heard {
                    let (record, checkpoint) = (record.clone(), self.checkpoint.clone());
                    if !stored.covers(&checkpoint) && !planted("resumes-above-held") {
                        // One of them knew more than had been told to this one: a majority must hold it before anybody goes on from there (S4).
                        let refused = refused.clone();
                        return self.store(record, refused);
                    }
                    self.finish(Outcome::Activated { record, checkpoint, without_majority: !self.by_majority });
                } else if !possible(record, refused) {
                    self.give_up(self.ballot, "too few of the new witnesses stored the record");
                }
            }
            Stage::Done => {}
        }
    }

    /// Step 3: finish what was found, or propose this attempt's own record once a majority of its witnesses is up.
    ///
    /// `late`: nobody else is waited for. Else, what names the gone is not finished before all have answered: to decide it is to wait for the gone, and one
    /// more answer may show that it need not be.
    fn choose(&mut self, late: bool) {
        let Stage::Promise { votes, refused } = &self.stage else { return };
        if self.held {
            return; // `go_on` comes back here
        }
        let all_answered = votes.len() + refused.len() >= self.base.witnesses.len();
        // A proposal without an owner is nobody's: a peer that has one is broken.
        let found = votes.values().flatten().filter(|accepted| accepted.record.owner.is_some()).max_by_key(|accepted| accepted.ballot);
        let record = match found {
            Some(accepted) if planted("follow-undecided") => return self.begin_again(accepted.record.clone()),
            Some(accepted) if self.may_be_decided(&accepted.record) => {
                if !late && !all_answered && !possible(&accepted.record, &self.gone) {
                    return; // the next answer, or the deadline, comes back here
                }
                accepted.record.clone()
            }
            _ => {
                let own = Record { epoch: self.ballot, owner: Some(self.owner), witnesses: self.witnesses.clone() };
                if !own.is_majority(&self.up) {
                    return; // `handle_up` comes back here
                }
                own
            }
        };
        if planted("no-accept") {
            self.by_majority = true;
            return self.decided(record);
        }
        if planted("store-early") {
            let early = Request::Store { source: self.source.clone(), record: record.clone(), checkpoint: self.checkpoint.clone() };
            self.ask(&record.witnesses.clone(), &early);
        }
        let request = Request::Accept { source: self.source.clone(), ballot: self.ballot, base: self.base.epoch, record: record.clone() };
        let refused = self.ask_base(&request);
        self.stage = Stage::Accept { record, votes: BTreeSet::new(), refused };
        self.step(); // nobody may be left to wait for
    }

    /// Not, where those that accepted it and those that have not answered make no majority together; in a set of two always.
    fn may_be_decided(&self, record: &Record) -> bool {
        let Stage::Promise { votes, .. } = &self.stage else { return true };
        let against = |node: &NodeId| votes.get(node).is_some_and(|accepted| accepted.as_ref().is_none_or(|accepted| accepted.record != *record));
        self.base.witnesses.len() == 2
            || planted("always-finish")
            || self.base.is_majority(self.base.witnesses.iter().map(|witness| &witness.node).filter(|node| !against(node)))
    }

    fn decided(&mut self, record: Record) {
        if record.epoch != self.ballot {
            // Another's record, finished for it: the next one is decided by its witnesses.
            return self.begin_again(record);
        }
        if !self.by_majority && self.without.as_ref().is_some_and(|without| without.read_before) && !self.checkpoint.is_copy() {
            // The mark goes with the record: another may build on that before this attempt ends (seed 529). A copy that turns up ends it.
            self.checkpoint.lost = true;
        }
        if record.owner == Some(self.ballot.taker) {
            self.store(record, BTreeSet::new());
        } else {
            let checkpoint = self.checkpoint.clone();
            self.finish(Outcome::Decided { record, checkpoint, without_majority: !self.by_majority });
        }
    }

    fn refuse(&mut self, from: NodeId) {
        match &mut self.stage {
            Stage::Promise { refused, .. } | Stage::Accept { refused, .. } | Stage::Store { refused, .. } => {
                refused.insert(from);
            }
            Stage::Done => {}
        }
    }

    fn give_up(&mut self, seen: Epoch, why: &'static str) {
        let (base, checkpoint) = (self.base.clone(), self.checkpoint.clone());
        let stuck = !base.is_majority(&self.answered);
        let without_majority = matches!(self.stage, Stage::Store { .. }) && !self.by_majority;
        self.finish(Outcome::GivenUp { seen, base, checkpoint, stuck, without_majority, why });
    }

    fn finish(&mut self, outcome: Outcome) {
        self.requests.clear();
        self.stage = Stage::Done;
        self.outcome = Some(outcome);
    }

    /// Whether the answer to a request belongs to the step at hand.
    pub fn awaits(&self, request: &Request) -> bool {
        match (&self.stage, request) {
            (Stage::Promise { .. }, Request::Promise { base, ballot, .. }) => *ballot == self.ballot && base.epoch == self.base.epoch,
            (Stage::Accept { .. }, Request::Accept { base, ballot, .. }) => *ballot == self.ballot && *base == self.base.epoch,
            (Stage::Store { record: ours, stored, .. }, Request::Store { record, checkpoint, .. }) => {
                record.epoch == ours.epoch && checkpoint == stored
            }
            _ => false,
        }
    }
}

/// Whether a majority can still come together without those that refused.
fn possible(record: &Record, refused: &BTreeSet<NodeId>) -> bool {
    record.is_majority(record.witnesses.iter().map(|witness| &witness.node).filter(|node| !refused.contains(node)))
}

#[cfg(test)]
mod tests;

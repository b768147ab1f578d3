//! One step of a history: the real witnesses and attempts behind numbers, so that each of their answers is computed once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use logvine_cluster::{
    attempt::{Attempt, Outcome, Proposal, Without},
    canary::planted,
    checkpoint::{Checkpoint, FileKey, FileName, Position},
    event::Cause,
    instance::Epoch,
    message::{CheckpointItem, Request, Vote},
    record::{DiskId, Record, SourceKey, Witness},
    witness::{Row, Witnesses},
};
use logvine_gossip::{Instant, NodeId, Stamp};

use super::{
    bounds::{Bounds, CANDIDACIES_MAX, Candidacy, NODES_MAX},
    history::{Event, History},
    pool::{Grid, NONE, Pool, Table},
    state::{Faults, Messages, State},
};

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    /// A candidacy, by its place.
    Candidate(usize),
    /// The owner that a candidacy of another decided for.
    Released(usize),
    /// An owner with its heartbeat.
    Owner(Epoch),
}

/// What is on its way, for ever: it may arrive at any later time, any number of times, or never.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "each is kept once, in a pool; states name it by its number")]
pub(super) enum Message {
    Ask {
        from: Speaker,
        to: NodeId,
        request: Request,
    },
    /// The vote that answers an `Ask`, on its own way back.
    Answer {
        ask: u32,
        vote: u32,
    },
}

/// What may happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Begin {
        candidacy: usize,
        base: Epoch,
    },
    Arrive {
        message: u32,
        answered: bool,
    },
    Send {
        owner: Epoch,
    },
    /// A node hears the claim of an activated record.
    Hear {
        node: u8,
        record: Epoch,
    },
    LoseDisk {
        node: u8,
    },
    /// A copy of a node's disk is made; it goes on from that copy.
    CopyDisk {
        node: u8,
    },
    OldDisk {
        node: u8,
    },
    Stop {
        node: u8,
    },
    Return {
        node: u8,
    },
    /// An attempt that needs no majority has waited long enough.
    Deadline {
        candidacy: usize,
    },
    /// A while passes in which a witness loses faith in an owner that it does not hear.
    Pass,
}

/// What a witness makes of a message.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    witness: u32,
    vote: u32,
    event: u32,
    /// Arriving again changes nothing at the witness, then or later.
    settled: bool,
}

/// What an attempt makes of a vote: itself, the messages that it sends, and what comes about.
#[derive(Debug, Clone)]
struct Answered {
    attempt: u32,
    posts: Vec<u32>,
    event: u32,
}

/// The pieces that were met, and what they do.
#[derive(Debug)]
pub(super) struct Model<'a> {
    pub(super) bounds: &'a Bounds,
    pub(super) witnesses: Pool<Witnesses>,
    pub(super) attempts: Pool<Attempt>,
    pub(super) messages: Pool<Message>,
    votes: Pool<Option<Vote>>,
    histories: Pool<History>,
    events: Pool<Event>,
    /// By witness, message and time: what comes of it, by its place in `heards`.
    heard: Grid,
    heards: Vec<Heard>,
    answered: Table<u32>,
    answers: Vec<Answered>,
    /// By history and event: the history then, or what is broken.
    happened: Grid,
    broken: Vec<String>,
    /// By attempt and message: 1 if it is.
    pub(super) awaited: Grid,
}

/// In the place of a history's number: this and above are places in `Model::broken`.
const BROKEN: u32 = 1 << 31;

pub(super) fn node(n: u8) -> NodeId {
    NodeId([n; 16])
}

pub(super) fn letter(id: NodeId) -> char {
    char::from(b'A' + id.0[0])
}

pub(super) fn source() -> SourceKey {
    SourceKey { uid: Stamp(1), source: "s".parse().expect("a name"), created: Stamp(2) }
}

fn at(offset: u64) -> Checkpoint {
    let file = FileKey { lineage: 0, named: 0, name: FileName::of(b"head").expect("a head") };
    let positions = BTreeMap::from([("out".parse().expect("a name"), Position { offset, marker: offset })]);
    if offset == 0 { Checkpoint::default() } else { Checkpoint { files: BTreeMap::from([(file, positions)]), ..Checkpoint::default() } }
}

pub(super) fn offset(checkpoint: &Checkpoint) -> u64 {
    checkpoint.files.values().flat_map(BTreeMap::values).map(|position| position.offset).max().unwrap_or(0)
}

/// When everything begins. It stands still but for [`Step::Pass`].
const BEGIN: Instant = Instant::from_micros(60_000_000);
/// A witness keeps faith with an owner for less than that.
pub(super) const PASS: Duration = Duration::from_secs(6);

fn triple(one: u32, two: u32, three: u32) -> u64 {
    assert!(one < 1 << 22 && two < 1 << 21 && three < 1 << 21, "more pieces than this model has numbers for: make the bound smaller");
    u64::from(one) << 42 | u64::from(two) << 21 | u64::from(three)
}

impl<'a> Model<'a> {
    pub(super) fn new(bounds: &'a Bounds) -> Self {
        assert!(usize::from(bounds.nodes) <= NODES_MAX && bounds.candidacies.len() <= CANDIDACIES_MAX);
        Self {
            bounds,
            witnesses: Pool::new(),
            attempts: Pool::new(),
            messages: Pool::new(),
            votes: Pool::new(),
            histories: Pool::new(),
            events: Pool::new(),
            heard: Grid::default(),
            heards: Vec::new(),
            answered: Table::new(),
            answers: Vec::new(),
            happened: Grid::default(),
            broken: Vec::new(),
            awaited: Grid::default(),
        }
    }

    /// Before anything has happened.
    pub(super) fn first(&mut self) -> State {
        let mut witnesses = [NONE; NODES_MAX];
        let named = self.bounds.first.iter().map(|n| Witness { node: node(*n), disk: DiskId(u64::from(*n)) }).collect();
        let first = Record { owner: self.bounds.owner.map(node), ..Record::first(named) };
        for n in 0..self.bounds.nodes {
            let mut witness = Witnesses::new(Witness { node: node(n), disk: DiskId(u64::from(n)) }, BTreeMap::new());
            if first.owner.is_some() {
                witness.handle_store(&source(), first.clone(), &Checkpoint::default());
            }
            witnesses[usize::from(n)] = self.witnesses.number(witness);
        }
        let history = self.histories.number(History::beginning_with(first));
        let none = [NONE; CANDIDACIES_MAX];
        State { witnesses, candidates: none, released: none, history, image: NONE, faults: Faults::default(), messages: Messages::default() }
    }

    pub(super) fn history(&self, state: &State) -> &History {
        self.histories.get(state.history)
    }

    /// How many epochs were activated.
    pub(super) fn owners(&self, state: &State) -> usize {
        self.history(state).owners.len()
    }

    pub(super) fn witness(&self, state: &State, n: u8) -> &Witnesses {
        self.witnesses.get(state.witnesses[usize::from(n)])
    }

    pub(super) fn now(state: &State) -> Instant {
        BEGIN + PASS * u32::from(state.faults.passed)
    }

    pub(super) fn everybody_is_up(state: &State) -> bool {
        state.faults.stopped == 0
    }

    pub(super) fn row(&self, state: &State, n: u8) -> Option<&Row> {
        self.witness(state, n).row(&source())
    }

    /// The epoch that a candidacy is for.
    pub(super) fn ballot(&self, candidacy: usize) -> Epoch {
        let plans = self.bounds.candidacies;
        let plan = &plans[candidacy];
        let reused = plans[..candidacy].iter().find(|earlier| planted("reuse-counter") && earlier.taker == plan.taker);
        Epoch { counter: reused.unwrap_or(plan).counter, taker: node(plan.taker) }
    }

    /// The node whose attempt made an `Ask`.
    pub(super) fn asker(&self, ask: u32) -> NodeId {
        let Message::Ask { from, .. } = self.messages.get(ask) else { unreachable!("an answer is to an ask") };
        self.node_of(*from)
    }

    fn node_of(&self, speaker: Speaker) -> NodeId {
        match speaker {
            Speaker::Candidate(candidacy) => node(self.bounds.candidacies[candidacy].taker),
            Speaker::Released(candidacy) => node(self.bounds.candidacies[candidacy].owner),
            Speaker::Owner(epoch) => epoch.taker,
        }
    }

    pub(super) fn attempt(state: &State, speaker: Speaker) -> Option<u32> {
        let number = match speaker {
            Speaker::Candidate(at) => state.candidates[at],
            Speaker::Released(at) => state.released[at],
            Speaker::Owner(_) => NONE,
        };
        (number != NONE).then_some(number)
    }

    /// Takes a step. None if it cannot be taken here (in a history that is being shortened); an error is what it breaks.
    pub(super) fn take(&mut self, state: &State, step: Step) -> Option<Result<State, String>> {
        let mut next = *state;
        let result = match step {
            Step::Begin { candidacy, base } => {
                let base = self.bases(state, candidacy).get(&base).map(|base| Record::clone(base)).filter(|_| state.candidates[candidacy] == NONE)?;
                self.begin(&mut next, candidacy, base)
            }
            Step::Arrive { message, answered } => {
                state.messages.has(message).then_some(())?;
                self.arrive(&mut next, message, answered)
            }
            Step::Send { owner } => self.send(&mut next, owner)?,
            Step::Hear { node, record } => {
                let record = self.history(state).owners.get(&record)?.record.clone();
                let mut witness = self.witness(state, node).clone();
                witness.note(&source(), &record);
                next.witnesses[usize::from(node)] = self.witnesses.number(witness);
                Ok(())
            }
            Step::Deadline { candidacy } => {
                let mut attempt = self.attempts.get(Self::attempt(state, Speaker::Candidate(candidacy))?).clone();
                attempt.handle_deadline();
                let answered = self.pump(Speaker::Candidate(candidacy), attempt);
                self.conclude(&mut next, Speaker::Candidate(candidacy), &answered)
            }
            fault => self.befall(&mut next, fault)?,
        };
        if result.is_ok() {
            self.drop_spent(&mut next);
        }
        Some(result.map(|()| next))
    }

    fn befall(&mut self, next: &mut State, fault: Step) -> Option<Result<(), String>> {
        match fault {
            Step::LoseDisk { node: n } => {
                next.faults.disks_lost += 1;
                let disk = if planted("damaged-row-votes") { u64::from(n) } else { 100 + u64::from(next.faults.disks_lost) };
                let fresh = Witnesses::new(Witness { node: node(n), disk: DiskId(disk) }, BTreeMap::new());
                next.witnesses[usize::from(n)] = self.witnesses.number(fresh);
            }
            Step::CopyDisk { node } => next.image = next.witnesses[usize::from(node)],
            Step::OldDisk { node: n } => {
                let mut old = (next.image != NONE).then(|| self.witnesses.get(next.image).clone())?;
                // The generation on it is below the one that its peers know.
                if !planted("old-image-votes") {
                    old.take_disk(DiskId(200));
                }
                next.faults.restored = true;
                next.witnesses[usize::from(n)] = self.witnesses.number(old);
            }
            Step::Stop { node } => next.faults.stopped |= 1 << node,
            Step::Return { node: n } => {
                next.faults.stopped &= !(1 << n);
                next.faults.returned |= 1 << n;
                return Some(self.happen(next, Event::Returned(node(n))));
            }
            Step::Pass => next.faults.passed += 1,
            other => unreachable!("{other:?} is no fault"),
        }
        Some(Ok(()))
    }

    fn begin(&mut self, next: &mut State, candidacy: usize, base: Record) -> Result<(), String> {
        let plan = &self.bounds.candidacies[candidacy];
        let taker = Some(node(plan.taker));
        // What an owner knows of its own source goes with its candidacy, and what it remembers and its disk knows with everybody's.
        let mut checkpoint = self.row(next, plan.taker).map_or_else(Checkpoint::default, |row| row.checkpoint.clone());
        if let Some((_, position)) = self.history(next).memory.get(&node(plan.taker)).filter(|_| !plan.restarted) {
            checkpoint.merge(&at(*position));
        }
        let own: Vec<_> = self.history(next).owners.values().filter(|owner| owner.record.owner == taker && !owner.closing).cloned().collect();
        for own in own {
            if own.record.epoch == base.epoch && !plan.restarted {
                checkpoint.merge(&at(own.sent));
            }
            // It reads on only while it renews its own record.
            if plan.restarted || plan.owner != plan.taker {
                self.happen(next, Event::Closed(own.record.epoch))?;
            }
        }
        let is_up = |n: &&u8| next.faults.stopped & 1 << **n == 0;
        let witness = |n: &u8| self.witness(next, *n).me();
        let without = (!plan.without.is_empty()).then(|| Without {
            gone: plan.without.iter().map(|n| node(*n)).collect(),
            others: (0..self.bounds.nodes).filter(|n| !plan.without.contains(n)).map(node).collect(),
            read_before: false, // positions are never unknown here
        });
        let proposal = Proposal {
            source: source(),
            ballot: self.ballot(candidacy),
            owner: node(plan.owner),
            base,
            checkpoint,
            witnesses: plan.witnesses.iter().map(witness).collect(),
            gone: BTreeSet::new(),
            without,
        };
        let up: Vec<_> = plan.witnesses.iter().filter(is_up).map(witness).collect();
        let mut attempt = Attempt::new(proposal);
        up.into_iter().for_each(|witness| attempt.handle_up(witness));
        let answered = self.pump(Speaker::Candidate(candidacy), attempt);
        self.conclude(next, Speaker::Candidate(candidacy), &answered)
    }

    fn send(&mut self, next: &mut State, owner: Epoch) -> Option<Result<(), String>> {
        let owned = self.history(next).owners.get(&owner).filter(|owned| owned.may_send())?;
        let item = CheckpointItem { source: source(), epoch: owner, checkpoint: Some(at(owned.sent + 1)) };
        for witness in owned.record.witnesses.clone() {
            let request = Request::Checkpoints(vec![item.clone()]);
            let number = self.messages.number(Message::Ask { from: Speaker::Owner(owner), to: witness.node, request });
            Self::post(next, number);
        }
        Some(self.happen(next, Event::Sent(owner)))
    }

    fn post(next: &mut State, message: u32) {
        next.messages.insert(message);
    }

    /// A message arrives; its answer too, or not.
    fn arrive(&mut self, next: &mut State, message: u32, answered: bool) -> Result<(), String> {
        let (ask, vote) = match self.messages.get(message) {
            Message::Answer { ask, vote } => (*ask, *vote),
            Message::Ask { from: Speaker::Candidate(at), request: Request::Release { source, record, checkpoint, .. }, .. } => {
                let answered = Attempt::released(source.clone(), record.clone(), checkpoint.clone());
                let speaker = Speaker::Released(*at);
                let answered = self.pump(speaker, answered);
                return self.conclude(next, speaker, &answered);
            }
            Message::Ask { to, .. } => {
                let place = usize::from(to.0[0]);
                let heard = self.hear(next, message);
                next.witnesses[place] = heard.witness;
                if heard.event != NONE {
                    self.happen_numbered(next, heard.event)?;
                }
                if self.bounds.late_answers {
                    if self.is_awaited(next, message) {
                        let answer = self.messages.number(Message::Answer { ask: message, vote: heard.vote });
                        Self::post(next, answer);
                    }
                    return Ok(());
                }
                (message, heard.vote)
            }
        };
        let Message::Ask { from, .. } = *self.messages.get(ask) else { return Ok(()) };
        match Self::attempt(next, from) {
            Some(attempt) if answered => {
                let answer = self.answer(attempt, ask, vote);
                let answered = self.answers[answer as usize].clone();
                self.conclude(next, from, &answered)
            }
            _ => Ok(()),
        }
    }

    /// What a witness makes of a message, computed once.
    fn hear(&mut self, state: &State, message: u32) -> Heard {
        let Message::Ask { from, to, request } = self.messages.get(message) else { unreachable!("witnesses are asked") };
        let witness = state.witnesses[usize::from(to.0[0])];
        let timed = message * u32::from(self.bounds.passes + 1) + u32::from(state.faults.passed);
        if let Some(known) = self.heard.get(witness, timed) {
            return self.heards[known as usize];
        }
        let (from, to, request) = (*from, *to, request.clone());
        let now = Self::now(state);
        // With passing time everybody is believed alive; without, everybody may be wrong about any death.
        let gone = (self.bounds.passes == 0).then_some(now);
        let mut rows = self.witnesses.get(witness).clone();
        let before = rows.row(&source()).map(|row| row.record.epoch);
        let mut event = None;
        let vote = match &request {
            Request::Promise { source, ballot, base, checkpoint } => Some(rows.handle_promise(now, source, *ballot, base.clone(), checkpoint, gone)),
            Request::Accept { source, ballot, base, record } => {
                let held = rows.row(source).map(|row| row.record.clone());
                let vote = rows.handle_accept(source, *ballot, *base, record.clone());
                if let (Vote::Yes { .. }, Some(base)) = (&vote, held) {
                    event = Some(Event::Accepted { base, ballot: *ballot, record: record.clone(), by: to });
                }
                Some(vote)
            }
            Request::Store { source, record, checkpoint } => Some(rows.handle_store(source, record.clone(), checkpoint)),
            Request::Checkpoints(items) => {
                let Speaker::Owner(epoch) = from else { unreachable!("owners send heartbeats") };
                let owner = self.history(state).owners.get(&epoch).and_then(|owner| owner.record.owner).unwrap_or_default();
                let (reply, _) = rows.handle_checkpoint(now, owner, &items[0]);
                let position = items[0].checkpoint.as_ref().map_or(0, offset);
                event = reply.refused.is_none().then_some(Event::Acknowledged { epoch, position, by: to });
                None
            }
            other => unreachable!("nobody sends {other:?}"),
        };
        // A vote on a base that the witness does not hold yet may be another once it does.
        let stays = !matches!(&request, Request::Accept { base, .. } if before.is_none_or(|held| held < *base));
        let number = self.witnesses.number(rows);
        let heard = Heard {
            witness: number,
            vote: self.votes.number(vote),
            event: event.map_or(NONE, |event| self.events.number(event)),
            settled: number == witness && stays,
        };
        self.heard.set(witness, timed, u32::try_from(self.heards.len()).expect("fewer than 2^32 pieces"));
        self.heards.push(heard);
        heard
    }

    /// What an attempt makes of a vote, computed once: its place in `answers`.
    fn answer(&mut self, attempt: u32, ask: u32, vote: u32) -> u32 {
        let key = triple(attempt, ask, vote);
        if let Some(known) = self.answered.get(key) {
            return known;
        }
        let Message::Ask { from, to, request } = self.messages.get(ask).clone() else { unreachable!("an answer is to an ask") };
        let mut after = self.attempts.get(attempt).clone();
        if let Some(vote) = self.votes.get(vote).clone() {
            after.handle_vote(to, &request, vote);
        }
        let answered = self.pump(from, after);
        let place = u32::try_from(self.answers.len()).expect("fewer than 2^32 pieces");
        self.answered.insert(key, place);
        self.answers.push(answered);
        place
    }

    /// Takes what an attempt asks, and what it ended with.
    fn pump(&mut self, speaker: Speaker, mut attempt: Attempt) -> Answered {
        let mut posts = Vec::new();
        let by = self.node_of(speaker);
        while let Some((to, request)) = attempt.poll_request() {
            if !matches!(request, Request::Up) {
                posts.push(self.messages.number(Message::Ask { from: speaker, to, request }));
            }
        }
        let event = match attempt.poll_outcome() {
            Some(Outcome::Activated { record, checkpoint, without_majority }) => {
                let renewed = matches!(speaker, Speaker::Candidate(at) if !self.bounds.candidacies[at].restarted);
                Some(Event::Activated { record, resume: offset(&checkpoint), without_majority, renewed })
            }
            Some(Outcome::Decided { record, checkpoint, .. }) => {
                let (to, position) = (record.owner.unwrap_or_default(), offset(&checkpoint));
                let request = Request::Release { source: source(), record: record.clone(), checkpoint, cause: Cause::Draining };
                posts.push(self.messages.number(Message::Ask { from: speaker, to, request }));
                Some(Event::Remembered { by, record, position })
            }
            Some(Outcome::GivenUp { base, checkpoint, .. }) => Some(Event::Remembered { by, record: base, position: offset(&checkpoint) }),
            None => None,
        };
        let event = event.map_or(NONE, |event| self.events.number(event));
        Answered { attempt: self.attempts.number(attempt), posts, event }
    }

    fn conclude(&mut self, next: &mut State, speaker: Speaker, answered: &Answered) -> Result<(), String> {
        match speaker {
            Speaker::Candidate(at) => next.candidates[at] = answered.attempt,
            Speaker::Released(at) => next.released[at] = answered.attempt,
            Speaker::Owner(_) => {}
        }
        answered.posts.iter().for_each(|message| Self::post(next, *message));
        if answered.event == NONE { Ok(()) } else { self.happen_numbered(next, answered.event) }
    }

    fn happen(&mut self, next: &mut State, event: Event) -> Result<(), String> {
        let event = self.events.number(event);
        self.happen_numbered(next, event)
    }

    fn happen_numbered(&mut self, next: &mut State, event: u32) -> Result<(), String> {
        let after = self.after(next.history, event);
        if after >= BROKEN {
            return Err(self.broken[(after - BROKEN) as usize].clone());
        }
        next.history = after;
        Ok(())
    }

    /// The history after an event, computed once.
    fn after(&mut self, history: u32, event: u32) -> u32 {
        if let Some(known) = self.happened.get(history, event) {
            return known;
        }
        let mut changed = self.histories.get(history).clone();
        let after = match changed.take(self.events.get(event).clone()) {
            Ok(()) => self.histories.number(changed),
            Err(what) => {
                self.broken.push(what);
                BROKEN - 1 + u32::try_from(self.broken.len()).expect("fewer than 2^31 faults")
            }
        };
        self.happened.set(history, event, after);
        after
    }

    /// Drops what can change nothing any more, whenever and however often it arrives. What a witness has promised, holds and knows only grows, save
    /// where disks are lost or old.
    fn drop_spent(&mut self, state: &mut State) {
        if self.bounds.disks_lost > 0 || self.bounds.old_disk.is_some() || self.bounds.passes > 0 {
            return;
        }
        for message in state.messages.iter() {
            if self.is_spent(state, message) {
                state.messages.remove(message);
            }
        }
    }

    fn is_spent(&mut self, state: &State, message: u32) -> bool {
        match self.messages.get(message) {
            Message::Answer { ask, vote } => {
                let (ask, vote) = (*ask, *vote);
                let Message::Ask { from, .. } = *self.messages.get(ask) else { return true };
                let Some(attempt) = Self::attempt(state, from) else { return true };
                let answer = self.answer(attempt, ask, vote);
                self.answers[answer as usize].attempt == attempt
            }
            Message::Ask { from: Speaker::Candidate(at), request: Request::Release { .. }, .. } => {
                state.released[*at] != NONE && !self.bounds.releases_again
            }
            Message::Ask { .. } => {
                if self.is_awaited(state, message) {
                    return false;
                }
                let heard = self.hear(state, message);
                heard.settled && (heard.event == NONE || self.after(state.history, heard.event) == state.history)
            }
        }
    }

    pub(super) fn plan(&self, candidacy: usize) -> &Candidacy {
        &self.bounds.candidacies[candidacy]
    }
}

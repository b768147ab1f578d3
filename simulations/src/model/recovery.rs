//! Whether it can go on: from every state, once all is heard and nothing is lost, whoever begins under a new epoch gets it.

use std::collections::VecDeque;

use logvine_cluster::{
    attempt::{Attempt, Outcome, Proposal},
    checkpoint::Checkpoint,
    instance::Epoch,
    message::{CheckpointItem, Request, Vote},
    record::Record,
    witness::Witnesses,
};
use logvine_gossip::{Instant, NodeId};

use super::{
    history::History,
    machine::{Model, PASS, letter, node, offset, source},
    state::State,
    words::shown,
};

/// Above all that any bound proposes.
const COUNTER: u64 = 100;

/// No way to an epoch takes more votes.
const VOTES_MAX: usize = 200;

impl Model<'_> {
    /// L2 in small: a fresh candidacy succeeds, resumes where it must, and where two owned the source all but one are refused.
    ///
    /// Not asked while somebody is stopped, where a record that was decided names a node that is dead for good, or where lost disks took a majority with
    /// them: patience is for these.
    pub(super) fn recovers(&self, state: &State) -> Result<(), String> {
        let history = self.history(state);
        let is_dead = |record: &&Record| self.bounds.dead.iter().any(|n| record.is_witness(&node(*n)));
        let is_whole = |record: &Record| {
            let disks = record.witnesses.iter().filter(|witness| self.witness(state, witness.node.0[0]).me() == **witness);
            record.is_majority(disks.map(|witness| &witness.node))
        };
        if !Self::everybody_is_up(state) || history.decided().any(|record| is_dead(&record)) || !history.records().all(is_whole) {
            return Ok(());
        }
        let mut witnesses: Vec<_> = (0..self.bounds.nodes).map(|n| self.witness(state, n).clone()).collect();
        let now = Self::now(state);
        if history.parted {
            one_is_left(&mut witnesses, history, now)?;
        }
        let (_, base) = history.known.last_key_value().expect("a first record");
        let owner = base.owner.filter(|_| self.bounds.passes > 0);
        if let Some(owner) = owner {
            // Faith is with the owner, not against it.
            self.taken(&mut witnesses.clone(), history, base, owner, now)?;
        }
        self.taken(&mut witnesses, history, base, node(0), if owner.is_some() { now + PASS } else { now })
    }

    fn taken(&self, witnesses: &mut [Witnesses], history: &History, base: &Record, taker: NodeId, now: Instant) -> Result<(), String> {
        let is_up = |n: &u8| !self.bounds.dead.contains(n);
        let live: Vec<_> = (0..self.bounds.nodes).filter(is_up).collect();
        let named = live.iter().take(Record::WITNESSES).map(|n| witnesses[usize::from(*n)].me()).collect::<Vec<_>>();
        let ballot = Epoch { counter: COUNTER, taker };
        let (base, checkpoint) = (base.clone(), Checkpoint::default());
        let gone = self.bounds.dead.iter().map(|n| node(*n)).collect();
        let witnesses_named = named.clone();
        let proposal = Proposal { source: source(), ballot, owner: taker, base, checkpoint, witnesses: witnesses_named, gone, without: None };
        let mut attempt = Attempt::new(proposal);
        named.into_iter().for_each(|witness| attempt.handle_up(witness));
        let mut requests = VecDeque::new();
        for _ in 0..VOTES_MAX {
            requests.extend(std::iter::from_fn(|| attempt.poll_request()));
            if let Some(outcome) = attempt.poll_outcome() {
                return resumed(history, taker, outcome);
            }
            let Some((to, request)) = requests.pop_front() else { return Err(format!("{} waits for ever", letter(taker))) };
            match vote(&mut witnesses[usize::from(to.0[0])], now, &request, self.bounds.passes == 0) {
                _ if !is_up(&to.0[0]) => attempt.handle_failed(to, &request),
                Some(vote) => attempt.handle_vote(to, &request, vote),
                None => {}
            }
        }
        Err(format!("{} goes round for ever", letter(taker)))
    }
}

fn resumed(history: &History, taker: NodeId, outcome: Outcome) -> Result<(), String> {
    let Outcome::Activated { checkpoint, .. } = outcome else { return Err(stuck(taker, &outcome)) };
    let held = history.owners.values().map(|owner| owner.held).max().unwrap_or(0);
    let sent = history.owners.values().map(|owner| owner.sent).max().unwrap_or(0);
    let resume = offset(&checkpoint);
    if (resume < held && !history.parted) || resume > sent {
        return Err(format!("{} would resume at {resume}; a majority holds {held}, the sink has {sent}", letter(taker)));
    }
    Ok(())
}

fn stuck(taker: NodeId, outcome: &Outcome) -> String {
    let why = if let Outcome::GivenUp { why, .. } = outcome { why } else { "it was decided for another" };
    format!("{} is stuck from then on: {why} (L2)", letter(taker))
}

fn vote(witness: &mut Witnesses, now: Instant, request: &Request, all_may_be_gone: bool) -> Option<Vote> {
    match request.clone() {
        Request::Promise { source, ballot, base, checkpoint } => {
            Some(witness.handle_promise(now, &source, ballot, base, &checkpoint, all_may_be_gone.then_some(now)))
        }
        Request::Accept { source, ballot, base, record } => Some(witness.handle_accept(&source, ballot, base, record)),
        Request::Store { source, record, checkpoint } => Some(witness.handle_store(&source, record, &checkpoint)),
        _ => None,
    }
}

/// DESIGN §5.3, "Two owners end": once the claim of the highest epoch is heard, nobody acknowledges another owner.
fn one_is_left(witnesses: &mut [Witnesses], history: &History, now: Instant) -> Result<(), String> {
    let Some((highest, owner)) = history.owners.last_key_value() else { return Ok(()) };
    for witness in witnesses.iter_mut() {
        witness.note(&source(), &owner.record);
    }
    for (epoch, other) in history.owners.range(..highest) {
        let item = CheckpointItem { source: source(), epoch: *epoch, checkpoint: None };
        for witness in &other.record.witnesses {
            let owner = other.record.owner.unwrap_or_default();
            let (reply, _) = witnesses[usize::from(witness.node.0[0])].handle_checkpoint(now, owner, &item);
            if reply.refused.is_none() {
                return Err(format!("{} still acknowledges {} when all have heard of {}", letter(witness.node), shown(*epoch), shown(*highest)));
            }
        }
    }
    Ok(())
}

//! The relay's part in an operation: it has the write accepted, carries it to its targets, and answers (DESIGN §6). What is decided is in `operation`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use logvine_gossip::{Entry, Instant, NodeId, Now, Stamp, Status};
use serde_bytes::ByteBuf;

use super::{
    After, CommandId, Node, Output,
    calls::{Pending, ReplyTo},
    operator::Draft,
};
use crate::{
    catalog::pack,
    checkpoint::hash64,
    command::{ANSWER_WITHIN, Answer, CommandError, Said},
    event::Event,
    message::{Reply, Request},
    operation::{ACCEPT_WITHIN, OPERATION, Operation, OperationValue, Outcome, Proposal, RowState, SEEN_MAX, Stage, Step, key_hash},
};

/// Calls of relays that are under way at once: what is more waits its turn.
const CALLS_MAX: usize = 64;
/// Entries of one call, in bytes: well below a frame's limit.
const PART_BYTES: usize = 512 * 1024;
/// A write of more than one part goes to so many others at once, and to the rest by gossip.
const FIRST_OTHERS: usize = 3;
/// Others that are asked again in each tick while a write is not accepted.
const AGAIN_MAX: usize = 16;
/// Nodes that are asked to pass a write on to one that this node does not reach.
const HELPERS: usize = 2;
/// Operations that were withdrawn here, for people who ask.
const WITHDRAWN_MAX: usize = 100;
/// A clock may be off by so much before its node refuses writes, in milliseconds (DESIGN §3.2).
const CLOCK_OFF_MS: u64 = 30_000;

/// What this node has under way as a relay.
#[derive(Debug, Default)]
pub(super) struct Relay {
    proposals: BTreeMap<String, Errand>,
    /// What is to be asked of whom, in order: operation, part, node.
    queue: VecDeque<(String, usize, NodeId)>,
    calls: usize,
    /// Not begun yet: their stamps are not reserved on disk.
    reserving: Vec<String>,
    withdrawn: VecDeque<Operation>,
    /// Commands under a key that was used before, until their operation is answered.
    waiting: Vec<(CommandId, String, Instant)>,
}

#[derive(Debug)]
struct Errand {
    operation: Operation,
    proposal: Proposal,
    revision: Stamp,
    /// Targets that were not reached, and to whom helpers were asked to pass it on.
    helped: BTreeSet<NodeId>,
}

impl Relay {
    pub(super) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.waiting.iter().map(|(.., until)| *until).min().map(|at| (at, "answer"))
    }
}

impl Node {
    /// Whether a command under this key was obeyed before; then it is answered as that one.
    pub(super) fn answer_as_before(&mut self, now: Now, id: CommandId, said: &Said) -> bool {
        let Some(key) = &said.idempotency_key else { return false };
        let is_it = |operation: &Operation| operation.value.idempotency_key.as_ref() == Some(key) && operation.value.actor == said.actor;
        let proposed = self.relay.proposals.values().map(|errand| &errand.operation).find(|operation| is_it(operation));
        let before = proposed.or_else(|| self.catalog.operations().rev().map(AsRef::as_ref).find(|operation| is_it(operation)));
        let Some(operation) = before.map(|operation| operation.id.clone()) else { return false };
        self.relay.waiting.push((id, operation, now.at + ANSWER_WITHIN));
        true
    }

    /// Begins to have a draft accepted; `id` is answered then.
    pub(super) fn propose(&mut self, now: Now, id: Option<CommandId>, draft: Draft, said: Said) -> Result<(), CommandError> {
        let Draft { stamp, verb, runners, nodes, targets, entries, kept, revision, rename, .. } = draft;
        let of_nodes = verb.is_desire() && nodes.is_some();
        let keys: Vec<u8> = if of_nodes { Vec::new() } else { entries.iter().flat_map(|(key, _)| key_hash(key)).collect() };
        let seen = self.seen_by(&entries);
        let Said { actor, reason, idempotency_key } = said;
        let value = OperationValue { verb, actor, reason, runners, nodes, targets, idempotency_key, keys: ByteBuf::from(keys), seen, rename };
        let (me, operation) = (self.id(), Operation::id(stamp, &self.id()));
        let record = pack(&value);
        let key = format!("{OPERATION}{operation}");
        logvine_gossip::check_entry(&key, Some(&record)).map_err(|error| CommandError::State(format!("say less at once: {error}")))?;
        let written = [(key, Some(record))].into_iter().chain(entries).map(|(key, value)| (key, Entry { stamp, origin: me, value }));
        let kept = kept.into_iter().filter_map(|key| Some((key.clone(), self.gossip.catalog().held(&key)?.clone())));
        let proposal = Proposal::new(now.at, parts(written.chain(kept)));
        let operation = Operation { id: operation, stamp, origin: me, value };
        self.relay.waiting.extend(id.map(|id| (id, operation.id.clone(), now.at + ANSWER_WITHIN)));
        let id = operation.id.clone();
        self.relay.proposals.insert(id.clone(), Errand { operation, proposal, revision, helped: BTreeSet::new() });
        self.relay.reserving.push(id);
        if self.reserve_stamp(stamp) {
            self.begin_proposals(now, stamp.next());
        }
        Ok(())
    }

    /// Begins what has a stamp below this.
    pub(super) fn begin_proposals(&mut self, now: Now, reserved: Stamp) {
        let proposals = &self.relay.proposals;
        let is_due = |id: &mut String| proposals.get(id).is_none_or(|errand| errand.operation.stamp < reserved);
        for id in self.relay.reserving.extract_if(.., is_due).collect::<Vec<_>>() {
            let Some(Errand { operation, proposal, .. }) = self.relay.proposals.get(&id) else { continue };
            let parts = proposal.parts.len();
            let asked = self.whom_to_ask(operation, parts > 1);
            let asked = asked.into_iter().flat_map(|node| (0..parts).map(move |part| (node, part)));
            self.relay.queue.extend(asked.map(|(node, part)| (id.clone(), part, node)));
            self.step_proposal(now, &id);
        }
        self.send_holds(now);
    }

    /// The stamps that a command finds at the keys that it writes: what is proposed here is there for it, too.
    fn seen_by(&self, entries: &[(String, Option<bytes::Bytes>)]) -> ByteBuf {
        if entries.len() > SEEN_MAX {
            return ByteBuf::new();
        }
        let proposed: BTreeMap<&String, Stamp> = self.proposed().map(|(key, entry)| (key, entry.stamp)).collect();
        let held = |key: &String| self.gossip.catalog().held(key).map(|entry| entry.stamp);
        let seen = entries.iter().map(|(key, _)| held(key).max(proposed.get(key).copied()).unwrap_or(Stamp::ZERO));
        ByteBuf::from(seen.flat_map(|stamp| stamp.0.to_be_bytes()).collect::<Vec<_>>())
    }

    /// All live targets, and some more who keep it.
    fn whom_to_ask(&self, operation: &Operation, of_many: bool) -> Vec<NodeId> {
        let others = self.live_others();
        let (targets, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(|id| operation.targets().contains(id));
        let most = if of_many { FIRST_OTHERS } else { usize::MAX };
        let spare = FIRST_OTHERS.saturating_sub(targets.len());
        targets.into_iter().take(most).chain(rest.into_iter().take(spare)).collect()
    }

    fn live_others(&self) -> Vec<NodeId> {
        self.view.values().filter(|info| info.is_live() && info.id != self.id()).map(|info| info.id).collect()
    }

    /// The nodes that are asked to pass something on to one that this node does not reach: drawn for each target, so that no node helps them all; those that are
    /// suspected are left for when there is nobody else.
    pub fn helpers_for(&self, target: NodeId) -> Vec<NodeId> {
        let lot = |id: &NodeId| hash64(&[target.0, id.0].concat());
        let others = self.view.values().filter(|info| info.is_live() && info.id != self.id() && info.id != target);
        let mut drawn: Vec<_> = others.map(|info| (info.status != Status::Alive, lot(&info.id), info.id)).collect();
        drawn.sort_unstable();
        drawn.into_iter().map(|(.., id)| id).take(HELPERS).collect()
    }

    /// Whether the next step of a renaming is on its way already.
    pub(super) fn is_proposing_step_of(&self, begun: &str) -> bool {
        let is_it = |errand: &Errand| errand.operation.value.rename.as_ref().is_some_and(|rename| rename.of.as_deref() == Some(begun));
        self.relay.proposals.values().any(|errand| errand.proposal.stage == Stage::Proposed && is_it(errand))
    }

    /// What is proposed here and not in the catalog yet, in the order of its stamps.
    pub fn proposed(&self) -> impl Iterator<Item = &(String, Entry)> {
        let proposals = self.relay.proposals.values().filter(|errand| errand.proposal.stage == Stage::Proposed);
        let is_news = |(key, entry): &&(String, Entry)| self.gossip.catalog().held(key).is_none_or(|held| held.stamp < entry.stamp);
        proposals.flat_map(move |errand| errand.proposal.parts.iter().flatten().filter(is_news))
    }

    /// Takes every step that is due. What is known of others may have changed.
    pub(super) fn step_proposals(&mut self, now: Now) {
        for id in self.relay.proposals.keys().cloned().collect::<Vec<_>>() {
            self.step_proposal(now, &id);
        }
        self.answer_waiting(now);
    }

    fn step_proposal(&mut self, now: Now, id: &str) {
        let is_begun = !self.relay.reserving.iter().any(|reserving| reserving == id);
        let others = (self.joined && is_begun).then(|| self.live_others());
        while let Some(errand) = self.relay.proposals.get_mut(id) {
            // Somebody took it although no word of that came.
            if errand.proposal.stage == Stage::Proposed && self.catalog.operation(id).is_some() {
                errand.proposal.stage = Stage::Published;
                self.publish(now, id);
            }
            let Some(errand) = self.relay.proposals.get_mut(id) else { return };
            match errand.proposal.step(now.at, others.as_deref()) {
                Some(Step::Publish) => {
                    errand.proposal.stage = Stage::Published;
                    self.publish(now, id);
                }
                Some(Step::Accept) => {
                    errand.proposal.stage = Stage::Accepted;
                    self.tell(Event::Accepted { operation: id.to_owned() });
                }
                Some(Step::Withdraw) => self.withdraw(id),
                Some(Step::GiveUp) => drop(self.relay.proposals.remove(id)),
                None => break,
            }
        }
    }

    /// Takes a proposal into the catalog, from where gossip carries it on.
    fn publish(&mut self, now: Now, id: &str) {
        let entries: Vec<_> = self.relay.proposals[id].proposal.parts.iter().flatten().cloned().collect();
        for (key, entry) in entries {
            // Refused where the catalog is full: then it is never durable here, and not accepted.
            let _ = self.gossip.take(now, &key, entry);
        }
        self.drain_gossip(now);
        self.once_durable(After::Published(id.to_owned()));
    }

    /// A published proposal is on this node's disk.
    pub(super) fn note_published(&mut self, now: Now, id: &str) {
        if let Some(errand) = self.relay.proposals.get_mut(id) {
            let held = |(key, entry): &(String, Entry)| self.gossip.catalog().held(key).is_some_and(|held| held.stamp >= entry.stamp);
            if errand.proposal.parts.iter().flatten().all(held) {
                errand.proposal.note_durable();
            }
        }
        self.step_proposal(now, id);
        self.answer_waiting(now);
    }

    fn withdraw(&mut self, id: &str) {
        if let Some(Errand { operation, .. }) = self.relay.proposals.remove(id) {
            self.tell(Event::Withdrawn { operation: id.to_owned() });
            self.relay.withdrawn.push_back(operation);
            while self.relay.withdrawn.len() > WITHDRAWN_MAX {
                self.relay.withdrawn.pop_front();
            }
        }
    }

    /// Asks those again who have not said yet that they keep what is not accepted.
    pub(super) fn ask_holders_again(&mut self, now: Now) {
        self.step_proposals(now);
        let others = if self.relay.proposals.is_empty() { Vec::new() } else { self.live_others() };
        for (id, errand) in &self.relay.proposals {
            if matches!(errand.proposal.stage, Stage::Proposed | Stage::Published) && !self.relay.reserving.contains(id) {
                let lacking = others.iter().filter(|node| !errand.proposal.is_held_by(node)).take(AGAIN_MAX);
                let asked: Vec<_> =
                    lacking.flat_map(|node| errand.proposal.lacking(node).into_iter().map(|part| (id.clone(), part, *node))).collect();
                self.relay.queue.extend(asked.into_iter().filter(|asked| !self.relay.queue.contains(asked)).collect::<Vec<_>>());
            }
        }
        // An errand is over when nothing of it waits any more.
        let relay = &mut self.relay;
        let (queue, waiting) = (&relay.queue, &relay.waiting);
        relay.proposals.retain(|id, errand| {
            errand.proposal.stage != Stage::Accepted || queue.iter().any(|(of, ..)| of == id) || waiting.iter().any(|(_, of, _)| of == id)
        });
        self.send_holds(now);
    }

    fn send_holds(&mut self, now: Now) {
        while self.relay.calls < CALLS_MAX {
            let Some((operation, part, node)) = self.relay.queue.pop_front() else { return };
            let Some(errand) = self.relay.proposals.get(&operation) else { continue };
            let request = Request::Hold { stamp: errand.operation.stamp, entries: errand.proposal.parts[part].clone() };
            self.relay.calls += 1;
            self.ask(now, node, request, Pending::Hold { operation, part, node, direct: true });
        }
    }

    /// What came of asking a node, or a helper for it, to keep a part.
    pub(super) fn note_hold(&mut self, now: Now, operation: &str, part: usize, node: NodeId, direct: bool, held: bool) {
        if direct {
            self.relay.calls = self.relay.calls.saturating_sub(1);
        }
        let others = self.live_others();
        if let Some(errand) = self.relay.proposals.get_mut(operation) {
            if held {
                errand.proposal.note_held(node, part);
                self.step_proposal(now, operation);
                self.answer_waiting(now);
            } else if direct && others.contains(&node) && errand.operation.targets().contains(&node) && errand.helped.insert(node) {
                let (stamp, entries) = (errand.operation.stamp, errand.proposal.parts[part].clone());
                for helper in self.helpers_for(node) {
                    let request = Request::HoldFor { node, stamp, entries: entries.clone() };
                    let pending = Pending::Hold { operation: operation.to_owned(), part, node, direct: false };
                    self.ask(now, helper, request, pending);
                }
            }
        }
        self.send_holds(now);
    }

    /// A relay asks this node to keep a write. Answered once all of it is on disk.
    pub(super) fn serve_hold(&mut self, now: Now, stamp: Stamp, entries: &[(String, Entry)], to: ReplyTo) {
        let refused = |reason: &str| Reply::Refused(reason.to_owned());
        // Its relay withdraws it after that time: a call that was on its way for so long must not bring it back.
        let latest = u64::try_from(ACCEPT_WITHIN.as_millis()).unwrap_or(u64::MAX) + CLOCK_OFF_MS;
        if now.wall.as_millis().saturating_sub(stamp.as_millis()) > latest {
            return self.after.push(After::Reply(to, refused("it is too old")));
        }
        for (key, entry) in entries {
            // What cannot be taken is missed below.
            let _ = self.gossip.take(now, key, entry.clone());
        }
        self.drain_gossip(now);
        let holds = |(key, entry): &(String, Entry)| self.gossip.catalog().held(key).is_some_and(|held| held.stamp >= entry.stamp);
        if entries.iter().all(holds) {
            self.once_durable(After::Reply(to, Reply::Held));
        } else {
            self.after.push(After::Reply(to, refused("there is no room for it")));
        }
    }

    /// A target tells its relay what became of an operation, sooner than gossip does.
    pub(super) fn serve_report(&mut self, now: Now, from: NodeId, operation: &str, outcome: Outcome, to: ReplyTo) {
        if self.operation(operation).is_some_and(|(operation, _)| operation.targets().contains(&from)) {
            self.note_target(operation, from, outcome);
        }
        self.after.push(After::Reply(to, Reply::Held));
        self.answer_waiting(now);
    }

    /// An operation, and how far it is; accepted where another node is its relay, since it is in the catalog.
    pub fn operation(&self, id: &str) -> Option<(&Operation, Stage)> {
        if let Some(errand) = self.relay.proposals.get(id) {
            return Some((&errand.operation, errand.proposal.stage));
        }
        let withdrawn = self.relay.withdrawn.iter().find(|operation| operation.id == id).map(|operation| (operation, Stage::Withdrawn));
        self.catalog.operation(id).map(|operation| (&**operation, Stage::Accepted)).or(withdrawn)
    }

    /// Whether a node keeps all of an operation whose relay this node is.
    pub(super) fn is_told(&self, id: &str, node: &NodeId) -> bool {
        self.relay.proposals.get(id).is_some_and(|errand| errand.proposal.is_held_by(node))
    }

    /// All operations that this node knows, the newest first.
    pub fn operations(&self) -> Vec<(&Operation, Stage)> {
        let unpublished = self.relay.proposals.values().map(|errand| &errand.operation).chain(&self.relay.withdrawn);
        let mut ids: BTreeSet<&str> = unpublished.map(|operation| operation.id.as_str()).collect();
        ids.extend(self.catalog.operations().map(|operation| operation.id.as_str()));
        ids.into_iter().rev().filter_map(|id| self.operation(id)).collect()
    }

    /// Answers commands of which all is known, or whose time is up.
    pub(super) fn answer_waiting(&mut self, now: Now) {
        for (command, id, until) in std::mem::take(&mut self.relay.waiting) {
            let (accepted, is_done) = match self.operation(&id) {
                Some((operation, stage)) => {
                    let pending = |row: &crate::operation::Row| matches!(row.state, RowState::Pending { .. });
                    (stage == Stage::Accepted, stage == Stage::Accepted && !self.rows(operation).iter().any(pending))
                }
                None => (false, true),
            };
            if is_done || now.at >= until {
                let revision = self.relay.proposals.get(&id).map_or(Stamp::ZERO, |errand| errand.revision);
                self.outputs.push_back(Output::Answer { command, answer: Answer { operation: id, revision, accepted } });
            } else {
                self.relay.waiting.push((command, id, until));
            }
        }
    }
}

/// Packs entries, in order, into parts that fit a call.
fn parts(entries: impl Iterator<Item = (String, Entry)>) -> Vec<Vec<(String, Entry)>> {
    let mut parts: Vec<Vec<(String, Entry)>> = Vec::new();
    let mut room = 0;
    for (key, entry) in entries {
        let size = key.len() + entry.value.as_ref().map_or(0, bytes::Bytes::len) + 64;
        match parts.last_mut() {
            Some(part) if size <= room => part.push((key, entry)),
            _ => {
                parts.push(vec![(key, entry)]);
                room = PART_BYTES;
            }
        }
        room = room.saturating_sub(size);
    }
    parts
}

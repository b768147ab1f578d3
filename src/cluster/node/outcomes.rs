//! What became of an operation on its targets: what this node finds out as one of them, and what it knows of the others (DESIGN §6, 4).
//!
//! A row is derived from what its node has said, never from what its relay did. So any node derives it, and the relay's death changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use logvine_gossip::{NodeId, Now};

use super::{After, Node, calls::Pending, renaming::Renamings};
use crate::{
    canary::planted,
    catalog::{Catalog, RewindScope, clear_key, desired_key, drain_key, rewind_key, runner_key},
    contest::{Contests, Overruled},
    event::Event,
    instance::{InstanceState, InstanceStatus},
    member::{Phase, value},
    message::Request,
    name::Name,
    operation::{KEPT, KEPT_MAX, OPERATION, Operation, Outcome, RESTART_WITHIN, Row, RowState, Verb, key_hash},
    rollout::Hearsay,
};

/// A node map has room for so many; they are the last.
const SAID_MAX: usize = 64;
/// So long a relay may have somebody waiting for an answer: later gossip is soon enough.
const REPORT_WITHIN: Duration = Duration::from_secs(10);
/// An operation that is older when this node hears of it is no news.
const TOLD_WITHIN: Duration = Duration::from_secs(3_600);
/// Old operations that are deleted at once, every ten seconds: more than operators say in that time (200 a second), or [`KEPT_MAX`] would be no bound.
const FORGET_MAX: usize = 2_500;

/// What is known of operations' targets.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    /// Operations that this node is a target of, and has not finished. The newest.
    open: BTreeSet<String>,
    /// What its node map says, in order.
    said: VecDeque<(String, Outcome)>,
    /// What targets have said, also what their maps have no room for any more.
    known: BTreeMap<String, BTreeMap<NodeId, Outcome>>,
    /// Operations that were commanded in this life, and of which not all targets have said what became of them.
    watched: BTreeSet<String>,
    /// Which words were said at once.
    contests: Contests,
    pub(super) renamings: Renamings,
}

impl Outcomes {
    fn forget_unknown(&mut self, catalog: &Catalog) {
        self.known.retain(|id, _| catalog.operation(id).is_some());
        self.watched.retain(|id| catalog.operation(id).is_some());
        if let Some(oldest) = catalog.operations().next() {
            self.contests.forget_before(oldest.order());
        }
    }
}

impl Node {
    /// An operation's entry has come, or went.
    pub(super) fn note_operation(&mut self, key: &str) {
        let Some(id) = key.strip_prefix(OPERATION) else { return };
        self.note_rename(id);
        let is_mine = self.catalog.operation(id).is_some_and(|operation| operation.targets().contains(&self.id()));
        if is_mine && !self.outcomes.said.iter().any(|(said, _)| said == id) {
            self.outcomes.open.insert(id.to_owned());
            if self.outcomes.open.len() > SAID_MAX {
                self.outcomes.open.pop_first();
            }
        } else if !is_mine {
            self.outcomes.open.remove(id);
        }
    }

    /// An operation is in the catalog that was not. Old ones come to who was long away or is new: they are history, and `operations` lists them.
    pub(super) fn tell_commanded(&mut self, now: Now, id: &str) {
        let Some(operation) = self.catalog.operation(id) else { return };
        if now.wall.as_millis().saturating_sub(operation.stamp.as_millis()) <= TOLD_WITHIN.as_secs() * 1_000 {
            self.outcomes.watched.insert(id.to_owned());
            self.tell(Event::Commanded { operation: id.to_owned() });
            self.tell_concluded(id);
        }
    }

    /// An operation has come: whoever spoke at the same time and has lost is told, by every node to those who watch it. `tell`: not what is known from an
    /// earlier life.
    pub(super) fn note_contest(&mut self, key: &str, tell: bool) {
        let Some(operation) = key.strip_prefix(OPERATION).and_then(|id| self.catalog.operation(id)).cloned() else { return };
        for Overruled { loser, winner } in self.outcomes.contests.note(&operation).into_iter().filter(|_| tell) {
            self.tell(Event::Overruled { operation: Operation::id(loser.0, &loser.1), by: Operation::id(winner.0, &winner.1) });
        }
    }

    /// The operation that overruled this one without knowing it; the later word holds.
    pub fn overruled_by(&self, operation: &Operation) -> Option<String> {
        self.outcomes.contests.overruled_by(operation).map(|(stamp, origin)| Operation::id(stamp, &origin))
    }

    /// A node says what became of an operation there.
    pub(super) fn note_outcome(&mut self, node: NodeId, id: &str) {
        if let Some(outcome) = value(self.gossip.node_map(&node), &outcome_key(id)) {
            self.note_target(id, node, outcome);
        }
    }

    /// What became of an operation on one of its targets, by that one's word.
    pub(super) fn note_target(&mut self, id: &str, node: NodeId, outcome: Outcome) {
        let before = self.outcomes.known.entry(id.to_owned()).or_default().insert(node, outcome.clone());
        if before.as_ref() != Some(&outcome) && self.outcomes.watched.contains(id) {
            if let Outcome::Failed { reason } = outcome {
                self.tell(Event::Refused { operation: id.to_owned(), target: node, reason });
            }
            self.tell_concluded(id);
        }
    }

    /// Tells of an operation of which all is known, once.
    fn tell_concluded(&mut self, id: &str) {
        let Some(operation) = self.catalog.operation(id) else { return };
        let known = self.outcomes.known.get(id);
        let outcomes: Option<Vec<&Outcome>> = operation.targets().iter().map(|target| known.and_then(|known| known.get(target))).collect();
        let Some(outcomes) = outcomes else { return };
        let applied = outcomes.iter().filter(|outcome| ***outcome == Outcome::Applied).count();
        let failed = outcomes.len() - applied;
        if self.outcomes.watched.remove(id) {
            self.tell(Event::Concluded { operation: id.to_owned(), applied, failed });
        }
    }

    /// Says of each operation that concerns this node what became of it, once that is certain and on disk.
    pub(super) fn decide_outcomes(&mut self) {
        if self.phase == Phase::Joining || self.stopping.is_some() {
            return;
        }
        let open = self.outcomes.open.iter().filter_map(|id| Some((id.clone(), Arc::clone(self.catalog.operation(id)?)))).collect::<Vec<_>>();
        for (id, operation) in open {
            if let Some(outcome) = self.outcome_here(&operation) {
                self.outcomes.open.remove(&id);
                self.once_durable(After::Outcome(id, outcome));
            }
        }
    }

    /// What the outcome rests on is on disk.
    pub(super) fn say_outcome(&mut self, now: Now, id: String, outcome: Outcome) {
        self.say(now, &outcome_key(&id), &outcome);
        self.note_target(&id, self.id(), outcome.clone());
        if let Some(operation) = self.catalog.operation(&id).cloned() {
            let is_waited_for = now.wall.as_millis().saturating_sub(operation.stamp.as_millis()) < REPORT_WITHIN.as_secs() * 1_000;
            let lives = self.view.get(&operation.origin).is_some_and(|info| info.is_live());
            if operation.origin != self.id() && is_waited_for && lives {
                self.ask(now, operation.origin, Request::Report { operation: id.clone(), outcome: outcome.clone() }, Pending::Report);
            }
        }
        self.outcomes.said.push_back((id, outcome));
        while self.outcomes.said.len() > SAID_MAX {
            if let Some((oldest, _)) = self.outcomes.said.pop_front() {
                self.unsay(now, &outcome_key(&oldest));
            }
        }
        self.answer_waiting(now);
    }

    /// The node map begins anew.
    pub(super) fn say_outcomes_again(&mut self, now: Now) {
        for (id, outcome) in self.outcomes.said.clone() {
            self.say(now, &outcome_key(&id), &outcome);
        }
    }

    /// What became of an operation on this node; none while it has something left to do.
    fn outcome_here(&self, operation: &Operation) -> Option<Outcome> {
        if !self.holds_all(operation) {
            return None;
        }
        match operation.verb() {
            Verb::Restart => self.restarted(operation),
            Verb::Rewind => self.rewound(operation),
            Verb::ClearCounters => self.cleared(operation),
            Verb::DropQueue => self.queues_dropped(operation),
            Verb::Apply | Verb::Delete | Verb::Start | Verb::Stop | Verb::Remove | Verb::Follow => {
                let outcomes = operation.runners().iter().map(|runner| self.conforms(operation.verb(), runner)).collect::<Option<Vec<_>>>()?;
                let failed = outcomes.into_iter().find(|outcome| *outcome != Outcome::Applied);
                Some(failed.unwrap_or(Outcome::Applied))
            }
            Verb::Drain => self.in_phase(Phase::Draining, true),
            Verb::Undrain => self.in_phase(Phase::Active, false),
            Verb::PatchSources | Verb::SetTags | Verb::RenameTag | Verb::Set | Verb::Forget => Some(Outcome::Applied),
        }
    }

    /// A command to restart has come, from its relay or by gossip. What an earlier life of this node has heard is no concern of this one.
    pub(super) fn note_restart(&mut self, now: Now, key: &str) {
        let operation = key.strip_prefix(OPERATION).and_then(|id| self.catalog.operation(id)).cloned();
        let is_mine = |operation: &Arc<Operation>| operation.verb() == Verb::Restart && operation.targets().contains(&self.id());
        let Some(operation) = operation.filter(is_mine) else { return };
        let late = u128::from(now.wall.as_millis().saturating_sub(operation.stamp.as_millis())) > RESTART_WITHIN.as_millis();
        if !late || planted("restart-late") {
            for runner in operation.runners() {
                self.restart_instance(runner, operation.stamp);
            }
        }
    }

    /// What became of a command to restart: each of its runners that runs here has begun since, or has not been asked to in time.
    fn restarted(&self, operation: &Operation) -> Option<Outcome> {
        let failed = |reason: &str| Some(Outcome::Failed { reason: reason.to_owned() });
        let here: Vec<_> = operation.runners().iter().filter(|name| self.instances.is_there(name)).collect();
        let is_due = |name: &Name| self.catalog.runner(name).is_some_and(|runner| self.is_placed_here(name, runner));
        if here.is_empty() {
            return if operation.runners().iter().any(is_due) { None } else { failed("it does not run here any more") };
        }
        let mut outcomes = Vec::new();
        for name in here {
            outcomes.push(match self.instances.has_begun_since(name, operation.stamp) {
                None => failed("it heard of this too late, and restarted nothing: say it again if it is still wanted"),
                Some(false) => None,
                Some(true) => self.conforms(Verb::Restart, name),
            }?);
        }
        outcomes.iter().find(|outcome| **outcome != Outcome::Applied).or(outcomes.first()).cloned()
    }

    /// Whether this node has done as the last word on its drain says; a later one may be another.
    fn in_phase(&self, phase: Phase, draining: bool) -> Option<Outcome> {
        let overruled = self.catalog.is_draining(&self.id()) != draining;
        (overruled || self.phase == phase).then_some(Outcome::Applied)
    }

    /// Whether this node has every entry of an operation that concerns it, or a later one in its place.
    fn holds_all(&self, operation: &Operation) -> bool {
        let me = self.id();
        let catalog = self.gossip.catalog();
        let is_later = |entry: &logvine_gossip::Entry| (entry.stamp, entry.origin) >= operation.order();
        if operation.verb().is_desire() && operation.nodes().is_some() {
            let follows = operation.verb() == Verb::Follow;
            return operation.runners().iter().all(|runner| {
                let held = catalog.held(&desired_key(runner, Some(&me)));
                // Deleted with its runner, perhaps so long ago that this is forgotten.
                held.map_or(follows || self.catalog.runner(runner).is_none(), is_later)
            });
        }
        let mut lacking = operation.keys();
        // A renaming is of all nodes that have the tag.
        let tags = if operation.verb() == Verb::RenameTag { "tag/".to_owned() } else { format!("tag/{me}/") };
        let prefixes = operation.runners().iter().flat_map(|runner| {
            let rewind = rewind_key(runner, &RewindScope::All);
            [runner_key(runner), desired_key(runner, None), format!("source/{runner}/"), rewind, clear_key(runner, None)]
        });
        let of_node = [tags, drain_key(&me), crate::setting::SETTING.to_owned()];
        for prefix in prefixes.chain(of_node) {
            if lacking.is_empty() {
                break;
            }
            for (key, _) in catalog.held_under(&prefix).filter(|(_, entry)| is_later(entry)) {
                lacking.remove(&key_hash(key));
            }
        }
        lacking.is_empty() || operation.verb() == Verb::Forget
    }

    /// Whether a runner is here as it should be now; none while it is on its way there.
    fn conforms(&self, verb: Verb, name: &Name) -> Option<Outcome> {
        let Some(runner) = self.catalog.runner(name).filter(|runner| self.is_placed_here(name, runner)) else {
            return (!self.instances.is_there(name)).then_some(Outcome::Applied);
        };
        if verb == Verb::Apply
            && let Some(reason) = self.failed_here(name, runner.revision)
        {
            return Some(Outcome::Failed { reason });
        }
        let status = self.instances.status(name)?;
        if verb == Verb::Apply && status.revision < runner.revision {
            return None;
        }
        match status.state {
            InstanceState::Running | InstanceState::Paused => Some(Outcome::Applied),
            InstanceState::Failed => Some(Outcome::Failed { reason: status.error.clone().unwrap_or_else(|| "it does not run".to_owned()) }),
            InstanceState::Starting | InstanceState::Stopped => None,
        }
    }

    /// What became of an operation on each of its targets, as far as this node has heard.
    pub fn rows(&self, operation: &Operation) -> Vec<Row> {
        self.rows_of_renaming(operation).unwrap_or_else(|| self.rows_of_step(operation))
    }

    /// The same of one operation by itself.
    pub(super) fn rows_of_step(&self, operation: &Operation) -> Vec<Row> {
        let later: Vec<_> = self.catalog.operations().rev().take_while(|later| later.order() > operation.order()).collect();
        let later: Vec<_> = later.into_iter().filter(|later| later.overrules(operation)).collect();
        operation.targets().iter().map(|node| Row { node: *node, state: self.row_state(operation, *node, &later) }).collect()
    }

    fn row_state(&self, operation: &Operation, node: NodeId, later: &[&Arc<Operation>]) -> RowState {
        if planted("rows-from-relay-only") {
            let pending = RowState::Pending { reason: "not told".to_owned() };
            return if self.is_told(&operation.id, &node) { RowState::Applied } else { pending };
        }
        match self.said_outcome(&operation.id, &node) {
            Some(Outcome::Applied) => return RowState::Applied,
            Some(Outcome::Failed { reason }) => return RowState::Failed { reason },
            None => {}
        }
        if later.iter().any(|later| self.said_outcome(&later.id, &node) == Some(Outcome::Applied)) {
            return RowState::Applied;
        }
        let status = |runner: &Name| value::<InstanceStatus>(self.gossip.node_map(&node), &format!("runner/{runner}"));
        let is_newer =
            |runner: &Name| status(runner).is_some_and(|status| status.state == InstanceState::Running && status.revision >= operation.stamp);
        let runs_it = operation.verb() == Verb::Apply && operation.runners().iter().all(is_newer);
        if runs_it && operation.runners().iter().all(|runner| self.all_hearsay(runner, operation.stamp).trying.is_empty()) {
            return RowState::Applied;
        }
        RowState::Pending { reason: self.why_pending(operation, node) }
    }

    fn said_outcome(&self, id: &str, node: &NodeId) -> Option<Outcome> {
        let known = self.outcomes.known.get(id).and_then(|known| known.get(node)).cloned();
        known.or_else(|| value(self.gossip.node_map(node), &outcome_key(id)))
    }

    fn why_pending(&self, operation: &Operation, node: NodeId) -> String {
        if !self.view.get(&node).is_some_and(|info| info.is_live()) {
            return "waiting for node".to_owned();
        }
        for runner in operation.runners().iter().filter(|_| operation.verb() == Verb::Apply) {
            let Some(revision) = self.catalog.runner(runner).map(|found| found.revision) else { continue };
            match self.all_hearsay(runner, revision) {
                Hearsay { good: true, .. } => {}
                Hearsay { failed: Some((by, reason)), .. } => return format!("held: {} says: {reason}", crate::view::name_of(self, &by)),
                Hearsay { trying, .. } if !trying.is_empty() && !trying.contains(&node) => return "waiting for rollout".to_owned(),
                Hearsay { .. } => {}
            }
        }
        "on its way".to_owned()
    }

    /// Drops what is over its time or number, if it is for this node to say so: two that both think so delete the same.
    pub(super) fn forget_operations(&mut self, now: Now) {
        self.outcomes.forget_unknown(&self.catalog);
        if !self.is_first_of_many() {
            return;
        }
        let surplus = self.catalog.operations().len().saturating_sub(KEPT_MAX);
        let is_old = |operation: &Operation| now.wall.as_millis().saturating_sub(operation.stamp.as_millis()) > KEPT.as_secs() * 1_000;
        let old = self.catalog.operations().enumerate().take_while(|(at, operation)| *at < surplus || is_old(operation)).take(FORGET_MAX);
        for key in old.map(|(_, operation)| format!("{OPERATION}{}", operation.id)).collect::<Vec<_>>() {
            // Refused (a clock that is off): the next look tries again.
            let _ = self.gossip.write(now, &key, None);
        }
    }
}

/// `outcome/<operation>`
fn outcome_key(id: &str) -> String {
    format!("outcome/{id}")
}

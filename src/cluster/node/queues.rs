//! The disk queues of this node's readers that cannot wait (DESIGN §7): what waits in one is thrown away where an operator says so (`drop-queue`), and with it
//! the queue of a runner that was deleted.
//!
//! ```text
//! operation ─on disk, in time─> asked ─noted on disk─> data plane ─> dropped, or why not ─on disk─> outcome
//! ```
//! To drop is no state: who hears of it later than [`RESTART_WITHIN`] throws nothing away, since by then other records may wait than those that the operator
//! has looked at. And it is done at most once: a node that ends in the middle says so, and does not do it again. A queue is removed only where the catalog says
//! that its runner was deleted, not where it merely lacks it.

use std::{collections::BTreeSet, sync::Arc};

use logvine_gossip::{NodeId, Now, Stamp};
use serde::{Deserialize, Serialize};

use super::{After, Node, Table, operator::Draft};
use crate::{
    canary::planted,
    catalog::{pack, runner_key},
    command::CommandError,
    event::Event,
    instance::InstanceCommand,
    name::Name,
    operation::{OPERATION, Operation, Outcome, RESTART_WITHIN, Verb},
    selection::Selection,
};

/// A disk queue that this node has, or had; by its runner's uid on this node's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct QueueRow {
    runner: Name,
    /// The last command to drop it that was taken up here.
    dropped: Option<Drop>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Drop {
    operation: Stamp,
    /// How many bytes, or why not; none as long as the data plane has not told.
    result: Option<Result<u64, String>>,
}

impl Node {
    /// What waits in the disk queues of runners is thrown away, on the nodes where they are to run now.
    pub(super) fn drop_queue(&self, stamp: Stamp, runners: Vec<Name>, nodes: Option<&Selection>) -> Result<Draft, CommandError> {
        let selected = nodes.map(|selection| self.selected(selection)).transpose()?;
        let mut targets: BTreeSet<NodeId> = BTreeSet::new();
        for name in &runners {
            let runner = self.catalog.runner(name).ok_or_else(|| CommandError::NotFound { kind: "runner", name: name.to_string() })?;
            if runner.spec.reader.queue_bytes_max().is_none() {
                return Err(CommandError::NoQueue { runner: name.to_string() });
            }
            targets.extend(self.targets(name).into_iter().filter(|node| selected.as_ref().is_none_or(|selected| selected.contains(node))));
        }
        if targets.is_empty() {
            return Err(CommandError::NothingRuns);
        }
        let mut draft = Draft::new(stamp, Verb::DropQueue, targets.into_iter().collect());
        (draft.runners, draft.nodes) = (runners, nodes.map(ToString::to_string));
        Ok(draft)
    }

    /// A command to drop queues has come, from its relay or by gossip.
    pub(super) fn note_drop(&mut self, now: Now, key: &str) {
        let operation = key.strip_prefix(OPERATION).and_then(|id| self.catalog.operation(id)).cloned();
        let is_mine = |operation: &Arc<Operation>| operation.verb() == Verb::DropQueue && operation.targets().contains(&self.id());
        let Some(operation) = operation.filter(is_mine) else { return };
        let late = u128::from(now.wall.as_millis().saturating_sub(operation.stamp.as_millis())) > RESTART_WITHIN.as_millis();
        if late && !planted("drop-late") {
            return;
        }
        for runner in operation.runners() {
            let Some(uid) = self.instances.at_work(runner) else { continue };
            let Some(row) = self.instances.queues.get(&uid) else { continue };
            if row.dropped.as_ref().is_some_and(|dropped| dropped.operation >= operation.stamp) {
                continue;
            }
            let dropped = Some(Drop { operation: operation.stamp, result: None });
            self.keep_queue(uid, QueueRow { dropped, ..row.clone() });
            // Once it is noted: a node that starts anew must not do it a second time.
            self.once_durable(After::Instance(InstanceCommand::DropQueue { runner: runner.clone(), uid, operation: operation.stamp }));
        }
    }

    /// The data plane has dropped a queue, or could not.
    pub(super) fn note_dropped(&mut self, runner: Name, operation: Stamp, result: Result<u64, String>) {
        let Some(uid) = self.instances.uid(&runner) else { return };
        let Some(row) = self.instances.queues.get(&uid).cloned() else { return };
        if row.dropped.as_ref().is_some_and(|dropped| dropped.operation == operation) {
            if let Ok(bytes) = result {
                self.tell(Event::QueueDropped { runner, operation, bytes });
            }
            self.keep_queue(uid, QueueRow { dropped: Some(Drop { operation, result: Some(result) }), ..row });
            self.dirty = true;
        }
    }

    /// What became of a command to drop queues: those of its runners that are at work here were dropped since, or were not in time.
    pub(super) fn queues_dropped(&self, operation: &Operation) -> Option<Outcome> {
        let failed = |reason: &str| Outcome::Failed { reason: reason.to_owned() };
        let outcome = |name: &Name| {
            let Some(uid) = self.catalog.runner(name).map(|runner| runner.uid).filter(|uid| self.instances.queues.contains_key(uid)) else {
                return Some(failed("it has no queue here any more"));
            };
            let dropped = self.instances.queues[&uid].dropped.as_ref().filter(|dropped| dropped.operation >= operation.stamp);
            match dropped.map(|dropped| &dropped.result) {
                Some(Some(Ok(_))) => Some(Outcome::Applied),
                Some(Some(Err(reason))) => Some(failed(reason)),
                Some(None) if self.instances.at_work(name).is_some() && !self.instances.begun_since(name, operation.stamp) => None,
                Some(None) => Some(failed("it began anew in the middle of this: look whether something waits still, and say it again")),
                None => {
                    Some(failed("it was not at work here, or heard of this too late, and threw nothing away: say it again if it is still wanted"))
                }
            }
        };
        // One that is to run here and is not there yet will be in a moment, and then hears of nothing.
        let outcomes = operation.runners().iter().filter(|name| self.targets(name).contains(&self.id())).map(outcome).collect::<Option<Vec<_>>>()?;
        let worst = outcomes.iter().find(|outcome| **outcome != Outcome::Applied).or(outcomes.first()).cloned();
        worst.or_else(|| Some(failed("it does not run here any more")))
    }

    /// An instance that has a disk queue starts here.
    pub(super) fn note_queue(&mut self, runner: &Name, uid: Stamp) {
        if !self.instances.queues.contains_key(&uid) {
            self.keep_queue(uid, QueueRow { runner: runner.clone(), dropped: None });
        }
    }

    /// Has the queues removed whose runners were deleted, or made anew under their names.
    pub(super) fn remove_queues(&mut self) {
        let is_deleted = |uid: Stamp, row: &QueueRow| match self.catalog.runner(&row.runner) {
            Some(runner) => runner.uid != uid,
            None => self.gossip.catalog().held(&runner_key(&row.runner)).is_some_and(|entry| entry.value.is_none()),
        };
        let is_due = |(uid, row): &(&Stamp, &QueueRow)| is_deleted(**uid, row) && !self.instances.runs(**uid);
        let due: Vec<_> = self.instances.queues.iter().filter(is_due).map(|(uid, row)| (*uid, row.runner.clone())).collect();
        for (uid, runner) in due {
            if self.instances.removing.insert(uid) {
                self.after.push(After::Instance(InstanceCommand::RemoveQueue { runner, uid }));
            }
        }
    }

    /// The data plane has removed a queue; what is remembered of it goes, too. Where it could not, the next start tries again.
    pub(super) fn note_removed(&mut self, runner: Name, uid: Stamp, result: Result<u64, String>) {
        match result {
            Ok(bytes) => {
                let sources: Vec<Name> = self.instances.pinned_of(uid).map(|(source, _)| source.clone()).collect();
                for source in sources {
                    self.write(Table::Pinned, pack(&(uid, &source)).to_vec(), None);
                    self.instances.pinned.remove(&(uid, source));
                }
                self.write(Table::Queue, pack(&uid).to_vec(), None);
                self.instances.queues.remove(&uid);
                self.instances.removing.remove(&uid);
                self.tell(Event::QueueRemoved { runner, bytes });
            }
            Err(error) => self.tell(Event::QueueKept { runner, error }),
        }
    }

    fn keep_queue(&mut self, uid: Stamp, row: QueueRow) {
        self.write(Table::Queue, pack(&uid).to_vec(), Some(pack(&row).to_vec()));
        self.instances.queues.insert(uid, row);
    }
}

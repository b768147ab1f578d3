//! What may happen next in a state.

use std::collections::BTreeMap;

use logvine_cluster::{canary::planted, instance::Epoch, record::Record};

use super::{
    history::Owner,
    machine::{Message, Model, Step, node},
    pool::NONE,
    state::{Faults, State},
};

impl Model<'_> {
    /// All that may happen next.
    pub(super) fn steps(&mut self, state: &State) -> Vec<Step> {
        let mut steps = Vec::new();
        let is_up = |n: u8| state.faults.stopped & 1 << n == 0;
        let history = self.history(state);
        for (candidacy, plan) in self.bounds.candidacies.iter().enumerate().filter(|(at, _)| state.candidates[*at] == NONE) {
            // What patience is for: nobody is given up who is there.
            let patient = planted("patience-zero") || plan.without.iter().all(|n| !is_up(*n));
            if patient && is_up(plan.taker) {
                steps.extend(self.bases(state, candidacy).into_keys().map(|base| Step::Begin { candidacy, base }));
            }
        }
        let may_send = |owner: &Owner| owner.may_send() && owner.sent < self.bounds.positions;
        let is_there = |owner: &Owner| owner.record.owner.is_some_and(|id| is_up(id.0[0]));
        let senders = history.owners.iter().filter(|(_, owner)| may_send(owner) && is_there(owner));
        steps.extend(senders.map(|(epoch, _)| Step::Send { owner: *epoch }));
        if self.bounds.claims {
            for epoch in history.owners.keys() {
                let behind = (0..self.bounds.nodes).filter(|n| is_up(*n) && self.row(state, *n).is_some_and(|row| row.record.epoch < *epoch));
                steps.extend(behind.map(|node| Step::Hear { node, record: *epoch }));
            }
        }
        steps.extend(self.faults(state));
        for message in state.messages.iter() {
            let to = match self.messages.get(message) {
                Message::Ask { to, .. } => *to,
                Message::Answer { ask, .. } => self.asker(*ask),
            };
            if is_up(to.0[0]) {
                steps.push(Step::Arrive { message, answered: true });
                // What only a lost answer makes different is a vote that was cast and is not known of.
                if !self.bounds.late_answers && self.is_awaited(state, message) {
                    steps.push(Step::Arrive { message, answered: false });
                }
            }
        }
        steps
    }

    /// The decided records that a candidate knows: activated ones that were claimed, what its disk holds as a witness, and what it met in earlier attempts.
    pub(super) fn bases(&self, state: &State, candidacy: usize) -> BTreeMap<Epoch, &Record> {
        let plan = self.plan(candidacy);
        let (taker, ballot) = (node(plan.taker), self.ballot(candidacy));
        let history = self.history(state);
        let remembered = history.memory.get(&taker).filter(|_| !plan.restarted).map(|(record, _)| record);
        let held = self.row(state, plan.taker).map(|row| &row.record);
        let all = history.known.values().chain(remembered).chain(held);
        let may_begin = |base: &&Record| base.epoch < ballot && (plan.owner == plan.taker || base.owner == Some(taker));
        all.filter(may_begin).map(|base| (base.epoch, base)).collect()
    }

    fn faults(&self, state: &State) -> impl Iterator<Item = Step> {
        let Faults { disks_lost, stopped, returned, restored, passed } = state.faults;
        let bounds = self.bounds;
        let lose = (0..bounds.nodes).filter(move |_| disks_lost < bounds.disks_lost).map(|node| Step::LoseDisk { node });
        let copy = bounds.old_disk.filter(|_| state.image == NONE).map(|node| Step::CopyDisk { node });
        let restore = bounds.old_disk.filter(|_| state.image != NONE && !restored).map(|node| Step::OldDisk { node });
        let stop = bounds.stops.iter().filter(move |n| (stopped | returned) & 1 << **n == 0).map(|node| Step::Stop { node: *node });
        let back = bounds.stops.iter().filter(move |n| stopped & 1 << **n != 0).map(|node| Step::Return { node: *node });
        let pass = (passed < bounds.passes).then_some(Step::Pass);
        let waiting = |at: &usize| {
            let attempt = state.candidates[*at];
            !bounds.candidacies[*at].without.is_empty() && attempt != NONE && !self.attempts.get(attempt).is_done()
        };
        let late: Vec<_> = (0..bounds.candidacies.len()).filter(waiting).map(|candidacy| Step::Deadline { candidacy }).collect();
        lose.chain(copy).chain(restore).chain(stop).chain(back).chain(pass).chain(late)
    }

    /// Whether the one who sent a message still waits for its answer.
    pub(super) fn is_awaited(&mut self, state: &State, message: u32) -> bool {
        let Message::Ask { from, request, .. } = self.messages.get(message) else { return false };
        let Some(attempt) = Self::attempt(state, *from) else { return false };
        if let Some(known) = self.awaited.get(attempt, message) {
            return known == 1;
        }
        let awaited = self.attempts.get(attempt).awaits(request);
        self.awaited.set(attempt, message, u32::from(awaited));
        awaited
    }
}

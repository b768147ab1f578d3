//! Carries out what `refusal` decides: whom to knock at, whom to ask, who is gone.

use super::{
    Effect, Membership, identity,
    refusal::{CANDIDATES, Found, Step},
};
use crate::{Generation, NodeId, Now, Status, swim::Identity};

impl Membership {
    /// What came of [`Effect::Knock`].
    pub(crate) fn handle_knock(&mut self, now: Now, id: &NodeId, refused: bool) {
        let others: Vec<Identity> = self.live().filter(|member| member.id != *id).map(identity).collect();
        let helpers = self.draw(others, CANDIDATES);
        let alone = self.view.values().all(|member| member.id == *id || member.is_gone());
        if refused {
            self.word_came(now);
            self.answer_came(now);
        }
        self.refusals.handle_knock(now.at, id, refused, &helpers, alone);
        self.take_steps(now);
    }

    /// Another member asks this node to knock too. Only at members, and at the address that this node knows.
    pub(crate) fn handle_knock_request(&mut self, now: Now, from: Identity, id: &NodeId, generation: Generation) {
        if let Some(member) = self.identity_of(id).filter(|member| member.generation == generation) {
            self.refusals.handle_request(now.at, from, member);
            self.take_steps(now);
        }
    }

    /// What a helper found.
    pub(crate) fn handle_knock_report(&mut self, now: Now, helper: &NodeId, id: &NodeId, generation: Generation, found: Found) {
        if let Some(member) = self.identity_of(id).filter(|member| member.generation == generation) {
            self.refusals.handle_report(now.at, helper, &member, found);
            self.take_steps(now);
        }
    }

    /// A live member as foca knows it.
    fn identity_of(&self, id: &NodeId) -> Option<Identity> {
        self.view.get(id).filter(|member| member.status.is_live()).map(identity)
    }

    pub(super) fn take_steps(&mut self, now: Now) {
        while let Some(step) = self.refusals.poll_step() {
            match step {
                Step::Knock(to) => self.effects.push_back(Effect::Knock { to }),
                Step::Ask { helper, member } => self.effects.push_back(Effect::AskToKnock { helper, member }),
                Step::Report { to, member, found } => self.effects.push_back(Effect::Report { to, member, found }),
                Step::Gone(member) => {
                    self.handle_gone(now, member.id, member.generation, true);
                }
            }
        }
    }

    /// A member is down in this very generation; `proved`: its host said that no process is there. True if that is news.
    ///
    /// Of this node itself: foca notes that it is believed down, and a new generation is needed.
    pub(crate) fn handle_gone(&mut self, now: Now, id: NodeId, generation: Generation, proved: bool) -> bool {
        let me = *self.foca.identity();
        if id == me.id {
            if generation == me.generation {
                self.apply(now, vec![foca::Member::down(me)]);
            }
            return false;
        }
        let Some(member) = self.view.get_mut(&id).filter(|member| member.generation == generation) else { return false };
        self.from_disk.remove(&id);
        if member.status == Status::Down && proved && !member.proved {
            let before = member.clone();
            member.proved = true;
            self.census.change(Some(&before), Some(member));
            self.effects.push_back(Effect::Changed { id, from: Some(Status::Down), to: Status::Down });
            return true;
        }
        if !member.status.is_live() {
            return false;
        }
        let identity = identity(member);
        self.proving = proved.then_some(identity);
        self.apply(now, vec![foca::Member::down(identity)]);
        self.proving = None;
        true
    }
}

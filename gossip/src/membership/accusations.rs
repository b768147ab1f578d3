//! When an accusation counts: not while this node must doubt itself (`health`).

use std::{collections::BTreeMap, time::Duration};

use foca::{State, Timer, TimerToken};

use super::{Membership, health::Sign};
use crate::{Generation, Instant, NodeId, Now, marks, swim::Identity};

/// Suspicions whose time began once more, as this node had to doubt itself: by member, its generation and incarnation. It begins again only once: a node with few
/// live peers among many dead ones hears and misses by turns, and without an end to it the dead would live for ever.
#[derive(Debug, Default)]
pub(super) struct Prolonged(BTreeMap<NodeId, (Generation, u16)>);

impl Prolonged {
    /// True if this suspicion may be prolonged; not twice.
    fn prolong(&mut self, suspect: &Identity, incarnation: u16) -> bool {
        let suspicion = (suspect.generation, incarnation);
        self.0.insert(suspect.id, suspicion) != Some(suspicion)
    }

    /// A member is declared down, or no more.
    pub(super) fn forget(&mut self, id: &NodeId) {
        self.0.remove(id);
    }
}

impl Membership {
    /// Whether this node must think that it is cut off itself: it knows others, and for a while not one was heard.
    pub(crate) fn is_lonely(&self, now: Instant) -> bool {
        self.health.is_lonely(now, self.live_count())
    }

    /// For how long not one other was heard.
    pub(crate) fn silence(&self, now: Instant) -> Duration {
        self.health.silence(now)
    }

    /// Somebody, or somebody's host, was heard. Whoever fell under suspicion while nobody was gets all the time to speak once more.
    pub(super) fn word_came(&mut self, now: Now) {
        if self.health.heard(now.at) {
            self.give_suspects_time(now);
        }
    }

    /// A probe was answered, or its member's host refused.
    pub(super) fn answer_came(&mut self, now: Now) {
        if self.health.answered(now.at) {
            self.give_suspects_time(now);
        }
    }

    fn give_suspects_time(&mut self, now: Now) {
        let speaks_by = now.at + self.foca_config.suspect_to_down_after;
        let accuses = |due: Instant, timer: &Timer<Identity>| due < speaks_by && matches!(timer, Timer::ChangeSuspectToDown { .. });
        for (due, timer) in self.timers.take(accuses) {
            match &timer {
                Timer::ChangeSuspectToDown { member_id, incarnation, .. } if self.prolonged.prolong(member_id, *incarnation) => {
                    self.arm_accusation(speaks_by, timer, now.at);
                }
                _ => self.timers.set(due, timer),
            }
        }
    }

    /// Foca has come back to life, and with that all its earlier timers are void, a suspicion's too: a member that was under one would be suspect for ever.
    /// So whoever is has all its time once more, and is told. `token`: under which foca takes timers now.
    pub(super) fn accuse_anew(&mut self, now: Now, token: Option<TimerToken>) {
        let Some(token) = token else { return };
        let speaks_by = now.at + self.foca_config.suspect_to_down_after;
        let suspects = self.foca.iter_membership_state().filter(|member| member.state() == State::Suspect);
        let suspects: Vec<_> = suspects.map(|member| (*member.id(), member.incarnation())).collect();
        for (member_id, incarnation) in suspects {
            self.arm_accusation(speaks_by, Timer::ChangeSuspectToDown { member_id, incarnation, token }, now.at);
        }
    }

    /// Sets a suspicion's timer, and tells the suspect (again).
    fn arm_accusation(&mut self, due: Instant, timer: Timer<Identity>, now: Instant) {
        if let Timer::ChangeSuspectToDown { member_id, incarnation, .. } = &timer {
            self.buddies.forget(member_id);
            self.buddies.suspect(now, *member_id, *incarnation);
        }
        self.timers.set(due, timer);
    }

    /// A probe was answered neither way. The failure may be this node's own, if there are others that could have been heard, and none was.
    pub(super) fn note_failed_probe(&mut self, now: Now) {
        self.health.failed(now.at);
        if self.live().nth(1).is_some() && self.health.silent_since(self.probed_at) {
            self.health.note(Sign::Silence);
        }
    }

    /// Whether this node keeps an accusation back: while it is lonely, and once while it is not well. The timer is set anew then.
    pub(super) fn keeps_back(&mut self, now: Instant, timer: &Timer<Identity>, suspect: &Identity, incarnation: u16) -> bool {
        let after = if self.is_lonely(now) {
            marks::reached("a lonely node accused nobody");
            self.probe_period
        } else if self.health.is_sick() && self.prolonged.prolong(suspect, incarnation) {
            marks::reached("a node that was not well put an accusation off");
            self.foca_config.suspect_to_down_after
        } else {
            self.prolonged.forget(&suspect.id);
            return false;
        };
        self.arm_accusation(now + after, timer.clone(), now);
        true
    }
}

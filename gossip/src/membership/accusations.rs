//! When an accusation counts: not while this node must doubt itself (`health`).

use std::time::Duration;

use foca::Timer;

use super::{Membership, health::Sign};
use crate::{Instant, NodeId, Now, marks, swim::Identity};

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
        let moved: Vec<_> = self.timers.iter().filter(|(due, timer, _)| accuses(*due, timer)).cloned().collect();
        for (due, timer, number) in moved {
            self.timers.remove(&(due, timer.clone(), number));
            self.arm_accusation(speaks_by, timer, now.at);
        }
    }

    /// Sets a suspicion's timer, and tells the suspect (again).
    fn arm_accusation(&mut self, due: Instant, timer: Timer<Identity>, now: Instant) {
        if let Timer::ChangeSuspectToDown { member_id, incarnation, .. } = &timer {
            self.buddies.forget(member_id);
            self.buddies.suspect(now, *member_id, *incarnation);
        }
        self.timers_made += 1;
        self.timers.insert((due, timer, self.timers_made));
    }

    /// A probe was answered neither way. The failure may be this node's own, if there are others that could have been heard, and none was.
    pub(super) fn note_failed_probe(&mut self, now: Now) {
        self.health.failed(now.at);
        if self.live().nth(1).is_some() && self.health.silent_since(self.probed_at) {
            self.health.note(Sign::Silence);
        }
    }

    /// Whether this node keeps an accusation back: while it is lonely, and once while it is not well. The timer is set anew then.
    pub(super) fn keeps_back(&mut self, now: Instant, timer: &Timer<Identity>, id: NodeId, incarnation: u16) -> bool {
        let after = if self.is_lonely(now) {
            marks::reached("a lonely node accused nobody");
            self.probe_period
        } else if self.health.is_sick() && self.deferred.insert((id, incarnation)) {
            marks::reached("a node that was not well put an accusation off");
            self.foca_config.suspect_to_down_after
        } else {
            self.deferred.remove(&(id, incarnation));
            return false;
        };
        self.arm_accusation(now + after, timer.clone(), now);
        true
    }
}

//! What foca wants to be woken for: one timer of each kind, and of those that are about a member one for each.
//!
//! Foca asks for more: for an accusation each time that a suspect fails a probe, for its rounds anew whenever it comes back to life, and it never takes back
//! what is void since. In a small cluster that flaps for a minute that was a hundred timers for three nodes, each of them a wake-up for nothing.

use std::collections::{BTreeMap, BTreeSet};

use foca::Timer;

use crate::{Instant, NodeId, canary::planted, swim::Identity};

/// What there is one timer for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Probe,
    IndirectProbe,
    Gossip,
    Announce,
    AnnounceDown,
    Accusation(NodeId),
    Removal(NodeId),
}

impl Slot {
    fn of(timer: &Timer<Identity>) -> Self {
        match timer {
            Timer::ProbeRandomMember(_) => Self::Probe,
            Timer::SendIndirectProbe { .. } => Self::IndirectProbe,
            Timer::PeriodicGossip(_) => Self::Gossip,
            Timer::PeriodicAnnounce(_) => Self::Announce,
            Timer::PeriodicAnnounceDown(_) => Self::AnnounceDown,
            Timer::ChangeSuspectToDown { member_id, .. } => Self::Accusation(member_id.id),
            Timer::RemoveDown(down) => Self::Removal(down.id),
        }
    }
}

/// Foca's own order of timers is by what they are for: two accusations are alike to it. So their numbers tell them apart.
pub(crate) type Due = (Instant, Timer<Identity>, u64);

/// See the module. Timers of one time fire in foca's own order, then as they were set.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<Due>,
    slots: BTreeMap<Slot, Due>,
    made: u64,
}

impl Timers {
    /// Sets a timer. The very same one stays where it is: a suspect that fails another probe has no more time for it. Another of its kind is void.
    pub(crate) fn set(&mut self, due: Instant, timer: Timer<Identity>) {
        let slot = Slot::of(&timer);
        if self.slots.get(&slot).is_none_or(|(_, held, _)| *held != timer) {
            if !planted("timers-pile-up") {
                self.clear(slot);
            }
            self.made += 1;
            let due = (due, timer, self.made);
            self.slots.insert(slot, due.clone());
            self.queue.insert(due);
        }
    }

    /// Takes the next timer that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer<Identity>> {
        self.queue.first().filter(|(due, ..)| *due <= now)?;
        let (_, timer, _) = self.queue.pop_first()?;
        self.slots.remove(&Slot::of(&timer));
        Some(timer)
    }

    /// Takes all that are meant, in their order.
    pub(crate) fn take(&mut self, meant: impl Fn(Instant, &Timer<Identity>) -> bool) -> Vec<(Instant, Timer<Identity>)> {
        let meant = self.queue.iter().filter(|(due, timer, _)| meant(*due, timer));
        let taken: Vec<_> = meant.map(|(due, timer, _)| (*due, timer.clone())).collect();
        for (_, timer) in &taken {
            self.clear(Slot::of(timer));
        }
        taken
    }

    /// A member is no more.
    pub(crate) fn forget(&mut self, id: &NodeId) {
        self.clear(Slot::Accusation(*id));
        self.clear(Slot::Removal(*id));
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.queue.first().map(|(due, ..)| *due)
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Due> {
        self.queue.iter()
    }

    fn clear(&mut self, slot: Slot) {
        if let Some(held) = self.slots.remove(&slot) {
            self.queue.remove(&held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Generation;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn accusation(generation: u64, incarnation: u16) -> Timer<Identity> {
        let member_id = Identity { id: NodeId([2; 16]), gossip: "127.0.0.1:1".parse().unwrap(), generation: Generation(generation) };
        Timer::ChangeSuspectToDown { member_id, incarnation, token: 0 }
    }

    #[test]
    fn a_suspect_that_fails_another_probe_has_no_more_time() {
        let mut timers = Timers::default();
        timers.set(at(4), accusation(1, 0));
        timers.set(at(5), accusation(1, 0));
        assert_eq!(timers.len(), 1);
        assert_eq!(timers.pop_due(at(4)), Some(accusation(1, 0)));
        assert_eq!(timers.pop_due(at(9)), None);
    }

    #[test]
    fn a_later_suspicion_of_a_member_replaces_an_earlier_one() {
        let mut timers = Timers::default();
        for (due, generation, incarnation) in [(4, 1, 0), (5, 1, 1), (6, 2, 0)] {
            timers.set(at(due), accusation(generation, incarnation));
        }
        assert_eq!((timers.len(), timers.next_due()), (1, Some(at(6))));
    }

    #[test]
    fn accusations_of_one_time_are_of_several_members() {
        let mut timers = Timers::default();
        for member in 1..=3 {
            let member_id = Identity { id: NodeId([member; 16]), gossip: "127.0.0.1:1".parse().unwrap(), generation: Generation(1) };
            timers.set(at(4), Timer::ChangeSuspectToDown { member_id, incarnation: 0, token: 0 });
        }
        assert_eq!((0..4).filter(|_| timers.pop_due(at(4)).is_some()).count(), 3);
    }

    /// Found by drawn worlds: each time that a node came back to life foca began its rounds anew, and what it had asked for before was kept too.
    #[test]
    fn rounds_that_begin_anew_replace_the_old_ones() {
        let mut timers = Timers::default();
        for token in 0..10 {
            timers.set(at(30 + u64::from(token)), Timer::PeriodicAnnounce(token));
            timers.set(at(10 + u64::from(token)), Timer::PeriodicAnnounceDown(token));
        }
        assert_eq!(timers.len(), 2);
        assert_eq!(timers.pop_due(at(19)), Some(Timer::PeriodicAnnounceDown(9)));
    }
}

//! Holds back that a node is new until its name is known: membership is heard of before what a node says of itself, and an id tells people nothing.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use logvine_cluster::event::Event;
use logvine_gossip::{NodeId, Status};

/// What a node says of itself comes within two rounds of gossip; then its id must do.
const NAME_PATIENCE: Duration = Duration::from_secs(5);

/// The new members whose names are waited for.
#[derive(Debug, Default)]
pub(super) struct Introductions(BTreeMap<NodeId, (Instant, Event)>);

impl Introductions {
    /// What is to be told now that `event` has come, in the order in which it happened: nothing of a member that is new and has no name yet.
    pub(super) fn take(&mut self, now: Instant, event: Event, is_named: impl Fn(&NodeId) -> bool) -> Vec<Event> {
        let Event::Member { node, to, .. } = event else { return vec![event] };
        // Whatever follows its coming must not be told before it.
        let before = self.0.remove(&node).map(|(_, before)| before);
        if before.is_none() && to == Status::Alive && !is_named(&node) {
            self.0.insert(node, (now, event));
            return Vec::new();
        }
        before.into_iter().chain([event]).collect()
    }

    /// Those that have got their names since, or will not get them soon.
    pub(super) fn ready(&mut self, now: Instant, is_named: impl Fn(&NodeId) -> bool) -> Vec<Event> {
        let ready = self.0.extract_if(.., |node, (since, _)| is_named(node) || now.duration_since(*since) >= NAME_PATIENCE);
        ready.map(|(_, (_, event))| event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: NodeId = NodeId([7; 16]);

    fn member(to: Status) -> Event {
        Event::Member { node: NEW, from: None, to, proved: false }
    }

    #[test]
    fn a_new_member_is_told_of_with_its_name() {
        let (mut held, now) = (Introductions::default(), Instant::now());
        assert_eq!(held.take(now, member(Status::Alive), |_| false), []);
        assert_eq!(held.ready(now, |_| false), []);
        assert_eq!(held.ready(now, |node| *node == NEW), [member(Status::Alive)]);
        assert_eq!(held.ready(now + NAME_PATIENCE, |_| true), [], "once");
    }

    #[test]
    fn one_that_says_no_name_is_told_of_all_the_same() {
        let (mut held, now) = (Introductions::default(), Instant::now());
        held.take(now, member(Status::Alive), |_| false);
        assert_eq!(held.ready(now + NAME_PATIENCE, |_| false), [member(Status::Alive)]);
    }

    #[test]
    fn nothing_else_waits_and_nothing_changes_its_order() {
        let (mut held, now) = (Introductions::default(), Instant::now());
        assert_eq!(held.take(now, Event::Active, |_| false), [Event::Active]);
        assert_eq!(held.take(now, member(Status::Alive), |_| true), [member(Status::Alive)]);
        assert_eq!(held.take(now, member(Status::Alive), |_| false), []);
        assert_eq!(held.take(now, member(Status::Down), |_| false), [member(Status::Alive), member(Status::Down)]);
        assert_eq!(held.ready(now + NAME_PATIENCE, |_| true), []);
    }
}

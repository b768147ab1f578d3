//! What happens next, in virtual time.

use std::{cmp::Reverse, collections::BinaryHeap};

use logvine_gossip::Instant;

/// Events by (time, order of arrival): two at one time come in the order in which they were put.
///
/// The heap orders places, not events: those are large, and moving them about was dear.
#[derive(Debug)]
pub struct Queue<E> {
    waiting: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    events: Vec<Option<E>>,
    free: Vec<usize>,
    put: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { waiting: BinaryHeap::new(), events: Vec::new(), free: Vec::new(), put: 0 }
    }
}

impl<E> Queue<E> {
    pub fn put(&mut self, at: Instant, event: E) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[place] = Some(event);
        self.waiting.push(Reverse((at, self.put, place)));
        self.put += 1;
    }

    /// The next event that is due at `until` or before.
    pub fn pop(&mut self, until: Instant) -> Option<(Instant, E)> {
        let Reverse((at, _, place)) = *self.waiting.peek().filter(|Reverse((at, ..))| *at <= until)?;
        self.waiting.pop();
        self.free.push(place);
        Some((at, self.events[place].take().expect("an event waits at its place until it is due")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_by_arrival() {
        let mut queue = Queue::default();
        for (at, event) in [(2, 'c'), (1, 'a'), (1, 'b'), (9, 'z')] {
            queue.put(Instant::from_micros(at), event);
        }
        let due: Vec<_> = std::iter::from_fn(|| queue.pop(Instant::from_micros(5))).map(|(_, event)| event).collect();
        assert_eq!(due, ['a', 'b', 'c']);
    }
}

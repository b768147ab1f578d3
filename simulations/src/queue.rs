//! What happens next, in virtual time.

use std::collections::BTreeMap;

use logvine_gossip::Instant;

/// Events by (time, order of arrival): two at one time come in the order in which they were put.
#[derive(Debug)]
pub struct Queue<E> {
    waiting: BTreeMap<(Instant, u64), E>,
    put: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), put: 0 }
    }
}

impl<E> Queue<E> {
    pub fn put(&mut self, at: Instant, event: E) {
        self.waiting.insert((at, self.put), event);
        self.put += 1;
    }

    /// The next event that is due at `until` or before.
    pub fn pop(&mut self, until: Instant) -> Option<(Instant, E)> {
        let (&(at, _), _) = self.waiting.first_key_value()?;
        if at > until {
            return None;
        }
        self.waiting.pop_first().map(|((at, _), event)| (at, event))
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

//! Sets of bytes, as ranges.

use std::collections::BTreeMap;

/// Disjoint ranges that do not touch, by their start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds what is from `start` up to, and without, `end`. Says how many bytes of it were there before.
    pub fn add(&mut self, start: u64, end: u64) -> u64 {
        let (mut from, mut to, mut known) = (start, end, 0);
        let touching: Vec<_> = self.0.range(..=end).rev().take_while(|(_, one_end)| **one_end >= start).map(|(one, end)| (*one, *end)).collect();
        for (one, one_end) in touching {
            known += one_end.min(end).saturating_sub(one.max(start));
            from = from.min(one);
            to = to.max(one_end);
            self.0.remove(&one);
        }
        if from < to {
            self.0.insert(from, to);
        }
        known
    }

    /// How far it goes from zero on without a hole.
    pub fn prefix(&self) -> u64 {
        self.0.first_key_value().filter(|(start, _)| **start == 0).map_or(0, |(_, end)| *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_ends_at_the_first_hole() {
        let mut ranges = Ranges::default();
        ranges.add(10, 20);
        assert_eq!(ranges.prefix(), 0);
        ranges.add(0, 5);
        assert_eq!(ranges.prefix(), 5);
        ranges.add(5, 10);
        assert_eq!(ranges.prefix(), 20);
    }

    #[test]
    fn what_was_there_before_is_counted() {
        let mut ranges = Ranges::default();
        assert_eq!(ranges.add(0, 10), 0);
        assert_eq!(ranges.add(20, 30), 0);
        assert_eq!(ranges.add(5, 25), 10);
        assert_eq!(ranges, Ranges([(0, 30)].into()));
    }
}

//! Numbers of a batch's records.

use std::ops::Range;

/// Some of a batch's records, by their numbers: runs, ascending, with a gap between each two. One run is what nearly every send has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Records(Vec<Range<u32>>);

impl From<Range<u32>> for Records {
    fn from(run: Range<u32>) -> Self {
        if run.is_empty() { Self::default() } else { Self(vec![run]) }
    }
}

impl FromIterator<u32> for Records {
    /// Any order, repeats allowed.
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut numbers: Vec<u32> = numbers.into_iter().collect();
        numbers.sort_unstable();
        let mut runs: Vec<Range<u32>> = Vec::new();
        for number in numbers {
            match runs.last_mut() {
                Some(run) if number < run.end => {}
                Some(run) if number == run.end => run.end += 1,
                _ => runs.push(number..number + 1),
            }
        }
        Self(runs)
    }
}

impl Records {
    /// How many there are.
    pub fn count(&self) -> u32 {
        self.0.iter().map(|run| run.end - run.start).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The numbers, ascending.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.0.iter().cloned().flatten()
    }

    /// The runs, ascending, with a gap between each two.
    pub fn runs(&self) -> &[Range<u32>] {
        &self.0
    }

    /// Whether the record of this number is among them.
    pub fn contains(&self, number: u32) -> bool {
        let after = self.0.partition_point(|run| run.end <= number);
        self.0.get(after).is_some_and(|run| run.contains(&number))
    }

    /// The first half and the rest, of at least two records.
    pub(super) fn halves(&self) -> (Self, Self) {
        let mut left = self.count() / 2;
        let (mut first, mut rest) = (Self::default(), Self::default());
        for run in &self.0 {
            let middle = run.start + left.min(run.end - run.start);
            left -= middle - run.start;
            first.0.extend((run.start < middle).then_some(run.start..middle));
            rest.0.extend((middle < run.end).then_some(middle..run.end));
        }
        (first, rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain set.
        #[test]
        fn runs_are_a_set_of_numbers(numbers in prop::collection::btree_set(0..60_u32, 0..40), asked in 0..60_u32) {
            let records: Records = numbers.iter().rev().chain(&numbers).copied().collect();
            prop_assert_eq!(records.numbers().collect::<Vec<_>>(), numbers.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(records.count() as usize, numbers.len());
            prop_assert_eq!(records.contains(asked), numbers.contains(&asked));
            prop_assert!(records.runs().windows(2).all(|runs| runs[0].end < runs[1].start), "{:?}", records);
            let (first, rest) = records.halves();
            prop_assert_eq!(first.count(), records.count() / 2);
            prop_assert_eq!(first.numbers().chain(rest.numbers()).collect::<Records>(), records);
        }
    }
}

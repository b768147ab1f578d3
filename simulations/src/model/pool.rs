//! What makes an exploration fast: equal pieces of states have equal numbers, and what the code does with a piece is looked up the second time.

use std::{
    collections::BTreeMap,
    fmt::{self, Debug, Write as _},
    hash::Hasher as _,
};

use siphasher::sip128::{Hasher128, SipHasher13};

/// Values by number, each once.
///
/// They are told apart by 128 bits of a hash of what they show: all fields, as `Debug` is derived for them.
#[derive(Debug)]
pub(super) struct Pool<T> {
    values: Vec<T>,
    numbers: BTreeMap<u128, u32>,
}

impl<T: Debug> Pool<T> {
    pub(super) fn new() -> Self {
        Self { values: Vec::new(), numbers: BTreeMap::new() }
    }

    /// The number of a value.
    pub(super) fn number(&mut self, value: T) -> u32 {
        let mut shown = Shown(SipHasher13::new());
        write!(shown, "{value:?}").expect("a hasher takes all");
        let hash = shown.0.finish128().as_u128();
        let next = u32::try_from(self.values.len()).expect("fewer than 2^32 pieces");
        let number = *self.numbers.entry(hash).or_insert(next);
        if number == next {
            self.values.push(value);
        }
        number
    }

    pub(super) fn get(&self, number: u32) -> &T {
        &self.values[number as usize]
    }
}

struct Shown(SipHasher13);

impl fmt::Write for Shown {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

/// In the place of a number: there is none yet.
pub(super) const NONE: u32 = u32::MAX;

/// Numbers by two others, both small.
#[derive(Debug, Default)]
pub(super) struct Grid {
    rows: Vec<Vec<u32>>,
}

impl Grid {
    pub(super) fn get(&self, row: u32, column: u32) -> Option<u32> {
        let number = *self.rows.get(row as usize)?.get(column as usize)?;
        (number != NONE).then_some(number)
    }

    pub(super) fn set(&mut self, row: u32, column: u32, number: u32) {
        let (row, column) = (row as usize, column as usize);
        if self.rows.len() <= row {
            self.rows.resize_with(row + 1, Vec::new);
        }
        let row = &mut self.rows[row];
        if row.len() <= column {
            row.resize(column + 1, NONE);
        }
        row[column] = number;
    }
}

/// Spreads a number over 64 bits (the finish of splitmix64).
pub(super) const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Two numbers in one.
pub(super) fn pair(one: u32, other: u32) -> u64 {
    u64::from(one) << 32 | u64::from(other)
}

/// A map from 64 bits. Open addressing, at most half full: a hundred million keys fit into three gigabytes.
#[derive(Debug)]
pub(super) struct Table<V> {
    slots: Vec<(u64, V)>,
    len: usize,
}

/// No key has this value: [`Table::spread`] sees to it.
const FREE: u64 = 0;

impl<V: Copy + Default> Table<V> {
    pub(super) fn new() -> Self {
        Self { slots: vec![(FREE, V::default()); 1 << 10], len: 0 }
    }

    /// Different keys stay different, but for the two that share [`FREE`]'s place.
    fn spread(key: u64) -> u64 {
        mix(key.wrapping_add(0x9e37_79b9_7f4a_7c15)).max(FREE + 1)
    }

    fn slot(slots: &[(u64, V)], hash: u64) -> usize {
        let mask = slots.len() - 1;
        let mut at = usize::try_from(hash & mask as u64).expect("below the length");
        while slots[at].0 != FREE && slots[at].0 != hash {
            at = (at + 1) & mask;
        }
        at
    }

    pub(super) fn get(&self, key: u64) -> Option<V> {
        let hash = Self::spread(key);
        let (found, value) = self.slots[Self::slot(&self.slots, hash)];
        (found == hash).then_some(value)
    }

    /// False where the key was there already: the value is as it was.
    pub(super) fn insert(&mut self, key: u64, value: V) -> bool {
        if (self.len + 1) * 2 > self.slots.len() {
            let mut slots = vec![(FREE, V::default()); self.slots.len() * 2];
            for (hash, value) in self.slots.iter().filter(|(hash, _)| *hash != FREE) {
                let at = Self::slot(&slots, *hash);
                slots[at] = (*hash, *value);
            }
            self.slots = slots;
        }
        let hash = Self::spread(key);
        let at = Self::slot(&self.slots, hash);
        let is_new = self.slots[at].0 == FREE;
        if is_new {
            self.slots[at] = (hash, value);
            self.len += 1;
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_number() {
        let mut pool = Pool::new();
        assert_eq!((pool.number("a"), pool.number("b"), pool.number("a")), (0, 1, 0));
        assert_eq!(*pool.get(1), "b");
    }

    #[test]
    fn a_grid_keeps_what_it_was_given() {
        let mut grid = Grid::default();
        grid.set(3, 5, 7);
        assert_eq!((grid.get(3, 5), grid.get(3, 4), grid.get(9, 0)), (Some(7), None, None));
    }

    #[test]
    fn a_table_keeps_what_it_was_given_first() {
        let mut table = Table::new();
        for key in 0..10_000_u64 {
            assert!(table.insert(key, key * 2));
            assert!(!table.insert(key, 0));
        }
        assert!((0..10_000).all(|key| table.get(key) == Some(key * 2)));
        assert_eq!(table.get(10_000), None);
    }
}

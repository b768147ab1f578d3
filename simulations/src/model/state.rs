//! A state: pieces by number, so that it is small, and quickly told apart from others.

use super::{
    bounds::{CANDIDACIES_MAX, NODES_MAX},
    pool::{mix, pair},
};

/// Messages that one exploration may know.
const MESSAGES_MAX: usize = 384;

/// Messages that are on their way: a bit each.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Messages([u64; MESSAGES_MAX / 64]);

impl Messages {
    pub(super) fn has(&self, message: u32) -> bool {
        self.0[message as usize / 64] & 1 << (message % 64) != 0
    }

    pub(super) fn insert(&mut self, message: u32) {
        assert!((message as usize) < MESSAGES_MAX, "more messages than this model has bits for: make the bound smaller");
        self.0[message as usize / 64] |= 1 << (message % 64);
    }

    pub(super) fn remove(&mut self, message: u32) {
        self.0[message as usize / 64] &= !(1 << (message % 64));
    }

    pub(super) fn iter(self) -> impl Iterator<Item = u32> {
        (0_u32..).zip(self.0).flat_map(|(place, word)| {
            let rest = std::iter::successors(Some(word), |word| Some(word & word.wrapping_sub(1)));
            rest.take_while(|word| *word != 0).map(move |word| place * 64 + word.trailing_zeros())
        })
    }
}

/// A state of everything: pieces by number.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    pub(super) witnesses: [u32; NODES_MAX],
    pub(super) candidates: [u32; CANDIDACIES_MAX],
    pub(super) released: [u32; CANDIDACIES_MAX],
    pub(super) history: u32,
    pub(super) image: u32,
    pub(super) faults: Faults,
    pub(super) messages: Messages,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) disks_lost: u8,
    /// Nodes, a bit each: stopped now, and back from that.
    pub(super) stopped: u8,
    pub(super) returned: u8,
    pub(super) restored: bool,
    pub(super) passed: u8,
}

impl State {
    /// The pieces that recovery depends on.
    pub(super) fn essence(&self) -> u64 {
        self.witnesses.iter().chain([&self.history]).fold(u64::from(self.faults.passed), |hash, piece| mix(hash ^ u64::from(*piece)))
    }

    pub(super) fn fingerprint(&self) -> u64 {
        let Faults { disks_lost, stopped, returned, restored, passed } = self.faults;
        let faults = u64::from_be_bytes([disks_lost, stopped, returned, u8::from(restored), passed, 0, 0, 0]);
        let two = |pieces: &[u32]| pair(pieces[0], pieces.get(1).copied().unwrap_or(0));
        let pieces = self.witnesses.chunks(2).chain(self.candidates.chunks(2)).chain(self.released.chunks(2)).map(two);
        let words = pieces.chain([pair(self.history, self.image)]).chain(self.messages.0);
        words.fold(faults, |hash, word| mix(hash.rotate_left(23) ^ word).wrapping_add(hash))
    }
}

//! Takes each datagram once: a seal says who made it, not when, and whoever recorded it can send it again for ever.
//!
//! ```text
//! (sender, generation, number) ──► new: taken, noted │ noted before, or too far behind: repeated │ of an earlier generation: former
//! ```
//! Each sender numbers its datagrams within its generation, which is on disk before the first of them and never used again; so a number
//! names one datagram for ever, and no clock plays a part. Each receiver keeps the highest number and which of the last [`WINDOW`]
//! came (RFC 4303 §3.4.3, the ring of RFC 6479 without its spare word). What a receiver knew it forgets when it is restarted: state
//! therefore also names the receiver's generation for which it is meant (`Packet::to`), and what was meant for an earlier one is former.
//! A hello or an announce names none, as it is for whoever lives there: recorded, and sent to a node restarted since, it is answered once.
//! Not here: calls (TLS refuses their repetition).

use std::{collections::BTreeMap, time::Duration};

use crate::{Generation, Instant, NodeId, canary::planted, membership::MEMBERS_MAX};

/// How far behind the newest number of a sender's a datagram may come, in datagrams that it sent to anybody. 12 s of a busy node's 20 a second,
/// half a second of a seed's 500 in a storm of joins; what is later than that counts as lost, which the protocols bear.
pub(crate) const WINDOW: u64 = WORDS as u64 * 64;
const WORDS: usize = 4;

/// A node that speaks under a former generation is told so this often at most: a recording must not draw an answer for each of its datagrams.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// Most senders that are remembered: all members, and as many that are none (yet) until the next sweep.
const SENDERS_MAX: usize = 2 * MEMBERS_MAX;

/// Why a datagram is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It came before, or is so late that nobody knows.
    Repeated,
    /// Its sender has begun a later generation.
    Former,
    /// There is no room to remember its sender.
    Full,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    generation: Generation,
    highest: u64,
    /// Bit `number % WINDOW`: that number came. Those above `highest − WINDOW` only.
    came: [u64; WORDS],
    /// When the node was last told that it speaks under a former generation.
    told: Option<Instant>,
}

/// What each sender's last datagrams were.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    senders: BTreeMap<NodeId, Window>,
}

impl Replays {
    /// Notes a datagram, if it is new. `number` 0: its sender does not number them (it is of an earlier version), and as long as it has not done so
    /// in that generation, all are taken. `keeps`: whether a sender must be remembered when there is no more room.
    pub(crate) fn take(&mut self, from: NodeId, generation: Generation, number: u64, keeps: impl Fn(&NodeId) -> bool) -> Result<(), Refused> {
        let known = self.senders.get_mut(&from).filter(|window| window.generation >= generation);
        if let Some(window) = known {
            return if window.generation > generation { Err(Refused::Former) } else { window.take(number) };
        }
        if self.senders.len() >= SENDERS_MAX && !self.senders.contains_key(&from) {
            self.senders.retain(|id, _| keeps(id));
            if self.senders.len() >= SENDERS_MAX {
                return Err(Refused::Full);
            }
        }
        self.senders.insert(from, Window::new(generation, number));
        Ok(())
    }

    /// Whether a node that spoke under a former generation is to be told so now.
    pub(crate) fn tells(&mut self, of: &NodeId, now: Instant) -> bool {
        let Some(window) = self.senders.get_mut(of) else { return true };
        let tells = window.told.is_none_or(|told| now.since(told) >= TELL_INTERVAL);
        if tells {
            window.told = Some(now);
        }
        tells
    }

    /// The newest generation under which a node spoke to this one.
    pub(crate) fn generation(&self, of: &NodeId) -> Option<Generation> {
        self.senders.get(of).map(|window| window.generation)
    }
}

impl Window {
    fn new(generation: Generation, number: u64) -> Self {
        let mut window = Self { generation, highest: number, came: [0; WORDS], told: None };
        window.set(number, true);
        window
    }

    fn take(&mut self, number: u64) -> Result<(), Refused> {
        if planted("no-replay-window") || (number == 0 && self.highest == 0) {
            return Ok(());
        }
        if number > self.highest {
            // All between the two has not come yet; where it is more than the window holds, nothing that it says is of use.
            for between in self.highest.max(number.saturating_sub(WINDOW)) + 1..number {
                self.set(between, false);
            }
            self.highest = number;
        } else if number == 0 || self.highest - number >= WINDOW || self.came(number) {
            return Err(Refused::Repeated);
        }
        self.set(number, true);
        Ok(())
    }

    /// Word and bit of a number.
    fn place(number: u64) -> (usize, u64) {
        let at = usize::try_from(number % WINDOW).expect("a place in a window of some hundred");
        (at / 64, 1 << (at % 64))
    }

    fn came(&self, number: u64) -> bool {
        let (word, bit) = Self::place(number);
        self.came[word] & bit != 0
    }

    fn set(&mut self, number: u64, came: bool) {
        let (word, bit) = Self::place(number);
        if came {
            self.came[word] |= bit;
        } else {
            self.came[word] &= !bit;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const A: NodeId = NodeId([1; 16]);

    fn take(replays: &mut Replays, generation: u64, number: u64) -> Result<(), Refused> {
        replays.take(A, Generation(generation), number, |_| true)
    }

    #[test]
    fn a_number_is_taken_once_in_any_order() {
        let mut replays = Replays::default();
        for number in [5, 3, 4, 9, 6] {
            assert_eq!(take(&mut replays, 1, number), Ok(()), "{number}");
        }
        for number in [3, 4, 5, 6, 9] {
            assert_eq!(take(&mut replays, 1, number), Err(Refused::Repeated), "{number} again");
        }
        assert_eq!(take(&mut replays, 1, 8), Ok(()), "late, but not before its time was over");
    }

    #[test]
    fn what_is_behind_the_window_is_refused_unseen() {
        let mut replays = Replays::default();
        take(&mut replays, 1, 1).unwrap();
        take(&mut replays, 1, 1 + WINDOW).unwrap();
        assert_eq!(take(&mut replays, 1, 1), Err(Refused::Repeated));
        assert_eq!(take(&mut replays, 1, 2), Ok(()), "the oldest that the window still holds");
        take(&mut replays, 1, u64::MAX).unwrap();
        assert_eq!(take(&mut replays, 1, u64::MAX - WINDOW), Err(Refused::Repeated));
        assert_eq!(take(&mut replays, 1, u64::MAX - WINDOW + 1), Ok(()));
    }

    #[test]
    fn a_new_generation_begins_anew_and_ends_the_old_one() {
        let mut replays = Replays::default();
        take(&mut replays, 1, 1000).unwrap();
        assert_eq!(take(&mut replays, 2, 1), Ok(()));
        assert_eq!(take(&mut replays, 1, 1001), Err(Refused::Former));
        assert_eq!(take(&mut replays, 2, 1), Err(Refused::Repeated));
    }

    /// Versions mix while a cluster is upgraded; but who numbers does not stop doing so.
    #[test]
    fn who_does_not_number_is_taken_until_it_does() {
        let mut replays = Replays::default();
        assert_eq!(take(&mut replays, 1, 0), Ok(()));
        assert_eq!(take(&mut replays, 1, 0), Ok(()));
        assert_eq!(take(&mut replays, 1, 1), Ok(()));
        assert_eq!(take(&mut replays, 1, 0), Err(Refused::Repeated));
    }

    #[test]
    fn senders_are_bounded_and_members_are_kept() {
        let id = |number: usize| NodeId(u128::try_from(number).unwrap().to_be_bytes());
        let member = |id: &NodeId| u128::from_be_bytes(id.0) < 10;
        let mut replays = Replays::default();
        for number in 0..=SENDERS_MAX {
            replays.take(id(number), Generation(1), 1, member).unwrap();
        }
        assert_eq!(replays.senders.len(), 11, "the members, and the one that came when there was no more room");
        assert_eq!(replays.take(id(3), Generation(1), 1, member), Err(Refused::Repeated), "a member's window was kept");
        for number in 0..SENDERS_MAX - 1 {
            replays.take(id(number), Generation(2), 1, |_| true).unwrap();
        }
        assert_eq!(replays.take(id(SENDERS_MAX + 7), Generation(1), 1, |_| true), Err(Refused::Full));
    }

    proptest! {
        /// Against a set that forgets nothing: never twice; and always once if it is within the window.
        #[test]
        fn it_is_a_set_as_far_as_it_reaches(steps in prop::collection::vec((0_u64..40, any::<bool>()), 1..400)) {
            let mut replays = Replays::default();
            let (mut taken, mut highest) = (BTreeSet::new(), 1_u64);
            for (step, back) in steps {
                let number = if back { highest.saturating_sub(step * 10).max(1) } else { highest + step * 3 };
                let result = take(&mut replays, 1, number);
                if result.is_ok() {
                    prop_assert!(taken.insert(number), "{} was taken twice", number);
                    highest = highest.max(number);
                } else {
                    prop_assert!(taken.contains(&number) || highest - number >= WINDOW, "{} was new", number);
                }
            }
        }
    }
}

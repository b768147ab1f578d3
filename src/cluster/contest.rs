//! Two words on one key that were said at once, each without knowledge of the other: the later stamp wins, and whoever said the other is told (DESIGN §10).
//!
//! An operation says of each key that it wrote which stamp it found there. A word of another operation between that stamp and its own it has not seen:
//!
//! ```text
//! key   ──5──────────7───────9──>        the operation of 9 found 5 there: it was said at once with that of 7, which has lost
//! ```
//! Every node finds that out by itself from the operations that it holds, in whatever order they came.
//! Not here: which value holds (the catalog knows nothing of this), and how it is told (`node::outcomes`).

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use logvine_gossip::{NodeId, Stamp};

use crate::{canary::planted, operation::Operation};

/// An operation's place in the order of words.
pub(crate) type Order = (Stamp, NodeId);

/// Words that are remembered, each on one key: some 20 MB. The oldest are forgotten first, as they are the least likely to be contested.
const WORDS_MAX: usize = 200_000;
/// The greatest id: an open end of a stamp's words.
const LAST: NodeId = NodeId([0xff; 16]);

/// A word that was overruled by another that did not know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overruled {
    pub(crate) loser: Order,
    pub(crate) winner: Order,
}

/// What operations wrote, and what each had seen.
#[derive(Debug, Default)]
pub(crate) struct Contests {
    /// By key: who wrote it, and the stamp that was there before, as far as the writer saw.
    words: BTreeMap<[u8; 4], BTreeMap<Order, Stamp>>,
    /// The keys of each operation.
    written: BTreeMap<Order, Vec<[u8; 4]>>,
    count: usize,
    losers: BTreeMap<Order, Order>,
}

impl Contests {
    /// Takes note of an operation. Returns the words of which it is known only now that they were overruled unseen, each once, by the order of the losers.
    pub(crate) fn note(&mut self, operation: &Operation) -> Vec<Overruled> {
        let order = operation.order();
        if self.written.contains_key(&order) {
            return Vec::new();
        }
        let mut found = BTreeMap::new();
        let mut keys = Vec::new();
        for (key, seen) in operation.seen() {
            keys.push(key);
            let others = self.words.entry(key).or_default();
            // Between what it found there and itself: not seen by it.
            if (seen, LAST) < order {
                let unseen = others.range((Bound::Excluded((seen, LAST)), Bound::Excluded(order)));
                found.extend(unseen.map(|(loser, _)| (*loser, order)));
            }
            let later = others.range((Bound::Excluded(order), Bound::Unbounded)).find(|(_, seen)| **seen < order.0);
            if let Some((winner, _)) = later.filter(|_| !planted("early-word-unheard")) {
                found.insert(order, *winner);
            }
            others.insert(order, seen);
        }
        self.count += keys.len();
        self.written.insert(order, keys);
        while self.count > WORDS_MAX {
            self.forget_oldest();
        }
        let news = found.into_iter().filter(|(loser, _)| !self.losers.contains_key(loser)).collect::<Vec<_>>();
        self.losers.extend(news.iter().copied());
        news.into_iter().map(|(loser, winner)| Overruled { loser, winner }).collect()
    }

    /// What overruled an operation that it did not know.
    pub(crate) fn overruled_by(&self, operation: &Operation) -> Option<Order> {
        self.losers.get(&operation.order()).copied()
    }

    /// Keeps nothing of operations older than this.
    pub(crate) fn forget_before(&mut self, oldest: Order) {
        while self.written.first_key_value().is_some_and(|(order, _)| *order < oldest) {
            self.forget_oldest();
        }
        self.losers = self.losers.split_off(&oldest);
    }

    fn forget_oldest(&mut self) {
        let Some((order, keys)) = self.written.pop_first() else { return };
        self.count -= keys.len();
        for key in keys.into_iter().collect::<BTreeSet<_>>() {
            if let Some(words) = self.words.get_mut(&key) {
                words.remove(&order);
                if words.is_empty() {
                    self.words.remove(&key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_bytes::ByteBuf;

    use super::*;
    use crate::operation::{OperationValue, Verb, key_hash};

    /// An operation of node `by` at a stamp, that found these stamps at these keys.
    fn word(stamp: u64, by: u8, found: &[(&str, u64)]) -> Operation {
        let origin = NodeId([by; 16]);
        let value = OperationValue {
            verb: Verb::Apply,
            actor: String::new(),
            reason: None,
            runners: Vec::new(),
            nodes: None,
            targets: Vec::new(),
            idempotency_key: None,
            keys: ByteBuf::from(found.iter().flat_map(|(key, _)| key_hash(key)).collect::<Vec<_>>()),
            seen: ByteBuf::from(found.iter().flat_map(|(_, seen)| seen.to_be_bytes()).collect::<Vec<_>>()),
            rename: None,
        };
        Operation { id: Operation::id(Stamp(stamp), &origin), stamp: Stamp(stamp), origin, value }
    }

    /// The stamps of losers and winners, as they become known.
    fn told(words: &[Operation]) -> Vec<(u64, u64)> {
        let mut contests = Contests::default();
        words.iter().flat_map(|word| contests.note(word)).map(|told| (told.loser.0.0, told.winner.0.0)).collect()
    }

    #[test]
    fn the_earlier_of_two_words_that_do_not_know_each_other_has_lost_in_whatever_order_they_are_heard() {
        let (early, late) = (word(7, 1, &[("k", 5)]), word(9, 2, &[("k", 5)]));
        assert_eq!(told(&[early.clone(), late.clone()]), [(7, 9)]);
        assert_eq!(told(&[late, early]), [(7, 9)]);
    }

    #[test]
    fn who_knew_the_earlier_word_changes_his_or_anothers_mind_and_nobody_has_lost() {
        assert_eq!(told(&[word(7, 1, &[("k", 5)]), word(9, 2, &[("k", 7)]), word(11, 1, &[("k", 9)])]), []);
        assert_eq!(told(&[word(7, 1, &[("k", 0)]), word(9, 2, &[("other", 0)])]), [], "another key");
    }

    /// Also where a third one has been said since, that knew but one of the two.
    #[test]
    fn a_loser_is_told_once() {
        let words = [word(7, 1, &[("k", 5)]), word(8, 2, &[("k", 5)]), word(9, 3, &[("k", 5)])];
        assert_eq!(told(&words), [(7, 8), (8, 9)]);
        assert_eq!(told(&[words.clone(), words].concat()), [(7, 8), (8, 9)]);
    }

    #[test]
    fn the_same_stamp_of_two_nodes_is_a_contest_too() {
        assert_eq!(told(&[word(7, 1, &[("k", 5)]), word(7, 2, &[("k", 5)])]), [(7, 7)]);
        assert_eq!(told(&[word(7, 2, &[("k", 5)]), word(7, 1, &[("k", 5)])]), [(7, 7)]);
    }

    #[test]
    fn what_is_forgotten_leaves_nothing() {
        let mut contests = Contests::default();
        contests.note(&word(7, 1, &[("k", 5), ("l", 0)]));
        contests.note(&word(9, 2, &[("k", 5)]));
        contests.forget_before((Stamp(9), NodeId([2; 16])));
        assert_eq!((contests.words.len(), contests.written.len(), contests.losers.len(), contests.count), (1, 1, 0, 1));
    }

    #[test]
    #[cfg(feature = "canary")]
    fn canaries_are_seen() {
        crate::canary::turns_red(
            "early-word-unheard",
            the_earlier_of_two_words_that_do_not_know_each_other_has_lost_in_whatever_order_they_are_heard,
        );
    }
}

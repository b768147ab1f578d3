//! Rumours: urgent news, passed on at once by whoever first learns it, and again for a while (Demers et al. 1987; DESIGN §3.2).
//!
//! Only topics are queued; what is said of them is read when it is sent, so that news overtaken by newer news costs nothing.
//! Invariants: the queue, each datagram and the bytes per second are bounded. What does not fit is left to push-pull.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use crate::{Instant, NodeId};

/// Most topics at a time.
const TOPICS_MAX: usize = 4_096;
/// After this long push-pull has brought it everywhere (measured: p99 7 s among 1,024).
pub(crate) const AGE_MAX: Duration = Duration::from_secs(10);
/// How many seconds' budget may be spent at once: an operator's command of some dozen entries goes out whole.
const BURST_SECONDS: u64 = 4;

/// No topic takes less than this in a datagram: where that does not fit, none of those that are left is looked at.
const TOPIC_BYTES_MIN: usize = 24;

/// See [`sendings`].
const SENDINGS_MIN: u32 = 4;

/// What a rumour is about, in the order in which they go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// A node said goodbye.
    Left(NodeId),
    /// A node was declared down.
    Gone(NodeId),
    /// An entry of the catalog.
    Catalog(String),
    /// `phase` of a node.
    Phase(NodeId),
    /// `tags` of a node.
    Tags(NodeId),
}

impl Topic {
    /// The topic of a node's word, if that is urgent.
    pub(crate) fn of_word(node: NodeId, key: &str) -> Option<Self> {
        match key {
            PHASE => Some(Self::Phase(node)),
            TAGS => Some(Self::Tags(node)),
            _ => None,
        }
    }

    fn class(&self) -> u8 {
        match self {
            Self::Left(_) | Self::Gone(_) => 0,
            Self::Catalog(_) => 1,
            Self::Phase(_) => 2,
            Self::Tags(_) => 3,
        }
    }
}

pub(crate) const PHASE: &str = "phase";
pub(crate) const TAGS: &str = "tags";

#[derive(Debug)]
struct Rumour {
    learned: u64,
    born: Instant,
    sendings_left: u32,
}

/// Where a topic stands: by its class, and in it the newest first.
type Place = (u8, Reverse<u64>);

impl Rumour {
    fn place(&self, topic: &Topic) -> Place {
        (topic.class(), Reverse(self.learned))
    }
}

#[derive(Debug)]
pub(crate) struct Rumours {
    topics: BTreeMap<Topic, Rumour>,
    /// The same topics in the order in which they go. Kept, as a flood of them would be looked through for each that is one too many.
    order: BTreeMap<Place, Topic>,
    /// How many were learned so far, and how many when some were taken last: what was learned since is fresh, which is asked after each packet.
    learned: u64,
    passed_on: u64,
    bytes_per_second: u64,
    /// Millionths of a byte, so that microseconds add up exactly.
    budget: u64,
    filled: Instant,
}

impl Rumours {
    pub(crate) fn new(now: Instant, bytes_per_second: u32) -> Self {
        let bytes_per_second = u64::from(bytes_per_second);
        Self {
            topics: BTreeMap::new(),
            order: BTreeMap::new(),
            learned: 0,
            passed_on: 0,
            bytes_per_second,
            budget: bytes_per_second * BURST_SECONDS * 1_000_000,
            filled: now,
        }
    }

    /// How many topics there are.
    pub(crate) fn len(&self) -> usize {
        self.topics.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// True if something has not been passed on at all.
    pub(crate) fn has_fresh(&self) -> bool {
        self.learned > self.passed_on
    }

    /// Takes up a topic; it begins anew if it was there.
    pub(crate) fn learn(&mut self, now: Instant, topic: Topic, sendings: u32) {
        self.learned += 1;
        let rumour = Rumour { learned: self.learned, born: now, sendings_left: sendings };
        let place = rumour.place(&topic);
        if let Some(before) = self.topics.insert(topic.clone(), rumour) {
            self.order.remove(&before.place(&topic));
        }
        self.order.insert(place, topic);
        if self.topics.len() > TOPICS_MAX
            && let Some((_, least)) = self.order.pop_last()
        {
            self.topics.remove(&least);
        }
    }

    fn forget(&mut self, topic: &Topic) {
        if let Some(rumour) = self.topics.remove(topic) {
            self.order.remove(&rumour.place(topic));
        }
    }

    /// Drops what is too old, or was sent often enough.
    fn age(&mut self, now: Instant) {
        let order = &mut self.order;
        self.topics.retain(|topic, rumour| {
            let goes_on = rumour.sendings_left > 0 && now.since(rumour.born) < AGE_MAX;
            if !goes_on {
                order.remove(&rumour.place(topic));
            }
            goes_on
        });
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = u64::try_from((now - self.filled).as_micros()).unwrap_or(u64::MAX);
        self.filled = now;
        let full = self.bytes_per_second * BURST_SECONDS * 1_000_000;
        self.budget = self.budget.saturating_add(elapsed.saturating_mul(self.bytes_per_second)).min(full);
    }

    /// The topics to send now to `members` members, most urgent and newest first; each counts as sent once. `size` is what a topic takes
    /// in a datagram of at most `bytes_max`, or None if there is nothing to say of it any more.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        members: usize,
        only_fresh: bool,
        bytes_max: usize,
        size: impl Fn(&Topic) -> Option<usize>,
    ) -> Vec<Topic> {
        self.refill(now);
        self.age(now);
        let (mut bytes, mut taken, mut over) = (0, Vec::new(), Vec::new());
        let fresh = |learned: u64| learned > self.passed_on;
        for (_, topic) in self.order.iter().filter(|((_, Reverse(learned)), _)| fresh(*learned) || !only_fresh) {
            if bytes + TOPIC_BYTES_MIN > bytes_max || (TOPIC_BYTES_MIN * members) as u64 * 1_000_000 > self.budget {
                break;
            }
            let Some(rumour) = self.topics.get_mut(topic) else { continue };
            let Some(size) = size(topic) else {
                over.push(topic.clone());
                continue;
            };
            let cost = (size * members) as u64 * 1_000_000;
            if bytes + size > bytes_max || cost > self.budget {
                continue;
            }
            bytes += size;
            self.budget -= cost;
            rumour.sendings_left -= 1;
            if rumour.sendings_left == 0 {
                over.push(topic.clone());
            }
            taken.push(topic.clone());
        }
        over.iter().for_each(|topic| self.forget(topic));
        // What did not fit waits for a tick like the rest.
        self.passed_on = self.learned;
        taken
    }
}

/// How often a rumour is sent among `nodes`: λ·log₂(n), at least four times, as in a small cluster loss may take each copy of one sending.
pub(crate) fn sendings(factor: f64, nodes: usize) -> u32 {
    let nodes = u32::try_from(nodes.max(2)).unwrap_or(u32::MAX);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, and 32·λ is the most")]
    let times = (factor * f64::from(nodes).log2()).ceil() as u32;
    times.max(SENDINGS_MIN)
}

/// To how many of `nodes` fresh news goes at once: ln n + 2, and no fewer than `least`.
///
/// Where each passes news on to f others, n·e^-f nodes are expected to hear it from nobody (Kermarrec et al. 2003): with f = ln n + 2 that is one node in
/// seven news, so that most are known to all within a few network trips and without waiting for a tick. Three to each left some of 64 nodes to the tick.
pub(crate) fn fan_out(least: usize, nodes: usize) -> usize {
    let nodes = u32::try_from(nodes.max(1)).unwrap_or(u32::MAX);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "2 to 25, for any u32")]
    let wanted = f64::from(nodes).ln().ceil() as usize + 2;
    wanted.max(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    fn catalog(key: usize) -> Topic {
        Topic::Catalog(format!("k{key}"))
    }

    #[test]
    fn goodbyes_go_before_catalog_before_phase_before_tags_and_the_newest_first() {
        let mut rumours = Rumours::new(at(0), 8_192);
        let node = NodeId([1; 16]);
        for topic in [Topic::Tags(node), catalog(1), Topic::Phase(node), catalog(2), Topic::Left(node)] {
            rumours.learn(at(0), topic, 4);
        }
        let taken = rumours.take(at(0), 3, true, 1_000, |_| Some(100));
        assert_eq!(taken, [Topic::Left(node), catalog(2), catalog(1), Topic::Phase(node), Topic::Tags(node)]);
    }

    #[test]
    fn a_rumour_is_sent_so_many_times_and_then_dies() {
        let mut rumours = Rumours::new(at(0), 8_192);
        rumours.learn(at(0), catalog(1), 3);
        let sent = (0..10).filter(|tick| !rumours.take(at(tick * 200), 3, false, 1_000, |_| Some(50)).is_empty()).count();
        assert_eq!(sent, 3);
        assert!(rumours.is_empty());
    }

    #[test]
    fn rumours_keep_to_their_bytes_per_second() {
        let mut rumours = Rumours::new(at(0), 1_000);
        let mut bytes = 0;
        for tick in 0..100 {
            for key in 0..20 {
                rumours.learn(at(tick * 200), catalog(key), 9);
            }
            bytes += rumours.take(at(tick * 200), 3, false, 4_000, |_| Some(100)).len() * 100 * 3;
        }
        assert!(bytes as u64 <= 1_000 * (20 + BURST_SECONDS), "{bytes} bytes in 20 s");
        assert!(bytes > 15_000, "the budget is there to be used: {bytes}");
    }

    #[test]
    fn the_queue_is_bounded_and_drops_the_least_urgent() {
        let mut rumours = Rumours::new(at(0), 8_192);
        rumours.learn(at(0), Topic::Tags(NodeId([1; 16])), 4);
        for key in 0..TOPICS_MAX {
            rumours.learn(at(0), catalog(key), 4);
        }
        assert_eq!(rumours.topics.len(), TOPICS_MAX);
        assert!(!rumours.topics.contains_key(&Topic::Tags(NodeId([1; 16]))));
    }

    /// A rumour that is heard anew is the newest; and of too many the oldest of the least urgent goes, however many come: one word of an operator may be
    /// tens of thousands of entries.
    #[test]
    fn of_a_flood_the_newest_are_kept_in_their_order() {
        let mut rumours = Rumours::new(at(0), 8_192);
        let node = NodeId([1; 16]);
        rumours.learn(at(0), Topic::Left(node), 4);
        rumours.learn(at(0), Topic::Phase(node), 4);
        for key in 0..8 * TOPICS_MAX {
            rumours.learn(at(0), catalog(key), 4);
        }
        let oldest_kept = 8 * TOPICS_MAX + 1 - TOPICS_MAX;
        assert_eq!((rumours.len(), rumours.order.len()), (TOPICS_MAX, TOPICS_MAX));
        assert!(rumours.topics.contains_key(&catalog(oldest_kept)) && !rumours.topics.contains_key(&catalog(oldest_kept - 1)));
        rumours.learn(at(0), catalog(oldest_kept), 4);
        let taken = rumours.take(at(0), 3, true, 350, |topic| (*topic != catalog(8 * TOPICS_MAX - 1)).then_some(100));
        assert_eq!(taken, [Topic::Left(node), catalog(oldest_kept), catalog(8 * TOPICS_MAX - 2)], "what there is nothing to say of is left out");
        assert_eq!((rumours.len(), rumours.order.len()), (TOPICS_MAX - 1, TOPICS_MAX - 1));
        rumours.take(at(0) + AGE_MAX, 3, false, 350, |_| Some(100));
        assert!(rumours.is_empty() && rumours.order.is_empty());
    }

    #[test]
    fn the_number_of_sendings_grows_with_the_logarithm_of_the_cluster() {
        assert_eq!([1, 2, 5, 256, 1_024, 10_000].map(|nodes| sendings(0.5, nodes)), [4, 4, 4, 4, 5, 7]);
        assert_eq!([1, 3, 64, 256, 1_024].map(|nodes| fan_out(3, nodes)), [3, 4, 7, 8, 9]);
    }
}
